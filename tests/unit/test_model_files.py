"""A damaged model folder is refused by file and fault before anything loads it."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlagent.base.errors import ConfigError
from rlagent.base.paths import asset_dir
from rlagent.config.compose import to_mapping
from rlagent.config.model_files import model_faults
from rlagent.config.prepare import prepare
from rlagent.machine.resources import Machine
from tests.configured import drafted
from tests.examples import many

TINY = asset_dir("tiny")
WEIGHTS = (TINY / "model.safetensors").read_bytes()
LENGTH = struct.unpack("<Q", WEIGHTS[:8])[0]
FILES = {file.name: file.read_bytes() for file in TINY.iterdir() if file.name != "README.md"}
CPU = Machine((), 8, 64.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def changed(folder: Path, name: str, **values: Any) -> None:
    """Set keys of a JSON file; the value DROPPED removes one."""
    file = folder / name
    data = json.loads(file.read_text())
    data.update(values)
    file.write_text(json.dumps({k: v for k, v in data.items() if v != "DROPPED"}))


def test_the_shipped_model_has_no_fault() -> None:
    assert model_faults(TINY) == []


def test_a_size_of_each_layer_is_no_fault(folder: Path) -> None:
    changed(folder, "config.json", intermediate_size=[64, 64, 128, 128])
    assert model_faults(folder) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_type": "DROPPED"}, "has no model_type"),
        ({"num_hidden_layers": -1}, "num_hidden_layers=-1 is no whole number above 0"),
        ({"hidden_size": "128"}, "hidden_size='128'"),
        ({"num_hidden_layers": [4]}, "num_hidden_layers=[4]"),
        ({"num_hidden_layers": 9, "layer_types": None}, "the weights have 4 layers, config.json"),
        ({"hidden_size": 64}, "embed_tokens.weight has the shape [804, 128]"),
        ({"vocab_size": 500, "pad_token_id": None}, "tokenizer.json has tokens up to"),
        ({"pad_token_id": 804}, "pad_token_id=804 is no token of the embedding's 804"),
        ({"pad_token_id": "<pad>"}, "pad_token_id='<pad>'"),
        ({"num_key_value_heads": 3}, "does not divide num_attention_heads=4"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"rope_parameters": {"rope_type": "spiral"}}, "unknown rope_type 'spiral'"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "lacks its factor"),
        ({"rope_parameters": {"rope_theta": "high"}}, "rope_theta='high'"),
        ({"rope_scaling": [1]}, "rope_scaling is no group"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantised"),
        ({"text_config": 3}, "text_config is no group"),
    ],
)
def test_a_damaged_config_json_says_which_number(values: dict, said: str, folder: Path) -> None:
    changed(folder, "config.json", **values)
    lines = model_faults(folder)
    assert any(said in line for line in lines), lines


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("config.json", b"{", "config.json line 1 is no JSON"),
        ("config.json", b"[]", "config.json is no JSON object"),
        ("config.json", b'{"a": "\xe9"}', "config.json is no UTF-8 text"),
        ("tokenizer.json", b"", "tokenizer.json line 1 is no JSON"),
        ("tokenizer.json", b"{}", "tokenizer.json has no model with a vocab"),
        ("tokenizer.json", b'{"model": {"vocab": {"a": "b"}}}', "not every token has a number"),
        ("tokenizer_config.json", b"null", "tokenizer_config.json is no JSON object"),
        ("generation_config.json", b"{,}", "generation_config.json line 1"),
        ("chat_template.jinja", b"{% if %}", "chat_template.jinja line 1 is no Jinja template"),
        ("model.safetensors", b"", "model.safetensors is no safetensors file"),
        ("model.safetensors", WEIGHTS[:-1], "it is cut short or damaged"),
        ("model.safetensors", WEIGHTS[: LENGTH // 2], "is cut short"),
        ("model.safetensors", WEIGHTS[:8] + b"x" * LENGTH, "the header of model.safetensors"),
        ("model.safetensors", struct.pack("<Q", 2) + b"{}", "model.safetensors holds no tensor"),
        ("model.safetensors.index.json", b"{}", "has no weight_map"),
        (
            "model.safetensors.index.json",
            b'{"weight_map": {"a": "gone.safetensors"}}',
            "gone.safetensors cannot be read",
        ),
    ],
)
def test_a_damaged_file_is_named(name: str, data: bytes, said: str, folder: Path) -> None:
    (folder / name).write_bytes(data)
    lines = model_faults(folder)
    assert any(said in line for line in lines), lines


@pytest.mark.parametrize(
    ("name", "said"),
    [("model.safetensors", "there are no weights"), ("tokenizer.json", "there is no tokenizer")],
)
def test_a_missing_file_is_named(name: str, said: str, folder: Path) -> None:
    (folder / name).unlink()
    (line,) = model_faults(folder)
    assert said in line


def test_a_model_that_marks_what_the_assistant_says_is_taken(folder: Path) -> None:
    template = "{% for m in messages %}{%- generation %}{{ m }}{% endgeneration -%}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    assert model_faults(folder) == []


def test_a_run_with_a_damaged_model_and_another_mistake_names_both(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError) as caught:
        prepare(drafted("hardware=cpu", f"model.path={folder}", "dataset.path=/no/such"), CPU)
    keys = {problem.key for problem in caught.value.problems}
    assert {"model.path", "dataset.path"} <= keys


_junk = st.one_of(
    *(st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=3)),
    *(st.just([]), st.just({}), st.just(10**30)),
)


@st.composite
def _damages(draw: Any) -> tuple[str, bytes]:
    name = draw(st.sampled_from(sorted(FILES)))
    data = FILES[name]
    if name.endswith(".json") and draw(st.booleans()):
        values = json.loads(data)
        key = draw(st.sampled_from(sorted(values)))
        inner = values[key]
        if isinstance(inner, dict) and inner and draw(st.booleans()):
            inner[draw(st.sampled_from(sorted(inner)))] = draw(_junk)
        else:
            values[key] = draw(_junk)
        return name, json.dumps(values).encode()
    size = min(len(data), 8 + LENGTH) if name == "model.safetensors" else len(data)
    place = draw(st.integers(0, size - 1))
    if draw(st.booleans()):
        return name, data[:place]
    return name, data[:place] + draw(st.binary(min_size=1, max_size=4)) + data[place + 1 :]


def assert_named_or_resolved(folder: Path, damage: tuple[str, bytes]) -> None:
    name, data = damage
    try:
        (folder / name).write_bytes(data)
        draft = drafted("hardware=cpu", f"model.path={folder}", "model.max_model_len=256")
        draft.config.model.max_response_tokens = 64
        try:
            resolved = prepare(draft, CPU)
        except ConfigError as error:
            for problem in error.problems:
                assert problem.key.startswith("model."), str(problem)
                assert "Error" not in problem.message
        else:
            assert to_mapping(resolved.config)["model"]["path"] == str(folder)
    finally:
        (folder / name).write_bytes(FILES[name])


@pytest.mark.timeout(600)
@given(damage=_damages())
@many(20)
def test_a_damaged_model_is_named_or_resolved(folder, damage) -> None:
    assert_named_or_resolved(folder, damage)


@pytest.mark.slow
@given(damage=_damages())
@many(300)
def test_many_damaged_models(folder, damage) -> None:
    assert_named_or_resolved(folder, damage)


def _with_token(folder: Path, name: str) -> None:
    """Add a token to the tokenizer, the first that the embedding of 804 rows has no row for."""
    tokens = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    changed(
        folder, "tokenizer.json", added_tokens=[*tokens, {**tokens[0], "id": 804, "content": name}]
    )


def test_a_padding_token_beyond_the_embedding_is_no_fault(folder: Path) -> None:
    _with_token(folder, "<pad>")
    changed(folder, "tokenizer_config.json", pad_token="<pad>")
    assert model_faults(folder) == []


def _ends(folder: Path) -> None:
    changed(folder, "tokenizer_config.json", eos_token={"content": "<new>"})


def _ends_by_number(folder: Path) -> None:
    changed(folder, "config.json", eos_token_id=[782, 804])


def _renders(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("<new>{{ messages[0].content }}")


@pytest.mark.parametrize("use", [_ends, _ends_by_number, _renders])
def test_an_added_token_beyond_the_embedding_that_conversations_have_is_refused(
    use: Any, folder: Path
) -> None:
    _with_token(folder, "<new>")
    use(folder)
    (line,) = model_faults(folder)
    assert (
        line
        == "tokenizer.json has tokens up to 804, the model's embedding has 804 rows (vocab_size)"
    )
