"""docs/reference.md says what the schema says."""

from rlagent.config.knobs import knobs
from tools.reference import COMMAND, PAGE, page


def test_the_page_is_as_the_schema_is():
    assert PAGE.read_text() == page(), f"docs/reference.md is stale: run `{COMMAND}`"


def test_every_key_has_a_meaning():
    assert [knob.key for knob in knobs() if not knob.meaning] == []


def test_core_fields_come_before_advanced_ones():
    found = {knob.key: knob for knob in knobs()}
    assert not found["algorithm.lr"].advanced
    assert found["algorithm.max_lag"].advanced


def test_every_key_that_may_be_auto_says_what_that_becomes():
    silent = [knob.key for knob in knobs() if knob.default == "auto" and not knob.auto]
    assert silent == []
