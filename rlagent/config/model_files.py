"""What is wrong with the files of a local model folder, found before anything loads them.

Reads JSON and the headers of safetensors; what only loading the weights shows is the engine's.
"""

import json
import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_DTYPE_BYTES = {
    **{"BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "F8_E8M0": 1, "I16": 2, "U16": 2},
    **{"F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8},
}
_MOST_HEADER = 100_000_000
"""Bytes; safetensors itself refuses a longer one."""

_ROPE = (
    *("default", "linear", "dynamic", "yarn", "longrope", "su", "llama3", "mrope"),
    *("proportional",),
)
_SIZES = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings"),
)
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"),
    *("spiece.model", "tekken.json", "tiktoken.model", "qwen.tiktoken"),
)


class _FaultError(Exception):
    """A file is damaged; the message begins with its name."""


def model_faults(folder: Path) -> list[str]:
    """Return what is wrong with a model folder that has a config.json, one line per file.

    Args:
        folder: Of a Hugging Face model.
    """
    faults: list[str] = []
    config: dict[str, Any] = {}
    try:
        config = _config(folder / "config.json")
    except _FaultError as fault:
        faults.append(str(fault))
    for check in (_weights, _tokenizer, _generation, _template):
        try:
            check(folder, config)
        except _FaultError as fault:
            faults.append(str(fault))
    return faults


def block_modules(folder: Path) -> set[str]:
    """Return the last parts of the names of the linear layers in a model's blocks.

    Args:
        folder: Of a model that was found to be whole. Empty where its weights are no safetensors.
    """
    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        shapes |= _header(file)
    return {
        name.removesuffix(".weight").rpartition(".")[2]
        for name, shape in shapes.items()
        if name.endswith(".weight") and len(shape) == 2 and _LAYER.search(name)
    }


def _config(file: Path) -> dict[str, Any]:
    whole = _json(file)
    if not isinstance(whole.get("model_type"), str):
        raise _FaultError("config.json has no model_type, which says how the model is built")
    if whole.get("quantization_config"):
        raise _FaultError("config.json: quantised weights cannot be trained")
    data = whole.get("text_config", whole)
    if not isinstance(data, dict):
        raise _FaultError("config.json: text_config is no group of settings")
    for name in _SIZES:
        value: Any = data.get(name)
        # Of Gemma 3n one per layer.
        listed = isinstance(value, list) and name == "intermediate_size"
        each = value if listed else [value]
        if value is not None and not all(_is_whole(one) and one > 0 for one in each):
            raise _FaultError(f"config.json: {name}={value!r} is no whole number above 0")
    heads: Any = data.get("num_attention_heads")
    shared: Any = data.get("num_key_value_heads")
    if _is_whole(heads) and _is_whole(shared) and heads % shared:
        said = f"num_key_value_heads={shared} does not divide num_attention_heads={heads}"
        raise _FaultError(f"config.json: {said}")
    kinds, layers = data.get("layer_types"), data.get("num_hidden_layers")
    if kinds is not None and not (isinstance(kinds, list) and (not layers or len(kinds) == layers)):
        raise _FaultError(
            f"config.json: layer_types does not name num_hidden_layers={layers} layers"
        )
    for name in ("rope_parameters", "rope_scaling"):
        _rope(name, data.get(name))
    rows, padding = data.get("vocab_size"), data.get("pad_token_id")
    if rows and padding is not None and not (_is_whole(padding) and -rows <= padding < rows):
        # torch.nn.Embedding refuses such a padding_idx.
        said = f"pad_token_id={padding!r} is no token of the embedding's {rows} (vocab_size)"
        raise _FaultError(f"config.json: {said}")
    return data


def _rope(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, dict):
        raise _FaultError(f"config.json: {name} is no group of settings")
    each = [part for part in value.values() if isinstance(part, dict)] or [value]
    for part in each:
        kind = part.get("rope_type", part.get("type", "default"))
        if kind not in _ROPE:
            raise _FaultError(f"config.json: {name} has the unknown rope_type {kind!r}")
        for key in ("rope_theta", "factor"):
            number = part.get(key)
            if number is not None and not (_is_number(number) and number > 0):
                raise _FaultError(f"config.json: {name}.{key}={number!r} is no number above 0")
        if kind in ("linear", "dynamic", "yarn", "llama3") and "factor" not in part:
            raise _FaultError(f"config.json: {name} of type {kind} lacks its factor")


def _weights(folder: Path, config: dict[str, Any]) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        mapping = _json(index).get("weight_map")
        if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
            raise _FaultError(f"{index.name} has no weight_map from tensors to files")
        files = [folder / name for name in sorted(set(mapping.values()))]
    else:
        files = sorted(folder.glob("*.safetensors"))
        mapping = None
    if not files:
        if any(folder.glob("pytorch_model*.bin")):
            return
        raise _FaultError("there are no weights: no model.safetensors")
    tensors: dict[str, list[int]] = {}
    for file in files:
        tensors.update(_header(file))
    if not tensors:
        raise _FaultError(f"{files[0].name} holds no tensor")
    missing = sorted(set(mapping or ()) - set(tensors))
    if missing:
        raise _FaultError(f"{index.name} names {missing[0]}, which no file holds")
    _fitting(tensors, config)


