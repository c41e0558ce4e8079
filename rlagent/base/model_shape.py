"""The shape of a model, which memory and speed follow from; config.json is read elsewhere."""

from dataclasses import dataclass

from rlagent.base.limits import number
from rlagent.base.origins import Recorded


@dataclass
class ModelShape(Recorded):
    """The numbers of a decoder-only transformer that memory and speed follow from.

    Zeros mean unknown: they are then read from the model's config.json.
    """

    # Number of transformer blocks.
    layers: int = number(0, 0, 10_000)
    # Width of the residual stream.
    hidden: int = number(0, 0, 1_000_000)
    # Width of the feed-forward layer (one of the gated pair).
    intermediate: int = number(0, 0, 10_000_000)
    # Number of query heads.
    heads: int = number(0, 0, 100_000)
    # Number of key/value heads (grouped-query attention); divides `heads`.
    kv_heads: int = number(0, 0, 100_000)
    # Size of one head.
    head_dim: int = number(0, 0, 1_000_000)
    # Rows of the embedding table.
    vocab: int = number(0, 0, 100_000_000)
    # Whether the output layer shares the embedding table.
    tied: bool = False
