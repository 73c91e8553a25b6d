"""The TextMate grammar colours every word of the language as what the parser takes it for."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import pytest
from lark import Token
from textmate_grammar.parsers.base import LanguageParser

from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.lsp import textmate
from lockgate.compiler.source import Source
from lockgate.compiler.syntax import grammars, words
from lockgate.compiler.syntax.nodes import Node
from lockgate.compiler.syntax.parse import concrete

ROOT = Path(__file__).parents[2]
SAMPLES = [ROOT / "tests/unit/data/whole_language.gate", *sorted((ROOT / "examples").rglob("*.gate"))]
SCOPES = {
    "ACTION": ("keyword.control.action",),
    "STRING": ("string.quoted",),
    "ADDRESS": ("constant.numeric.address",),
    "DATE": ("constant.numeric.date",),
    "RATE": ("constant.numeric",),
    "DURATION": ("constant.numeric",),
    "INT": ("constant.numeric",),
    "HEX": ("constant.numeric",),
    "RULE_NAME": ("entity.name.function",),
    "NAME": (
        "variable",
        "entity.name",
        "support",
        "keyword.other",
        "storage.type",
    ),  # a name may be a keyword elsewhere
}
KEYWORD = ("keyword", "storage.type")


def coloured(text: str) -> dict[tuple[int, int], tuple[str, str]]:
    """(line, column) of each piece → its text and innermost scope."""
    element = LanguageParser(textmate.grammar()).parse_string(text)
    assert element is not None
    return {place: (piece, scopes[-1]) for place, piece, scopes in element.flatten()}


def tokens(node: Node | Token) -> list[Token]:
    return [node] if isinstance(node, Token) else [token for c in node.children for token in tokens(c)]


def test_the_file_is_of_todays_words() -> None:
    kept = (importlib.resources.files("lockgate.grammar") / textmate.FILE).read_text("utf-8")
    assert kept == textmate.text(), "run: make docs"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.parent.name)
def test_tokens_have_the_colours_of_their_kind(path: Path) -> None:
    source = Source(path.name, path.read_text())
    root = concrete(source, Sink())
    assert root is not None
    found = coloured(source.text)
    keywords = set(grammars.keywords("policy")) | set(words.MANY_WORDS) | {"FLOW_STATE"}
    for token in tokens(root):
        line, column = source.position(token.start_pos or 0)
        wanted = SCOPES.get(token.type) or (KEYWORD if token.type in keywords else None)
        if wanted is None or (token.type == "NAME" and "." in token):
            continue
        piece, scope = found[(line - 1, column - 1)]
        assert piece == token, (token, piece)
        assert scope.startswith(wanted), (token, scope)


def test_every_keyword_is_one() -> None:
    for found in (*grammars.keywords("policy").values(), *words.MANY_WORDS.values()):
        for word in found:
            ((piece, scope),) = coloured(word).values()
            assert piece == word and scope.startswith(KEYWORD), (word, scope)


def test_comments_and_strings_hide_what_is_in_them() -> None:
    found = coloured('owner "drop # 1" # drop "x"')
    assert [scope.split(".")[0] for _, scope in found.values() if scope != "source.lockgate"] == [
        "keyword",
        "string",
        "comment",
    ]
