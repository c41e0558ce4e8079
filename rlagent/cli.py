"""The console script `rlagent`: one command per module, imported only when it is called."""

import importlib
import sys
from collections.abc import Sequence

from rlagent.base.names import did_you_mean

COMMANDS = {
    "train": ("rlagent.train", "train an agent: rlagent train +experiment=gsm8k_react"),
    "init": ("rlagent.init", "a folder to begin your own agent from: rlagent init NAME"),
    "plan": ("rlagent.plan", "what would run: choices, batch arithmetic, Trinity's YAML"),
    "evaluate": ("rlagent.evaluate", "how good a run's checkpoints are: rlagent evaluate RUN"),
    "compare": ("rlagent.compare", "is B better than A, and where is it worse?"),
    "doctor": ("rlagent.doctor", "can an experiment start here, and if not, why"),
    "report": (
        "rlagent.report",
        "write the report of a run or a sweep again: rlagent report latest",
    ),
    "export": (
        "rlagent.export",
        "a checkpoint as a Hugging Face folder: rlagent export RUN --step best --to FOLDER",
    ),
    "view": ("rlagent.view", "show runs and sweeps in a browser, live: rlagent view [outputs]"),
    "try": (
        "rlagent.try",
        "the run's workflow on one task of yours: rlagent try RUN --task '{...}'",
    ),
    "chat": ("rlagent.chat", "talk to a checkpoint in the terminal: rlagent chat RUN"),
    "serve": (
        "rlagent.serve",
        "a checkpoint behind an OpenAI-compatible endpoint: rlagent serve RUN --port 8000",
    ),
    "data": (
        "rlagent.data",
        "the tasks as the workflow will see them: rlagent data show +experiment=gsm8k_react",
    ),
    "runs": ("rlagent.runs", "what has run here, its state, best metric, where"),
    "rollouts": (
        "rlagent.rollouts",
        "show a run's rollouts: rlagent rollouts latest --step 17 --success no",
    ),
    "sync": ("rlagent.sync", "upload offline W&B runs: rlagent sync [RUN|SWEEP ...]"),
    "stop": ("rlagent.stop", "end a run or a sweep cleanly from another shell: rlagent stop RUN"),
}
"""Name, module with `main(argv) -> exit status`, what it does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch to a command; returns its exit status, 2 when there is no such command."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"rlagent {version('rlagent')}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        remedy = did_you_mean(name, COMMANDS, "rlagent --help lists them")
        print(f"rlagent {name}: there is no such command; {remedy}", file=sys.stderr)
        return 2
    return int(importlib.import_module(COMMANDS[name][0]).main(arguments[1:]))


def usage() -> str:
    """Return the help text."""
    lines = ["rlagent trains LLM agents with reinforcement learning.", "", "Commands:"]
    lines += [f"  {name:<8} {text}" for name, (_, text) in COMMANDS.items()]
    lines += ["", "rlagent COMMAND --help says more; python -m rlagent.COMMAND is the same."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
