"""What a line of the table says becomes of a setting of Trinity, on every machine."""

from typing import Any

import pytest

from rlagent.base.errors import Problem
from rlagent.config.spec import ANY, Spec
from rlagent.config.trinity_fate import ASIDE, Fate, look_up, obeyed, on_gpus, one_of, refused

OVERRIDE, NATIVE = "trinity.", ""
NUMBER = Spec("scalar", ("int",), default=1)


def fate_of(
    fate: Fate,
    value: Any,
    default: Any = None,
    prefix: str = OVERRIDE,
    on_cpu: bool | None = False,
    whole: bool = False,
) -> Problem | str | None:
    """The problem of the one setting `a`, ASIDE, or None where it is obeyed."""
    spec = Spec("struct", fields={"a": Spec("any", optional=True, default=default)})
    problems, aside = look_up({"a": value}, spec, {"a": fate}, prefix, on_cpu, whole)
    assert len(problems) + len(aside) <= 1
    return problems[0] if problems else ASIDE if aside else None


def message(*args: Any, **named: Any) -> str:
    found = fate_of(*args, **named)
    assert isinstance(found, Problem)
    return f"{found.head}: {found.message}; {found.remedy}"


def test_what_nobody_obeys_is_refused_unless_it_says_what_happens_anyway() -> None:
    assert message(refused("has no effect"), 2, 1) == "trinity.a=2: has no effect; leave it out"
    assert fate_of(refused("has no effect"), 1, 1) is None
    others = refused("has no effect", "write both", "both", True)
    for same in ("both", "BOTH", True):
        assert fate_of(others, same, "default") is None
    for other in ("default", 1, False):
        assert "write both" in message(others, other, "default")


def test_of_some_values_those_are_obeyed_and_the_others_refused() -> None:
    fate = one_of("Trinity", ("a", "b"), "is not there")
    assert fate_of(fate, "B", "default") is None
    assert message(fate, "c", "default") == "trinity.a=c: is not there; write a or b"


def test_an_override_of_what_a_key_of_ours_says_is_refused_also_with_trinitys_default() -> None:
    fate = obeyed("Trinity", ours="run.name")
    for value in (1, 2):
        assert message(fate, value, 1).endswith("is what run.name says; set run.name instead")
        assert fate_of(fate, value, 1, NATIVE) is None
    # A key of ours that says nothing of a setting that nobody obeys.
    assert fate_of(Fate(why="no", ours="run.name"), 1, 1) is None


def test_what_whole_steps_make_meaningless_is_refused_as_an_override_alone() -> None:
    fate = obeyed("the trainer", whole=True)
    assert "reads whole steps" in message(fate, 2, 1, whole=True)
    assert fate_of(fate, 2, 1, whole=False) is None
    assert fate_of(fate, 2, 1, NATIVE, whole=True) is None
    assert fate_of(obeyed("the trainer"), 2, 1, whole=True) is None


def test_what_is_for_gpus_is_set_aside_on_a_cpu_and_refused_where_it_was_typed_for_it() -> None:
    fate = on_gpus("verl")
    assert fate_of(fate, 2, 1, NATIVE, on_cpu=True) == ASIDE
    said = message(fate, 2, 1, on_cpu=True)
    assert said == "trinity.a=2: means nothing on a CPU: it is for verl; leave it out"
    for on_cpu in (False, None):
        assert fate_of(fate, 2, 1, on_cpu=on_cpu) is None
    trained = on_gpus("verl", "trains otherwise")
    for prefix in (OVERRIDE, NATIVE):
        said = message(trained, 2, 1, prefix, on_cpu=True)
        assert said == f"{prefix}a=2: trains otherwise; leave it out, or train on GPUs"
    assert fate_of(trained, 2, 1, on_cpu=False) is None


def test_of_a_mapping_some_keys_may_be_obeyed_on_a_cpu_too() -> None:
    fate = on_gpus("vLLM", cpu_keys=("most",))
    assert fate_of(fate, {"most": 8}, {}, on_cpu=True) is None
    said = message(fate, {"most": 8, "other": 1}, {}, on_cpu=True)
    assert "means nothing on a CPU but for most: it is for vLLM" in said
    assert fate_of(fate, {"most": 8, "other": 1}, {}, NATIVE, on_cpu=True) == ASIDE


def test_some_values_may_be_for_gpus_alone_trinitys_default_included() -> None:
    fate = Fate("NCCL", cpu=ASIDE, gpu_values=("nccl",))
    assert fate_of(fate, "nccl", "nccl", NATIVE, on_cpu=True) == ASIDE
    assert fate_of(fate, "memory", "nccl", NATIVE, on_cpu=True) is None
    assert fate_of(fate, "nccl", "nccl", NATIVE, on_cpu=False) is None


@pytest.mark.parametrize(
    ("tree", "shown"),
    [
        ({"one": {"deep": {"a": 2, "b": 2}}}, ["trinity.one"]),
        ({"many": [{"a": 1}, {"a": 2, "b": 2}]}, ["trinity.many.1"]),
        ({"named": {"x": {"a": 2}, "y": {"a": 2}}}, ["trinity.named.x", "trinity.named.y"]),
        ({"whole": [{"a": 1}, {"a": 2}]}, ["trinity.whole"]),
        ({"alone": 2}, ["trinity.alone=2"]),
    ],
)
def test_a_group_that_is_refused_is_named_once_without_a_value(tree, shown) -> None:
    item = Spec("struct", fields={"a": NUMBER, "b": NUMBER})
    fields = {
        "one": Spec("struct", fields={"deep": item}),
        "many": Spec("list", item=item),
        "named": Spec("dict", item=item),
        "whole": Spec("list", item=item),
        "alone": NUMBER,
    }
    lines = ("one", "many[]", "named{}", "whole", "alone")
    table = dict.fromkeys(lines, refused("is not there"))
    problems, _ = look_up(tree, Spec("struct", fields=fields), table, OVERRIDE, False)
    assert [problem.head for problem in problems] == shown


def test_what_is_no_setting_of_trinity_is_left_to_others() -> None:
    spec = Spec("struct", fields={"a": NUMBER, "any": ANY})
    table = {"a": refused("is not there"), "any": obeyed("Trinity")}
    assert look_up({"other": 2, "any": {"a": 2}}, spec, table, OVERRIDE, False) == ([], [])
