"""Which endpoints there can be, as far as selections tell them apart: by labels that somebody may carry, or
by those that an inventory has.

Whether selections 3 and 5 take the same endpoint is no free choice, since both look at the same labels: of
the combinations of answers only some occur. Each comes with labels that show it. Knows selections; must never
know a rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lockgate.stdlib_bpf.inventory import Inventory, selected
from lockgate.stdlib_bpf.labels import HOST, WORKLOAD, LabelTest, Selection, Selector

from .policy.between import party_selection
from .policy.model import Party

MAX_SORTS = 4096
OTHER = "other"  # a value that no selector names
Key = tuple[bool, str]  # of_namespace, key


class TooManySorts(Exception):  # noqa: N818 - reads as what happened
    """Selectors tell apart more endpoints than anybody wants to look at."""


@dataclass(frozen=True)
class Sort:
    """Endpoints that all selections treat alike. `selected`: numbers of those that take them; `labels` and
    `namespace`: of one of them; `name`: of one that exists, "" where it is imagined."""

    selected: frozenset[int]
    kind: str
    labels: Mapping[str, str] = field(default_factory=dict, compare=False)
    namespace: Mapping[str, str] = field(default_factory=dict, compare=False)
    name: str = field(default="", compare=False)

    @property
    def text(self) -> str:
        """As tests write it: a name, or the labels."""
        if self.name:
            return self.name
        own = [LabelTest(key, (value,)) for key, value in self.labels.items()]
        theirs = [LabelTest(key, (value,), of_namespace=True) for key, value in self.namespace.items()]
        return Selector(self.kind, (*own, *theirs)).text


NOBODY = Sort(frozenset(), "", name="world")  # who has an address that no endpoint has


def imagined(selections: Sequence[Selection]) -> list[Sort]:
    """Endpoints with any labels. Raises TooManySorts."""
    return [sort for kind in (WORKLOAD, HOST) for sort in _of_kind(selections, kind)]


def existing(selections: Sequence[Selection], inventory: Inventory) -> list[Sort]:
    """Endpoints of an inventory, the first of each sort."""
    found: dict[Sort, Sort] = {}
    for entry, taken in zip(inventory.entries, selected(inventory, selections), strict=True):
        sort = Sort(taken, entry.kind, entry.labels, inventory.namespace(entry), entry.title)
        found.setdefault(sort, sort)
    return list(found)


def of_parties(selections: Sequence[Selection], parties: Iterable[Party]) -> list[Sort]:
    """The endpoints of a test, which also their own selection takes."""
    return [
        Sort(
            frozenset(
                n
                for n, one in enumerate(selections)
                if one.takes(p.kind, p.labels, p.namespace) or one == party_selection(p.name)
            ),
            p.kind,
            p.labels,
            p.namespace,
            p.name,
        )
        for p in parties
    ]


@dataclass(frozen=True)
class _Partial:
    """Labels said so far, and the selectors that they satisfy so far, by index."""

    alive: frozenset[int]
    labels: tuple[tuple[str, str], ...] = ()
    namespace: tuple[tuple[str, str], ...] = ()


def _of_kind(selections: Sequence[Selection], kind: str) -> Iterator[Sort]:
    asked = [(n, s) for n, one in enumerate(selections) for s in one.selectors if s.kind in ("any", kind)]
    partial = [_Partial(frozenset(range(len(asked))))]
    for key, values in _values([s for _, s in asked]).items():
        choices: list[str | None] = [None]
        if kind == WORKLOAD or not key[0]:  # hosts are in no namespace
            choices += [*values, _unnamed(values)]
        following: dict[frozenset[int], _Partial] = {}
        for one in partial:
            for value in choices:
                alive = frozenset(i for i in one.alive if _holds(asked[i][1], key, value))
                following.setdefault(alive, _with(one, key, value, alive))
        partial = list(following.values())
        if len(partial) > MAX_SORTS:
            raise TooManySorts
    seen: set[frozenset[int]] = set()
    for one in partial:
        taken = frozenset(asked[i][0] for i in one.alive)
        if taken not in seen:
            yield Sort(taken, kind, dict(one.labels), dict(one.namespace))
        seen.add(taken)


def _values(selectors: Iterable[Selector]) -> dict[Key, tuple[str, ...]]:
    """The values that selectors name of each key."""
    found: dict[Key, dict[str, None]] = {}
    for test in (test for s in selectors for test in s.tests):
        found.setdefault((test.of_namespace, test.key), {}).update(dict.fromkeys(test.values))
    return {key: tuple(sorted(values)) for key, values in sorted(found.items())}


def _unnamed(values: tuple[str, ...]) -> str:
    name = OTHER
    while name in values:
        name += "-" + OTHER
    return name


def _holds(selector: Selector, key: Key, value: str | None) -> bool:
    """Whether a selector can still take an endpoint with that value of a key."""
    labels = {} if value is None else {key[1]: value}
    return all(t.holds(labels) for t in selector.tests if (t.of_namespace, t.key) == key)


def _with(one: _Partial, key: Key, value: str | None, alive: frozenset[int]) -> _Partial:
    if value is None:
        return replace(one, alive=alive)
    pair = ((key[1], value),)
    if key[0]:
        return replace(one, alive=alive, namespace=one.namespace + pair)
    return replace(one, alive=alive, labels=one.labels + pair)
