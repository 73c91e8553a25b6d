"""The grammar files as parsers. Knows lark; with `parse.py` the only place that does."""

from __future__ import annotations

from functools import cache

from lark import Lark

GRAMMAR_PACKAGE = "lockgate.grammar"


@cache
def load(name: str, *, strict: bool = False) -> Lark:
    """The LALR(1) parser of `grammar/NAME.lark`; trees carry offsets. `strict` also refuses shift/reduce
    conflicts and colliding terminals (a test does that; it is slow and needs interegular). Raises lark's
    GrammarError for a grammar that is not sound: our bug."""
    return Lark.open_from_package(
        GRAMMAR_PACKAGE,
        f"{name}.lark",
        ("",),
        parser="lalr",
        lexer="contextual",
        strict=strict,
        propagate_positions=True,
        maybe_placeholders=True,
    )
