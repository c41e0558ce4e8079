"""The kinds of word problems that gsm8k_tiny is made of.

A kind draws a question, the calculation that solves it and a sentence for each of its steps. How
many are drawn, and into which set they go, is decided in data.py.
"""

import random
from collections.abc import Callable

from tools.tiny_model.problems import Draw, Problem, Tree

Drawn = tuple[str, Tree, tuple[str, ...]]
Kind = Callable[[Draw], Drawn]
KINDS: dict[str, Kind] = {}


def _kind(function: Kind) -> Kind:
    KINDS[function.__name__.strip("_")] = function
    return function


def make(kind: str, rng: random.Random) -> Problem:
    """Draw one problem of a kind."""
    draw = Draw(rng)
    question, solution, notes = KINDS[kind](draw)
    return Problem(kind, question, solution, tuple(draw.text(note) for note in notes))


# ---- one step ----


@_kind
def _total(d: Draw) -> Drawn:
    a, b = d.number(3, 40), d.number(3, 40)
    question = d.text(
        "{n} has {a} {things} and buys {b} more. How many {things} does {n} have now?",
        "{n} has {a} {things} and {m} has {b} {things}. How many {things} do they have together?",
        a=a, b=b,
    )  # fmt: skip
    return question, ("+", a, b), ("That makes {{}} {things}.",)


@_kind
def _left(d: Draw) -> Drawn:
    a = d.number(8, 60)
    b = d.number(2, a - 2)
    question = d.text(
        "{n} has {a} {things} and gives {b} of them to {m}. How many {things} does {n} have left?",
        "There are {a} {things} in a box. {n} takes {b} of them. How many {things} are left?",
        a=a, b=b,
    )  # fmt: skip
    return question, ("-", a, b), ("{{}} {things} are left.",)


@_kind
def _groups(d: Draw) -> Drawn:
    a, b = d.number(2, 12), d.number(2, 12)
    question = d.text(
        "{n} fills {a} {containers} with {b} {things} each. How many {things} does {n} need?",
        "{n} has {a} {containers}. Each holds {b} {things}. How many {things} does {n} have?",
        a=a, b=b,
    )  # fmt: skip
    return question, ("*", a, b), ("The {containers} hold {{}} {things}.",)


@_kind
def _share(d: Draw) -> Drawn:
    b, each = d.number(2, 9), d.number(2, 12)
    question = d.text(
        "{n} shares {a} {things} equally among {b} friends. How many does each friend get?",
        "{n} puts {a} {things} into {b} {containers}, the same number in each. "
        "How many {things} are in each?",
        a=b * each, b=b,
    )  # fmt: skip
    return question, ("/", b * each, b), ("Each gets {{}} {things}.",)


@_kind
def _price(d: Draw) -> Drawn:
    a, b = d.number(2, 15), d.number(2, 9)
    question = d.text(
        "A {good} costs ${a}. How many dollars does {n} pay for {b} of them?",
        "{n} sells {b} of them at ${a} for each {good}. How many dollars does {n} earn?",
        a=a, b=b,
    )  # fmt: skip
    return question, ("*", a, b), ("That is {{}} dollars.",)


@_kind
def _older(d: Draw) -> Drawn:
    a, b = d.number(5, 40), d.number(2, 20)
    question = d.text(
        "{n} is {a} years old. {m} is {b} years older than {n}. How old is {m}?",
        "{m} is {b} years older than {n}, who is {a} years old. How old is {m}?",
        a=a, b=b,
    )  # fmt: skip
    return question, ("+", a, b), ("{m} is {{}} years old.",)


@_kind
def _younger(d: Draw) -> Drawn:
    a = d.number(20, 60)
    b = d.number(2, 15)
    question = d.text(
        "{n} is {a} years old. {m} is {b} years younger than {n}. How old is {m}?",
        "{m} is {b} years younger than {n}, who is {a} years old. How old is {m}?",
        a=a, b=b,
    )  # fmt: skip
    return question, ("-", a, b), ("{m} is {{}} years old.",)


@_kind
def _distance(d: Draw) -> Drawn:
    a, b = d.number(3, 60), d.number(2, 9)
    question = d.text(
        "{n} drives {a} miles each hour for {b} hours. How many miles does {n} drive?",
        "A train goes {a} miles each hour. How many miles does it go in {b} hours?",
        a=a, b=b,
    )  # fmt: skip
    return question, ("*", a, b), ("The way is {{}} miles.",)


