"""The grammar files as parsers. Knows lark; with `parse.py` and `build.py` the only place that does.

Building a parser from a grammar takes half a second, so the tables of the policy language are kept in a
generated module, written by

    python -m lockgate.compiler.syntax.tables

It says which grammar text and which version of lark it is of; with any other the parser is built anew.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.resources
import io
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import lark
from lark import Lark, Token
from lark.lexer import PatternStr

from . import nodes

GRAMMAR_PACKAGE = "lockgate.grammar"


class _WholeWords:
    """Lets the lexer see a name everywhere, so that `fromage` is one word even where only `from` fits."""

    always_accept = ("NAME",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """Tokens as they come."""
        return stream


@cache
def load(name: str) -> Lark:
    """The LALR(1) parser of `grammar/NAME.lark`, which must have a terminal NAME; trees carry offsets."""
    return _kept(name) or build(name)


def build(name: str, *, strict: bool = False) -> Lark:
    """A parser from the grammar's text. `strict` also refuses shift/reduce conflicts and colliding terminals
    (a test does that; it needs interegular). Raises lark's GrammarError for a grammar that is not sound."""
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
def callbacks(name: str, *, whole: bool = False) -> dict[Any, Callable[[list[Any]], Any]]:
    """The functions that make light nodes instead of lark's trees; `whole`: with every token."""
    return nodes.callbacks(load(name).rules, whole=whole)


@cache
def keywords(name: str) -> dict[str, tuple[str, ...]]:
    """Words of a grammar by the name of their terminal."""
    found: dict[str, tuple[str, ...]] = {}
    for terminal in load(name).terminals:
        if isinstance(terminal.pattern, PatternStr) and terminal.pattern.value.isalpha():
            found[terminal.name] = (terminal.pattern.value,)
    return found


# ---- kept tables ----


def identity(name: str) -> str:
    """What kept tables depend on: the version of lark, and the grammar's texts."""
    files = importlib.resources.files(GRAMMAR_PACKAGE)
    text = files.joinpath("lexical.lark").read_text("utf-8") + files.joinpath(f"{name}.lark").read_text(
        "utf-8"
    )
    return f"{lark.__version__} {hashlib.sha256(text.encode()).hexdigest()}"


def _kept(name: str) -> Lark | None:
    try:
        module = importlib.import_module(f"{GRAMMAR_PACKAGE}.{name}_tables")
    except ModuleNotFoundError:
        return None
    if identity(name) != module.IDENTITY:
        return None
    data = zlib.decompress(base64.b85decode("".join(module.TABLES.split())))
    return Lark.load(io.BytesIO(data))
