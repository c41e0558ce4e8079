"""rlagent trains LLM agents with reinforcement learning: `learn(workflow_func, config)`."""

from rlagent.api import LearnError, LearnStopped, learn
from rlagent.config.schema import LearnConfig

__version__ = "0.1.0"
__all__ = ["LearnConfig", "LearnError", "LearnStopped", "learn"]
