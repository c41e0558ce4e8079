"""The configuration that a run was made with, and the model that it began from, as later commands
read them."""

import copy

from rlagent.base.errors import raise_if_any
from rlagent.base.paths import whole_path
from rlagent.base.yaml_file import read_settings
from rlagent.config.compose import from_mapping, to_yaml
from rlagent.config.presets import whole_dataset
from rlagent.config.schema import LearnConfig
from rlagent.config.spec import UNKNOWN
from rlagent.records.files import read_object
from rlagent.records.folder import RunFolder

RECORD = "record.json"
"""In a run folder: what it was made with."""


def config_text(config: LearnConfig) -> str:
    """A configuration as a run folder keeps it, the paths of its models and tasks absolute: later
    commands run in other folders."""
    config = copy.deepcopy(config)
    dataset, evaluate = vars(config.dataset), vars(config.evaluate)
    # Behind an address it is a name.
    models = [*([] if config.model.url else [config.model]), *config.workflow.auxiliary_models]
    for each in map(vars, (config.dataset, *config.dataset.mix, *models)):
        each["path"] = whole_path(each["path"])
    if dataset["eval_path"]:
        dataset["eval_path"] = whole_path(dataset["eval_path"])
    if evaluate["dataset"]:
        evaluate["dataset"] = whole_dataset(evaluate["dataset"])
    return to_yaml(config)


def read_config(run: RunFolder) -> LearnConfig:
    """The resolved configuration that a run was made with.

    Keys that later versions of rlagent no longer have are left out.

    Raises:
        ConfigError: It cannot be read.
    """
    written = read_settings(run.config_yaml, str(run.config_yaml), resolve=True)
    config, problems = from_mapping(written, str(run.config_yaml))
    raise_if_any(problem for problem in problems if problem.message != UNKNOWN)
    return config


def base_of(run: RunFolder, config: LearnConfig) -> str:
    """The model that a run began from: a folder or a hub id, as its record has it."""
    # A path that was relative to where the run was started is whole there.
    return str((read_object(run.path / RECORD, "") or {}).get("model") or config.model.path)
