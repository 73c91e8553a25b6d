"""Which endpoints there can be: each that is one is of an imagined sort, and each sort has labels for it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler.populations import existing, imagined
from lockgate.stdlib_bpf.inventory import Entry, Inventory
from lockgate.stdlib_bpf.labels import KINDS, LabelTest, Selection, Selector

KEYS = ("app", "part", "x")
VALUES = ("a", "b", "c")
tests = st.builds(
    LabelTest,
    st.sampled_from(KEYS),
    st.lists(st.sampled_from(VALUES), max_size=2, unique=True).map(lambda v: tuple(sorted(v))),
    st.booleans(),
    st.booleans(),
)
selectors = st.builds(Selector, st.sampled_from(KINDS), st.lists(tests, max_size=3).map(tuple))
selections = st.lists(
    st.builds(Selection, st.lists(selectors, min_size=1, max_size=2).map(tuple)), min_size=1, max_size=5
)
labels = st.dictionaries(st.sampled_from(KEYS), st.sampled_from((*VALUES, "other", "z")), max_size=3)


@given(selections, st.sampled_from(KINDS[:2]), labels, labels)
@settings(deadline=None, max_examples=300)
def test_everyone_is_of_an_imagined_sort(
    chosen: list[Selection], kind: str, own: dict[str, str], spaces: dict[str, str]
) -> None:
    theirs = spaces if kind == "workload" else {}
    taken = frozenset(n for n, one in enumerate(chosen) if one.takes(kind, own, theirs))
    sorts = imagined(chosen)
    assert (taken, kind) in {(sort.selected, sort.kind) for sort in sorts}
    assert len(sorts) == len({(sort.selected, sort.kind) for sort in sorts})
    for sort in sorts:
        shown = {n for n, one in enumerate(chosen) if one.takes(sort.kind, sort.labels, sort.namespace)}
        assert shown == sort.selected


@given(selections, st.lists(labels, max_size=6))
@settings(deadline=None, max_examples=100)
def test_an_inventory_has_some_of_the_sorts(chosen: list[Selection], people: list[dict[str, str]]) -> None:
    inventory = Inventory(tuple(Entry(f"e{i}", labels=own) for i, own in enumerate(people)))
    found = existing(chosen, inventory)
    assert len(found) == len({sort.selected for sort in found})
    assert {sort.selected for sort in found} <= {sort.selected for sort in imagined(chosen)}
