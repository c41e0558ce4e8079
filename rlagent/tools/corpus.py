"""Search and read in a local collection of texts: sqlite's full-text index, ranked by BM25.

A collection is one .jsonl file with `title` and `text` a line. The index is made in memory, once
per process; what is found is text for a model to read.
"""

import functools
import json
import re
import sqlite3
import threading
from pathlib import Path

from rlagent.base.paths import resolve_path

MOST_FOUND = 3
MOST_CHARACTERS = 2000
"""Of a text that is read."""

_WORD = re.compile(r"\w+")


class CorpusError(ValueError):
    """A collection cannot be used; the message says why."""


class Corpus:
    """An indexed collection.

    Args:
        path: A .jsonl file, or a folder with corpus.jsonl; `builtin:NAME` for what is shipped.

    Raises:
        CorpusError: It is not there, a line is wrong, or a title comes twice.
    """

    def __init__(self, path: str) -> None:
        file = Path(resolve_path(path))
        file = file / "corpus.jsonl" if file.is_dir() else file
        self._texts = _read(file)
        # Tools may be called from threads, each rollout's in turn.
        self._lock = threading.Lock()
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        self._index.execute(
            "CREATE VIRTUAL TABLE texts USING fts5(title, text, tokenize='porter unicode61')"
        )
        self._index.executemany("INSERT INTO texts VALUES (?, ?)", self._texts.items())

    def search(self, query: str, most: int = MOST_FOUND) -> str:
        """The best texts for a query, one a line: its title, and the words around what was found.

        Any of the query's words is enough; rarer ones and more of them come first.
        """
        words = list(dict.fromkeys(word.casefold() for word in _WORD.findall(query)))[:32]
        if not words:
            return "Nothing found: the query has no words."
        asked = " OR ".join(f'"{word}"' for word in words)
        with self._lock:
            rows = self._index.execute(
                "SELECT title, snippet(texts, 1, '', '', '...', 12) FROM texts "
                "WHERE texts MATCH ? ORDER BY bm25(texts), title LIMIT ?",
                (asked, most),
            ).fetchall()
        return "\n".join(f"{title}: {part}" for title, part in rows) or "Nothing found."

    def read(self, title: str) -> str:
        """The text with that title, or the remark that there is none."""
        text = self._texts.get(title.strip())
        if text is None:
            return f"There is no text called {title[:100]}."
        return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}... (cut)"


@functools.lru_cache(maxsize=4)
def corpus(path: str) -> Corpus:
    """The indexed collection of a path, made once per process."""
    return Corpus(path)


def _read(file: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{file} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            title, text = row["title"], row["text"]
            good = isinstance(title, str) and isinstance(text, str)
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise CorpusError(f'{file} line {number}: write {{"title": "...", "text": "..."}}')
        if title in texts:
            raise CorpusError(f"{file} line {number}: the title {title!r} comes twice")
        texts[title] = text
    return texts
