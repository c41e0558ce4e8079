"""Secrets are hidden by key name, and the W&B key is found without being shown."""

import dataclasses

import pytest
from configured import configured

from rlagent.base.redact import redact, redact_command, redact_yaml
from rlagent.base.secrets import (
    NATIVE_PLACE,
    missing_references,
    resolve_references,
    secret_problems,
)
from rlagent.config.check import check
from rlagent.config.compose import compose, to_yaml
from rlagent.config.load import load_config
from rlagent.records.folder import RunFolder
from rlagent.records.wandb_access import wandb_access


def test_values_under_secret_names_are_hidden_wherever_they_are():
    shown = redact({"a": [{"api_key": "x"}], "monitor": {"WANDB_API_KEY": "y"}, "hf-token": "z"})
    assert shown["a"] == [{"api_key": "(hidden)"}]
    assert shown["monitor"]["WANDB_API_KEY"] == "(hidden)"
    assert shown["hf-token"] == "(hidden)"


def test_token_counts_are_no_secrets():
    config = {"max_response_tokens": 5, "tokens": 6, "tie_word_embeddings": True, "keys": 1}
    assert redact(config) == config


def test_secrets_in_yaml_are_hidden_and_the_rest_stays():
    text = "monitor:\n  api_key: sesame\n  project: p\nargs:\n- token: abc\n  password: null\n"
    assert redact_yaml(text) == (
        "monitor:\n  api_key: (hidden)\n  project: p\nargs:\n- token: (hidden)\n  password: null\n"
    )


def test_secrets_over_several_lines_or_in_braces_are_hidden_too():
    text = "args:\n  api_key: |\n    sesame\n  token:\n    a: sesame\n  x: {secret: sesame, b: 1}\n"
    assert "sesame" not in redact_yaml(text)
    assert "b: 1" in redact_yaml(text)
    assert "sesame" not in redact_yaml("a: [\napi_key: sesame")


def test_a_key_in_the_environment_means_online(tmp_path):
    access = wandb_access("auto", {"WANDB_API_KEY": "sesame", "HOME": str(tmp_path)})
    assert (access.mode, access.key_source) == ("online", "WANDB_API_KEY")
    assert "sesame" not in repr(access)


def test_a_key_in_netrc_counts_for_its_server_only(tmp_path):
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password sesame\n")
    home = {"HOME": str(tmp_path)}
    assert wandb_access("auto", home).mode == "online"
    assert wandb_access("auto", {**home, "WANDB_BASE_URL": "https://w.example"}).mode == "offline"


def test_a_netrc_that_cannot_be_read_holds_no_key(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password sesame\n")
    monkeypatch.setattr("rlagent.records.wandb_access.netrc.netrc", refuse)
    assert wandb_access("auto", {"HOME": str(tmp_path)}).mode == "offline"


def test_no_key_means_offline_and_a_word_of_ours_wins_over_wandb_mode(tmp_path):
    home = {"HOME": str(tmp_path)}
    assert wandb_access("auto", home).mode == "offline"
    assert wandb_access("auto", {**home, "WANDB_MODE": "disabled"}).mode == "disabled"
    assert wandb_access("offline", {**home, "WANDB_API_KEY": "k"}).mode == "offline"
    assert wandb_access("online", {**home, "WANDB_MODE": "offline"}).mode == "online"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", "sesame"),
        ("openaiApiKey", "sesame"),
        ("accessToken", "sesame"),
        ("hf_token", "sesame"),
        ("password", "sesame"),
        ("pwd", "1234"),
        ("auth", "sesame"),
        ("bearer", "sesame"),
        ("cookie", "'session=sesame'"),
        ("credentials", "{user: me, word: sesame}"),
        ("client_secret", "sesame"),
        ("database", "postgres://me:sesame@db/tasks"),
        ("header", "'Bearer sesame-sesame'"),
        ("setting", "Zx81kQ0pLm93RtY7uVw2AbCd"),
    ],
)
def test_a_secret_in_the_configuration_is_refused_unseen_with_the_reference_as_remedy(name, value):
    found = [
        problem
        for problem in check(configured(f"workflow.args.{name}={value}"))
        if "looks like a secret" in problem.message
    ]
    assert found
    for problem in found:
        assert problem.key.startswith(f"workflow.args.{name}")
        assert f"{problem.key}='${{oc.env:NAME}}'" in problem.remedy
        assert value not in str(problem)
        assert "sesame" not in str(problem)


