"""The grammar files as parsers. Knows lark; with `parse.py` and `build.py` the only place that does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from lark import Lark, Token
from lark.lexer import PatternStr

GRAMMAR_PACKAGE = "lockgate.grammar"


class _WholeWords:
    """Lets the lexer see a name everywhere, so that `fromage` is one word even where only `from` fits."""

    always_accept = ("NAME",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """Tokens as they come."""
        return stream


@cache
def load(name: str, *, strict: bool = False) -> Lark:
    """The LALR(1) parser of `grammar/NAME.lark`; trees carry offsets. `strict` also refuses shift/reduce
    conflicts and colliding terminals (a test does that; it is slow and needs interegular). The grammar must
    have a terminal NAME. Raises lark's GrammarError for a grammar that is not sound: our bug."""
    postlex: Any = _WholeWords()
    return Lark.open_from_package(
        GRAMMAR_PACKAGE,
        f"{name}.lark",
        ("",),
        parser="lalr",
        lexer="contextual",
        postlex=postlex,
        strict=strict,
        propagate_positions=True,
        maybe_placeholders=True,
    )


@cache
def keywords(name: str) -> dict[str, tuple[str, ...]]:
    """Words of a grammar by the name of their terminal."""
    found: dict[str, tuple[str, ...]] = {}
    for terminal in load(name).terminals:
        if isinstance(terminal.pattern, PatternStr) and terminal.pattern.value.isalpha():
            found[terminal.name] = (terminal.pattern.value,)
    return found
