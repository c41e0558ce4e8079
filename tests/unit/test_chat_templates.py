"""A chat template of one's own, or the shipped one with tools, fits the tokenizer or is refused."""

import json
from pathlib import Path

import pytest

from rlagent.base.errors import ConfigError
from rlagent.base.paths import resolve_path
from rlagent.config.chat_templates import SHIPPED, lacks_tools, template_file, template_text
from rlagent.config.resolve import Resolved, resolve
from rlagent.machine.resources import Machine
from rlagent.trinity.translate import to_trinity
from tests.configured import configured

PLAIN = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
HERE = Machine((), 4, 16.0)


def resolved(*overrides: str) -> Resolved:
    return resolve(configured("hardware=cpu", *overrides), HERE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer of ChatML whose own template shows no tools."""
    made = tmp_path / "model"
    made.mkdir()
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    added = [{"id": number, "content": token} for number, token in enumerate(tokens)]
    (made / "tokenizer.json").write_text(json.dumps({"added_tokens": added, "model": {}}))
    settings = {"eos_token": "<|im_end|>", "chat_template": PLAIN}
    (made / "tokenizer_config.json").write_text(json.dumps(settings))
    return made


def test_the_shipped_template_is_the_tiny_models(folder: Path) -> None:
    assert template_text(SHIPPED) == template_text(resolve_path("builtin:tiny/chat_template.jinja"))


def test_chatml_without_tools_lacks_them_and_other_models_have_their_own_way(folder: Path) -> None:
    assert lacks_tools(folder)
    (folder / "chat_template.jinja").write_text("{{ tools }}")
    assert not lacks_tools(folder)
    # Of a base model a response ends otherwise: the template would not fit.
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    assert not lacks_tools(folder)
    assert not lacks_tools(Path(resolve_path("builtin:tiny")))


def test_a_models_own_template_stays_unless_one_is_named(tmp_path: Path) -> None:
    found = resolved()
    assert found.config.model.chat_template is None
    assert "chat_template_path" not in to_trinity(found, tmp_path)["model"]


def test_the_template_reaches_both_engines_by_trinitys_own_field(tmp_path: Path) -> None:
    found = resolved(f"model.chat_template={SHIPPED}")
    place = to_trinity(found, tmp_path)["model"]["chat_template_path"]
    assert Path(place) == template_file(SHIPPED)
    assert Path(place).is_file()


def test_the_preset_of_a_model_without_tools_names_the_shipped_one() -> None:
    assert resolved("model=smollm2_135m").config.model.chat_template == SHIPPED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% for %}", "line 1 is no Jinja"),
        ("{{ messages }} <|im_end|>", "shows no tools"),
        ("{{ tools }}<|end_of_turn|><|im_end|>", "<|end_of_turn|>, which is no token"),
        ("{{ tools }}{{ messages }}", "never writes <|im_end|>"),
    ],
)
def test_a_template_that_does_not_fit_is_refused_before_anything_starts(
    tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        resolved(f"model.chat_template={file}", "model.path=builtin:tiny", "model=tiny")
    assert said in str(raised.value)
    assert all(problem.key == "model.chat_template" for problem in raised.value.problems)


def test_a_template_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="No such file"):
        resolved("model.chat_template=nowhere.jinja")


def test_another_text_in_the_file_is_another_trial(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    ids = []
    for text in ("{{ tools }}{{ eos_token }}", "{{ tools }} {{ eos_token }}"):
        file.write_text(text)
        ids.append(resolved(f"model.chat_template={file}").trial_id)
    assert len({*ids, resolved().trial_id}) == 3
