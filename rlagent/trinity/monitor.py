"""The monitor that Trinity's actors write to: rows appended to metrics.jsonl in the run folder.

Only the driver speaks to W&B or TensorBoard, from that file (see rlagent.records.mirror).
"""

from typing import Any

from trinity.common.config import Config
from trinity.utils.monitor import Monitor

from rlagent.records.folder import RunFolder


class RunFolderMonitor(Monitor):
    """Appends what an actor logs to the run folder.

    Which one is given by the workflow arguments of the tasks, the one place in Trinity's
    configuration that is free for others.
    """

    def __init__(
        self, project: str, group: str, name: str, role: str, config: Config | None = None
    ) -> None:
        super().__init__(project, name, role, config)
        assert config is not None
        arguments = config.buffer.explorer_input.tasksets[0].workflow_args
        self.folder = RunFolder(arguments["run_folder"])
        self.attempt = arguments["attempt"]

    def log(self, data: dict[str, Any], step: int, commit: bool = False) -> None:
        """Append one row; entries that are no numbers are left out."""
        numbers = {}
        for key, value in data.items():
            if hasattr(value, "item"):
                value = value.item()
            if isinstance(value, (int, float)):
                numbers[key] = float(value)
        if numbers:
            self.folder.append_metrics(self.role, step, numbers, attempt=self.attempt)

    def close(self) -> None:
        """Nothing is held open."""
