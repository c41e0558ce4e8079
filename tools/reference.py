"""Write docs/reference.md, every key of the configuration: `python -m tools.reference`."""

from pathlib import Path

from rlagent.config.knobs import Knob, groups, knobs

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
COMMAND = "python -m tools.reference"
SIGN = "\\|"
"""A bar that separates no cells."""
TOP = f"""# Every key of the configuration

Written by `{COMMAND}` from [the schema](../rlagent/config/schema.py); edit that, not this page.

Any key can be set on the command line (`algorithm.lr=1e-5`), in a preset, in YAML or in Python.
`rlagent plan` shows the value of each for your command, with every `auto` filled. The default is
the schema's: a preset may set another. "In Trinity" names the field that a key is translated to.
`trinity.FIELD` set beside the key wins, except where it says "must agree": other settings follow
from that key too, so a contradiction is refused.
"""


def page() -> str:
    """Return the page as it should be."""
    parts, every = [TOP], list(knobs())
    for group, meaning in groups().items():
        rows = [knob for knob in every if knob.group == group]
        if not rows:
            continue
        parts.append(f"## {group or 'Top level'}\n\n{_flowing(meaning)}\n")
        core = [knob for knob in rows if not knob.advanced]
        parts.append(_table(core))
        if len(core) < len(rows):
            parts.append("Advanced:\n")
            parts.append(_table([knob for knob in rows if knob.advanced]))
    return "\n".join(parts)


def _flowing(text: str) -> str:
    """Return a docstring with one line per paragraph."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def _table(rows: list[Knob]) -> str:
    lines = ["| key | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for row in rows:
        cells = (f"`{row.key}`", f"`{row.default}`", row.allowed, _meaning(row))
        lines.append(f"| {' | '.join(cell.replace('|', SIGN) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _meaning(knob: Knob) -> str:
    text = knob.meaning
    if knob.auto:
        text += f" `auto`: {knob.auto}."
    if knob.trinity:
        named = " and ".join(f"`{field}`" for field in knob.trinity)
        text += f" In Trinity: {named}{' (must agree)' if knob.binding else ''}."
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
