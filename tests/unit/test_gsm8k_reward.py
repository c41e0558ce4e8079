"""A GSM8K answer is right when it names the same number, however it is written."""

import json
from pathlib import Path

import pytest

from rlagent.rewards.gsm8k import is_correct, truth

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k"


@pytest.mark.parametrize("result", ["8", "8.0", "8.", " 8 ", "$8", "$ 8", "+8", "08", "8.00"])
def test_the_same_number_written_otherwise_is_right(result: str) -> None:
    assert is_correct(result, "4 + 4 = <<4+4=8>>8\n#### 8")


@pytest.mark.parametrize("result", ["9", "", "eight", "8.5", "-8", "88", "8 or 9", "nan", None])
def test_another_answer_is_wrong(result: str | None) -> None:
    assert not is_correct(result, "#### 8")


def test_the_truth_stands_after_the_mark_without_commas() -> None:
    assert truth("2 * 600 = <<2*600=1200>>1,200\n#### 1,200") == "1200"
    assert truth("#### -3") == "-3"


def test_a_row_without_the_mark_is_its_own_answer() -> None:
    assert truth(" 12 ") == "12"
    assert is_correct("Paris", "paris")


def test_commas_of_real_gsm8k_answers_do_not_matter() -> None:
    if not GSM8K.is_dir():
        pytest.skip(f"the real GSM8K is not at {GSM8K}")
    with_commas = 0
    for split in ("train", "test"):
        for line in (GSM8K / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            answer = json.loads(line)["answer"]
            written = answer.rpartition("#### ")[2]
            assert int(truth(answer)) == int(written.replace(",", ""))
            assert is_correct(written, answer)
            assert is_correct(written.replace(",", "") + ".0", answer)
            assert not is_correct(written + "1", answer)
            with_commas += "," in written
    assert with_commas == 93
