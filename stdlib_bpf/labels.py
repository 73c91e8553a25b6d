"""Labels and selectors: which endpoints a policy speaks of.

Compiler and runtime meet here: the compiler writes selections into the manifest, the runtime works out which
endpoints of an inventory each of them takes. Knows words; must never know addresses or packets. Operators as
in Kubernetes (In, NotIn, Exists, DoesNotExist): `!=` and `not in` take endpoints without the key, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WORKLOAD, HOST, ANY = "workload", "host", "any"
KINDS = (WORKLOAD, HOST, ANY)
NAME = "name"  # as a key of a namespace's labels: the namespace's own name
HERE = {"self": "here"}  # what this host has in the place of a namespace's labels; hosts are in no namespace


@dataclass(frozen=True)
class LabelTest:
    """A test of one label. `values`: the label is there and has one of them; empty: it is there. `negated`
    turns the answer round. `of_namespace`: the label is one of the endpoint's namespace."""

    key: str
    values: tuple[str, ...] = ()
    negated: bool = False
    of_namespace: bool = False

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels satisfy the test."""
        value = labels.get(self.key)
        return (value is not None and (not self.values or value in self.values)) != self.negated

    @property
    def text(self) -> str:
        """As policies write it."""
        key = _word(self.key)
        if not self.values:
            return f"{'lacks' if self.negated else 'has'} {key}"
        if len(self.values) == 1:
            return f"{key}{'!=' if self.negated else '='}{_word(self.values[0])}"
        return f"{key} {'not in' if self.negated else 'in'} {{ {', '.join(map(_word, self.values))} }}"


@dataclass(frozen=True)
class Selector:
    """Endpoints of a kind (of KINDS) that satisfy every test."""

    kind: str = WORKLOAD
    tests: tuple[LabelTest, ...] = ()

    def takes(self, kind: str, labels: Mapping[str, str], namespace: Mapping[str, str]) -> bool:
        """Whether it takes an endpoint with these labels, in a namespace with those (its name is the label
        NAME)."""
        return self.kind in (ANY, kind) and all(
            test.holds(namespace if test.of_namespace else labels) for test in self.tests
        )

    @property
    def text(self) -> str:
        """As policies write it, with the kind in front where it is not a workload's."""
        if self == SELF.selectors[0]:
            return "self"
        own = ", ".join(t.text for t in self.tests if not t.of_namespace)
        theirs = ", ".join(t.text for t in self.tests if t.of_namespace)
        prefix = "" if self.kind == WORKLOAD else f"{self.kind} "
        return f"{prefix}[{own}]" + (f"ns[{theirs}]" if theirs else "")


@dataclass(frozen=True)
class Selection:
    """Endpoints that one of several selectors takes. Its place in a chain's list is its number: bit `number`
    of an endpoint's record says whether it is taken (`state.endpoints`)."""

    selectors: tuple[Selector, ...]

    def takes(self, kind: str, labels: Mapping[str, str], namespace: Mapping[str, str]) -> bool:
        """As `Selector.takes`."""
        return any(selector.takes(kind, labels, namespace) for selector in self.selectors)

    @property
    def text(self) -> str:
        """As policies write it."""
        return " or ".join(selector.text for selector in self.selectors)


CLUSTER = Selection((Selector(ANY),))
NODES = Selection((Selector(HOST),))
SELF = Selection((Selector(HOST, (LabelTest("self", ("here",), of_namespace=True),)),))


def _word(text: str) -> str:
    """A key or value, in quotes where the language wants some."""
    plain = text.replace("-", "").replace("_", "").replace(".", "").isalnum() and text.isascii()
    return text if plain and not text[0].isdigit() else f'"{text}"'
