"""Models of the hub are asked for before a run starts its parts."""

import shutil
import socket

import huggingface_hub.constants
import pytest

from rlagent.base.errors import ConfigError, UnreachableError
from rlagent.base.paths import asset_dir
from rlagent.launch.hub import hub_is_away, require_models, require_template
from rlagent.trinity.tables import Table


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    hub_is_away.cache_clear()
    yield tmp_path
    hub_is_away.cache_clear()


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


def test_a_hub_that_cannot_be_reached_is_named_without_asking_it_for_each_model(
    tmp_path, monkeypatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for variable in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    hub_is_away.cache_clear()
    try:
        with pytest.raises(UnreachableError) as caught:
            require_models([("model.path", "owner/one")])
    finally:
        hub_is_away.cache_clear()
    assert "is no folder here" in str(caught.value)
    assert "127.0.0.1 cannot be reached" in str(caught.value)


def test_a_hub_behind_a_proxy_is_left_to_the_proxy(monkeypatch) -> None:
    for variable in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://nowhere.invalid")
    hub_is_away.cache_clear()
    try:
        assert hub_is_away() == ""
    finally:
        hub_is_away.cache_clear()


def test_a_name_that_no_hub_can_hold_says_so(offline) -> None:
    with pytest.raises(UnreachableError, match="is neither a folder here nor a hub id"):
        require_models([("model.path", "my..model")])


def test_a_folder_without_the_split_is_a_wrong_configuration(tmp_path) -> None:
    with pytest.raises(ConfigError) as caught:
        Table(str(tmp_path), "test", None, "dataset.path")
    assert not isinstance(caught.value, UnreachableError)


def test_a_template_is_checked_against_the_tokenizer_of_a_model_of_the_hub(
    offline, tmp_path
) -> None:
    folder = offline / "models--owner--one"
    snapshot = folder / "snapshots" / ("0" * 40)
    shutil.copytree(asset_dir("tiny"), snapshot)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    require_template("owner/one", "builtin:chatml_tools.jinja")
    require_template("owner/one", None)
    wrong = tmp_path / "wrong.jinja"
    wrong.write_text("{{ tools }}<|end_of_turn|>{{ eos_token }}")
    with pytest.raises(ConfigError, match="which is no token of the model's tokenizer"):
        require_template("owner/one", str(wrong))
