"""Trinity's monitors in processes that report to nobody."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_actors_import_no_service_and_leave_them_importable():
    code = (
        "import sys, rlagent.trinity.explorer, rlagent.trinity.trainer\n"
        "print(sorted({'wandb', 'mlflow', 'swanlab'} & set(sys.modules)))\n"
        "import wandb; print(wandb.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[]", "wandb"]
