"""Trinity's sample strategy for given conversations: no queue, no explorer; the step counts."""

from pathlib import Path
from typing import Any

import torch
from trinity.algorithm.sample_strategy.sample_strategy import SampleStrategy
from trinity.common.config import BufferConfig
from trinity.common.experience import EID, Experience

from rlagent.trinity.conversations import HELD_OUT, TRAIN, Tokens, chosen


class GivenConversations(SampleStrategy):
    """Takes the conversations of each step from the run folder.

    Args:
        buffer_config: Trinity's; its `train_batch_size` is the conversations of a step.
        folder: Where their tokens lie.
        order: dataset.order.
        seed: Of the shuffles.
        eval_interval: Steps between two looks at those that are held out; 0: none between.
    """

    def __init__(
        self, buffer_config: BufferConfig, folder: str, order: str, seed: int, eval_interval: int
    ) -> None:
        super().__init__(buffer_config)
        self.size, self.order, self.seed = buffer_config.train_batch_size, order, seed
        self.eval_interval = eval_interval
        self._given = Tokens.load(Path(folder) / f"{TRAIN}.npz")
        held_out = Path(folder) / f"{HELD_OUT}.npz"
        theirs = Tokens.load(held_out) if held_out.is_file() else None
        self.held_out = _experiences(theirs, range(theirs.conversations)) if theirs else []

    async def sample(self, step: int) -> tuple[list[Experience], dict[str, Any], list]:
        """The sequences of a step's conversations."""
        numbers = chosen(step, self.size, self._given.conversations, self.order, self.seed)
        return _experiences(self._given, numbers), {}, []

    @classmethod
    def default_args(cls) -> dict:
        """There are none: each is given."""
        return {}

    def state_dict(self) -> dict:
        """Nothing: where a run continues follows from its step."""
        return {}

    def load_state_dict(self, state_dict: dict) -> None:
        """See `state_dict`."""


def _experiences(given: Tokens, numbers: Any) -> list[Experience]:
    found = []
    for place, number in enumerate(numbers):
        for turn, (tokens, learnt) in enumerate(given.of_conversation(number)):
            # A response needs a token before it.
            prompt = max(1, int(learnt.argmax()))
            found.append(
                Experience(
                    eid=EID(task=place, step=turn),
                    tokens=torch.from_numpy(tokens.astype("int64")),
                    prompt_length=prompt,
                    action_mask=torch.from_numpy(learnt[prompt:].copy()),
                )
            )
    return found
