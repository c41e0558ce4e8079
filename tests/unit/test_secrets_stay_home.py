"""Secrets are hidden by key name, and the W&B key is found without being shown."""

from rlagent.run.redact import redact, redact_yaml
from rlagent.run.wandb_access import wandb_access


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
    monkeypatch.setattr("rlagent.run.wandb_access.netrc.netrc", refuse)
    assert wandb_access("auto", {"HOME": str(tmp_path)}).mode == "offline"


def test_no_key_means_offline_and_a_word_of_ours_wins_over_wandb_mode(tmp_path):
    home = {"HOME": str(tmp_path)}
    assert wandb_access("auto", home).mode == "offline"
    assert wandb_access("auto", {**home, "WANDB_MODE": "disabled"}).mode == "disabled"
    assert wandb_access("offline", {**home, "WANDB_API_KEY": "k"}).mode == "offline"
    assert wandb_access("online", {**home, "WANDB_MODE": "offline"}).mode == "online"
