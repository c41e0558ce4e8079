"""`rlagent data gsm8k_tools`: conversations with tools, to learn from before reinforcement.

The conversations are workflows/gsm8k_teacher.py's; here they are read, counted and written.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlagent.base.screen import lasting_streams
from rlagent.base.words import short_path
from rlagent.config.schema import DatasetConfig
from rlagent.records.files import row_bytes, write_atomically
from rlagent.serving.trained import say_outcome

if TYPE_CHECKING:
    from rlagent.workflows.teacher import Transcript

HUB = "openai/gsm8k"
EPILOG = """\
a row: `messages` and `tools`, as OpenAI's interface, TRL and Trinity have them. Only the training
split is read, so that no test question is learnt. Exit status: 0 written; 1 it could not be; 2 the
data is wrong.
"""


@lasting_streams()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="rlagent data",
        description="Write conversations to learn from.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    words = (
        "GSM8K's answers, each annotated calculation a call of the shipped workflow's calculator"
    )
    gsm8k = kinds.add_parser("gsm8k_tools", help=words, description=words)
    gsm8k.add_argument(
        "--source", default=HUB, help=f"GSM8K: a folder with train.jsonl, a file, or {HUB}"
    )
    gsm8k.add_argument("--to", type=Path, required=True, help="file to write, .jsonl")
    gsm8k.add_argument("--limit", type=_positive, help="the first so many rows (all)")
    asked = parser.parse_args(sys.argv[1:] if argv is None else list(argv))
    return say_outcome("data", lambda: _gsm8k_tools(asked.source, asked.to, asked.limit))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _gsm8k_tools(source: str, to: Path, limit: int | None) -> int:
    from rlagent.trinity.kept_tasks import rows_of

    dataset = DatasetConfig(path=source, subset="main" if source == HUB else None)
    rows = islice(rows_of(source, "train", dataset, "--source"), limit)
    taught, without = asyncio.run(_taught(rows))
    write_atomically(to, b"".join(map(row_bytes, taught)))
    print(f"{short_path(to)} holds {len(taught)} conversations")
    if count := without.total():
        said = "; ".join(f"{number} x {reason}" for reason, number in without.most_common(3))
        print(f"left out {count} rows: {said}")
    return 0


async def _taught(rows: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], Counter[str]]:
    from rlagent.workflows.gsm8k_teacher import NoLessonError, conversations

    taught, without = [], Counter[str]()
    async for _, found in conversations(rows):
        if isinstance(found, NoLessonError):
            without[found.kind] += 1
        else:
            taught.append(as_row(found))
    return taught, without


def as_row(transcript: "Transcript") -> dict[str, Any]:
    """A conversation as a row: texts as strings, arguments of calls as objects.

    Chat templates render both so; parts of a text and JSON in JSON many of them do not.
    """
    messages = []
    for message in transcript.messages:
        row = {"role": message["role"], "content": _text(message.get("content"))}
        if calls := message.get("tool_calls"):
            row["tool_calls"] = [
                {"type": "function", "function": {
                    "name": call["function"]["name"],
                    "arguments": json.loads(call["function"]["arguments"]),
                }}
                for call in calls
            ]  # fmt: skip
        if message["role"] == "tool":
            row["name"] = message.get("name")
        messages.append(row)
    return {"messages": messages, "tools": transcript.tools}


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content or ""


if __name__ == "__main__":
    sys.exit(main())
