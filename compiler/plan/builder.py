"""Growing a plan from its leaves upward, equal nodes once.

Children are made before their parents, so numbering nodes against the order of making gives edges that only
lead upward. Equal (test, yes, no) give one node: the tails of two families' chains are shared where they
agree.
"""

from __future__ import annotations

from dataclasses import replace

from .ir import DEFAULT, Admit, Branch, Classify, Leaf, Node, Pass, Tag, Test, successors


class Builder:
    """Nodes under construction. Methods return handles, which only this object understands."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._branches: dict[tuple[Test, int, int], int] = {}
        self._others: dict[Node, int] = {}

    def leaf(self, rule: int) -> int:
        """The leaf of a rule (or DEFAULT)."""
        return self._once(Leaf(rule))

    def admit(self, rule: int, yes: int, no: int) -> int:
        """The question whether a rule's limit admits the packet."""
        return self._once(Admit(rule, yes, no))

    def passing(self, rule: int, following: int) -> int:
        """What a rule does that lets the packet go on."""
        return self._once(Pass(rule, following))

    def classify(self, classifier: str, no: int) -> int:
        """The question which rule of a classifier decides."""
        return self._once(Classify(classifier, no))

    def tag(self, field: str, tags: str, following: int) -> int:
        """The look-up of a field in tags."""
        return self._once(Tag(field, tags, following))

    def branch(self, test: Test, yes: int, no: int, rule: int | None = None) -> int:
        """A test; none when both ways lead to the same node. An equal node keeps the rule it was made for."""
        if yes == no:
            return yes
        key = (test, yes, no)
        if key not in self._branches:
            self._branches[key] = self._add(Branch(test, yes, no, rule))
        return self._branches[key]

    def finish(self, entry: int) -> tuple[Node, ...]:
        """What is reachable from `entry`, numbered from 0: branches, last made first, then the leaves in
        order of rules, the default last."""
        reachable: set[int] = set()
        stack = [entry]
        while stack:
            at = stack.pop()
            if at not in reachable:
                reachable.add(at)
                stack += successors(self._nodes[at])
        order = sorted(reachable, key=self._place)
        number = {at: i for i, at in enumerate(order)}
        return tuple(_renumbered(self._nodes[at], number) for at in order)

    def _place(self, at: int) -> tuple[bool, bool, int]:
        node = self._nodes[at]
        if isinstance(node, Leaf):
            return True, node.rule == DEFAULT, node.rule
        return False, False, -at

    def _once(self, node: Node) -> int:
        if node not in self._others:
            self._others[node] = self._add(node)
        return self._others[node]

    def _add(self, node: Node) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1


def _renumbered(node: Node, number: dict[int, int]) -> Node:
    match node:
        case Branch() | Admit():
            return replace(node, yes=number[node.yes], no=number[node.no])
        case Pass() | Tag():
            return replace(node, next=number[node.next])
        case Classify():
            return replace(node, no=number[node.no])
    return node
