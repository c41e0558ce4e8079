"""A model behind an endpoint: what is refused of it, and that its key is never written."""

import dataclasses

import pytest

from rlagent.base.errors import ConfigError, Problem
from rlagent.config.check import check
from rlagent.config.compose import compose
from rlagent.config.identity import trial_id
from rlagent.config.resolve import resolve
from rlagent.config.schema import LearnConfig
from rlagent.machine.resources import Machine
from tests.configured import configured

URL = "http://127.0.0.1:8000/v1"


def external(**model: str | None) -> LearnConfig:
    config = configured()
    config.hardware.engine = "external"
    config.model = dataclasses.replace(config.model, **{"url": URL, "name": "big", **model})
    return config


def problems(config: LearnConfig) -> dict[str, Problem]:
    return {problem.key: problem for problem in check(config)}


def test_an_external_model_is_refused_for_training_with_the_reason() -> None:
    (problem,) = check(external())
    assert problem.key == "hardware.engine"
    assert "cannot be trained: its endpoint returns no log-probabilities" in problem.message


def test_an_address_alone_means_an_external_model() -> None:
    config = external()
    config.hardware.engine = "auto"
    assert problems(config)["hardware.engine"].value == "external"


def test_resolving_refuses_it_too_beside_other_mistakes() -> None:
    config = external()
    config.hardware.nodes = 2
    with pytest.raises(ConfigError) as caught:
        resolve(config, Machine((), 2, 24))
    assert {problem.key for problem in caught.value.problems} == {
        "hardware.engine",
        "hardware.nodes",
    }


@pytest.mark.parametrize("url", [None, "", "ftp://host", "localhost:8000"])
def test_an_external_model_needs_an_address(url) -> None:
    assert "model.url" in problems(external(url=url))


def test_an_external_model_needs_the_name_that_it_has_there() -> None:
    assert "model.name" in problems(external(name="auto"))


@pytest.mark.parametrize(
    "model",
    [
        {"key_env": "sk-proj-1234567890abcdefghijkl"},
        {"key_env": "7f3a9c0d"},
        {"url": "https://me:sesame-sesame@host/v1"},
        {"url": "https://7f3a9c0d@host/v1"},
    ],
)
def test_a_key_in_clear_is_refused_and_not_repeated(model) -> None:
    found = problems(external(**model))
    (key,) = set(found) - {"hardware.engine"}
    assert key == f"model.{next(iter(model))}"
    secret = next(iter(model.values()))
    assert not any(part in str(found[key]) for part in (secret, "sesame", "7f3a9c0d"))
    assert [problem.key for problem in check(external(**model))].count(key) == 1


def test_a_key_is_named_by_its_environment_variable(monkeypatch) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", "sesame")
    assert set(problems(external(key_env="KEY_OF_THE_TEST"))) == {"hardware.engine"}


def test_an_address_beside_an_engine_that_runs_the_model_is_refused() -> None:
    config = external(key_env="HOME")
    config.hardware.engine = "embedded"
    assert {"model.url", "model.key_env"} <= set(problems(config))


def test_an_external_model_uses_no_gpu_of_this_machine() -> None:
    config = external()
    config.hardware.gpus = 2
    assert problems(config)["hardware.gpus"].remedy == "leave it out"


def test_where_the_key_is_read_from_is_no_part_of_a_trials_identity() -> None:
    one, other = external(key_env="ONE"), external(key_env="OTHER")
    assert trial_id(one) == trial_id(other)
    assert trial_id(one) != trial_id(external(url="http://127.0.0.1:8001/v1"))


def test_the_preset_names_the_engine_and_asks_for_address_and_name() -> None:
    preset = ["+experiment=gsm8k_react", "model=external"]
    config = compose([*preset, f"model.url={URL}", "model.name=big"])
    assert (config.hardware.engine, config.model.name) == ("external", "big")
    assert check(config, measures=True) == []
    keys = [problem.key for problem in check(compose(preset), measures=True)]
    assert keys == ["model.url", "model.name"]
