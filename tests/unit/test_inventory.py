"""Inventories: what is read, what is refused and where, and the records that come of one."""

from __future__ import annotations

import json

import pytest

from lockgate.stdlib_bpf.inventory import Entry, Inventory, Port, numbered, records, selected
from lockgate.stdlib_bpf.inventory_text import BadInventory, read
from lockgate.stdlib_bpf.labels import CLUSTER, HOST, NODES, WORKLOAD, LabelTest, Selection, Selector
from lockgate.stdlib_bpf.state.endpoints import THIS_HOST

TEXT = """
namespaces:
  shop: { team: red }
endpoints:
  - name: db-0
    namespace: shop
    labels: { app: shop, part: db, replica: 2, leader: true }
    addresses: [ 10.244.1.7, "fd00::7" ]
    interface: red/veth7
    cgroup: /pods/db-0/
    ports: { pg: 5432, dns: { udp: 53 } }
  - { name: me, kind: host, labels: { role: node }, addresses: [ 192.0.2.1 ], interfaces: [ eth0, eth1 ] }
  - { name: other, kind: host, addresses: [ 192.0.2.2 ] }
"""
DB = Entry(
    "db-0",
    WORKLOAD,
    "shop",
    {"app": "shop", "part": "db", "replica": "2", "leader": "true"},
    ((4, 0x0AF40107), (6, 0xFD00 << 112 | 7)),
    ("red/veth7",),
    (Port("pg", "tcp", 5432), Port("dns", "udp", 53)),
    "/pods/db-0",
)


def test_yaml_and_json_say_the_same() -> None:
    import yaml

    found = read(TEXT)
    assert found.entries[0] == DB
    assert found.namespace(DB) == {"team": "red", "name": "shop"}
    assert read(json.dumps(yaml.safe_load(TEXT))) == found
    assert [entry.title for entry in found.entries] == ["shop/db-0", "me", "other"]


def test_records_are_by_address_and_by_interface() -> None:
    inventory = read(TEXT)
    shop = Selection((Selector(WORKLOAD, (LabelTest("team", ("red",), of_namespace=True),)),))
    found = records(inventory, (CLUSTER, NODES, shop), {"red/veth7": 7, "eth0": 2, "eth1": 3}.__getitem__, 9)
    db, me = found.interfaces[7], found.interfaces[THIS_HOST]
    assert found.version == 9 and set(found.interfaces) == {7, THIS_HOST}
    assert (db.selected, db.ifindex, db.kind) == ({0, 2}, 7, WORKLOAD)
    assert (me.selected, me.ifindex, me.kind) == ({0, 1}, 0, HOST)
    assert [found.addresses[address] for address in DB.addresses] == [db, db]
    assert found.addresses[4, 0xC0000202].selected == {0, 1}
    assert len({r.endpoint for r in found.addresses.values()}) == 3


def test_numbers_stay_when_others_come_and_go() -> None:
    before = numbered(f"ns/pod-{i}" for i in range(2000))
    after = numbered(f"ns/pod-{i}" for i in range(1000, 3000))
    assert all(before[f"ns/pod-{i}"] == after[f"ns/pod-{i}"] for i in range(1000, 2000))
    assert len(set(before.values())) == 2000


def test_equal_labels_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(Selection, "takes", lambda self, *_: asked.append(self) or True)
    inventory = Inventory(tuple(Entry(f"e{i}", labels={"app": str(i % 3)}) for i in range(50)))
    assert selected(inventory, (CLUSTER,)) == [frozenset({0})] * 50
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("text", "path", "line", "reason"),
    [
        ("", "", 0, "must be a mapping"),
        ("endpoints: 3", "endpoints", 1, "must be a list"),
        ("{}", "endpoints", 0, "must be a list"),
        ("a: [", "", 2, "is not YAML"),
        ('{"a": ', "", 1, "is not JSON"),
        ("endpoints: []\nendpoints: []", "", 2, "has the key `endpoints` twice"),
        ('{"endpoints": [], "endpoints": []}', "", 0, "has the key `endpoints` twice"),
        ("endpoints: &a [ *a ]", "", 1, "refers to itself"),
        ("endpoints:\n- labels: {}", "endpoints[0].name", 2, "must be there"),
        ("endpoints:\n- name: a\n  lables: {}", "endpoints[0]", 3, "has no key `lables`"),
        ("endpoints:\n- {name: a, kind: pod}", "endpoints[0].kind", 2, "must be `workload` or `host`"),
        ("endpoints:\n- {name: a, labels: {b: [1]}}", "endpoints[0].labels.b", 2, "must be a text"),
        (
            "endpoints:\n- name: a\n  addresses:\n  - 10.0.0.300",
            "endpoints[0].addresses[0]",
            4,
            "`10.0.0.300` is not",
        ),
        ("endpoints:\n- {name: a, addresses: [10.0.0.0/8]}", "endpoints[0].addresses[0]", 2, "is a network"),
        ("endpoints:\n- {name: a, addresses: ['::ffff:1.2.3.4']}", "endpoints[0].addresses[0]", 2, "mapped"),
        (
            "endpoints:\n- {name: a, addresses: ['::1', '::1']}",
            "endpoints[0].addresses",
            2,
            "an address twice",
        ),
        (
            "endpoints:\n- {name: a, addresses: ['::1']}\n- {name: b, addresses: ['::1']}",
            "endpoints[1].addresses",
            3,
            "of `a`",
        ),
        ("endpoints:\n- {name: a}\n- {name: a}", "endpoints[1]", 3, "called like another endpoint `a`"),
        (
            "endpoints:\n- {name: a, interface: x}\n- {name: b, interface: x}",
            "endpoints[1]",
            3,
            "interface `x` of `a`",
        ),
        ("endpoints:\n- {name: a, interfaces: [x, y]}", "endpoints[0]", 2, "has several interfaces"),
        ("endpoints:\n- {name: a, interface: x, interfaces: [y]}", "endpoints[0]", 2, "has both"),
        (
            "endpoints:\n- {name: a, kind: host, interfaces: [x]}\n- {name: b, kind: host, interfaces: [y]}",
            "endpoints[1]",
            3,
            "has interfaces, and so has `a`",
        ),
        ("endpoints:\n- {name: a, kind: host, namespace: n}", "endpoints[0].namespace", 2, "in no namespace"),
        ("endpoints:\n- {name: a, ports: {x: 0}}", "endpoints[0].ports.x", 2, "is no port"),
        ("endpoints:\n- {name: a, ports: {x: {icmp: 1}}}", "endpoints[0].ports.x", 2, "is no port"),
        ("endpoints:\n- {name: a, cgroup: x}", "endpoints[0].cgroup", 2, "is no cgroup"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, path: str, line: int, reason: str) -> None:
    with pytest.raises(BadInventory) as refused:
        read(text)
    told = [m for m in refused.value.mistakes if reason in m.reason]
    assert told, refused.value.mistakes
    assert (told[0].path, told[0].line) == (path, line)


def test_a_full_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.stdlib_bpf.inventory_text.MAX_ADDRESSES", 1)
    with pytest.raises(BadInventory, match="has 2 addresses, and the table holds 1"):
        read("endpoints: [ {name: a, addresses: [10.0.0.1, 10.0.0.2]} ]")
