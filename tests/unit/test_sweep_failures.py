"""Which class a failed trial belongs to, from what it left behind."""

import pytest

from rlagent.base.lock import locked
from rlagent.launch.launch import launch
from rlagent.records.failures import CLASSES, Ending, classify, ending, is_held_up, is_retried
from tests import stand_in

LOST = "trainer: its process died (killed, crashed or out of memory): RayActorError: ..."
ROLLOUTS = "explorer: all 16 rollouts of step 2 failed: "

OUT = "out of memory"
NO_BLOCKS = "No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"
NO_START = (
    "Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less than desired GPU memory "
    "utilization (0.9, 71.3 GiB). Decrease GPU memory utilization or reduce GPU memory used"
)
NO_CACHE = (
    "To serve at least one request with the models's max seq len (40960), (4.4 GiB KV cache is "
    "needed, which is larger than the available KV cache memory (1.2 GiB)."
)
NO_CODE_12 = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000 bytes."
NO_HOST_MEMORY = f"[enforce fail at alloc_cpu.cpp:127] err == 0. {NO_CODE_12} Error code 12"


@pytest.mark.parametrize(
    ("cause", "exit_code", "tail", "failure"),
    [
        (
            "trainer: OutOfMemoryError: CUDA out of memory. Tried to allocate",
            1,
            "",
            "out of memory",
        ),
        ("driver: MemoryError", 1, "", "out of memory"),
        (LOST, 1, "", "lost actor"),
        (LOST, 1, "ray.exceptions.OutOfMemoryError: Task was killed due to", "out of memory"),
        (f"{ROLLOUTS}KeyError: 'question'", 1, "", "workflow error"),
        (f"{ROLLOUTS}MemoryError: no room for the table", 1, "", "out of memory"),
        (f"{ROLLOUTS}TimeoutError: the rollout took longer than 600 s", 1, "", "timeout"),
        ("explorer: GetTimeoutError: Get timed out", 1, "", "timeout"),
        ("nothing has happened for run.stall_timeout=60 s while waiting", 1, "", "stalled"),
        ("driver: OSError: [Errno 28] No space left on device", 1, "", "disk full"),
        ("dataset.path=x: there is no such file", 2, "", "configuration"),
        ("its process was killed by SIGKILL", -9, "", "killed"),
        ("its process was killed by SIGKILL", -9, "node ran low on memory", "out of memory"),
        ("its process crashed with SIGSEGV", -11, "Fatal Python error: Segmentation", "crashed"),
        ("its process crashed with SIGABRT", -6, "terminate called: std::bad_alloc", OUT),
        (f"explorer: ValueError: {NO_BLOCKS}", 1, "", OUT),
        (f"explorer: ValueError: {NO_START}", 1, "", OUT),
        (f"explorer: ValueError: {NO_CACHE}", 1, "", OUT),
        ("explorer: RuntimeError: Engine core initialization failed.", 1, NO_BLOCKS, OUT),
        ("explorer: RuntimeError: Engine core initialization failed.", 1, "", "lost actor"),
        (f"trainer: RuntimeError: {NO_HOST_MEMORY}", 1, "", OUT),
        (f"trainer: {NO_CODE_12}", 1, "", OUT),
        ("something new", 1, "", "unknown"),
    ],
)
def test_causes_have_classes(cause: str, exit_code: int, tail: str, failure: str) -> None:
    assert classify(cause, exit_code, tail) == failure
    assert failure in CLASSES


def test_a_wrong_configuration_is_not_tried_again_everything_else_is() -> None:
    assert [name for name in CLASSES if not is_retried(name)] == ["configuration"]
    assert not is_retried(None)


def test_status_says_how_a_try_ended() -> None:
    assert ending({"state": "finished"}, 0, "") == Ending("finished", 0)
    assert ending({"state": "finished"}, -11, "") == Ending("finished", -11)
    stopped = ending({"state": "stopped", "cause": "stopped on request"}, 1, "")
    assert stopped == Ending("stopped", 1, "stopped on request")
    assert ending({"state": "interrupted", "cause": "x"}, 130, "").state == "interrupted"
    failed = ending({"state": "failed", "cause": f"{ROLLOUTS}KeyError: 'a'"}, 1, "")
    assert (failed.state, failed.failure) == ("failed", "workflow error")


def test_a_try_without_a_status_of_its_own_is_judged_by_its_process() -> None:
    # Done before it began.
    assert ending({}, 0, "done on 2026-11-25").state == "finished"
    wrong = ending({}, 2, "algorithm.lr=0: must be above 0\n")
    assert (wrong.cause, wrong.failure) == ("algorithm.lr=0: must be above 0", "configuration")
    killed = ending({"state": "running"}, -9, "step 3/10")
    assert killed.cause == "its process was killed by SIGKILL"
    broken = ending({"state": "running"}, -11, "step 3/10")
    assert (broken.cause, broken.failure) == ("its process crashed with SIGSEGV", "crashed")
    assert ending({}, 1, "").cause == "its process ended with exit status 1 and no word"


def test_a_process_that_says_it_succeeded_while_its_status_does_not_has_failed() -> None:
    assert ending({"state": "running"}, 0, "").state == "failed"


def test_a_run_whose_folder_another_process_holds_is_known_by_the_last_line_of_its_log(
    tmp_path, capsys
) -> None:
    one = stand_in.trial(tmp_path, 0)
    folder = tmp_path / "outputs" / one.folder_name
    folder.mkdir(parents=True)
    with locked(folder):
        assert launch(one.resolved).exit_code == 1
    said = capsys.readouterr().err
    assert is_held_up(said)
    assert not is_held_up(f"{said}explorer: out of memory\n")
    assert not is_held_up("")


def test_a_process_that_ended_by_itself_was_not_killed():
    for code in (0, 1):
        assert classify("", code) == "unknown"
    said = ending({"state": "running"}, 0, "")
    assert said.cause == "its process ended with exit status 0 and no word"


def test_a_signal_without_a_name_is_given_by_its_number():
    found = ending({"state": "running"}, -99, "")
    assert found == Ending("failed", -99, "its process was killed by signal 99", "killed")


def test_a_failed_try_keeps_its_status_and_is_judged_by_its_log_too():
    lost = "trainer: its process died (killed, crashed or out of memory): RayActorError: ..."
    log = "ray.exceptions.OutOfMemoryError: Task was killed due to"
    found = ending({"state": "failed", "cause": lost}, 1, log)
    assert found == Ending("failed", 1, lost, "out of memory")
    assert ending({"state": "failed"}, 1, "").cause == ""
