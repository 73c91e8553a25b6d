"""What a plan means: walk from node 0 to a leaf.

Tables are read from their built images by the block's `model`, so this also tests what will be loaded.
Dynamic sets are what the caller says they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockgate.stdlib_bpf import classifiers, tables, tags
from lockgate.stdlib_bpf.decode.frame import Facts, Malformed
from lockgate.stdlib_bpf.state.fragments import Fragment
from lockgate.stdlib_bpf.state.limits import Buckets
from lockgate.stdlib_bpf.tables import DataImage, MapImage

from ..decision import DEFAULT, Decision, Seen, before_rules
from ..match.run import NOTHING, member
from ..policy.model import Prefixes
from .ir import Admit, Between, Branch, Classify, InTable, Leaf, Masked, Pass, Plan, Tag, Tagged, Test

Looked = dict[tuple[str, str], int]  # (field, tags) → tag


@dataclass(frozen=True)
class Runner:
    """A plan with its tables built once: `run` many times."""

    plan: Plan
    _images: dict[str, MapImage | DataImage] = field(default_factory=dict)

    def run(
        self,
        facts: Seen,
        live: Mapping[str, Prefixes],
        buckets: Buckets | None = None,
        met: list[int] | None = None,
    ) -> Decision:
        """Decide one packet or socket call. `live`: contents of dynamic sets by name; absent means empty.
        `buckets`: of limits, None for full ones. `met` gets the numbers of the nodes on the way."""
        plan = self.plan
        if isinstance(facts, Malformed | Fragment):
            return before_rules(facts, plan.hook)
        buckets = Buckets() if buckets is None else buckets
        passed: list[int] = []
        looked: Looked = {}
        following = 0
        while True:
            node = plan.nodes[following]
            if met is not None:
                met.append(following)
            match node:
                case Tag(name, tagging, following):
                    looked[name, tagging] = self._tag(tagging, facts[name])
                case Branch(test, yes, no, _):
                    value = facts.get(test.field)
                    following = yes if value is not None and self._holds(test, value, live, looked) else no
                case Admit(rule, yes, no):
                    limit = plan.rules[rule].limit
                    assert limit is not None  # verified
                    following = yes if buckets.admit(rule, limit, facts) else no
                case Pass(rule, following):
                    passed.append(rule)
                case Classify(name, following):
                    found = self._classified(name, facts)
                    if found is not None:
                        return Decision(plan.rules[found].verdict, found, tuple(passed))
                case Leaf(rule):
                    verdict = plan.default if rule == DEFAULT else plan.rules[rule].verdict
                    return Decision(verdict, rule, tuple(passed))

    def _classified(self, name: str, facts: Facts) -> int | None:
        """The rule of a classifier that decides."""
        one = self.plan.classifier(name)
        block = classifiers.ALL[one.kind]
        if name not in self._images:
            self._images[name] = block.build(one.contents)
        image = self._images[name]
        assert isinstance(image, DataImage)
        found = block.model(image, one.contents.widths, [facts[field] for field in one.fields])
        return None if found is None else found[0]

    def _tag(self, name: str, value: int) -> int:
        """The tag of a value."""
        one = self.plan.tagging(name)
        block = tags.ALL[one.kind]
        if name not in self._images:
            self._images[name] = block.build(one.members, one.width_bits)
        image = self._images[name]
        assert isinstance(image, DataImage)
        return block.model(image, value, one.width_bits)

    def _holds(self, test: Test, value: int, live: Mapping[str, Prefixes], looked: Looked) -> bool:
        match test:
            case Between(_, low, high):
                return low <= value <= high
            case Masked(_, mask, wanted):
                return value & mask == wanted
            case InTable(name, table):
                return self._in_table(name, table, value, live)
            case Tagged(name, tagging, place):
                return bool(looked[name, tagging] >> place & 1)

    def _in_table(self, name: str, table_name: str, value: int, live: Mapping[str, Prefixes]) -> bool:
        table = self.plan.table(table_name)
        if table.live is not None:
            return member(name, value, live.get(table.live, NOTHING))
        block = tables.ALL[table.kind]
        if table_name not in self._images:
            self._images[table_name] = block.build(table.values, table.width_bits, table.max_entries)
        return block.model(self._images[table_name], value, table.width_bits)


def run(plan: Plan, facts: Seen, live: Mapping[str, Prefixes]) -> Decision:
    """Decide once. For many packets make one `Runner`, which keeps the tables."""
    return Runner(plan).run(facts, live)
