"""`rlagent export --push`: what would be uploaded is shown first, then it goes up whole."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from trained_run import make_run

ROOT = Path(__file__).parents[2]


class Hub(ThreadingHTTPServer):
    """Stands in for the Hugging Face hub on loopback: one repository, and commits to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.made: dict = {}
        self.files: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self._body()
        self.server.asked.append(self.path)
        if self.headers.get("Authorization") != "Bearer hf_right":
            return self._answer({"error": "Invalid credentials"}, 401)
        if self.path == "/api/repos/create":
            self.server.made = json.loads(body)
            return self._answer({"url": f"{self.server.url}/me/mine"})
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if self.path == "/api/models/me/mine/preupload/main":
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {True: "lfs", False: "regular"}
            return self._answer({"files": [
                {"path": n, "uploadMode": modes[n.endswith(".safetensors")], "shouldIgnore": False}
                for n in names
            ]})  # fmt: skip
        if self.path == "/me/mine.git/info/lfs/objects/batch":
            asked = json.loads(body)["objects"]
            return self._answer({"objects": [
                {**one, "actions": {"upload": {"href": f"{self.server.url}/large/{one['oid']}"}}}
                for one in asked
            ]})  # fmt: skip
        assert self.path == "/api/models/me/mine/commit/main"
        for line in body.splitlines():
            said = json.loads(line)
            if said["key"] == "file":
                self.server.files[said["value"]["path"]] = base64.b64decode(
                    said["value"]["content"]
                )
            if said["key"] == "lfsFile":
                content = self.server.large[said["value"]["oid"]]
                self.server.files[said["value"]["path"]] = content
        return self._answer({"commitUrl": f"{self.server.url}/me/mine/commit/1", "commitOid": "1"})

    def do_PUT(self) -> None:
        self.server.large[self.path.rsplit("/", 1)[1]] = self._body()
        self._answer({})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, data: dict, status: int = 200) -> None:
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


UPLOAD = """
import sys
from pathlib import Path
from rlagent.serving.push import Upload
from rlagent.serving.trained import say_outcome
upload = Upload(Path(sys.argv[1]), "me/mine", public=False)
print("\\n".join(upload.words()))
sys.exit(say_outcome("export", lambda: print(upload.run()) or 0))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 99)
    (made / "README.md").write_text("---\nlicense: apache-2.0\n---\n# mine\n")
    (made / "config.json").write_text("{}")
    return made


def call(hub: Hub, *words: str, key: str = "hf_right") -> subprocess.CompletedProcess:
    # The stand-in has no Xet, the hub's own way for large files.
    own = {"HF_ENDPOINT": hub.url, "HF_TOKEN": key, "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0", **own},
        capture_output=True,
        text=True,
    )


def test_the_hub_gets_every_file_as_it_is(folder: Path, hub: Hub) -> None:
    done = call(hub, "-c", UPLOAD, str(folder))
    assert done.returncode == 0, done.stderr
    assert f"{hub.url}/me/mine (private if new)" in done.stdout
    assert "model.safetensors           25,344 bytes" in done.stdout
    assert done.stdout.endswith(f"{hub.url}/me/mine/commit/1\n")
    assert hub.made["visibility"] == "private"
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_a_wrong_key_is_one_line_with_the_remedy(folder: Path, hub: Hub) -> None:
    done = call(hub, "-c", UPLOAD, str(folder), key="hf_wrong")
    assert done.returncode == 1
    assert "Invalid credentials" in done.stderr
    assert "hf auth login" in done.stderr
    assert "hf_wrong" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert hub.files == {}


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_one_line(folder: Path, hub: Hub) -> None:
    hub.shutdown()
    hub.server_close()
    done = call(hub, "-c", UPLOAD, str(folder))
    assert done.returncode == 1
    assert f"{hub.url} cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_export_is_shown_first_and_goes_up_with_yes(tmp_path: Path, hub: Hub) -> None:
    run = make_run(tmp_path, 10)
    words = ("-m", "rlagent.export", run.name, "--root", str(tmp_path), "--push", "me/mine")
    done = call(hub, *words)
    assert done.returncode == 0, done.stderr
    assert "nothing was uploaded" in done.stdout
    assert hub.asked == []
    done = call(hub, *words, "--yes")
    assert done.returncode == 0, done.stderr
    folder = run.path / "exports" / "step-10"
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}
