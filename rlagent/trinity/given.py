"""How Trinity is configured for a run on given conversations, without explorer and tasks. Pure.

Trinity's own reader of such files has `datasets` align the tools of all rows, and finds what is
learnt with templates of its own; here conversations lie in the run folder as tokens, and Trinity's
algorithm, loss and trainer learn from them.
"""

from pathlib import Path
from typing import Any

from rlagent.config.schema import LearnConfig

STRATEGY = "rlagent.trinity.given_steps.GivenConversations"
FOLDER = "conversations"
"""Below the run's `data/`."""

WITHOUT_EXPLORER: dict[str, Any] = {
    # Trinity's word for a trainer without an explorer.
    "mode": "train",
    "explorer": {},
    "data_processor": {},
    # Nobody takes the weights.
    "synchronizer": {"sync_method": "checkpoint"},
}


def parts(config: LearnConfig, run_dir: Path, workflow: dict[str, Any]) -> dict[str, Any]:
    """What differs in Trinity's `algorithm`, `model` and `buffer`.

    Args:
        config: Resolved.
        run_dir: The run folder.
        workflow: As of `translate.workflow_args`.
    """
    ours = config.algorithm
    path = str(run_dir / "data" / FOLDER)
    return {
        "algorithm": {
            "sample_strategy": STRATEGY,
            "sample_strategy_args": {
                "folder": path,
                "order": config.dataset.order,
                "seed": config.seed,
                "eval_interval": ours.eval_interval,
            },
            # The loss reads none.
            "bypass_old_logprobs": True,
        },
        # The loss is that of the model itself, however it will be sampled.
        "model": {"temperature": 1.0},
        "buffer": {
            "batch_size": ours.batch_size,
            "train_batch_size": ours.batch_size,
            "total_steps": ours.total_steps,
            # Nobody explores it: its arguments name the run folder to the trainer.
            "explorer_input": {
                "tasksets": [{"name": "train", "path": path, "workflow_args": workflow}]
            },
            "trainer_input": {
                "experience_buffer": {"name": FOLDER, "storage_type": "file", "path": path}
            },
        },
    }
