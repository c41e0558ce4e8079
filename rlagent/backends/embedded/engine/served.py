"""The embedded engine as a server of its own: see rlagent.backends.served."""

import socket

from rlagent.backends.embedded.engine.server import BACKLOG
from rlagent.backends.embedded.engine.service import Service, ServiceOptions
from rlagent.backends.served import Serve
from rlagent.machine.resources import cache_bytes, threads


class EmbeddedServer:
    """A service that listens where it was asked to."""

    def __init__(self, asked: Serve) -> None:
        family = socket.AF_INET6 if ":" in asked.host else socket.AF_INET
        listening = socket.create_server((asked.host, asked.port), family=family, backlog=BACKLOG)
        thinking = asked.enable_thinking
        self._service = Service(
            ServiceOptions(
                model_path=asked.model,
                model_name=asked.name,
                api_key=asked.api_key,
                max_model_len=asked.max_model_len,
                threads=threads(),
                dtype=asked.dtype,
                seed=asked.seed,
                kv_cache_bytes=cache_bytes(),
                template_arguments={} if thinking is None else {"enable_thinking": thinking},
                reasoning=bool(asked.reasoning_parser),
                trust_remote_code=asked.trust_remote_code,
                temperature=asked.temperature,
                top_p=asked.top_p,
                top_k=asked.top_k,
                max_response_tokens=asked.max_tokens,
                listening=listening,
            )
        )
        self._service.start()
        self.url = str(self._service.url)

    def ended(self) -> str:
        """See Served."""
        return self._service.fault()

    def stop(self) -> None:
        """See Served."""
        self._service.stop()