def test_a_secret_elsewhere_is_sent_to_the_place_where_references_stay():
    config = configured("monitor.group=Zx81kQ0pLm93RtY7uVw2AbCd")
    (problem,) = secret_problems(dataclasses.asdict(config))
    assert problem.key == "monitor.group"
    assert "write workflow.args.NAME='${oc.env:NAME}'" in problem.remedy


def test_what_only_sounds_like_a_secret_is_taken():
    words = ("answer_key=label", "max_token=5", "author=me", "folder=experiments/Qwen3-8B-Instruct")
    words += ("eos_token=end", "hint=Qwen/Qwen3-30B-A3B-Instruct-2507")
    config = configured(*(f"workflow.args.{word}" for word in words))
    assert secret_problems(dataclasses.asdict(config)) == []


@pytest.mark.parametrize(
    "setting",
    [
        "model.path=Qwen/Qwen3-30B-A3B-Instruct-2507",
        "model.path=/models/DeepSeekR1DistillQwen32BInt4",
        "dataset.path=/data/task-collection-for-agents",
        "run.name=multi-task-learning-with-tools",
    ],
)
def test_names_of_models_folders_and_runs_are_no_secrets(setting):
    assert secret_problems(dataclasses.asdict(configured(setting))) == []


def test_a_reference_stays_one_in_what_is_written_and_is_read_where_the_workflow_runs(monkeypatch):
    reference = "workflow.args.header='Bearer ${oc.env:PLANTED}'"
    config = compose(["+experiment=gsm8k_react", reference])
    assert secret_problems(dataclasses.asdict(config)) == []
    assert "header: Bearer ${oc.env:PLANTED}" in to_yaml(config)
    (problem,) = missing_references(config.workflow.args, "workflow.args")
    assert "export PLANTED" in str(problem)
    with pytest.raises(KeyError, match="PLANTED"):
        resolve_references(config.workflow.args)
    monkeypatch.setenv("PLANTED", "sesame")
    assert missing_references(config.workflow.args) == []
    assert resolve_references(config.workflow.args) == {"header": "Bearer sesame"}


NATIVE = """
mode: both
model: {model_path: /models/x}
buffer:
  explorer_input:
    SETS
"""


@pytest.mark.parametrize(
    "sets", ["taskset: {ONE}", "tasksets: [{path: y}, {ONE}]", "eval_tasksets: [{ONE}]"]
)
def test_a_reference_of_a_native_taskset_stays_one_too(tmp_path, monkeypatch, sets):
    one = "path: x, workflow_args: {header: 'Bearer ${oc.env:PLANTED}'}"
    file = tmp_path / "native.yaml"
    file.write_text(NATIVE.replace("SETS", sets.replace("ONE", one)))
    config = load_config(str(file))
    (problem,) = missing_references(config.native)
    assert problem.key.endswith(".workflow_args.header")
    monkeypatch.setenv("PLANTED", "sesame")
    config = load_config(str(file))
    assert "sesame" not in str(config)
    assert secret_problems(config.native) == []
    assert "Bearer sesame" in str(resolve_references(config.native))


def test_a_secret_of_a_native_yaml_is_sent_to_where_references_stay_there(tmp_path):
    file = tmp_path / "native.yaml"
    file.write_text(NATIVE.replace("SETS", "taskset: {workflow_args: {auth: sesame}, path: x}"))
    native = load_config(str(file)).native
    native["model"]["password"] = "sesame"
    elsewhere, inside = secret_problems(native, NATIVE_PLACE)
    assert "taskset.workflow_args.NAME='${oc.env:NAME}'" in elsewhere.remedy
    assert "taskset.workflow_args.auth='${oc.env:NAME}'" in inside.remedy


def test_other_references_to_the_environment_are_read_when_composing(monkeypatch):
    monkeypatch.setenv("WHERE", "/models/x")
    assert compose(["model.path=${oc.env:WHERE}"]).model.path == "/models/x"


def test_a_run_folder_is_its_owners_alone(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.write_status(state="starting")
    assert folder.path.stat().st_mode & 0o777 == 0o700


def test_a_script_that_was_given_a_secret_is_recorded_without_it():
    command = "python mine.py --password sesame --hub=hf_" + "a" * 24 + " lr=1 --token=sesame"
    shown = redact_command(command)
    assert "sesame" not in shown
    assert "hf_" not in shown
    assert shown.startswith("python mine.py --password '(hidden)'")
    assert " lr=1 " in shown
    for kept in (
        "python -m rlagent.train +experiment=gsm8k_react model.max_tokens=5 seed=2",
        "python -m rlagent.train 'workflow.args.key=${oc.env:KEY}'",
        "call learn() again, with the same configuration",
    ):
        assert redact_command(kept) == kept
