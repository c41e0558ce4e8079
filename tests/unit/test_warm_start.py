"""A warm start is a run of its own, trained first where it is not there, and then started from."""

import json
from pathlib import Path

import pytest

from rlagent import data
from rlagent.base.errors import ConfigError
from rlagent.config.command import Command, parse_command
from rlagent.config.prepare import prepare
from rlagent.launch import warm_start
from rlagent.launch.warm_start import from_warm_start, warm_start_of
from rlagent.machine.resources import Machine
from rlagent.records.folder import RunFolder
from tests.unit.test_checkpoint_names import keep

HERE = Machine((), 4, 16.0)
ROWS = [
    {"question": f"{n} + 1?", "answer": f"<<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}"}
    for n in range(64)
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    for split in ("train", "test"):
        text = "".join(json.dumps(row) + "\n" for row in ROWS)
        (folder / f"{split}.jsonl").write_text(text)
    return folder


def command(tmp_path: Path, source: Path, *overrides: str) -> Command:
    return parse_command(
        [
            *("+experiment=gsm8k_smollm2", "model=tiny", "hardware=cpu", f"dataset.path={source}"),
            *(f"run.dir={tmp_path}/outputs", "algorithm.batch_size=2", "dataset.eval_tasks=2"),
            *("monitor=local", "seed=3", *overrides),
        ]
    )


def spied(monkeypatch: pytest.MonkeyPatch, code: int = 0) -> list[list[str]]:
    """The commands that are run; conversations are really written, training leaves its folder."""
    ran: list[list[str]] = []

    def run(words: list[str], say: object) -> int:
        ran.append(list(words))
        if code:
            return code
        if words[0] == "rlagent.data":
            return data.main(words[1:])
        made = prepare(parse_command(words[1:]).draft(), HERE)
        folder = RunFolder(Path(made.config.run.dir) / f"{made.config.run.name}-{made.trial_id}")
        folder.make()
        from rlagent.config.compose import to_yaml

        folder.config_yaml.write_text(to_yaml(made.config))
        step = int(made.config.algorithm.total_steps)
        keep(folder, step)
        folder.write_status(state="finished", steps_trained=step, steps_asked=step)
        return 0

    monkeypatch.setattr(warm_start, "_run", run)
    return ran


def test_what_is_missing_is_done_first_and_only_once(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, asked = spied(monkeypatch), command(tmp_path, source)
    found, code = from_warm_start(asked, asked.draft(), HERE, print)
    assert (code, [words[0] for words in ran]) == (0, ["rlagent.data", "rlagent.train"])
    resolved = prepare(found, HERE)
    assert resolved.parent is not None
    assert resolved.parent.run.startswith("gsm8k_smollm2_warm-")
    assert resolved.parent.step == 464
    assert resolved.config.model.name == "tiny"
    again, _ = from_warm_start(asked, asked.draft(), HERE, print)
    assert len(ran) == 2
    assert prepare(again, HERE).trial_id == resolved.trial_id


def test_one_that_was_trained_for_longer_and_has_lost_the_step_says_what_it_has(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spied(monkeypatch)
    longer = command(tmp_path, source, 'model.warm_start_overrides=["algorithm.total_steps=9"]')
    from_warm_start(longer, longer.draft(), HERE, print)
    asked = command(tmp_path, source, 'model.warm_start_overrides=["algorithm.total_steps=7"]')
    with pytest.raises(ConfigError, match=r"trained beyond step 7.*total_steps=9"):
        from_warm_start(asked, asked.draft(), HERE, print)


def test_the_warm_start_is_the_run_of_a_command_that_can_be_typed(
    tmp_path: Path, source: Path
) -> None:
    asked = command(
        tmp_path,
        source,
        "algorithm.lr=1e-6",
        'model.warm_start_overrides=["algorithm.total_steps=7"]',
    )
    first = warm_start_of(asked.draft().config, asked.overrides)
    [_, train] = first.words
    assert train[:2] == ["rlagent.train", "+experiment=gsm8k_smollm2_warm"]
    # Model, machine and place are shared; how the other run learns, and from what, is not.
    assert {"model=tiny", "hardware=cpu", "seed=3", "monitor=local"} <= set(train)
    assert "algorithm.total_steps=7" in train
    assert not any("algorithm.lr" in word or "eval_tasks" in word for word in train)
    assert f"dataset.path={first.conversations}" in train


def test_where_engines_stand_is_not_said_to_a_run_without_any(tmp_path: Path, source: Path) -> None:
    asked = command(
        tmp_path, source, "hardware=4gpu", "hardware.layout=2x1+2", "hardware.offload=false"
    )
    train = warm_start_of(asked.draft().config, asked.overrides).words[-1]
    assert {"hardware=4gpu", "hardware.offload=false"} <= set(train)
    assert not any("layout" in word for word in train)


def test_other_rows_are_other_conversations_and_another_warm_start(
    tmp_path: Path, source: Path
) -> None:
    asked = command(tmp_path, source)
    before = warm_start_of(asked.draft().config, asked.overrides).conversations
    with (source / "train.jsonl").open("a") as file:
        file.write(json.dumps(ROWS[0]) + "\n")
    assert warm_start_of(asked.draft().config, asked.overrides).conversations != before


def test_what_fails_first_ends_the_command_with_its_status(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, asked = spied(monkeypatch, code=130), command(tmp_path, source)
    _, code = from_warm_start(asked, asked.draft(), HERE, print)
    assert (code, len(ran)) == (130, 1)


def test_a_plan_trains_nothing_and_says_what_would_be(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran, asked = spied(monkeypatch), command(tmp_path, source)
    draft, _ = from_warm_start(asked, asked.draft(), HERE)
    assert ran == []
    choices = prepare(draft, HERE, plan_only=True).choices
    assert any(
        line.startswith("warm start: gsm8k_smollm2_warm is trained first") for line in choices
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "model.warm_start=gsm8k_smolm2_warm",
            "is no experiment; did you mean gsm8k_smollm2_warm?",
        ),
        ("model.warm_start=gsm8k_smollm2_warm", "is not trained yet"),
    ],
)
def test_a_run_never_starts_from_the_base_where_a_warm_start_was_asked_for(
    tmp_path: Path, source: Path, override: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        prepare(command(tmp_path, source, override).draft(), HERE)


def test_a_warm_start_can_be_left_out_of_an_experiment_that_has_one(
    tmp_path: Path, source: Path
) -> None:
    resolved = prepare(command(tmp_path, source, "model.warm_start=null").draft(), HERE)
    assert resolved.config.model.path == "builtin:tiny"
    found = parse_command(["+experiment=gsm8k_react", "model.warm_start_data=gsm8k_tools"]).draft()
    with pytest.raises(ConfigError, match="is for a warm start, and there is none"):
        prepare(found, HERE)


def test_a_part_runs_as_a_process_of_its_own_and_its_status_is_known() -> None:
    said: list[str] = []
    assert warm_start._run(["rlagent.data", "--help"], said.append) == 0
    assert warm_start._run(["rlagent.data", "nothing"], said.append) == 2
    assert said[1].endswith("-m rlagent.data nothing")


def test_no_question_that_is_measured_is_learnt_before(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "test.jsonl").write_text(json.dumps({**ROWS[0], "question": "held out?"}) + "\n")
    spied(monkeypatch)
    asked = command(tmp_path, source)
    from_warm_start(asked, asked.draft(), HERE, print)
    first = warm_start_of(asked.draft().config, asked.overrides)
    assert first.conversations is not None
    text = first.conversations.read_text()
    assert "0 + 1?" in text
    assert "held out?" not in text
