"""Given conversations: put into the run folder as tokens, once, and from there into training steps.

What is wrong with a row is config/conversations.py's, what is learnt of one masks.py's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlagent.backends.embedded.loading import TOKENIZER, loading
from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.paths import resolve_path
from rlagent.config.chat_templates import template_text
from rlagent.config.conversations import conversation, wrong_rows
from rlagent.config.held_out import splits_itself
from rlagent.config.schema import DatasetConfig, LearnConfig, ModelConfig
from rlagent.config.splits import draw, hold_out
from rlagent.config.task_files import split_file
from rlagent.config.wrong_rows import SHOWN
from rlagent.trinity.given import FOLDER
from rlagent.trinity.kept_tasks import Rows, WrittenRows, keep, rows_of, write_held_out
from rlagent.trinity.masks import Learnt, Masks, NoMaskError

TRAIN, HELD_OUT = "train", "heldout"
"""Files of tokens."""


@dataclass(frozen=True)
class Tokens:
    """Sequences one behind the other.

    Args:
        tokens: Token ids of all, int32.
        learnt: Of each token, whether it is learnt.
        ends: Where each sequence ends.
        owners: The conversation of each, counted from 0, in their order.
    """

    tokens: np.ndarray
    learnt: np.ndarray
    ends: np.ndarray
    owners: np.ndarray

    @classmethod
    def of(cls, conversations: Sequence[Sequence[Learnt]]) -> "Tokens":
        """The sequences of conversations, each up to its last token that is learnt."""
        each = [
            (owner, one.tokens[:last], one.learnt[:last])
            for owner, sequences in enumerate(conversations)
            for one in sequences
            if (last := _last(one.learnt))
        ]
        return cls(
            np.concatenate([np.zeros(0, "i4"), *(np.array(t, "i4") for _, t, _ in each)]),
            np.concatenate([np.zeros(0, "?"), *(np.array(m, "?") for _, _, m in each)]),
            np.cumsum([len(t) for _, t, _ in each], dtype="i8"),
            np.array([owner for owner, _, _ in each], "i8"),
        )

    @property
    def conversations(self) -> int:
        """How many there are."""
        return int(self.owners[-1]) + 1 if len(self.owners) else 0

    def save(self, file: Path) -> None:
        """Write them; equal ones give equal bytes."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            np.savez(opened, **vars(self))

    @classmethod
    def load(cls, file: Path) -> "Tokens":
        """Read what `save` wrote."""
        with np.load(file) as found:
            return cls(**{name: found[name] for name in found.files})

    def of_conversation(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Tokens of each sequence of a conversation, and whether they are learnt."""
        first, last = np.searchsorted(self.owners, [number, number + 1])
        for place in range(first, last):
            begin = int(self.ends[place - 1]) if place else 0
            part = slice(begin, int(self.ends[place]))
            yield self.tokens[part], self.learnt[part]


def chosen(step: int, size: int, count: int, order: str, seed: int) -> list[int]:
    """Which of `count` conversations a step learns from.

    Passes follow each other, also within a step; each is shuffled again unless the order is
    sequential. Where a run continues follows from the step alone.

    >>> chosen(1, 2, 3, "sequential", 0), chosen(2, 2, 3, "sequential", 0)
    ([0, 1], [2, 0])
    """
    if order == "random":
        return [int(n) for n in np.random.default_rng([seed, step]).integers(count, size=size)]
    found = []
    for place in range((step - 1) * size, step * size):
        epoch, within = divmod(place, count)
        found.append(
            within if order == "sequential" else int(_shuffled(count, seed, epoch)[within])
        )
    return found


def prepare_conversations(
    config: LearnConfig, run_dir: Path, tasks: DatasetConfig | None = None
) -> list[str]:
    """Write the run's conversations below `data/` as tokens, unless they are there and whole.

    Args:
        config: Resolved.
        run_dir: The run folder.
        tasks: Whose held-out tasks are kept beside them; None: none.

    Returns:
        What is to be said about them, one line each.

    Raises:
        ConfigError: They cannot be read, one of them is wrong, or the model's chat template does
            not say what is to be learnt.
        RunError: What is there is damaged, and the file has changed since.
    """

    def write(folder: Path) -> list[str]:
        return _write(config, folder) + (write_held_out(tasks, folder) if tasks else [])

    return keep(run_dir, config.dataset.path, write)


def _write(config: LearnConfig, folder: Path) -> list[str]:
    dataset = config.dataset
    training = _Given(dataset.path, dataset.split, config, "dataset.path")
    places: Sequence[int] = range(len(training.rows))
    held_out: tuple[_Given, Sequence[int]] | None = None
    if splits_itself(dataset):
        places, others = hold_out(training.rows.hashes(), dataset.eval_tasks)
        held_out = training, others
    elif dataset.eval_split:
        path = dataset.eval_path or dataset.path
        theirs = _Given(path, dataset.eval_split, config, "dataset.eval_path")
        held_out = theirs, draw(len(theirs.rows), dataset.eval_tasks)
    masks = _masks(config.model)
    said = _keep(training, places, masks, config, folder / FOLDER / f"{TRAIN}.npz", "to learn from")
    if held_out:
        file = folder / FOLDER / f"{HELD_OUT}.npz"
        said += _keep(*held_out, masks, config, file, "held out")
    return said


class _Given:
    """The rows of a split, checked."""

    def __init__(self, path: str, split: str, config: LearnConfig, key: str) -> None:
        self.path, self.key = path, key
        self.rows: Rows = rows_of(path, split, config.dataset, key)
        file = split_file(path, split)
        self.file: Path | str = file or path
        self.lines: Sequence[int] = range(1, len(self.rows) + 1)
        if isinstance(self.rows, WrittenRows):
            self.lines = self.rows.lines
        raise_if_any(wrong_rows(zip(self.lines, self.rows, strict=True), self.file, key, path))


def _keep(
    given: _Given,
    places: Sequence[int],
    masks: Masks,
    config: LearnConfig,
    file: Path,
    what: str,
) -> list[str]:
    """Write the tokens of some rows; returns what is to be said of them."""
    longest, wanted = int(config.model.max_model_len), set(places)
    kept: list[list[Learnt]] = []
    too_long, problems = 0, []
    for place, row in enumerate(given.rows):
        if place not in wanted:
            continue
        try:
            sequences = masks(conversation(row))
        except NoMaskError as error:
            text = f"line {given.lines[place]} of {given.file}: {error}"
            problems.append(Problem(given.key, given.path, text, _REMEDY))
            if len(problems) == SHOWN:
                break
            continue
        if any(_last(each.learnt) > longest for each in sequences):
            too_long += 1
        else:
            kept.append(sequences)
    raise_if_any(problems)
    if not kept:
        text = f"all {too_long} conversations {what} are longer than that"
        raise ConfigError([Problem("model.max_model_len", longest, text, "raise it")])
    tokens = Tokens.of(kept)
    tokens.save(file)
    said = [
        f"{len(kept)} conversations {what}: {len(tokens.tokens):,} tokens, "
        f"{int(tokens.learnt.sum()):,} of them the assistant's"
    ]
    if len(tokens.ends) > len(kept):
        said[0] += f", in {len(tokens.ends)} sequences: the chat template rewrites past turns"
    if too_long:
        said.append(
            f"{too_long} conversations {what} are longer than model.max_model_len={longest} and "
            "left out"
        )
    return said


_REMEDY = "take a model whose chat template has what these conversations need"


def _masks(model: ModelConfig) -> Masks:
    from transformers import AutoTokenizer

    path = resolve_path(model.path)
    with loading(path, TOKENIZER):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=model.trust_remote_code)
    thinks = model.enable_thinking
    try:
        arguments = {} if thinks is None else {"enable_thinking": thinks}
        template = template_text(model.chat_template) if model.chat_template else None
        return Masks(tokenizer, arguments, template)
    except NoMaskError as error:
        raise ConfigError([Problem("model.path", model.path, str(error), _REMEDY)]) from error


def _last(learnt: Sequence[bool]) -> int:
    """How many tokens there are up to the last that is learnt."""
    return len(learnt) - next((n for n, each in enumerate(reversed(learnt)) if each), len(learnt))


_known: dict[tuple[int, int, int], np.ndarray] = {}


def _shuffled(count: int, seed: int, epoch: int) -> np.ndarray:
    key = (count, seed, epoch)
    if key not in _known:
        _known.clear()
        _known[key] = np.random.default_rng([seed, epoch]).permutation(count)
    return _known[key]
