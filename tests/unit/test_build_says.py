"""What Trinity's validators say goes to the log of the run that is being built."""

import logging
import sys

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
