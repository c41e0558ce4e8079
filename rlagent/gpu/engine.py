"""The actor of a rollout engine: Trinity's vLLM model, started with one process less.

What differs is decided in engine_arguments.py. This module imports Trinity's, which imports vLLM;
it is for the engine's actor, and for the explorer that makes it.
"""

import os
from typing import Any

from trinity.common.config import InferenceModelConfig
from trinity.common.models.vllm_model import vLLMRolloutModel

from rlagent.gpu.engine_arguments import engine_arguments, environment
from rlagent.trinity.startup import Marks


class RolloutEngine(vLLMRolloutModel):
    """One vLLM engine."""

    def __init__(self, config: InferenceModelConfig) -> None:
        self._marks = Marks()
        self._marks.mark("engine_process")
        # A copy: the arguments that Trinity sets itself cannot be given twice.
        self._ours = engine_arguments(config.gpu_per_engine, config.extra_engine_args)
        config.extra_engine_args = {
            key: value for key, value in config.extra_engine_args.items() if key not in self._ours
        }
        for name, value in environment(self._ours).items():
            os.environ.setdefault(name, value)
        super().__init__(config)

    async def prepare(self) -> None:
        """Load the model and serve it."""
        import vllm

        theirs = vllm.AsyncEngineArgs

        def arguments(**given: Any) -> Any:
            return theirs(**{**given, **self._ours})

        vllm.AsyncEngineArgs = arguments
        try:
            await super().prepare()
        finally:
            vllm.AsyncEngineArgs = theirs
        self._marks.mark("engine_ready")

    async def startup_marks(self) -> dict[str, float]:
        """When this process was there and when it served; see rlagent.trinity.startup."""
        return self._marks.times()
