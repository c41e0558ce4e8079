"""What an OpenAI-compatible endpoint as a rollout engine answers: see rlagent.backends.base.

Something else runs the model; rlagent asks it by `model.url`. It measures, and is never trained:
the endpoint neither returns the tokens that it sampled nor accepts new weights.
"""

import os
from typing import Any
from urllib.parse import urlsplit

from rlagent.backends.base import Hardware, RolloutEngine, Start
from rlagent.base.errors import Problem
from rlagent.base.model_shape import ModelShape
from rlagent.planner.layout import Layout
from rlagent.planner.workload import Workload

RUN_GIB = 2.0
"""Host memory of a run: agent code alone."""
NO_TRAINER = (
    "an external model cannot be trained: its endpoint returns no log-probabilities of the tokens "
    "that it sampled, and accepts no weights"
)


class External(RolloutEngine):
    """An endpoint; its key stands in the environment variable that `model.key_env` names."""

    name = "external"
    words = "the model behind model.url"
    trainer = ""
    no_trainer = NO_TRAINER
    on_gpus = False
    by_url = True
    trinity_types = ("external",)
    actor = "rlagent.backends.external.engine:ExternalModel"
    own_tool_form = True
    asks_for = ()
    fetches_weights = False
    start_seconds = 10.0

    def refusals(self, hardware: Hardware, url: str | None, key_env: str | None) -> list[Problem]:
        """See RolloutEngine: a key in clear is not repeated."""
        # It imports OmegaConf, without which `rlagent doctor` still says what is missing.
        from rlagent.base.secrets import HIDDEN, looks_secret

        what = "a model behind an endpoint uses no GPU of this machine"
        found = [
            Problem(f"hardware.{name}", value, what, "leave it out")
            for name, value in zip(("gpus", "logical_gpus"), hardware[:2], strict=True)
            if isinstance(value, int) and value
        ]
        parts = urlsplit(url or "")
        if not url:
            remedy = "give its address, such as model.url=https://api.openai.com/v1"
            found.append(Problem("model.url", None, "an external model needs an address", remedy))
        elif parts.password or parts.username or looks_secret(url):
            remedy = "name the environment variable that holds it: model.key_env=NAME"
            what = "holds a key, which would be written into the run folder"
            found.append(Problem("model.url", HIDDEN, what, remedy))
        elif parts.scheme not in ("http", "https") or not parts.hostname:
            remedy = "such as model.url=http://127.0.0.1:8000/v1"
            found.append(Problem("model.url", url, "is no http or https address", remedy))
        if key_env is not None and key_env not in os.environ:
            # What is no variable may be the key itself.
            remedy = (
                "name the environment variable that holds the key: model.key_env=OPENAI_API_KEY"
            )
            what = "the environment has no variable of this name, and a key itself is never written"
            found.append(Problem("model.key_env", HIDDEN, what, remedy))
        return found

    def runners(self, engines: int) -> int:
        """See RolloutEngine."""
        return 1

    def memory_share(self, shape: ModelShape, layout: Layout, work: Workload, gib: float) -> float:
        """See RolloutEngine; nothing reads it."""
        return 0.5

    def rough_seconds(
        self, size: int, tokens: float, longest: float, flop: float, layout: Layout, cores: int
    ) -> float:
        """See RolloutEngine: sequences side by side, of 60 tokens a second each."""
        return longest / 60

    def host_need(
        self, layout: Layout, gpus: int, nodes: int, kept_gib: float, threads: int
    ) -> tuple[int, float]:
        """See RolloutEngine."""
        return 1, RUN_GIB

    def settings(self, start: Start) -> dict[str, Any]:
        """See RolloutEngine: the place of the key, never the key."""
        return {"extra_engine_args": {"url": start.url, "key_env": start.key_env}}

    def auxiliary(self, tensor_parallel: int) -> dict[str, Any]:
        """See RolloutEngine."""
        return {"engine_type": self.name}


ENGINE = External()
