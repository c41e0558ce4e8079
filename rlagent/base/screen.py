"""Standard output and error that outlive their reader: what cannot be written is dropped.

The one way through which commands and displays write. A closed pipe (`| head`), a closed terminal
or a full disk behind a redirection costs the text, not the training.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class _Lasting:
    """A text stream whose writes never fail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # Whether nobody reads it any more.
        self.given_up = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written; what the encoding lacks is escaped."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError) as error:
            self._give_up(error)
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def isatty(self) -> bool:
        """Whether a terminal shows it; not one that was closed."""
        try:
            return self._stream.isatty()
        except ValueError:
            return False

    def _give_up(self, error: Exception) -> None:
        """Drop all further output, also from Python's own flush when the process ends,
        which would change the exit status."""
        if isinstance(error, BlockingIOError):
            # A slow reader of a pipe that does not wait; it may take the next text.
            return
        self.given_up = True
        # Streams without a descriptor and closed ones (ValueError) buffer nothing.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self._stream.fileno())
            finally:
                os.close(nowhere)


def lasting(stream: TextIO | None) -> TextIO:
    """The same stream with writes that never fail; None, as after `>&-`, swallows everything."""
    if isinstance(stream, _Lasting):
        return cast(TextIO, stream)
    return cast(TextIO, _Lasting(stream or open(os.devnull, "w", encoding="utf-8")))


@contextlib.contextmanager
def lasting_streams() -> Iterator[None]:
    """Have sys.stdout and sys.stderr outlive their readers within the block; also a decorator."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = lasting(sys.stdout), lasting(sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
