"""Models of the hub are asked for before a run starts its parts."""

import huggingface_hub.constants
import pytest

from rlagent.config.errors import ConfigError, UnreachableError
from rlagent.trinity.reach import require_models
from rlagent.trinity.tables import Table


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_every_model_that_is_neither_cached_nor_given_is_named(offline) -> None:
    with pytest.raises(UnreachableError) as caught:
        require_models([("model.path", "owner/one"), ("x", "builtin:tiny"), ("y", "owner/two")])
    found = [(problem.key, problem.value) for problem in caught.value.problems]
    assert found == [("model.path", "owner/one"), ("y", "owner/two")]


def test_without_a_connection_a_cached_model_will_do(offline) -> None:
    folder = offline / "models--owner--one"
    commit = "0" * 40
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "config.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    require_models([("model.path", "owner/one")])


def test_a_folder_without_the_split_is_a_wrong_configuration(tmp_path) -> None:
    with pytest.raises(ConfigError) as caught:
        Table(str(tmp_path), "test", None, "dataset.path")
    assert not isinstance(caught.value, UnreachableError)
