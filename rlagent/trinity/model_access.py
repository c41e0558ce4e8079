"""By what the code of a rollout reaches the model, and what ends with it.

AgentScope's chat model, a client or an endpoint, as the workflow asks for it by the names of its
arguments; all of them write the same record. Once it is closed nothing more is recorded, and the
programs that a workflow with an endpoint has started are gone.
"""

import secrets
from typing import TYPE_CHECKING, Any

from rlagent.base.programs import end_programs
from rlagent.trinity.changes import programs
from rlagent.trinity.guard import Rollout

if TYPE_CHECKING:
    from rlagent.trinity.endpoint import Session
    from rlagent.trinity.recording import Recorder

MARK = "RLAGENT_ROLLOUT"
"""In the environment of the programs that a rollout starts."""


class ModelAccess:
    """One rollout's.

    Args:
        rollout: Whose code gets it.
        model: Trinity's handle of the rollout engine.
        chat_model: AgentScope's, as recorded_model returns it.
        recorder: Its record.
        defaults: Sampling arguments of a request that leaves them out.
    """

    def __init__(
        self,
        rollout: Rollout,
        model: Any,
        chat_model: Any,
        recorder: "Recorder",
        defaults: dict[str, Any],
    ) -> None:
        self.recorder = recorder
        self._rollout = rollout
        self._model = model
        self._chat_model = chat_model
        self._defaults = defaults
        self._mark = secrets.token_hex(16)
        self._session: Session | None = None
        self._before = 0

    def by(self, names: set[str]) -> dict[str, Any]:
        """The arguments of those names: model, client, base_url, api_key."""
        found: dict[str, Any] = {}
        if "model" in names:
            found["model"] = self._chat_model
        if names - {"model"}:
            session = self._open()
            if "client" in names:
                found["client"] = session.client()
            if "base_url" in names:
                found |= {"base_url": session.base_url, "api_key": session.api_key}
        return found

    def close(self) -> None:
        """End it; what was there stays. Again: nothing."""
        self.recorder.close()
        if self._session is None or self._session.is_over:
            return
        self._session.close()
        started, self._rollout.programs = self._rollout.programs or [], None
        if programs.started > self._before or not programs.is_counted:
            # Also those that a thread has started, of which its rollout is not known.
            end_programs(started, [f"{MARK}={self._mark}", self._session.api_key])

    def _open(self) -> "Session":
        from rlagent.trinity.endpoint import endpoint

        completions = self._chat_model.client.chat.completions
        self._session = endpoint().open(self._model, completions, self._rollout.key, self._defaults)
        self._rollout.programs, self._before = [], programs.started
        self._rollout.environment[MARK] = self._mark
        return self._session
