"""A checkpoint served over OpenAI's interface: by vLLM on GPUs, by the embedded engine on a CPU."""

import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import FrameType

from rlagent.backends.base import RolloutEngine
from rlagent.backends.registry import automatic_engine, engines, load, packages_of
from rlagent.backends.served import Serve, Served
from rlagent.base.endings import RunError
from rlagent.base.errors import ConfigError, Problem, raise_if_any
from rlagent.base.process import stop_signals
from rlagent.base.words import short_path
from rlagent.machine.gpu_memory import free_share
from rlagent.machine.resources import detect
from rlagent.planner.layout import Layout
from rlagent.serving.export import ready_folder
from rlagent.serving.trained import Trained

LOOPBACK = "127.0.0.1"
LOOK_AGAIN = 1.0
"""Seconds between two looks at an engine that may have died."""


@dataclass(frozen=True)
class Place:
    """Where a model is served, and to whom.

    Args:
        host: An address of this machine.
        port: 0: a free one.
        api_key: Empty: everybody on this machine.
        engine: `auto` or the name of one.
        name: What clients call the model; empty: after run and step.
        seed: Of the sampling; None: the run's.
    """

    host: str = LOOPBACK
    port: int = 0
    api_key: str = ""
    engine: str = "auto"
    name: str = ""
    seed: int | None = None


class Asked(BaseException):
    """This process was asked to end; `number` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def checked(place: Place) -> Place:
    """The place, with the address in numbers.

    Raises:
        ConfigError: Every reason why nothing can be served there.
    """
    if not 0 <= place.port < 65536:
        raise ConfigError([Problem("--port", place.port, "a port is 0 (a free one) to 65535")])
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        remedy = f"give an address of this machine, such as {LOOPBACK}"
        raise ConfigError([Problem("--host", place.host, str(error), remedy)]) from error
    host = str(found[0][4][0])
    problems = []
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback and not place.api_key:
        what = "beyond loopback everybody who reaches this machine could use the model"
        problems.append(Problem("--host", place.host, what, "add --api-key"))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, place.port), family=family) as probe:
            port = probe.getsockname()[1]
    except OSError as error:
        remedy = "take another port, or --port 0 for a free one"
        what = f"{host} port {place.port} cannot be listened on ({error.strerror or error})"
        problems.append(Problem("--port", place.port, what, remedy))
    raise_if_any(problems)
    return replace(place, host=host, port=port)


def engine_for(name: str) -> RolloutEngine:
    """The engine that serves on this machine.

    Raises:
        ConfigError: There is none of this name, or it cannot serve here.
    """
    known = {each.name: each for each in engines() if each.server}
    gpus = bool(detect().gpus)
    if name == "auto":
        best = automatic_engine(gpus)
        return best if _is_installed(best) else automatic_engine(False)
    engine = known.get(name)
    if engine is None:
        what = f"known are auto, {', '.join(known)}"
        raise ConfigError([Problem("--engine", name, what)])
    if engine.on_gpus and not gpus:
        raise ConfigError([Problem("--engine", name, "there is no GPU here", "leave it out")])
    if not _is_installed(engine):
        raise ConfigError([Problem("--engine", name, "it is not installed", "leave it out")])
    return engine


def _is_installed(engine: RolloutEngine) -> bool:
    return all(find_spec(name) for name in packages_of(engine))


def serve(trained: Trained, place: Place, say: Callable[[str], None]) -> Served:
    """Serve a checkpoint; returns when requests are answered.

    Args:
        trained: The checkpoint.
        place: As `checked` returns it.
        say: Called with what takes its time.

    Raises:
        ConfigError, RunError, OSError: It cannot be served.
    """
    engine = engine_for(place.engine)
    model, config = ready_folder(trained), trained.config.model
    log = trained.run.path / "serve.log"
    gpus = _gpus_for(trained) if engine.on_gpus else 0
    where = f"; its log is {short_path(log)}" if engine.on_gpus else ""
    say(f"loading {trained.kept} of {trained.run.name} with {engine.name}{where}")
    asked = Serve(
        model=model,
        name=place.name or trained.name,
        host=place.host,
        port=place.port,
        api_key=place.api_key,
        max_model_len=int(config.max_model_len),
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        max_tokens=int(config.max_response_tokens),
        dtype=config.dtype if engine.on_gpus else "float32",
        gpus=gpus,
        memory_share=free_share(gpus) if gpus else 1.0,
        enable_thinking=config.enable_thinking,
        tool_call_parser=config.tool_call_parser,
        reasoning_parser=config.reasoning_parser,
        trust_remote_code=config.trust_remote_code,
        seed=trained.config.seed if place.seed is None else place.seed,
        log=log,
    )
    served: Served = load(engine.server)(asked)
    return served


def _gpus_for(trained: Trained) -> int:
    """GPUs that an engine of the run had.

    Raises:
        RunError: This machine has fewer.
    """
    needed = Layout.parse(trained.config.hardware.layout).tensor_parallel
    here = len(detect().gpus)
    if needed > here:
        raise RunError(
            f"an engine of {trained.run.name} shares its layers among {needed} GPUs, and this "
            f"machine has {here}; export the model, and serve it where there are as many"
        )
    return needed


@contextlib.contextmanager
def ending_when_asked() -> Iterator[None]:
    """Turn Ctrl+C, SIGTERM and SIGHUP into `Asked`, once: what follows ends in peace."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if not asked.is_set():
            asked.set()
            raise Asked(number)

    before = {number: signal.signal(number, ask) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for_end(served: Served) -> None:
    """Wait until this process is asked to end.

    Raises:
        Asked: It is.
        RunError: The engine has ended by itself.
    """
    nothing = threading.Event()
    while not (cause := served.ended()):
        nothing.wait(LOOK_AGAIN)
    raise RunError(cause)
