"""What a layout is, how it is written, and which are legal without knowing memory sizes.

Memory is in fit.py; which layout to take is decided in rlagent.config.resolve.
"""

import re
from dataclasses import dataclass

from rlagent.base.model_shape import ModelShape

_SPLIT = re.compile(r"(\d+)x(\d+)\+(\d+)(?:s(\d+))?")
_ALONE = re.compile(r"(\d+)x(\d+)")
_COLOCATED = re.compile(r"(\d+)x(\d+)\*(\d+)(?:s(\d+))?")

FORMAT = (
    "ENGINESxTENSOR_PARALLEL+TRAINER_GPUS, such as 4x1+4 or 4x1+4s2 (sequence parallel 2), "
    "or 1x1*1 for one GPU shared by engine and trainer"
)


@dataclass(frozen=True)
class Layout:
    """How many GPUs do what.

    Args:
        engines: Rollout engines; 0: the trainer alone, which learns from given conversations.
        tensor_parallel: GPUs of one engine.
        trainer_gpus: GPUs of the trainer; 0: engines alone, which measure.
        sequence_parallel: Trainer GPUs that share one sequence (Ulysses).
        colocated: Whether engine and trainer share their GPUs.
    """

    engines: int
    tensor_parallel: int
    trainer_gpus: int
    sequence_parallel: int = 1
    colocated: bool = False

    @property
    def rollout_gpus(self) -> int:
        """GPUs of all engines together."""
        return self.engines * self.tensor_parallel

    @property
    def total_gpus(self) -> int:
        """GPUs of the whole run; shared ones count once."""
        if self.colocated:
            return max(self.rollout_gpus, self.trainer_gpus)
        return self.rollout_gpus + self.trainer_gpus

    @property
    def data_parallel(self) -> int:
        """Shares into which the trainer splits a batch."""
        return self.trainer_gpus // self.sequence_parallel

    @classmethod
    def parse(cls, text: str) -> "Layout":
        """Read a written layout.

        >>> Layout.parse("4x1+4s2")
        Layout(engines=4, tensor_parallel=1, trainer_gpus=4, sequence_parallel=2, colocated=False)
        >>> str(Layout.parse("1x1*1"))
        '1x1*1'

        Raises:
            ValueError: When it is not of that form or a number in it is zero.
        """
        stripped = text.replace(" ", "")
        if alone := _ALONE.fullmatch(stripped):
            engines, tensor = (int(part) for part in alone.groups())
            if 0 not in (engines, tensor):
                return cls(engines, tensor, 0)
        for pattern, colocated in ((_SPLIT, False), (_COLOCATED, True)):
            match = pattern.fullmatch(stripped)
            if match:
                engines, tensor, trainer = (int(part) for part in match.group(1, 2, 3))
                sequence = int(match.group(4) or 1)
                without_engines = not (engines or colocated)
                if 0 in (engines or without_engines, tensor, trainer, sequence):
                    raise ValueError("every number in a layout must be at least 1")
                return cls(engines, tensor if engines else 1, trainer, sequence, colocated)
        raise ValueError(f"a layout is written {FORMAT}")

    def __str__(self) -> str:
        """Return the layout as it is written on the command line."""
        if not self.trainer_gpus:
            return f"{self.engines}x{self.tensor_parallel}"
        joint = "*" if self.colocated else "+"
        tail = f"s{self.sequence_parallel}" if self.sequence_parallel > 1 else ""
        return f"{self.engines}x{self.tensor_parallel}{joint}{self.trainer_gpus}{tail}"

    def words(self, unit: str = "GPU") -> str:
        """Return the layout in words.

        Args:
            unit: What the layout is made of; `process` for embedded engines.
        """
        engines = _count(self.engines, "rollout engine")
        if not self.engines:
            shared = f" (each sequence shared by {self.sequence_parallel})"
            text = f"the trainer alone on {_count(self.trainer_gpus, unit)}, no rollout engine"
            return text + shared * (self.sequence_parallel > 1)
        if self.colocated:
            return f"{engines} and the trainer share {_count(self.trainer_gpus, unit)}"
        each = _count(self.tensor_parallel, unit)
        per = f" on {each}" if self.engines == 1 else f" on {each} each"
        if self.tensor_parallel > 1:
            per += " (tensor parallel)"
        if not self.trainer_gpus:
            return f"{engines}{per}"
        text = f"{engines}{per}, trainer on {_count(self.trainer_gpus, unit)}"
        if self.sequence_parallel > 1:
            text += f" (each sequence shared by {self.sequence_parallel})"
        return text


