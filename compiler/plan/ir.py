"""The plan IR: how to decide. A graph of tests that ends in leaves.

Nodes are numbered; an edge always leads to a higher number, so a plan has no cycle and every walk ends.
Entry is node 0. A test of a field may stand only where every path has established the field's presence
(`plan.verify`), because generated code reads a register that is meaningless otherwise; `eth.type` is always
there, and those of `fields.ANSWERED` answer no where they are missing, to every test that compares ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lockgate.stdlib_bpf.classifiers import Box, Boxes
from lockgate.stdlib_bpf.fields import BY_NAME
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.flows import STACK
from lockgate.stdlib_bpf.state.fragments import DEFAULT_MODE

from ..match.ir import RuleInfo

DEFAULT = -1  # `Leaf.rule` of the default verdict


@dataclass(frozen=True)
class Between:
    """low ≤ field ≤ high, unsigned; equality when they are the same."""

    field: str
    low: int
    high: int


@dataclass(frozen=True)
class Masked:
    """(field & mask) == value."""

    field: str
    mask: int
    value: int


@dataclass(frozen=True)
class InTable:
    """The field's value is in a table of the plan."""

    field: str
    table: str


@dataclass(frozen=True)
class Tagged:
    """The field's value is in a member of `tags`. Stands only where the field has been looked up there
    (`Tag`)."""

    field: str
    tags: str
    member: int


Test = Between | Masked | InTable | Tagged


@dataclass(frozen=True)
class Branch:
    """Go to node `yes` when the test holds, else to `no`. `rule`: index of the rule it serves (for line
    info), None for tests that serve many."""

    test: Test
    yes: int
    no: int
    rule: int | None = None


@dataclass(frozen=True)
class Leaf:
    """Decide: rule index, or DEFAULT."""

    rule: int


@dataclass(frozen=True)
class Admit:
    """Take tokens from the bucket of a rule's limit: `yes` when there are enough, else `no`. Stands only
    where the packet is known to have what the limit's key is made of."""

    rule: int
    yes: int
    no: int


@dataclass(frozen=True)
class Pass:
    """A rule that lets the packet go on has matched: it leaves its counters, events and effects, then
    `next`."""

    rule: int
    next: int


@dataclass(frozen=True)
class Classify:
    """Decide by the first rule of a classifier that has a box around the packet; `no` where none has. Stands
    only where the packet is known to have every field of the classifier."""

    rule: ClassVar[None] = None  # it serves many

    classifier: str
    no: int


@dataclass(frozen=True)
class Tag:
    """Look a field up in `tags`, once: what tests ask of it from here on is kept in a register. Then `next`.
    Stands only where the packet is known to have the field."""

    rule: ClassVar[None] = None  # it serves many

    field: str
    tags: str
    next: int


Node = Branch | Leaf | Admit | Pass | Classify | Tag


def successors(node: Node) -> tuple[int, ...]:
    """Where the walk may go on."""
    match node:
        case Branch(_, yes, no, _) | Admit(_, yes, no):
            return (yes, no)
        case Pass(_, following) | Classify(_, following) | Tag(_, _, following):
            return (following,)
    return ()


@dataclass(frozen=True)
class Table:
    """A lookup structure. `kind`: a key of `stdlib_bpf.tables.ALL`; `width_bits` of its keys; `values`: what
    it holds, unless `live` names the dynamic set that fills it (then `values` is empty and `max_entries`
    is the set's). `name` is a C identifier, unique in the plan."""

    name: str
    kind: str
    width_bits: int
    values: IntervalSet
    max_entries: int
    live: str | None = None


@dataclass(frozen=True)
class Classifier:
    """Many rules that only compare fields, found at once. `kind`: a key of `stdlib_bpf.classifiers.ALL`;
    `boxes` over `fields`, in the order of their rules; ranges of a field of 128 bits are prefixes. `name` is
    a C identifier, unique in the plan among tables, too."""

    name: str
    kind: str
    fields: tuple[str, ...]
    boxes: tuple[Box, ...]

    @property
    def contents(self) -> Boxes:
        """The boxes as the block takes them."""
        return Boxes(tuple(BY_NAME[name].width_bits for name in self.fields), self.boxes)


@dataclass(frozen=True)
class Tags:
    """Sets that are looked up together: one lookup says of each member whether it holds a key. `kind`: a key
    of `stdlib_bpf.tags.ALL`; `width_bits` of its keys. `name` is a C identifier, unique in the plan among
    tables and classifiers, too."""

    name: str
    kind: str
    width_bits: int
    members: tuple[IntervalSet, ...]

    @property
    def ranges(self) -> int:
        """Ranges of all members."""
        return sum(map(len, self.members))


@dataclass(frozen=True)
class Plan:
    """One chain, planned. `devices`, `cgroups` and `selections` as in the match IR. `hot`: rules that most of
    the packets that reach them match, ascending, as a profile says. `parts`: the first node of each function
    that the plan is cut into (`plan.parts`), ascending, none where it is one. `forward`: as in the match
    IR."""

    name: str
    hook: str
    direction: str
    default: str
    rules: tuple[RuleInfo, ...]
    tables: tuple[Table, ...]
    nodes: tuple[Node, ...]
    devices: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    fragments: str = DEFAULT_MODE
    classifiers: tuple[Classifier, ...] = ()
    selections: tuple[str, ...] = ()
    hot: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    tags: tuple[Tags, ...] = ()
    forward: str = STACK

    def tagging(self, name: str) -> Tags:
        """Tags by name; KeyError when there are none."""
        for tags in self.tags:
            if tags.name == name:
                return tags
        raise KeyError(name)

    def classifier(self, name: str) -> Classifier:
        """A classifier by name; KeyError when there is none."""
        for classifier in self.classifiers:
            if classifier.name == name:
                return classifier
        raise KeyError(name)

    def table(self, name: str) -> Table:
        """A table by name; KeyError when there is none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)
