"""Names that W&B does not take are refused where they are typed, and never lose a run."""

import pytest

from rlagent.config.check import check
from rlagent.config.schema import LearnConfig
from rlagent.config.wandb_names import fitting


@pytest.mark.parametrize(
    ("project", "words"),
    [
        ("team/proj", "a team is an entity: monitor.entity=team monitor.project=proj"),
        ("a:b", "such as a-b"),
        ("p" * 129, "at most 128 characters"),
        ("proj", None),
    ],
)
def test_a_project_that_wandb_does_not_take_is_refused_with_the_remedy(project, words):
    config = LearnConfig()
    config.monitor.project = project
    found = [str(problem) for problem in check(config) if problem.key == "monitor.project"]
    assert len(found) == (words is not None)
    assert all(words in line for line in found)


@pytest.mark.parametrize("tag", ["", "t" * 65])
def test_a_tag_that_wandb_does_not_take_is_refused(tag):
    config = LearnConfig()
    config.monitor.tags = ["good", tag]
    (line,) = [str(problem) for problem in check(config) if problem.key == "monitor.tags"]
    assert "1 to 64 characters" in line


def test_names_that_fit_are_left_alone():
    spec = {"project": "rlagent", "name": "n", "group": None, "tags": ["a"], "config": {"x": 1}}
    assert fitting(spec) == (spec, [])


def test_a_long_name_of_an_experiment_is_cut_in_tags_and_group_with_a_line_each():
    spec = {"project": "rlagent", "name": "n", "group": "x" * 200, "tags": ["x" * 200, "x" * 201]}
    fits, lines = fitting(spec)
    assert (len(fits["group"]), [len(tag) for tag in fits["tags"]]) == (128, [64])
    assert len(lines) == 2
