"""What Trinity's validators say goes to the log of the run that is being built."""

import logging
import sys

import pytest
from omegaconf import OmegaConf

from rlagent.trinity import build


def test_a_logger_that_trinity_made_in_one_run_writes_to_the_log_of_the_next(tmp_path, capsys):
    logger = logging.getLogger("test_build_says")
    logger.propagate = False
    with build.saying_to(tmp_path / "first"):
        # As Trinity does on first use, and never again.
        logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.warning("one")
    logger.warning("between")
    with build.saying_to(tmp_path / "second"):
        logger.warning("two")
    assert (tmp_path / "first").read_text() == "one\n"
    assert (tmp_path / "second").read_text() == "two\n"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["say ${name}", "${unclosed", "${oc.env:HOME}"])
def test_texts_with_dollars_stand_in_trinitys_yaml_as_texts(text, tmp_path):
    build.save_yaml({"name": "n", "args": {"hint": text}}, tmp_path / "trinity.yaml")
    read = OmegaConf.load(tmp_path / "trinity.yaml")
    assert OmegaConf.to_container(read, resolve=True)["args"] == {"hint": text}
