"""Every rollout of a run or an evaluation, compressed on disk, and read back with filters.

One format for whoever writes or reads rollouts: `Rollout` is a row, `Head` what a filter needs of
it, `RolloutStore` a folder of them. docs/rollouts.md describes it for users.
"""

from rlagent.records.rollouts.query import Query
from rlagent.records.rollouts.row import Batch, Head, Rollout, head_of, place_of, title_of
from rlagent.records.rollouts.store import RolloutStore

__all__ = ["Batch", "Head", "Query", "Rollout", "RolloutStore", "head_of", "place_of", "title_of"]
