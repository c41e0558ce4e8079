"""`rlagent serve RUN`: a checkpoint behind an OpenAI-compatible endpoint, until Ctrl+C.

The work is serving/serve.py's.
"""

import argparse
import os
import secrets
import signal
import sys
from collections.abc import Sequence

from rlagent.backends.served import KEY_VARIABLE
from rlagent.base.endings import EXIT_INTERRUPTED, EXIT_OK
from rlagent.base.screen import lasting_streams
from rlagent.serving.arguments import checkpoint_arguments

MADE = "(made)"

EPILOG = f"""\
It listens on loopback. Beyond it a key is needed: --api-key makes one and prints it, --api-key KEY
or the variable {KEY_VARIABLE}, which other users of the machine cannot read, gives one.
Exit status: 0 ended by SIGTERM; 130 by Ctrl+C; 1 the engine failed; 2 it cannot be served so.
"""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="rlagent serve",
        description="Serve a checkpoint of a run over OpenAI's interface: chat completions with "
        "tools, streaming and logprobs. vLLM on GPUs, the embedded engine on a CPU.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    checkpoint_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="0: a free one (8000)")
    parser.add_argument("--api-key", nargs="?", const=MADE, default="", help="ask for a key")
    parser.add_argument("--name", default="", help="what clients call the model (RUN-step-N)")
    parser.add_argument("--engine", default="auto", help="auto, vllm or embedded (auto)")
    parser.add_argument("--seed", type=int, help="of the sampling (the run's)")
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    from rlagent.serving.trained import say_outcome

    return say_outcome("serve", lambda: _serve(asked))


def _serve(asked: argparse.Namespace) -> int:
    from rlagent.serving.serve import Asked, Place, checked, ending_when_asked, serve, wait_for_end
    from rlagent.serving.trained import find_trained

    made = secrets.token_urlsafe(24) if asked.api_key == MADE else ""
    key = made or asked.api_key or os.environ.get(KEY_VARIABLE, "")
    place = checked(Place(asked.host, asked.port, key, asked.engine, asked.name, asked.seed))
    trained = find_trained(asked.run, asked.step, asked.root)
    served = None
    try:
        with ending_when_asked():
            try:
                served = serve(trained, place, lambda line: print(line, flush=True))
                name = place.name or trained.name
                print(f"{name} answers at {served.url}/v1 (Ctrl+C ends it)", flush=True)
                if made:
                    print(f"its key: {made}", flush=True)
                wait_for_end(served)
            finally:
                if served is not None:
                    served.stop()
    except Asked as end:
        print("ended", flush=True)
        return EXIT_INTERRUPTED if end.number == signal.SIGINT else EXIT_OK
    raise AssertionError("an endpoint ends when it is asked to, or fails")


if __name__ == "__main__":
    sys.exit(main())
