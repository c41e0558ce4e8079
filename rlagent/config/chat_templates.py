"""`model.chat_template`: which template renders conversations, and whether it fits the tokenizer.

Reads JSON and Jinja of a local model folder only; what a tokenizer makes of a conversation is the
engines' and masks.py's.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from rlagent.base.errors import Problem
from rlagent.base.paths import BUILTIN, local_path, resolve_path
from rlagent.config.model_files import templates_of

KEY = "model.chat_template"

SHIPPED = f"{BUILTIN}chatml_tools.jinja"
"""ChatML with tools as Qwen writes them, and the assistant's tokens marked."""

_TOOLS = re.compile(r"\btools\b")
_GENERATION = re.compile(r"{%-?\s*(end)?generation\s*-?%}")
"""Hugging Face's own tag, which marks what the assistant says; it changes no text."""
_MARK = re.compile(r"<\|[^|>\s]+\|>")
_CHATML = ("<|im_start|>", "<|im_end|>")


def template_file(path: str) -> Path:
    """The file of a template; `builtin:` ones are shipped."""
    return local_path(resolve_path(path)) or Path(path)


def template_text(path: str) -> str:
    """The text of a template.

    Raises:
        OSError, UnicodeDecodeError: It cannot be read.
    """
    return template_file(path).read_bytes().decode("utf-8")


def template_digest(path: str) -> str:
    """A digest of a template, for a trial's identity; its path where it has no text."""
    try:
        return hashlib.sha256(template_text(path).encode()).hexdigest()[:16]
    except (OSError, UnicodeDecodeError):
        return path


def lacks_tools(folder: Path) -> bool:
    """Whether the shipped template is for this model: ChatML, of which its own shows no tools."""
    tokens, ends = _tokens(folder), _ends(folder)
    own = [text for _, text in templates_of(folder)]
    is_chatml = all(mark in tokens for mark in _CHATML) and _CHATML[1] in ends
    return is_chatml and not any(_TOOLS.search(text) for text in own)


def template_problems(path: str, folder: Path | None) -> list[Problem]:
    """Return what is wrong with a template, alone and for a model.

    Args:
        path: As written.
        folder: The model's, with its tokenizer; None: it is not here.
    """
    try:
        text = template_text(path)
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        return [Problem(KEY, path, what, f"name a Jinja file, or {SHIPPED}")]
    except UnicodeDecodeError:
        return [Problem(KEY, path, "is no UTF-8 text", f"name a Jinja file, or {SHIPPED}")]
    faults = [_syntax(text)]
    if not _TOOLS.search(text):
        faults.append("shows no tools: `tools` does not occur in it")
    if folder is not None and not faults[0]:
        faults += _fits(text, folder)
    remedy = "correct the template, or leave the key to auto"
    return [Problem(KEY, path, fault, remedy) for fault in faults if fault]


def _syntax(text: str) -> str:
    import jinja2

    try:
        found = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
        found.parse(_GENERATION.sub("", text))
    except jinja2.TemplateSyntaxError as error:
        return f"line {error.lineno} is no Jinja: {error.message}"
    return ""


def _fits(text: str, folder: Path) -> list[str]:
    tokens, ends = _tokens(folder), _ends(folder)
    faults = [
        f"writes {mark}, which is no token of the model's tokenizer"
        for mark in sorted(set(_MARK.findall(text)))
        if tokens and mark not in tokens
    ]
    if ends and "eos_token" not in text and not any(end in text for end in ends):
        named = " or ".join(sorted(ends))
        faults.append(f"never writes {named}, which ends a response: none would learn to end")
    return faults


def _tokens(folder: Path) -> set[str]:
    """The tokens of a tokenizer as its file spells them; empty where it is no tokenizer.json."""
    data = _read(folder / "tokenizer.json")
    added = {str(item.get("content")) for item in data.get("added_tokens") or ()}
    model = data.get("model") or {}
    vocab = model.get("vocab") if isinstance(model, dict) else None
    return added | ({str(token) for token in vocab} if isinstance(vocab, dict) else set())


def _ends(folder: Path) -> set[str]:
    """The tokens that end a response."""
    named = _read(folder / "tokenizer_config.json").get("eos_token")
    found = {str(named.get("content") if isinstance(named, dict) else named)} if named else set()
    names = {
        item.get("id"): str(item.get("content"))
        for item in _read(folder / "tokenizer.json").get("added_tokens") or ()
    }
    for file in ("generation_config.json", "config.json"):
        given = _read(folder / file).get("eos_token_id")
        ids = given if isinstance(given, list) else [given]
        found |= {names[each] for each in ids if isinstance(each, int) and each in names}
    return found


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}  # model_files.py names what is wrong with it.
    return found if isinstance(found, dict) else {}
