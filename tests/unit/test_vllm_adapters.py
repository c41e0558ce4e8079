"""A rollout engine on GPUs samples with the adapter of the newest weights, whoever asks."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlagent.backends.verl.adapter_files import written_whole
from rlagent.backends.vllm.adapters import RANKS, arguments, first_of, request_of
from rlagent.base.limits import LIMITS
from rlagent.base.lora import LoraConfig
from rlagent.records.checkpoints import ADAPTER, ADAPTER_CONFIG, step_folder
from rlagent.upstream.vllm import newest_adapter


def write_adapter(root: Path, step: int) -> Path:
    file = step_folder(root, step) / ADAPTER
    file.parent.mkdir(parents=True)
    file.touch()
    return file.parent


def test_a_request_that_names_no_adapter_is_sampled_with_the_newest() -> None:
    asked: list[Any] = []
    newest: list[Any] = [None]
    engine = SimpleNamespace(generate=lambda *_, **given: asked.append(given))
    newest_adapter.change(engine, lambda: newest[-1])
    engine.generate("prompt", lora_request=None)
    newest.append("step 1")
    engine.generate("prompt", lora_request=None)
    engine.generate("prompt")
    engine.generate("prompt", lora_request="another")
    assert [each["lora_request"] for each in asked] == [None, "step 1", "step 1", "another"]


def test_each_version_has_a_name_and_a_number_of_its_own(tmp_path: Path) -> None:
    folders = {step: write_adapter(tmp_path, step) for step in (1, 2)}
    first, second = (request_of(str(tmp_path), step) for step in (1, 2))
    assert first is not None
    assert second is not None
    assert first["lora_path"] == str(folders[1])
    assert first["lora_name"] != second["lora_name"]
    assert first["lora_int_id"] != second["lora_int_id"]


def test_before_the_first_update_there_need_be_none(tmp_path: Path) -> None:
    assert request_of(str(tmp_path), 0) is None


def test_a_version_whose_adapter_was_not_written_is_no_silent_base(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no adapter of step 3"):
        request_of(str(tmp_path), 3)


def test_the_adapter_that_a_run_starts_from_is_sampled_with_at_once(tmp_path: Path) -> None:
    assert first_of(None) is None
    assert first_of([{"lora_path": str(tmp_path)}]) is None
    (tmp_path / "adapter_config.json").touch()
    found = first_of([{"lora_path": str(tmp_path)}])
    assert found is not None
    assert found["lora_path"] == str(tmp_path)


def test_every_rank_that_can_be_asked_for_fits_one_that_vllm_takes() -> None:
    limits = LoraConfig.__dataclass_fields__["rank"].metadata[LIMITS]
    for rank in range(int(limits.least), int(limits.most) + 1):
        taken = arguments(rank)["max_lora_rank"]
        assert taken in RANKS
        assert taken >= rank


def test_an_adapter_can_be_read_while_it_is_written_again(tmp_path: Path) -> None:
    place = tmp_path / "actor" / "lora_adapter"
    for text in ("first", "second"):
        with written_whole(place) as folder:
            for name in (ADAPTER, ADAPTER_CONFIG):
                (folder / Path(name).name).write_text(text)
            if text == "second":
                assert {file.read_text() for file in place.iterdir()} == {"first"}
    assert {file.read_text() for file in place.iterdir()} == {"second"}
    assert [file.name for file in place.parent.iterdir()] == ["lora_adapter"]


def test_an_adapters_weights_are_where_its_configuration_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, moved = tmp_path / "lora_adapter", []
    replace = os.replace

    def noting(source: Path, target: Path) -> None:
        moved.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", noting)
    with written_whole(place) as folder:
        for name in (ADAPTER, ADAPTER_CONFIG):
            (folder / Path(name).name).touch()
    assert moved == [Path(ADAPTER_CONFIG).name, Path(ADAPTER).name]


def test_an_adapter_that_cannot_be_written_leaves_the_one_in_place(tmp_path: Path) -> None:
    place, name = tmp_path / "lora_adapter", Path(ADAPTER).name
    with written_whole(place) as folder:
        (folder / name).write_text("first")

    def cut_off() -> None:
        with written_whole(place) as folder:
            (folder / name).write_text("sec")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        cut_off()
    assert (place / name).read_text() == "first"


def test_what_a_killed_attempt_has_left_of_an_adapter_is_put_in_no_place(tmp_path: Path) -> None:
    place = tmp_path / "lora_adapter"
    left = written_whole(place)
    (left.__enter__() / Path(ADAPTER).name).touch()
    assert not place.exists()
    with written_whole(place) as folder:
        (folder / Path(ADAPTER_CONFIG).name).touch()
    assert [file.name for file in place.iterdir()] == [Path(ADAPTER_CONFIG).name]
