"""gsm8k_tiny: seeded word problems in GSM8K's own format."""

import json
import re
from collections import Counter
from pathlib import Path

from rlagent.rewards.gsm8k import truth
from rlagent.tools.calculator import evaluate
from tools.tiny_model.data import TEST_SIZE, TRAIN_SIZE, splits, write
from tools.tiny_model.kinds import KINDS
from tools.tiny_model.problems import expression_of, value_of

SHIPPED = Path(__file__).parents[2] / "rlagent" / "assets" / "gsm8k_tiny"


def test_there_are_twenty_kinds_and_more_of_one_to_three_steps() -> None:
    sets = splits()
    assert len(sets["train"]) == TRAIN_SIZE
    assert len(sets["test"]) == TEST_SIZE
    for problems in sets.values():
        kinds = Counter(problem.kind for problem in problems)
        assert len(kinds) == len(KINDS) >= 20
        assert max(kinds.values()) - min(kinds.values()) <= 1
        assert {len(problem.steps) for problem in problems} == {1, 2, 3}


def test_no_text_stands_twice_or_in_both_sets() -> None:
    texts = [p.question for problems in splits().values() for p in problems]
    assert len(texts) == len(set(texts))


def test_every_problem_is_solved_by_its_calculation() -> None:
    for problems in splits().values():
        for problem in problems:
            value = value_of(problem.solution)
            assert value > 0
            assert evaluate(expression_of(problem.solution)) == str(value) == truth(problem.answer)


def test_the_worked_steps_are_right_and_use_numbers_at_hand() -> None:
    for problem in splits()["test"]:
        at_hand = set(re.findall(r"\d+", problem.question)) | {"2", "7", "12"}
        for calculation, value in re.findall(r"<<([^=]+)=(\d+)>>", problem.answer):
            assert evaluate(calculation) == value
            assert set(re.findall(r"\d+", calculation)) <= at_hand
            at_hand.add(value)


def test_the_shipped_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("train", "test"):
        shipped = (SHIPPED / f"{name}.jsonl").read_bytes()
        assert shipped == (tmp_path / f"{name}.jsonl").read_bytes()
        assert set(json.loads(shipped.splitlines()[0])) == {"question", "answer"}
    assert sum(f.stat().st_size for f in SHIPPED.iterdir()) < 1_500_000