def _header(file: Path) -> dict[str, list[int]]:
    """Return the shape of each tensor of a safetensors file."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else -1
            if not 0 < length <= min(_MOST_HEADER, size - 8):
                raise _FaultError(f"{file.name} is no safetensors file, or is cut short")
            raw = opened.read(length)
    except OSError as error:
        raise _FaultError(f"{file.name} cannot be read: {error.strerror}") from error
    header = _object(raw, f"the header of {file.name}")
    header.pop("__metadata__", None)
    shapes, end = {}, 0
    for name, entry in header.items():
        try:
            shape, (first, last) = list(entry["shape"]), entry["data_offsets"]
            fits = last - first == math.prod(shape) * _DTYPE_BYTES[entry["dtype"]]
        except (KeyError, TypeError, ValueError) as error:
            raise _FaultError(f"the header of {file.name} does not describe {name}") from error
        if not fits or first < 0:
            raise _FaultError(f"{file.name}: the size of {name} does not fit its shape and type")
        shapes[name], end = shape, max(end, last)
    if size != 8 + length + end:
        said = f"has {size} bytes, its header asks for {8 + length + end}"
        raise _FaultError(f"{file.name} {said}: it is cut short or damaged")
    return shapes


def _fitting(tensors: dict[str, list[int]], config: dict[str, Any]) -> None:
    """Hold that the weights are those of the configuration, where its numbers are known."""
    layers = config.get("num_hidden_layers")
    found = {int(match[1]) for name in tensors if (match := _LAYER.search(name))}
    if layers and found and max(found) + 1 < layers:
        said = f"the weights have {max(found) + 1} layers, config.json says {layers}"
        raise _FaultError(f"{said} (num_hidden_layers)")
    for name, shape in tensors.items():
        wanted = [config.get("vocab_size"), config.get("hidden_size")]
        if name.endswith("embed_tokens.weight") and None not in wanted and shape != wanted:
            said = f"{name} has the shape {shape}, config.json says {wanted}"
            raise _FaultError(f"{said} (vocab_size, hidden_size)")


def _tokenizer(folder: Path, config: dict[str, Any]) -> None:
    if (folder / "tokenizer_config.json").exists():
        _json(folder / "tokenizer_config.json")
    there = [name for name in _TOKENIZERS if (folder / name).is_file()]
    if not there:
        raise _FaultError("there is no tokenizer: no tokenizer.json")
    if there[0] != "tokenizer.json":
        return
    data = _json(folder / "tokenizer.json")
    model, added = data.get("model"), data.get("added_tokens") or []
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), (dict, list)):
        raise _FaultError("tokenizer.json has no model with a vocab")
    vocab = model["vocab"]
    ids = list(vocab.values()) if isinstance(vocab, dict) else list(range(len(vocab)))
    if not isinstance(added, list) or not all(isinstance(item, dict) for item in added):
        raise _FaultError("tokenizer.json: added_tokens is no list of tokens")
    names = {item.get("id"): item.get("content") for item in added}
    if not (ids or names) or not all(_is_whole(each) and each >= 0 for each in (*ids, *names)):
        raise _FaultError("tokenizer.json: not every token has a number of its own")
    # Padding and what stands for a picture are no part of what the model reads.
    used = [token for token, name in names.items() if _is_used(folder, config, token, name)]
    rows, last = config.get("vocab_size"), max([*ids, *used], default=0)
    if rows and last >= rows:
        said = f"tokens up to {last}, the model's embedding has {rows} rows"
        raise _FaultError(f"tokenizer.json has {said} (vocab_size)")


def _is_used(folder: Path, config: dict[str, Any], token: int, name: Any) -> bool:
    """Whether a conversation has a token that was added to a tokenizer: it ends or begins it, or
    stands in the chat template."""
    ends = config.get("eos_token_id")
    if token in (ends if isinstance(ends, list) else [ends]):
        return True
    settings = folder / "tokenizer_config.json"
    said = _json(settings) if settings.exists() else {}
    roles = [said.get(role) for role in ("bos_token", "eos_token")]
    texts = [role.get("content") if isinstance(role, dict) else role for role in roles]
    return name in texts or any(str(name) in text for _, text in templates_of(folder))


def _generation(folder: Path, config: dict[str, Any]) -> None:
    if (folder / "generation_config.json").exists():
        _json(folder / "generation_config.json")


def _template(folder: Path, config: dict[str, Any]) -> None:
    import jinja2

    for where, text in templates_of(folder):
        # Hugging Face's own tag marks what the assistant says; it changes no text.
        plain = re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", text)
        try:
            jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(plain)
        except jinja2.TemplateSyntaxError as error:
            said = f"{where} line {error.lineno} is no Jinja template: {error.message}"
            raise _FaultError(said) from error


def templates_of(folder: Path) -> Iterator[tuple[str, str]]:
    """Where each chat template of a model folder stands, and its text."""
    for file in sorted(folder.glob("*.jinja")):
        yield file.name, _text(file)
    settings = folder / "tokenizer_config.json"
    if not settings.exists():
        return
    try:
        given = _json(settings).get("chat_template")
    except _FaultError:
        return  # Named by the check of the tokenizer.
    where = "chat_template of tokenizer_config.json"
    each = [given] if not isinstance(given, list) else given
    for item in each:
        text = item.get("template") if isinstance(item, dict) else item
        if text is not None and not isinstance(text, str):
            raise _FaultError(f"{where} is no text")
        if text:
            yield where, text


def _json(file: Path) -> dict[str, Any]:
    return _object(_text(file).encode(), file.name)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise _FaultError(f"{file.name} is no UTF-8 text") from error
    except OSError as error:
        raise _FaultError(f"{file.name} cannot be read: {error.strerror}") from error


def _object(raw: bytes, name: str) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except json.JSONDecodeError as error:
        raise _FaultError(f"{name} line {error.lineno} is no JSON: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _FaultError(f"{name} is no JSON") from error
    if not isinstance(data, dict):
        raise _FaultError(f"{name} is no JSON object")
    return data


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
