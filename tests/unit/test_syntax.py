"""Trees of Python's text, asked for by several threads at once."""

import ast

import pytest

from rlagent.base import syntax


def test_a_text_is_read_as_ast_reads_it() -> None:
    assert ast.dump(syntax.parsed("a = 1")) == ast.dump(ast.parse("a = 1"))
    assert ast.dump(syntax.parsed("1 + 2", mode="eval")) == ast.dump(
        ast.parse("1 + 2", mode="eval")
    )
    with pytest.raises(SyntaxError):
        syntax.parsed("a =")


def test_no_other_thread_can_read_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    kept_out = []

    def read(text: str, mode: str) -> None:
        kept_out.append(not syntax._LOCK.acquire(blocking=False))

    monkeypatch.setattr(syntax.ast, "parse", read)
    syntax.parsed("a")
    assert kept_out == [True]
