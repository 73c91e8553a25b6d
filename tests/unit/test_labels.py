"""Labels, selections and the records that stand for them in maps."""

from __future__ import annotations

import dataclasses

import pytest

from lockgate.stdlib_bpf import manifest
from lockgate.stdlib_bpf.labels import ANY, CLUSTER, HOST, NODES, WORKLOAD, LabelTest, Selection, Selector
from lockgate.stdlib_bpf.state.endpoints import Record, address_key, record, words

SHOP = {"app": "shop", "part": "db"}


@pytest.mark.parametrize(
    ("test", "with_label", "with_another", "without"),
    [
        (LabelTest("app", ("shop",)), True, False, False),
        (LabelTest("app", ("shop",), negated=True), False, True, True),
        (LabelTest("app", ("blog", "shop")), True, False, False),
        (LabelTest("app"), True, True, False),
        (LabelTest("app", negated=True), False, False, True),
    ],
)
def test_operators_are_those_of_kubernetes(
    test: LabelTest, with_label: bool, with_another: bool, without: bool
) -> None:
    answers = [test.holds(labels) for labels in (SHOP, {"app": "other"}, {})]
    assert answers == [with_label, with_another, without]


def test_a_selector_asks_kind_labels_and_namespace() -> None:
    selector = Selector(WORKLOAD, (LabelTest("app", ("shop",)), LabelTest("team", ("a",), of_namespace=True)))
    assert selector.takes(WORKLOAD, SHOP, {"team": "a"})
    assert not selector.takes(WORKLOAD, SHOP, {"team": "b"})
    assert not selector.takes(WORKLOAD, {"team": "a"}, {"app": "shop", "team": "a"})
    assert not selector.takes(HOST, SHOP, {"team": "a"})
    assert Selector(ANY).takes(HOST, {}, {})
    assert Selection((selector, Selector(HOST))).takes(HOST, {}, {})


def test_entities() -> None:
    kinds = (WORKLOAD, HOST)
    assert [CLUSTER.takes(kind, {}, {}) for kind in kinds] == [True, True]
    assert [NODES.takes(kind, {}, {}) for kind in kinds] == [False, True]


def test_text_is_what_a_policy_says() -> None:
    tests = (
        LabelTest("app", ("shop",)),
        LabelTest("tier", ("a", "b"), negated=True),
        LabelTest("canary", negated=True),
        LabelTest("app.kubernetes.io/name", ("2x",)),
        LabelTest("team", ("sre",), of_namespace=True),
    )
    wanted = '[app=shop, tier not in { a, b }, lacks canary, "app.kubernetes.io/name"="2x"]ns[team=sre]'
    assert Selector(WORKLOAD, tests).text == wanted
    assert NODES.text == "host []"


def test_a_manifest_keeps_selections() -> None:
    selections = (Selection((Selector(HOST, (LabelTest("role", ("node",)),)), Selector(ANY))), CLUSTER)
    chain = manifest.Chain("e", "e", "endpoint", "", "allow", (), "e.o", (), (), (), selections=selections)
    whole = manifest.Manifest("e", "0", (), (), (chain,), ())
    assert manifest.from_json(manifest.to_json(whole)) == whole
    broken = manifest.to_json(whole).replace('"key": "role"', '"key": 7')
    with pytest.raises(manifest.ManifestError):
        manifest.from_json(broken)


@pytest.mark.parametrize(("selections", "count"), [(0, 1), (64, 1), (65, 2), (4096, 64)])
def test_bits_are_whole_words(selections: int, count: int) -> None:
    assert words(selections) == count
    assert record(selections).size == 16 + 8 * count


def test_a_record_lies_as_its_layout_says() -> None:
    one = Record(7, HOST, ifindex=3, selected=frozenset({0, 65}))
    raw = one.pack(66)
    fields = record(66).unpack(raw)
    assert (fields["endpoint"], fields["ifindex"], fields["kind"]) == (7, 3, 1)
    assert fields["selected"] == (1 | 1 << 65).to_bytes(16, "little")
    assert dataclasses.replace(one, selected=frozenset()).pack(66)[16:] == bytes(16)


def test_an_address_is_in_network_order() -> None:
    assert address_key((4, 0x0A000001)) == bytes.fromhex("0a000001") + bytes(12) + b"\x04\0\0\0"
    assert address_key((6, 1)) == bytes(15) + b"\x01" + b"\x06\0\0\0"
