"""What a signal does to a process, whichever thread asks for it."""

import signal
import subprocess
import sys

ENDS_ON_SIGTERM = """
import os, signal, threading
from rlagent.base.process import end_on_sigterm
signal.signal(signal.SIGTERM, lambda *_: None)
thread = threading.Thread(target=end_on_sigterm)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_thread_can_have_sigterm_end_its_process_which_had_a_handler() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS_ON_SIGTERM], check=False)
    assert done.returncode == -signal.SIGTERM