def refusals(
    layout: Layout,
    gpus_per_node: int,
    nodes: int = 1,
    shape: ModelShape | None = None,
) -> list[str]:
    """Return why a layout cannot run on that many GPUs; empty when it is legal.

    Args:
        layout: The layout.
        gpus_per_node: GPUs of one node.
        nodes: Nodes.
        shape: The model's shape; None or unknown (zeros) leaves out what depends on it.
    """
    total = gpus_per_node * nodes
    found = []
    if layout.total_gpus > total:
        found.append(
            # The GPUs may be planned for rather than be here.
            f"needs {_count(layout.total_gpus, 'GPU')}, more than the {total} planned for"
        )
    if layout.tensor_parallel > gpus_per_node:
        found.append(
            f"an engine of {layout.tensor_parallel} GPUs must lie within one node, "
            f"which has {gpus_per_node}"
        )
    elif layout.tensor_parallel > 1 and gpus_per_node % layout.tensor_parallel:
        found.append(
            f"engines of {layout.tensor_parallel} GPUs do not divide a node of {gpus_per_node}"
        )
    if layout.trainer_gpus % layout.sequence_parallel:
        found.append(
            f"sequence parallel {layout.sequence_parallel} does not divide "
            f"{_count(layout.trainer_gpus, 'trainer GPU')}"
        )
    if layout.sequence_parallel > gpus_per_node:
        found.append(
            f"sequence parallel {layout.sequence_parallel} reaches over the "
            f"{gpus_per_node} GPUs of one node"
        )
    if gpus_per_node < layout.trainer_gpus <= total and layout.trainer_gpus % gpus_per_node:
        found.append(
            f"{layout.trainer_gpus} trainer GPUs over several nodes must be whole nodes "
            f"of {gpus_per_node}"
        )
    if layout.colocated and (layout.engines, layout.tensor_parallel, layout.trainer_gpus) != (
        1,
        1,
        1,
    ):
        # Trinity's colocate mode pins the engine to device 0.
        found.append("colocated means one engine and the trainer on one GPU: 1x1*1")
    if layout.colocated and nodes > 1:
        found.append("a colocated run needs a single node")
    if shape is not None and shape.heads:
        found.extend(_shape_refusals(layout, shape))
    return found


def _shape_refusals(layout: Layout, shape: ModelShape) -> list[str]:
    found = []
    tensor, sequence = layout.tensor_parallel, layout.sequence_parallel
    if shape.heads % tensor:
        found.append(f"tensor parallel {tensor} does not divide the model's {shape.heads} heads")
    elif shape.kv_heads and shape.kv_heads % tensor and tensor % shape.kv_heads:
        found.append(
            f"tensor parallel {tensor} and the model's {shape.kv_heads} key/value heads do not "
            "divide each other"
        )
    # vLLM pads the vocabulary, but splits the feed-forward layer evenly (its `divide`).
    if shape.intermediate % tensor:
        found.append(
            f"tensor parallel {tensor} does not divide the feed-forward width of "
            f"{shape.intermediate}"
        )
    # As verl asserts for Ulysses: verl/models/transformers/monkey_patch.py.
    if shape.heads % sequence:
        found.append(
            f"sequence parallel {sequence} does not divide the model's {shape.heads} heads"
        )
    elif shape.kv_heads and shape.kv_heads % sequence and sequence % shape.kv_heads:
        found.append(
            f"sequence parallel {sequence} and the model's {shape.kv_heads} key/value heads do "
            "not divide each other"
        )
    return found


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"
