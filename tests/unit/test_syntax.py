"""Trees of Python's text, asked for by several threads at once."""

import ast
import threading

import pytest

from rlagent.base import syntax


def test_a_text_is_read_as_ast_reads_it() -> None:
    assert ast.dump(syntax.parsed("a = 1")) == ast.dump(ast.parse("a = 1"))
    assert ast.dump(syntax.parsed("1 + 2", mode="eval")) == ast.dump(
        ast.parse("1 + 2", mode="eval")
    )
    with pytest.raises(SyntaxError):
        syntax.parsed("a =")


def test_two_threads_never_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most = 0, 0
    both = threading.Barrier(2)

    def read(text: str, mode: str) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        # Time for the other to come in, if it could.
        released.wait(0.2)
        inside -= 1

    released = threading.Event()
    monkeypatch.setattr(syntax.ast, "parse", read)

    def ask() -> None:
        both.wait()
        syntax.parsed("a")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