@_kind
def _how_many_more(d: Draw) -> Drawn:
    b = d.number(2, 30)
    a = b + d.number(2, 30)
    question = d.text(
        "{n} has {a} {things} and {m} has {b}. How many more {things} does {n} have than {m}?",
        "{m} found {b} {things} and {n} found {a}. How many more did {n} find?",
        a=a, b=b,
    )  # fmt: skip
    return question, ("-", a, b), ("{n} has {{}} more.",)


# ---- two steps ----


@_kind
def _groups_and_more(d: Draw) -> Drawn:
    a, b, c = d.number(2, 9), d.number(2, 12), d.number(2, 20)
    question = d.text(
        "{n} has {a} {containers} with {b} {things} each and {c} more {things}. "
        "How many {things} does {n} have?",
        "{n} finds {c} {things} and then gets {a} {containers} of {b} {things}. "
        "How many {things} does {n} have in all?",
        a=a, b=b, c=c,
    )  # fmt: skip
    notes = ("The {containers} hold {{}} {things}.", "In all there are {{}} {things}.")
    return question, ("+", ("*", a, b), c), notes


@_kind
def _groups_less(d: Draw) -> Drawn:
    a, b = d.number(2, 9), d.number(3, 12)
    c = d.number(2, a * b - 2)
    question = d.text(
        "{n} buys {a} {containers} with {b} {things} each and gives {c} {things} away. "
        "How many {things} are left?",
        "{n} has {a} {containers} of {b} {things}. {m} takes {c} {things}. "
        "How many {things} does {n} still have?",
        a=a, b=b, c=c,
    )  # fmt: skip
    notes = ("The {containers} hold {{}} {things}.", "Then {{}} {things} are left.")
    return question, ("-", ("*", a, b), c), notes


@_kind
def _join_and_share(d: Draw) -> Drawn:
    c, each = d.number(2, 8), d.number(3, 10)
    a = d.number(2, c * each - 2)
    question = d.text(
        "{n} has {a} {things} and {m} has {b}. They put them together and share them equally "
        "among {c} friends. How many does each friend get?",
        "{n} picks {a} {things} and {m} picks {b}. They pack all of them into {c} {containers}, "
        "the same number in each. How many {things} are in each?",
        a=a, b=c * each - a, c=c,
    )  # fmt: skip
    notes = ("Together they have {{}} {things}.", "Each gets {{}} {things}.")
    return question, ("/", ("+", a, c * each - a), c), notes


@_kind
def _keep_and_share(d: Draw) -> Drawn:
    c, each, b = d.number(2, 8), d.number(2, 9), d.number(2, 12)
    question = d.text(
        "{n} has {a} {things}, keeps {b} and shares the rest equally among {c} friends. "
        "How many does each friend get?",
        "Of {a} {things}, {b} are broken. {n} packs the others into {c} {containers}, "
        "the same number in each. How many {things} are in each?",
        a=c * each + b, b=b, c=c,
    )  # fmt: skip
    notes = ("{{}} {things} are shared.", "Each gets {{}} {things}.")
    return question, ("/", ("-", c * each + b, b), c), notes


@_kind
def _change(d: Draw) -> Drawn:
    a, b = d.number(2, 12), d.number(2, 8)
    c = a * b + d.number(1, 30)
    question = d.text(
        "{n} has ${c} and buys {b} of them at ${a} for each {good}. "
        "How many dollars does {n} have left?",
        "A {good} costs ${a}. {n} buys {b} of them and pays with ${c}. "
        "How many dollars does {n} get back?",
        a=a, b=b, c=c,
    )  # fmt: skip
    return question, ("-", c, ("*", a, b)), ("The cost is {{}} dollars.", "{{}} dollars are left.")


@_kind
def _twice_together(d: Draw) -> Drawn:
    a = d.number(3, 30)
    question = d.text(
        "{n} has {a} {things}. {m} has twice as many. How many {things} do they have together?",
        "{m} found twice as many {things} as {n}, who found {a}. How many did they find together?",
        a=a,
    )  # fmt: skip
    notes = ("{m} has {{}} {things}.", "Together they have {{}} {things}.")
    return question, ("+", a, ("*", a, 2)), notes


