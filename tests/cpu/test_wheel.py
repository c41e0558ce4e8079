"""An installed wheel trains from an empty folder, with nothing of the checkout in reach."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.cpu.runs import MARK, REPOSITORY, only_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _run(*command: str | Path, cwd: Path, timeout: float = 600) -> str:
    """Run a command without the variables that lead to the checkout; returns what it printed."""
    name, value = MARK.split("=")
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**clean, name: value},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel, and these tests' own packages."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    try:
        _run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, REPOSITORY, cwd=folder)
    except AssertionError as error:
        if "hatchling" in str(error):
            pytest.skip("the build backend, hatchling, can neither be found nor downloaded")
        raise
    (wheel,) = folder.glob("rlagent-*.whl")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    site = Path(_run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=folder))
    # Paths named in a .pth file are searched, but not for further .pth files, such as the one
    # through which these tests find the checkout.
    shared = sysconfig.get_path("purelib")
    Path(str(site).strip(), "shared.pth").write_text(f"{shared}\n")
    _run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    return python


def test_it_brings_presets_and_pins(python: Path, tmp_path: Path) -> None:
    code = (
        "import json, rlagent; from rlagent.base.paths import conf_dir, asset_dir;"
        "print(json.dumps([rlagent.__file__, str(conf_dir()), str(asset_dir('tiny'))]))"
    )
    places = json.loads(_run(python, "-c", code, cwd=tmp_path))
    assert all(Path(place).is_relative_to(python.parents[1]) for place in places)
    assert (Path(places[0]).parent / "constraints" / "cpu.txt").is_file()
    assert (Path(places[0]).parent / "report" / "templates" / "style.css").is_file()
    assert (Path(places[1]) / "experiment" / "gsm8k_react.yaml").is_file()


def test_it_trains_from_an_empty_folder(python: Path, tmp_path: Path) -> None:
    words = ("+experiment=gsm8k_react", "hardware=cpu", "+debug=fast")
    told = _run(python, "-m", "rlagent.train", *words, cwd=tmp_path)
    assert str(REPOSITORY) not in told
    folder = only_folder(tmp_path)
    status = folder.read_status()
    assert (status["state"], status["steps_trained"]) == ("finished", 3)
    assert folder.report_html.is_file()


def test_its_own_commands_work(python: Path, tmp_path: Path) -> None:
    told = _run(python.with_name("rlagent"), "plan", "+experiment=gsm8k_react", cwd=tmp_path)
    assert "gsm8k_react" in told
