"""The experiment search_qa: what is found, what is right, who judges, and what is shipped."""

import asyncio
import json
import random
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer

from rlagent.base.paths import asset_dir
from rlagent.rewards.answers import JudgeError, is_right, judged
from rlagent.tools.corpus import Corpus, CorpusError
from rlagent.workflows.search_qa import answer_from_library
from rlagent.workflows.teacher import TeacherClient, teacher_model
from tests.configured import configured
from tools import tiny_search


def library(tmp_path, *rows):
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture
def texts(tmp_path):
    rows = [
        {"title": "Arden", "text": "Arden lies on the river Sorn. It is known for bells."},
        {
            "title": "Belby",
            "text": "Belby lies on the river Elba. It is known for boats.",
        },
        {"title": "Corham", "text": "Corham lies on no river at all. " + "It rains. " * 300},
    ]
    return library(tmp_path, *rows)


def test_the_text_with_the_rarer_word_is_found_first(texts):
    found = Corpus(texts).search("river Elba")
    assert found.splitlines()[0].startswith("Belby: Belby lies on the river Elba")
    assert len(found.splitlines()) == 3


@pytest.mark.parametrize("query", ['"', "NEAR(", "river OR", "a* -b ^c:d", "title:Arden", "'); --"])
def test_no_query_is_a_mistake(texts, query):
    assert isinstance(Corpus(texts).search(query), str)


def test_a_query_without_words_or_hits_says_so(texts):
    assert Corpus(texts).search("?!") == "Nothing found: the query has no words."
    assert Corpus(texts).search("zebra") == "Nothing found."


def test_a_text_is_read_by_its_title_and_a_long_one_cut(texts):
    assert Corpus(texts).read(" Arden ").startswith("Arden lies")
    assert Corpus(texts).read("Atlantis") == "There is no text called Atlantis."
    assert len(Corpus(texts).read("Corham")) < 2100


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"title": "a"}], "line 1: write"),
        ([{"title": "a", "text": 1}], "line 1: write"),
        ([["a", "b"]], "line 1: write"),
        ([{"title": "a", "text": "b"}] * 2, "line 2: the title 'a' comes twice"),
    ],
)
def test_a_wrong_line_of_a_library_is_named(tmp_path, rows, said):
    with pytest.raises(CorpusError, match=said):
        Corpus(library(tmp_path, *rows))


def test_a_library_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"nothing\.jsonl cannot be read"):
        Corpus(str(tmp_path / "nothing.jsonl"))


@pytest.mark.parametrize(
    ("given", "wanted", "right"),
    [
        ("the Sorn.", "Sorn", True),
        ("Café  Sorn", "cafe sorn", True),
        ("Elba", ["Sorn", "Elba"], True),
        ("Sorn river", "Sorn", False),
        ("", "", False),
        ("...", "!", False),
        (None, "Sorn", False),
    ],
)
def test_an_answer_is_right_without_regard_to_case_articles_and_punctuation(given, wanted, right):
    assert is_right(given, wanted) is right


def saying(reply):
    async def judge(messages):
        if isinstance(reply, Exception):
            raise reply
        judge.asked = messages[0]["content"]
        return SimpleNamespace(content=[{"type": "text", "text": reply}])

    return judge


def test_a_judge_says_yes_or_no():
    judge = saying("Yes, it does.")
    assert asyncio.run(judged(judge, "Which?", "Sorn", ["The Sorn", "Sorn"])) is True
    assert "Reference answer: The Sorn or Sorn" in judge.asked
    assert asyncio.run(judged(saying("<think>yes?</think> **No**"), "?", "a", "b")) is False
    assert asyncio.run(judged(saying(RuntimeError("asked")), "?", None, "b")) is False


@pytest.mark.parametrize(
    ("reply", "error"),
    [("I cannot help with that.", JudgeError), (ConnectionError("gone"), ConnectionError)],
)
def test_a_judge_that_refuses_or_fails_fails_the_rollout(texts, reply, error):
    with pytest.raises(error):
        rolled_out(texts, "Sorn", judge="wise", auxiliary_models={"wise": saying(reply)})


def rolled_out(texts, answer, **arguments):
    model = teacher_model()
    model.client = TeacherClient(
        [
            ("search", {"query": "Sorn"}),
            ("read", {"title": "Arden"}),
            ("generate_response", {"result": answer}),
        ]
    )
    task = {"question": "What is the town on the river Sorn known for?", "answer": "bells"}
    arguments = {"auxiliary_models": {}, **arguments}
    return asyncio.run(answer_from_library(task, model, library=texts, **arguments))


def test_an_answer_that_was_looked_up_is_rewarded(texts):
    output = rolled_out(texts, "Bells")
    assert output.reward == 1.0
    assert output.metrics == {"accuracy": 1.0, "valid": 1.0, "searches": 1.0, "reads": 1.0}
    assert rolled_out(texts, "boats").reward == 0.0


def test_a_judge_by_name_decides_instead_of_the_rule(texts):
    named = {"judge": "wise", "auxiliary_models": {"wise": saying("yes")}}
    assert rolled_out(texts, "things that ring", **named).reward == 1.0


def test_a_judge_that_is_no_auxiliary_model_is_named(texts):
    with pytest.raises(KeyError, match=r"judge=wise: workflow\.auxiliary_models has none"):
        rolled_out(texts, "bells", judge="wise")


LIBRARIES = list(tiny_search.SHIPPED)


def test_the_shipped_questions_are_those_that_the_tool_draws(tmp_path):
    tiny_search.write_data(tmp_path)
    for library in LIBRARIES:
        for name in ("corpus", "train", "test"):
            shipped = (asset_dir(library) / f"{name}.jsonl").read_text()
            assert shipped == (tmp_path / library / f"{name}.jsonl").read_text()


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_question_is_answered_by_the_text_that_its_clue_finds(library):
    texts = Corpus(f"builtin:{library}")
    for question in tiny_search.questions(tiny_search.towns(tiny_search.SHIPPED[library])):
        found = texts.search(getattr(question.town, question.clue)).splitlines()[0]
        assert found.startswith(f"{question.town.town}: ")
        assert question.answer in texts.read(question.town.town)


def test_the_teacher_is_right_in_half_of_its_lessons_and_hands_in_what_it_read():
    library = tiny_search.towns(tiny_search.TINY)
    texts, rng, right = Corpus("builtin:search_qa_tiny"), random.Random(0), []
    for question in tiny_search.questions(library):
        _, (_, read), (_, given) = tiny_search.calls(question, library, texts, rng)
        assert given["result"] in texts.read(read["title"])
        right.append(given["result"] == question.answer)
    assert 0.4 < sum(right) / len(right) < 0.6


def test_no_text_of_the_shipped_library_is_taught():
    shipped = set(tiny_search.towns(tiny_search.TINY))
    for number in range(tiny_search.LIBRARIES):
        assert not shipped & set(tiny_search.taught_towns(number))


def test_the_tiny_model_has_a_token_for_each_name():
    words = Tokenizer.from_file(str(asset_dir("tiny_search") / "tokenizer.json"))
    assert all(len(words.encode(piece).ids) == 1 for piece in tiny_search.frame())


def test_one_command_trains_on_a_cpu_from_the_library_that_is_asked_about():
    config = configured("hardware=cpu", experiment="search_qa")
    assert config.workflow.args["library"] == config.dataset.path
