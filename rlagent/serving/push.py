"""Uploads an exported folder to the Hugging Face hub, or says what would be uploaded.

The key is huggingface_hub's own: HF_TOKEN, or what `hf auth login` left. HF_ENDPOINT names another
hub.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from rlagent.base.endings import RunError
from rlagent.base.errors import ConfigError, Problem
from rlagent.base.words import short_path

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9])?"


@dataclass(frozen=True)
class Upload:
    """What goes where.

    Args:
        folder: An exported model.
        repo: USER/NAME.
        public: Whether everybody may read it, where it is made now.
    """

    folder: Path
    repo: str
    public: bool

    def words(self) -> list[str]:
        """What would be done, one line each."""
        from huggingface_hub import constants

        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        width = max(len(str(path.relative_to(self.folder))) for path in files)
        kind = "public" if self.public else "private"
        lines = [f"{short_path(self.folder)} -> {constants.ENDPOINT}/{self.repo} ({kind} if new)"]
        for path in files:
            name = str(path.relative_to(self.folder))
            lines.append(f"  {name:<{width}}  {path.stat().st_size:>15,} bytes")
        return lines

    def run(self) -> str:
        """Upload, as one commit; returns its address.

        Raises:
            RunError: The hub cannot be reached or refuses it; it then has none of the files.
        """
        import httpx
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        hub = HfApi()
        try:
            hub.create_repo(self.repo, private=not self.public, exist_ok=True)
            done = hub.upload_folder(
                repo_id=self.repo,
                folder_path=self.folder,
                commit_message="Upload a checkpoint trained with rlagent",
            )
        except HfHubHTTPError as error:
            status = error.response.status_code
            login = "; log in with `hf auth login`, or set HF_TOKEN"
            remedy = login if status in (401, 403) else ""
            said = error.server_message or str(error).splitlines()[0]
            cause = f"{hub.endpoint} refuses {self.repo} ({status}: {said}){remedy}"
            raise RunError(cause) from error
        except (httpx.HTTPError, OfflineModeIsEnabled) as error:
            raise RunError(f"{hub.endpoint} cannot be reached: {error}") from error
        return str(done.commit_url)


def checked_repo(repo: str) -> str:
    """The name of a model on the hub.

    Raises:
        ConfigError: It can be none.
    """
    if not re.fullmatch(f"{_PART}/{_PART}", repo) or ".." in repo or "--" in repo:
        what = "a model on the hub is called USER/NAME: letters, digits, and . _ - within"
        raise ConfigError([Problem("--push", repo, what)])
    return repo
