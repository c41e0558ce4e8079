"""The shipped workflows with an environment: what a walk comes to, whatever the model says."""

import asyncio
import io
import random

import pytest

from rlagent.base.in_rollout import Held
from rlagent.workflows.frozen_lake import walk
from rlagent.workflows.teacher import TeacherClient, teacher_model
from tools.tiny_frozen_lake import distances, lesson, maps

LAKE = {"seed": 1, "map": "SFF HHF FFG"}


def _walked(moves, task=LAKE, **options):
    model = teacher_model()
    model.client = TeacherClient([("move", move) for move in moves])
    with Held() as held:
        output = asyncio.run(walk(task, model, **options))
    return output, held.events, model.client.transcript


def _to(*directions):
    return [{"direction": one} for one in directions]


def test_a_walk_to_the_goal_is_rewarded():
    output, events, transcript = _walked(_to("right", "right", "down", "down"))
    assert output.reward == 1.0
    assert output.metrics == {"reached": 1, "fell": 0, "turns": 4, "steps": 4, "invalid": 0}
    assert [event["reward"] for event in events] == [0, 0, 0, 0, 1]
    told = transcript.messages[1]["content"]
    assert "".join(part["text"] for part in told if isinstance(part, dict)) or told
    assert "row 1 column 1, left edge, down hole, right ice, up edge" in str(told)


def test_a_walk_into_a_hole_ends_there():
    output, _, _ = _walked(_to("right", "down", "right"))
    assert output.reward == 0.0
    assert output.metrics == {"reached": 0, "fell": 1, "turns": 2, "steps": 2, "invalid": 0}


def test_turns_are_limited():
    output, _, _ = _walked(_to("left", "left", "left"), turns=2)
    assert output.metrics == {"reached": 0, "fell": 0, "turns": 2, "steps": 2, "invalid": 0}


@pytest.mark.parametrize("wrong", [{}, {"direction": "north"}, {"direction": ["up"]}])
def test_a_direction_that_is_none_costs_its_turn_alone(wrong):
    output, _, _ = _walked([wrong, *_to("right", "down")])
    assert output.metrics == {"reached": 0, "fell": 1, "turns": 3, "steps": 2, "invalid": 1}


def test_a_sure_teacher_walks_the_shortest_way_on_every_map():
    rng = random.Random(0)
    for row in maps(20, 0):
        lake = row["map"].split()
        moves = [move for _, move in lesson(lake, 0.0, rng)]
        assert len(moves) == distances(lake)[0, 0]
        output, _, _ = _walked(moves, row)
        assert output.reward == 1.0


def test_a_number_is_guessed_at_the_servers_own_hints():
    pytest.importorskip("openenv", reason="pip install --no-deps openenv-core==0.3.0")
    from rlagent.environments.guess import Guess, Guessing

    world = Guessing()
    assert world.reset(seed=7).hint == "1 to 15"
    number = world._number
    for guess in range(1, number):
        # Four guesses are all.
        hint = world.step(Guess(number=guess))
        assert (hint.hint, hint.done) == ("higher", guess >= 4)
    right = world.step(Guess(number=number))
    assert (right.hint, right.reward, right.done) == ("right", 1.0, True)


def test_a_tried_walk_is_shown_with_its_states_and_rewards():
    from rich.console import Console

    from rlagent.records.calls import Call, compact
    from rlagent.serving.screen import show_sample
    from rlagent.serving.tried import Sample

    call = Call([{"role": "user", "content": "walk"}], {"role": "assistant", "content": "up"})
    event = {"after": 1, "environment": "Lake", "action": "up", "observation": "goal"}
    event |= {"reward": 1.0, "done": True}
    sample = Sample(1.0, True, {}, None, calls=compact([call]), environment=[event])
    console = Console(width=80, record=True, file=io.StringIO())
    show_sample(console, sample, "sample 1")
    text = console.export_text()
    assert 'environment Lake.step("up"): reward 1, done\ngoal' in text
    assert text.index("up") < text.index("environment")
