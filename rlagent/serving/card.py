"""The model card of an exported checkpoint: what it was made from, how, and how good it is."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import yaml

from rlagent.base.paths import local_path
from rlagent.base.redact import redact, redact_command
from rlagent.config.parents import root_of
from rlagent.config.presets import preset_names
from rlagent.config.supervised import is_supervised
from rlagent.records.checkpoints import measured
from rlagent.records.parents import lineage, lineage_words
from rlagent.serving.trained import Trained

UNKNOWN = "not recorded"


def model_card(trained: Trained, folder: Path) -> str:
    """The text of README.md; paths of this machine are named by their last part only.

    Args:
        trained: The checkpoint.
        folder: Where the model is, for its configuration.
    """
    use = (
        "    from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        '    model = AutoModelForCausalLM.from_pretrained("FOLDER")\n'
        '    tokenizer = AutoTokenizer.from_pretrained("FOLDER")'
    )
    numbers = ("numbers", _architecture(folder))
    more = f"To train on from it: `{_train_on(trained)}`."
    return _card(trained, "transformers", numbers, use, more)


def adapter_card(trained: Trained) -> str:
    """The same of an exported adapter, which needs its base model beside it."""
    use = (
        "    from peft import AutoPeftModelForCausalLM\n\n"
        '    model = AutoPeftModelForCausalLM.from_pretrained("FOLDER")'
    )
    base = lineage_words(lineage(trained.run)) or _public(trained.config.model.path)
    more = f"It is an adapter of {base}, which is loaded with it."
    return _card(trained, "peft", ("", ""), use, more)


def _card(trained: Trained, library: str, numbers: tuple[str, str], use: str, more: str) -> str:
    config, status = trained.config, redact(trained.run.standing())
    lora = config.model.lora
    licence = licence_of(trained.base)
    head: dict[str, Any] = {
        "library_name": library,
        "pipeline_tag": "text-generation",
        "tags": ["rlagent", "reinforcement-learning", "agent"],
    }
    if licence != UNKNOWN:
        head["license"] = licence
    line = lineage(trained.run)
    path = root_of(line, config.model.path)
    # What a line began from is a hub id, or the last part of a path of some machine; an adapter is
    # of the line's newest model, which no hub has.
    if local_path(path) is None and (not line or ("/" in path and library != "peft")):
        relation = "adapter" if library == "peft" else "finetune"
        head |= {"base_model": path, "base_model_relation": relation}
    sampled = f"{config.algorithm.batch_size} tasks x {config.algorithm.repeat_times} rollouts"
    how = "as an agent with reinforcement learning"
    if is_supervised(config):
        sampled = f"{config.algorithm.batch_size} conversations"
        how = "on an agent's conversations"
        head["tags"].remove("reinforcement-learning")
    trained_steps = f"{trained.kept.step} of {status.get('steps_asked') or '?'}"
    versions = {name: value for name, value in (status.get("versions") or {}).items() if value}
    rows = [
        ("base model", _public(path)),
        ("trained before", lineage_words(line)),
        ("licence of the base model", licence),
        ("data", f"{config.dataset.name}, {_public(config.dataset.path)}, {config.dataset.split}"),
        ("agent", _public(str(config.workflow.function or "a function of a script"))),
        ("algorithm", f"{config.algorithm.name}, learning rate {config.algorithm.lr}"),
        ("LoRA", f"rank {lora.rank}, alpha {lora.alpha}" if lora.rank else ""),
        ("a step", sampled),
        ("steps", trained_steps),
        *_success(trained),
        numbers,
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.items())),
    ]
    command = status.get("command")
    table = [f"| {name} | {_cell(value)} |" for name, value in rows if value]
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=True)}---",
        f"# {trained.name}",
        f"A language model that was trained {how}.",
        "\n".join(["| what | value |", "| :--- | :--- |", *table]),
        *(["## Command", f"    {_public_command(command)}"] if command else []),
        "## Use",
        use,
        more,
    ]
    return "\n\n".join(parts) + "\n"


def licence_of(base: str) -> str:
    """The licence that the base model's own card names, in its folder or as downloaded."""
    folder = local_path(base)
    card: Any = folder / "README.md" if folder else None
    if card is None:
        from huggingface_hub import try_to_load_from_cache

        card = try_to_load_from_cache(base, "README.md")
    if not isinstance(card, (str, Path)) or not Path(card).is_file():
        return UNKNOWN
    text = Path(card).read_text(encoding="utf-8", errors="replace")
    if not text.startswith("---\n"):
        return UNKNOWN
    try:
        head = yaml.safe_load(text[4:].partition("\n---")[0])
    except yaml.YAMLError:
        return UNKNOWN
    return str(head.get("license") or UNKNOWN) if isinstance(head, dict) else UNKNOWN


def _train_on(trained: Trained) -> str:
    """The command that trains from the exported folder, with the presets of this run."""
    config = trained.config
    presets = (("model", config.model.name), ("dataset", config.dataset.name))
    known = [f"{group}={name}" for group, name in presets if name in preset_names(group)]
    return " ".join(["python -m rlagent.train +experiment=NAME", *known, "model.path=FOLDER"])


def _success(trained: Trained) -> list[tuple[str, str]]:
    """Held-out success with its 95 % interval, before training and of these weights."""
    found = {one.weights: one for one in measured(trained.run)}
    step = trained.kept.step
    said = [("held-out success before, 95 % interval", found.get(0))]
    if step:
        said.append((f"held-out success at step {step}, 95 % interval", found.get(step)))
    return [(name, str(one) if one else "not measured") for name, one in said]


def _architecture(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return f"{config.get('model_type')}, {config.get('dtype')}"


def _public(path: str) -> str:
    """A path without what only this machine knows."""
    place = path.partition(":")[0]
    return os.path.basename(path) if os.path.isabs(place) or path[:1] in "~." else path


def _public_command(command: str) -> str:
    words = []
    for word in shlex.split(redact_command(command)):
        key, equals, value = word.rpartition("=")
        words.append(key + equals + _public(value))
    return shlex.join(words)


def _cell(value: str) -> str:
    return " ".join(value.replace("|", "\\|").split())
