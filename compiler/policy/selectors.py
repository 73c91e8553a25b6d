"""Label selectors of the tree to selections of endpoints, and the numbers that stand for these.

Knows labels; must never know which endpoints there are, nor what a rule does with a selection. A key is
looked up among the endpoint's own labels, behind `ns[` or as `ns.KEY` among those of its namespace; equal
selections share a number, however they are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lockgate.stdlib_bpf.labels import ANY, CLUSTER, NODES, SELF, WORKLOAD, LabelTest, Selection, Selector

from ..source import Span
from ..syntax import tree as t
from .model import Network, Not, Selected

SELECTED = {"cluster": CLUSTER, "nodes": NODES, "self": SELF}  # groups that the language names
NAMESPACE = "ns."  # before a key: the label is one of the endpoint's namespace


def selector(node: t.Selector, kind: str = WORKLOAD) -> Selector:
    """The endpoints of a kind that a selector takes; its tests in one order, however written."""
    tests = {_test(label) for label in node.labels}
    return Selector(kind, tuple(sorted(tests, key=lambda t: (t.of_namespace, t.key, t.negated, t.values))))


def exact_labels(node: t.Selector) -> tuple[dict[str, str], dict[str, str]] | None:
    """The labels of the endpoint that a selector describes, and those of its namespace; None where it does
    not say one value of each."""
    tests = selector(node).tests
    if any(test.negated or len(test.values) != 1 for test in tests):
        return None
    own, space = (
        {test.key: test.values[0] for test in tests if test.of_namespace is theirs}
        for theirs in (False, True)
    )
    return own, space


def _test(label: t.Label) -> LabelTest:
    key, of_namespace = label.key.text, label.of_namespace
    if isinstance(label.key, t.Name) and not of_namespace and key.startswith(NAMESPACE):
        key, of_namespace = key.removeprefix(NAMESPACE), True
    return LabelTest(key, tuple(sorted({_value(v) for v in label.values})), label.negated, of_namespace)


def _value(value: t.Name | t.Text | t.Number) -> str:
    return value.span.text if isinstance(value, t.Number) else value.text


def chosen(node: t.Net) -> tuple[Selector, ...]:
    """The selectors that an expression stands for by itself; none for any other."""
    match node:
        case t.Selector():
            return (selector(node),)
        case t.Name(_, text) if text in SELECTED:
            return SELECTED[text].selectors
    return ()


def union(selectors: Iterable[Selector]) -> Selection:
    """Whatever one of them takes, without those that another one includes as it stands."""
    found = set(selectors)
    kept = (s for s in found if not any(s != other and _includes(other, s) for other in found))
    return Selection(tuple(sorted(kept, key=lambda s: s.text)))


def _includes(wide: Selector, narrow: Selector) -> bool:
    return wide.kind in (ANY, narrow.kind) and set(wide.tests) <= set(narrow.tests)


@dataclass
class Selections:
    """Selections by number, in the order in which they are first met; `written`: where each selector that an
    author wrote is met first."""

    listed: list[Selection] = field(default_factory=list)
    written: dict[Selector, Span] = field(default_factory=dict)
    _numbers: dict[Selection, int] = field(default_factory=dict)

    def number(self, selection: Selection) -> int:
        """The number of a selection."""
        if selection not in self._numbers:
            self._numbers[selection] = len(self.listed)
            self.listed.append(selection)
        return self._numbers[selection]

    def written_at(self, node: t.Net, selectors: Iterable[Selector]) -> None:
        """Keep the place of selectors that a node of the tree stands for."""
        for each in selectors if isinstance(node, t.Selector) else ():
            self.written.setdefault(each, node.span)

    def network(self, selectors: Iterable[Selector]) -> Network:
        """The addresses of endpoints that one of the selectors takes."""
        return Selected(self.number(union(selectors)))

    def entity(self, name: str) -> Network:
        """The addresses of a group that the language names."""
        if name in SELECTED:
            return self.network(SELECTED[name].selectors)
        return Not(self.network(CLUSTER.selectors))
