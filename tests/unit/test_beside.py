"""An endpoint beside: a process that says much is not stopped by it, and no proxy is asked."""

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from rlagent.base.endings import RunError
from rlagent.serving import beside

TALKS = """
import sys
sys.stderr.write("a warning " * 50_000)
print("loading", flush=True)
if sys.argv[1] == "fails":
    sys.exit("\\nrlagent serve: no room for the model")
print("mine answers at http://127.0.0.1:1/v1 (Ctrl+C ends it)", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a stand-in of the endpoint's process."""
    engine = SimpleNamespace(name="embedded", on_gpus=True)
    monkeypatch.setattr(beside, "engine_for", lambda name: engine)

    def stand_in(how: str) -> Any:
        start = beside.start_child
        monkeypatch.setattr(
            beside,
            "start_child",
            lambda command, *others: start([sys.executable, "-c", TALKS, how], *others),
        )
        trained = SimpleNamespace(
            run=SimpleNamespace(path="outputs/mine"), kept=SimpleNamespace(step=1), name="mine"
        )
        return beside.served_beside(trained)  # type: ignore[arg-type]

    return stand_in


def test_warnings_do_not_stop_it_and_what_takes_minutes_is_said(says: Any, capsys: Any) -> None:
    with says("answers") as served:
        assert served.url() == "http://127.0.0.1:1"
    assert capsys.readouterr().err == "loading\n"


def test_it_says_why_it_cannot_serve(says: Any) -> None:
    with says("fails") as served, pytest.raises(RunError, match=r"^no room for the model$"):
        served.url()


def test_what_is_said_to_it_passes_no_proxy(says: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with says("answers"), httpx.Client() as client:
        assert client._transport_for_url(httpx.URL("http://127.0.0.1:1/v1")) is client._transport
        elsewhere = httpx.URL("http://example.com")
        assert client._transport_for_url(elsewhere) is not client._transport
    assert (os.environ["no_proxy"], "NO_PROXY" in os.environ) == ("example.org", False)
