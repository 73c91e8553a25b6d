"""Growing a plan from its leaves upward, equal nodes once.

Children are made before their parents, so numbering nodes against the order of making gives edges that only
lead upward. Equal (test, yes, no) give one node: the tails of two families' chains are shared where they
agree.
"""

from __future__ import annotations

from .ir import DEFAULT, Branch, Leaf, Test


class Builder:
    """Nodes under construction. Methods return handles, which only this object understands."""

    def __init__(self) -> None:
        self._nodes: list[Branch | Leaf] = []
        self._leaves: dict[int, int] = {}
        self._branches: dict[tuple[Test, int, int], int] = {}

    def leaf(self, rule: int) -> int:
        """The leaf of a rule (or DEFAULT)."""
        if rule not in self._leaves:
            self._leaves[rule] = self._add(Leaf(rule))
        return self._leaves[rule]

    def branch(self, test: Test, yes: int, no: int, rule: int | None = None) -> int:
        """A test; none when both ways lead to the same node. An equal node keeps the rule it was made for."""
        if yes == no:
            return yes
        key = (test, yes, no)
        if key not in self._branches:
            self._branches[key] = self._add(Branch(test, yes, no, rule))
        return self._branches[key]

    def finish(self, entry: int) -> tuple[Branch | Leaf, ...]:
        """What is reachable from `entry`, numbered from 0: branches, last made first, then the leaves in
        order of rules, the default last."""
        reachable: set[int] = set()
        stack = [entry]
        while stack:
            at = stack.pop()
            if at not in reachable:
                reachable.add(at)
                node = self._nodes[at]
                if isinstance(node, Branch):
                    stack += (node.yes, node.no)
        order = sorted(reachable, key=self._place)
        number = {at: i for i, at in enumerate(order)}
        return tuple(
            Branch(node.test, number[node.yes], number[node.no], node.rule)
            if isinstance(node := self._nodes[at], Branch)
            else node
            for at in order
        )

    def _place(self, at: int) -> tuple[bool, bool, int]:
        node = self._nodes[at]
        if isinstance(node, Branch):
            return False, False, -at
        return True, node.rule == DEFAULT, node.rule

    def _add(self, node: Branch | Leaf) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1
