"""The laws of the formatter: what it writes parses, means the same, keeps every comment, and is in the style.

Over random policies and over the whole language, with blanks, line ends and comments strewn between any two
words; and over every policy of the examples and the documentation, which must be in the style already.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Token

from lockgate.compiler import policy, syntax
from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.errors import pages
from lockgate.compiler.errors.runtime_pages import Page
from lockgate.compiler.source import Source, Span
from lockgate.compiler.syntax import tree as t
from lockgate.compiler.syntax.nodes import Node
from lockgate.compiler.syntax.parse import concrete
from tests import filetest
from tests.properties import strategies
from tests.unit.front import reader

ROOT = Path(__file__).parents[2]
WHOLE = (ROOT / "tests/unit/data/whole_language.gate").read_text()
COMMENT = re.compile(r'"[^"\n]*"|(#[^\n]*)')
GAPS = st.sampled_from(
    (" ", " ", " ", " ", " ", "\n", "\t", "\r\n", "\n\n\n", "  # beside\n", "\n  # own\n", "\n\n#\n\n# two\n")
)
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
POLICIES = sorted([*(ROOT / "examples").rglob("*.gate"), *(ROOT / "stdlib_bpf").rglob("*.gate")])


def formatted(text: str) -> str:
    sink = Sink()
    result = syntax.format_source(Source("p.gate", text), sink)
    assert result is not None, sink.diagnostics
    return result


def words(text: str) -> list[str]:
    """Every token, but commas behind the last item of a list."""
    root = concrete(Source("p.gate", text), Sink())
    assert root is not None
    found = [str(token) for token in leaves(root)]
    return [w for w, after in zip(found, [*found[1:], ""], strict=True) if not (w == "," and after in "})")]


def leaves(node: Node | Token) -> list[Token]:
    return [node] if isinstance(node, Token) else [leaf for c in node.children for leaf in leaves(c)]


def comments(text: str) -> list[str]:
    return [match[1].rstrip() for match in COMMENT.finditer(text) if match[1]]


def without_places(value: Any) -> Any:
    """A tree or model as plain values: no spans; an address is its text."""
    if isinstance(value, t.Address):
        return value.span.text
    if isinstance(value, Span | Source):
        return None
    if dataclasses.is_dataclass(value):
        return (
            type(value).__name__,
            *(without_places(getattr(value, f.name)) for f in dataclasses.fields(value)),
        )
    if isinstance(value, tuple | list):
        return [without_places(v) for v in value]
    if isinstance(value, dict):
        return {k: without_places(v) for k, v in value.items()}
    return value


def tree(text: str) -> Any:
    sink = Sink()
    module = syntax.parse(Source("p.gate", text), sink)
    assert sink.diagnostics == []
    return without_places(module)


def strewn(data: st.DataObject, text: str) -> str:
    """The same tokens with other gaps between them."""
    root = concrete(Source("p.gate", text), Sink())
    assert root is not None
    tokens = leaves(root)
    gaps = data.draw(st.lists(GAPS, min_size=len(tokens) + 1, max_size=len(tokens) + 1))
    return "".join(gap + token for gap, token in zip(gaps, tokens, strict=False)) + gaps[-1]


def check(text: str) -> str:
    """All laws of one text; gives what the formatter makes of it."""
    result = formatted(text)
    assert formatted(result) == result, "formatting twice is formatting once"
    assert tree(result) == tree(text)
    assert words(result) == words(text)
    assert comments(result) == comments(text)
    assert "\n\n\n" not in result and not re.search(r"[ \t\r]\n", result) and not result.startswith("\n")
    assert result == "" or (result.endswith("\n") and not result.endswith("\n\n"))
    return result


def model(text: str, files: dict[str, str]) -> Any:
    contents = {name: content.encode() for name, content in files.items()}
    unit = policy.load(Source("p.gate", text), Sink(), read_file=reader(contents))
    return without_places(dataclasses.replace(unit, inputs=()))


@given(st.data(), st.sampled_from(strategies.PLACES))
@settings(max_examples=150, deadline=None)
def test_random_policies(data: st.DataObject, place: str) -> None:
    drawn = data.draw(strategies.policies(place, max_rules=8))
    result = check(strewn(data, drawn.source))
    assert model(result, drawn.files) == model(drawn.source, drawn.files)
    assert result == formatted(result)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_the_whole_language(data: st.DataObject) -> None:
    check(strewn(data, WHOLE))


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_blanks_do_not_matter(data: st.DataObject) -> None:
    """Without comments and empty lines, there is one way to write a policy."""
    tokens = words(WHOLE)
    gaps = data.draw(
        st.lists(st.sampled_from((" ", "\n", "\t ")), min_size=len(tokens), max_size=len(tokens))
    )
    text = "".join(token + gap for token, gap in zip(tokens, gaps, strict=True))
    assert formatted(text) == formatted(" ".join(tokens))


def snippets(page: Path) -> list[str]:
    """Policies in a page, but those that show mistakes."""
    found = re.findall(r"^```gate[^\n]*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [text for text in found if syntax.format_source(Source("p.gate", text), Sink()) is not None]


@pytest.mark.parametrize("path", POLICIES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_examples_are_in_the_style(path: Path) -> None:
    assert check(path.read_text()) == path.read_text(), "run: lockgate fmt examples stdlib_bpf"


@pytest.mark.parametrize("page", [p for p in DOCUMENTS if snippets(p)], ids=lambda p: p.name)
def test_policies_in_pages_are_in_the_style(page: Path) -> None:
    for text in snippets(page):
        assert check(text) == text


WRITTEN = [p for p in pages.pages().values() if p.code[1:] < "0700" and "Instead" in pages.sections(p.text)]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda p: p.code)
def test_the_laws_hold_for_manual_pages(page: Page) -> None:
    check(pages.example(page.text, "Instead"))


def test_the_laws_hold_for_file_tests() -> None:
    texts = [
        filetest.read(path.read_text()).get("policy") or ""
        for path in (ROOT / "tests/filetests").rglob("*.ft")
    ]
    sound = [text for text in texts if syntax.format_source(Source("p.gate", text), Sink()) is not None]
    assert len(sound) > 40
    for text in sound:
        check(text)
