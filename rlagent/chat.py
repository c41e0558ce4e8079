"""`rlagent chat RUN`: talk to a checkpoint in the terminal.

The conversation is serving/chat.py's.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence

from rlagent.base.endings import EXIT_INTERRUPTED, EXIT_OK
from rlagent.base.errors import ConfigError, raise_if_any
from rlagent.base.screen import lasting_streams
from rlagent.serving.arguments import checkpoint_arguments

EPILOG = """\
In the chat: /reset, /system, /set, /save, /help, /quit; Ctrl+C ends an answer, Ctrl+D the chat.
--tools names functions, as my_tools.py:search,rlagent.tools.calculator:calculator. They really
run, in this process and folder; each call is asked for first, unless --yes is given.
"""
SAMPLING = ("temperature", "top_p", "top_k", "max_tokens", "seed")


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="rlagent chat",
        description="Talk to a checkpoint of a run in the terminal.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    checkpoint_arguments(parser)
    parser.add_argument("--system", default="", help="system prompt (none)")
    parser.add_argument("--tools", default="", help="module:function, several with commas")
    parser.add_argument("--yes", action="store_true", help="run tools without asking")
    for name in SAMPLING:
        parser.add_argument(f"--{name.replace('_', '-')}", default=None, help="(the run's)")
    parser.add_argument("--engine", default="auto", help="auto, vllm or embedded (auto)")
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    from rlagent.serving.trained import say_outcome

    return say_outcome("chat", lambda: _chat(asked))


def _chat(asked: argparse.Namespace) -> int:
    from rlagent.serving.trained import find_trained

    trained = find_trained(asked.run, asked.step, asked.root)

    from rlagent.serving.beside import served_beside

    with served_beside(trained, asked.engine) as served:
        # While it loads.
        import openai
        from rich.console import Console

        from rlagent.serving.chat import Chat, Sampling
        from rlagent.serving.tools import ToolBox

        sampling, problems = Sampling(), []
        for name in SAMPLING:
            try:
                if getattr(asked, name) is not None:
                    sampling.change(name, getattr(asked, name))
            except ConfigError as error:
                problems += error.problems
        raise_if_any(problems)
        tools = ToolBox([name for name in asked.tools.split(",") if name])
        console = Console(highlight=False, soft_wrap=True)
        ask = _Asking(asked.yes)
        client = openai.OpenAI(base_url=f"{served.url()}/v1", api_key=served.api_key)
        chat = Chat(client, served.name, console, tools, ask.allow, asked.system, sampling)
        console.print(f"{trained.kept} of {trained.run.name}; /help, /quit", style="dim")
        return ask.talk(chat.take)


class _Asking:
    """What is read from the terminal."""

    def __init__(self, yes: bool) -> None:
        self._yes = yes
        with contextlib.suppress(ImportError):
            # Gives `input` a history and lines that can be edited.
            import readline  # noqa: F401

    def allow(self, call: str) -> bool:
        """Whether a call may run: y once, a always."""
        if self._yes:
            return True
        try:
            answer = input(f"run {call}? [y/N/a] ").strip().lower()
        except EOFError:
            return False
        self._yes = answer in ("a", "always")
        return self._yes or answer in ("y", "yes")

    def talk(self, take: Callable[[str], bool]) -> int:
        """Read lines until the chat ends; returns the exit status."""
        while True:
            try:
                line = input("> ")
            except EOFError:
                print()
                return EXIT_OK
            except KeyboardInterrupt:
                print()
                return EXIT_INTERRUPTED
            if not take(line):
                return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