@_kind
def _times_as_many_more(d: Draw) -> Drawn:
    a, b = d.number(3, 20), d.number(3, 6)
    question = d.text(
        "{n} has {a} {things}. {m} has {b} times as many. "
        "How many more {things} does {m} have than {n}?",
        "{m} read {b} times as many pages as {n}, who read {a}. How many more pages did {m} read?",
        a=a, b=b,
    )  # fmt: skip
    return question, ("-", ("*", a, b), a), ("{m} has {{}}.", "{m} has {{}} more.")


@_kind
def _every_day(d: Draw) -> Drawn:
    a, b, c = d.number(2, 12), d.number(2, 12), d.number(2, 9)
    question = d.text(
        "{n} sorts {a} {things} each morning and {b} each evening. "
        "How many {things} does {n} sort in {c} days?",
        "Each day {n} finds {a} {things} and {m} finds {b}. "
        "How many {things} do they find in {c} days?",
        a=a, b=b, c=c,
    )  # fmt: skip
    notes = ("That is {{}} {things} a day.", "In all it is {{}} {things}.")
    return question, ("*", ("+", a, b), c), notes


@_kind
def _wages(d: Draw) -> Drawn:
    a, b, c = d.number(5, 20), d.number(2, 8), d.number(2, 6)
    question = d.text(
        "{n} earns ${a} an hour and works {b} hours a day. "
        "How many dollars does {n} earn in {c} days?",
        "{n} works {b} hours a day for {c} days at ${a} an hour. How many dollars does {n} earn?",
        a=a, b=b, c=c,
    )  # fmt: skip
    notes = ("{n} earns {{}} dollars a day.", "In all {n} earns {{}} dollars.")
    return question, ("*", ("*", a, b), c), notes


@_kind
def _dozens(d: Draw) -> Drawn:
    a = d.number(2, 9)
    b = d.number(2, 12 * a - 2)
    question = d.text(
        "{n} buys {a} dozen {things} and uses {b} of them. How many {things} are left?",
        "{n} had {a} dozen {things} but lost {b}. How many {things} does {n} have now?",
        a=a, b=b,
    )  # fmt: skip
    notes = ("{n} starts with {{}} {things}.", "Then {{}} {things} are left.")
    return question, ("-", ("*", a, 12), b), notes


@_kind
def _ages_together(d: Draw) -> Drawn:
    a, b = d.number(4, 30), d.number(2, 15)
    question = d.text(
        "{n} is {a} years old and {m} is {b} years older. How old are they together?",
        "{m} is {b} years older than {n}, who is {a}. What do their ages add up to?",
        a=a, b=b,
    )  # fmt: skip
    notes = ("{m} is {{}} years old.", "Together they are {{}} years old.")
    return question, ("+", a, ("+", a, b)), notes


@_kind
def _two_goods(d: Draw) -> Drawn:
    a, b = d.number(3, 25), d.number(3, 25)
    c = a + b + d.number(1, 30)
    question = d.text(
        "{n} has ${c} and buys a {good} for ${a} and a {other_good} for ${b}. "
        "How many dollars are left?",
        "A {good} costs ${a} and a {other_good} costs ${b}. {n} buys both and pays with ${c}. "
        "How many dollars does {n} get back?",
        a=a, b=b, c=c,
    )  # fmt: skip
    return question, ("-", c, ("+", a, b)), ("Both cost {{}} dollars.", "{{}} dollars are left.")


@_kind
def _week_of_saving(d: Draw) -> Drawn:
    b = d.number(2, 12)
    a = b + d.number(2, 12)
    question = d.text(
        "Each day {n} earns ${a} and spends ${b}. How many dollars does {n} save in a week?",
        "{n} gets ${a} a day and pays ${b} a day for food. "
        "How many dollars does {n} have after a week?",
        a=a, b=b,
    )  # fmt: skip
    notes = ("{n} saves {{}} dollars a day.", "In a week it is {{}} dollars.")
    return question, ("*", ("-", a, b), 7), notes


@_kind
def _rows(d: Draw) -> Drawn:
    c, per_row, factor = d.number(2, 6), d.number(2, 6), d.number(2, 4)
    a, b = c * factor, per_row
    question = d.text(
        "There are {a} rows of {b} chairs. {n} moves all the chairs into {c} rooms, "
        "the same number in each. How many chairs are in each room?",
        "{n} has {a} {containers} of {b} {things} and shares all the {things} equally among "
        "{c} friends. How many does each friend get?",
        a=a, b=b, c=c,
    )  # fmt: skip
    return question, ("/", ("*", a, b), c), ("There are {{}} in all.", "Each gets {{}}.")


