"""A rollout engine's actor, without what it imports (see rlagent.base.forwarding).

The explorer and the processes for agent code hold its handle; with the class behind it each of
them would import vLLM, for a quarter of a minute.
"""

import os
from typing import Any

from rlagent.base import alive
from rlagent.base.forwarding import forwarding


@forwarding(
    "add_lora_adapter",
    "chat",
    "convert_messages_to_experience",
    "generate",
    "get_api_key",
    "get_api_server_url",
    "get_available_address",
    "get_lora_request",
    "get_message_token_len",
    "get_model_config",
    "get_model_path",
    "get_model_version",
    "init_process_group",
    "list_lora_adapters",
    "logprobs",
    "prepare",
    "ready",
    "remove_lora_adapter",
    "reset_prefix_cache",
    "run_api_server",
    "sample",
    "set_master_addr_port",
    "set_state_dict_meta",
    "shutdown",
    "sleep",
    "startup_marks",
    "sync_model_weights",
    "teardown_process_group",
    "wake_up",
)
class EngineActor:
    """The process of `rlagent.backends.vllm.engine.RolloutEngine`; arguments as there."""

    def __init__(self, config: Any) -> None:
        from rlagent.backends.vllm.forked import start_importing

        if config.cuda_visible_devices:
            # As Trinity does later; some modules look at it when they are imported.
            os.environ["CUDA_VISIBLE_DEVICES"] = config.cuda_visible_devices
        start_importing()
        alive.start("engine", "serving")
        from rlagent.backends.vllm.engine import RolloutEngine

        self.behind = RolloutEngine(config)
