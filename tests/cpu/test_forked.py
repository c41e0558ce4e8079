"""Processes forked from one that has imported already."""

import os
import select
import signal
import subprocess
import sys
import textwrap

SCRIPT = """
import os, sys, time
from rlagent.backends.vllm import forked

def what_is_there():
    return "wave" in sys.modules, os.environ.get("SAID_LATER"), os.getpid()

def fail():
    raise ValueError("no room for the model")

def wait_forever(pipe):
    pipe.send(os.getpid())
    time.sleep(1000)

if __name__ == "__main__":
    forked.start_importing(["wave"])
    os.environ["SAID_LATER"] = "yes"
    {body}
"""


def script(tmp_path, body: str):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(body=textwrap.indent(textwrap.dedent(body), "    ").strip()))
    return [sys.executable, str(path)]


def test_a_forked_process_has_the_imports_and_the_environment_of_its_start(tmp_path) -> None:
    done = subprocess.run(
        script(
            tmp_path,
            """
            imported, said, pid = forked.call(what_is_there)
            assert imported and "wave" not in sys.modules
            assert said == "yes"
            assert pid != os.getpid()
            """,
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_what_a_forked_process_raises_reaches_the_caller(tmp_path) -> None:
    done = subprocess.run(
        script(tmp_path, "forked.call(lambda: {}['missing'])"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "KeyError: 'missing'" in done.stderr


def test_an_error_names_the_exception_that_ended_a_process(tmp_path) -> None:
    done = subprocess.run(
        script(
            tmp_path,
            """
            context = forked.ForkedContext()
            for target in (what_is_there, fail):
                process = context.Process(target=target)
                process.start()
                process.join()
                try:
                    with context.naming_the_cause():
                        raise RuntimeError("see above")
                except RuntimeError as error:
                    print(error, process.exitcode)
            """,
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = ["see above 0", "vLLM did not start: ValueError: no room for the model 1"]
    assert (done.returncode, done.stdout.splitlines()) == (0, said), done.stderr


def test_a_forked_process_ends_with_the_one_that_was_killed(tmp_path) -> None:
    command = script(
        tmp_path,
        """
        context = forked.ForkedContext()
        ours, theirs = context.Pipe()
        context.Process(target=wait_forever, args=(theirs,)).start()
        print(ours.recv(), flush=True)
        time.sleep(1000)
        """,
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        forked = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        # Readable once the process has ended.
        assert select.select([forked], [], [], 30)[0]
        os.close(forked)