@_kind
def _fewer_on_the_next_day(d: Draw) -> Drawn:
    a = d.number(8, 40)
    b = d.number(2, a - 3)
    question = d.text(
        "{n} sells {a} {things} on Monday and {b} fewer on Tuesday. "
        "How many {things} does {n} sell in all?",
        "On Tuesday {n} makes {b} fewer {things} than on Monday. On Monday {n} makes {a}. "
        "How many {things} does {n} make on both days?",
        a=a, b=b,
    )  # fmt: skip
    return question, ("+", a, ("-", a, b)), ("On Tuesday it is {{}}.", "In all it is {{}}.")


# ---- three steps ----


@_kind
def _two_prices(d: Draw) -> Drawn:
    a, b, p, q = d.number(2, 8), d.number(2, 8), d.number(2, 12), d.number(2, 12)
    question = d.text(
        "{n} buys {a} {things} at ${p} each and {b} pens at ${q} each. "
        "How many dollars does {n} pay?",
        "{n} sells {a} big cakes for ${p} each and {b} small cakes for ${q} each. "
        "How many dollars does {n} earn?",
        a=a, b=b, p=p, q=q,
    )  # fmt: skip
    notes = (
        "The first cost {{}} dollars.", "The others cost {{}} dollars.", "That is {{}} dollars.",
    )  # fmt: skip
    return question, ("+", ("*", a, p), ("*", b, q)), notes


@_kind
def _three_days(d: Draw) -> Drawn:
    a, b = d.number(3, 20), d.number(2, 30)
    question = d.text(
        "{n} finds {a} {things} on Monday, twice as many on Tuesday and {b} on Friday. "
        "How many {things} does {n} find in all?",
        "{n} reads {a} pages on Monday, twice as many on Tuesday and {b} on Friday. "
        "How many pages does {n} read?",
        a=a, b=b,
    )  # fmt: skip
    notes = ("On Tuesday it is {{}}.", "On both days it is {{}}.", "In all it is {{}}.")
    return question, ("+", ("+", a, ("*", a, 2)), b), notes


@_kind
def _groups_less_shared(d: Draw) -> Drawn:
    e, each = d.number(2, 5), d.number(2, 6)
    a, b = d.number(3, 8), d.number(4, 10)
    while a * b <= e * each:
        b += 1
    c = a * b - e * each
    question = d.text(
        "{n} buys {a} {containers} with {b} {things} each, keeps {c} {things} and shares the "
        "rest equally among {e} friends. How many does each friend get?",
        "From {a} {containers} of {b} {things}, {c} {things} are broken. {n} puts the others on "
        "{e} plates, the same number on each. How many {things} are on each?",
        a=a, b=b, c=c, e=e,
    )  # fmt: skip
    notes = ("There are {{}} {things}.", "{{}} {things} are shared.", "Each gets {{}} {things}.")
    return question, ("/", ("-", ("*", a, b), c), e), notes


@_kind
def _three_groups_in_cars(d: Draw) -> Drawn:
    e, cars = d.number(2, 5), d.number(4, 12)
    a, b = d.number(2, 2 * cars - 3), d.number(2, 2 * cars - 3)
    while a + b >= e * cars - 1:
        a, b = max(2, a // 2), max(2, b // 2)
    c = e * cars - a - b
    question = d.text(
        "{a} girls, {b} boys and {c} teachers go on a trip. Each car holds {e} people. "
        "How many cars do they need?",
        "{n} has {a} red, {b} blue and {c} green {things} and puts {e} into each bag. "
        "How many bags does {n} fill?",
        a=a, b=b, c=c, e=e,
    )  # fmt: skip
    notes = ("The first two make {{}}.", "In all there are {{}}.", "That fills {{}}.")
    return question, ("/", ("+", ("+", a, b), c), e), notes


@_kind
def _half_and_more(d: Draw) -> Drawn:
    half = d.number(4, 25)
    b = d.number(2, half - 2)
    question = d.text(
        "{n} has {a} {things}. Half of them are red, {b} are blue and the rest are green. "
        "How many are green?",
        "{n} has {a} {things}, gives half of them to {m} and loses {b}. "
        "How many {things} does {n} have now?",
        a=2 * half, b=b,
    )  # fmt: skip
    notes = ("Half of them is {{}}.", "That leaves {{}}.")
    return question, ("-", ("/", 2 * half, 2), b), notes
