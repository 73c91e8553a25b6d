"""Calico's selector expressions, as alternatives of label tests.

`a == "b" && !(has(c) || d in {"e"})` becomes a list of conjunctions, of which one must hold; negation goes
down to the tests, which are true or false of every set of labels. Source: the API reference of Calico,
Selectors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import product

from lockgate.stdlib_bpf.labels import LabelTest

from ..refusals import BadValueError, NotSayableError

_TOKEN = re.compile(
    r"\s*(?:(?P<text>\"[^\"]*\"|'[^']*')|(?P<op>&&|\|\||==|!=|[!(){},])|(?P<word>[A-Za-z0-9_./-]+))"
)
MOST = 64  # alternatives
Tests = tuple[LabelTest, ...]
NEVER: list[Tests] = []
ALWAYS: list[Tests] = [()]


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.tokens, at = text, list[tuple[str, str]](), 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise BadValueError(text, f"is no selector: `{text[at:].strip()[:20]}` is not understood")
            kind = found.lastgroup or ""
            self.tokens.append((kind, found[kind]))
            at = found.end()
        self.at = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("", "")

    def take(self, *wanted: str) -> str:
        kind, value = self.peek()
        if wanted and value not in wanted:
            raise BadValueError(self.text, f"is no selector: `{wanted[0]}` is missing")
        self.at += 1
        return value if kind != "text" else value[1:-1]

    def value(self) -> str:
        """A text in quotes."""
        if self.peek()[0] != "text":
            raise BadValueError(self.text, "is no selector: a text in quotes is missing")
        return self.take()

    def whole(self) -> list[Tests]:
        found = self.either(False)
        if self.at < len(self.tokens):
            raise BadValueError(self.text, f"is no selector: `{self.peek()[1]}` is too much")
        return found

    def either(self, negated: bool) -> list[Tests]:
        parts = [self.both(negated)]
        while self.peek()[1] == "||":
            self.take()
            parts.append(self.both(negated))
        return _all(parts) if negated else [one for part in parts for one in part]

    def both(self, negated: bool) -> list[Tests]:
        parts = [self.single(negated)]
        while self.peek()[1] == "&&":
            self.take()
            parts.append(self.single(negated))
        return [one for part in parts for one in part] if negated else _all(parts)

    def single(self, negated: bool) -> list[Tests]:
        kind, value = self.peek()
        if (kind, value) == ("op", "!"):
            self.take()
            return self.single(not negated)
        if (kind, value) == ("op", "("):
            self.take()
            found = self.either(negated)
            self.take(")")
            return found
        if kind != "word":
            raise BadValueError(self.text, "is no selector: a label is missing")
        key = self.take()
        if key in ("all", "global", "has") and self.peek()[1] == "(":
            self.take()
            if key == "has":
                key = self.take()
                self.take(")")
                return [(LabelTest(key, (), negated),)]
            self.take(")")
            if key == "global":
                raise NotSayableError("global()", "it stands alone, as a namespaceSelector")
            return NEVER if negated else ALWAYS
        return [(self.test(key, negated),)]

    def test(self, key: str, negated: bool) -> LabelTest:
        word = self.take()
        if word in ("==", "!="):
            return LabelTest(key, (self.value(),), (word == "!=") != negated)
        if word == "not":
            negated = not negated
            word = self.take("in")
        if word != "in":
            raise NotSayableError(f"{key} {word}", "labels are compared as a whole")
        self.take("{")
        values: list[str] = []
        while self.peek()[1] != "}":
            values.append(self.value())
            if self.peek()[1] == ",":
                self.take()
            elif self.peek()[1] != "}":
                raise BadValueError(self.text, "is no selector: `}` is missing")
        self.take("}")
        if not values:
            raise BadValueError(self.text, "is no selector: a set is empty")
        return LabelTest(key, tuple(sorted(set(values))), negated)


def _all(parts: list[list[Tests]]) -> list[Tests]:
    """One alternative of each part."""
    found = [tuple(dict.fromkeys(t for tests in one for t in tests)) for one in product(*parts)]
    if len(found) > MOST:
        raise NotSayableError("a selector", f"it has more than {MOST} alternatives")
    return found


def parse(text: str | None) -> list[Tests]:
    """The alternatives of an expression; of an empty one everything. BadValueError, NotSayableError."""
    return _Parser(text).whole() if text and text.strip() else list(ALWAYS)


def holds(alternatives: list[Tests], labels: Mapping[str, str]) -> bool:
    """Whether labels satisfy an expression."""
    return any(all(test.holds(labels) for test in tests) for tests in alternatives)


def of_namespace(alternatives: list[Tests], names: frozenset[str], name: str) -> list[Tests]:
    """The same of a namespace's labels; `names`: keys that stand for its own name, `name` that key here."""
    return [
        tuple(replace(test, key=name if test.key in names else test.key, of_namespace=True) for test in tests)
        for tests in alternatives
    ]
