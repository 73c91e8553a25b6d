"""`--target nftables` in the law: random policies, built and loaded, judge the same frames as the reference.

What nftables cannot say is refused by rule, and that rule is left out. Frames for which the table of
exceptions has a row are not compared; each such row is shown to be true.
"""

from __future__ import annotations

import random
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lockgate.compiler import packet
from lockgate.compiler.nftables.exceptions import EXCEPTIONS
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import Frame
from tests import engines, netns
from tests.properties.packets import Maker
from tests.properties.strategies import Text, policies
from tests.targets import built

from .nftstage import FAR, FRAMES, PACKETS, SEND, asked_of, compared, mine, nft_, sent_as, stage, theirs, told

pytestmark = pytest.mark.kernel

POLICIES_A_TURN, FIELDS_A_TURN = 4, 4
PLACES = ("xdp", "tc ingress", "tc egress")
# Fields that rules cannot ask for at all, or not at egress.
REFUSED = {"ip6.auth", "ip6.mobility"}
REFUSED_AT = {"tc egress": {"meta.iif"}}


@pytest.fixture(scope="module")
def where() -> Iterator[str]:
    with stage() as name:
        yield name


@pytest.mark.parametrize("place", PLACES)
def test_a_policy_means_the_same_at_nftables(where: str, place: str) -> None:
    check(where, place, POLICIES_A_TURN, anew=False)


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", PLACES)
def test_many_more_policies_mean_the_same_at_nftables(where: str, place: str) -> None:
    check(where, place, POLICIES_A_TURN * 8, anew=True)


def check(where: str, place: str, count: int, anew: bool) -> None:
    """Judge `count` policies for each few fields, other ones at each run if `anew`."""
    tally, tested = Counter[str](), set[str]()
    rows = [row for row in fields.ALL if place.partition(" ")[0] in row.hooks]
    for at in range(0, len(rows), FIELDS_A_TURN):
        hold(where, place, rows[at : at + FIELDS_A_TURN], count, anew, tally, tested)
    print(place, dict(tally))
    assert {row.name for row in rows} - tested <= REFUSED | REFUSED_AT.get(place, set())
    assert tally["frames"] >= tally["policies"] * PACKETS // 3
    assert tally["by rules"] >= tally["frames"] // 10
    assert min(tally[option] for option in ("limit", "count", "log", "effects", "passing")) >= 3


def hold(
    where: str,
    place: str,
    about: Sequence[fields.Field],
    count: int,
    anew: bool,
    tally: Counter[str],
    tested: set[str],
) -> None:
    """Judge policies that surely ask for these fields."""

    @(seed(zlib.crc32(f"{place} {about[0].name}".encode())) if not anew else lambda function: function)
    @given(policies(place, about=about), st.integers(0, 2**32 - 1))
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    def law(text: Text, number: int) -> None:
        text = replace(text, source=sayable(text.source))
        one = built(text, "nftables")
        if one is None:
            tally["nothing left"] += 1
            return
        frames = compared(one.chain, number, text)
        wanted, got = mine(one, frames, text), theirs(where, one, frames, text)
        rules = one.chain.rules
        tally["policies"] += 1
        tally["rules"] += len(rules)
        tally["refused"] += one.refused
        tally["frames"] += len(frames)
        tally["by rules"] += sum(n for name, n in wanted.items() if name.startswith("rule"))
        tally["limit"] += any(rule.limit for rule in rules)
        tally["count"] += any(rule.count for rule in rules)
        tally["log"] += any(rule.sample for rule in rules)
        tally["effects"] += any(rule.effects.mark or rule.effects.into for rule in rules)
        tally["passing"] += any(rule.verdict in ("continue", "mirror") for rule in rules)
        tested.update(row.name for row in about if row.name in one.source)
        assert got == wanted, told(where, one, frames, text)

    law()


def sayable(source: str) -> str:
    """A policy with less that is refused, and rates so slow that no token comes while frames are sent."""
    source = source.replace("fragments track", "fragments drop")
    source = re.sub(r"limit (\d+)(?:/[sm]|pps|k?bps)", r"limit \1/h", source)
    return re.sub(r"\breject\b", "drop", re.sub(r" with [a-z]+\b", "", source))


# ---- where the two differ on purpose ----

PROBE = """
policy p at xdp on "eth0" {
  fragments first-only
  default pass
  drop tcp to port 80
  drop udp
  drop protocol 47
  drop if ip.fragment == later
  drop ip6
}
"""


def test_the_table_speaks_of_these() -> None:
    assert FRAMES.keys() <= EXCEPTIONS.keys()


@pytest.mark.parametrize("name", FRAMES)
def test_a_difference_is_still_one(where: str, name: str) -> None:
    """Frames of that row: nftables counts them otherwise than the reference."""
    text = Text(PROBE, "xdp")
    one = built(text, "nftables")
    assert one is not None and one.refused == 0
    maker = Maker(one.chain, {}, random.Random(1))
    frames = [sent_as(one.chain, maker.frame()) for _ in range(6000)]
    frames = [frame for frame in frames if len(frame.data) >= 15]
    chosen = [f for f in frames if FRAMES[name](one.chain, asked_of(one.chain, f.data, f.mark))][:200]
    assert len(chosen) >= 5
    got = theirs(where, one, chosen, text)
    assert got != mine(one, chosen, text)
    if name in ("tags", "authentication"):
        assert got["unread unread"] >= len(chosen) // 2, "what cannot be read is dropped"


# ---- verdict maps ----

PORTS = "\n".join(f"  {v} tcp to port {p}" for v, p in zip(("drop", "pass") * 4, range(78, 86), strict=True))
HOSTS = "\n".join(f"  r{i}: drop udp from 10.0.0.{i} count hits" for i in range(8))
MAPS = {
    "ports, the first of each": PORTS + "\n  drop tcp to port 80-90\n  drop tcp to port 1-100",
    "addresses, some within others": HOSTS + "\n  pass udp from 10.0.0.0/29\n  drop udp from 10.0.0.0/8",
    "protocols": "\n".join(f"  drop protocol {n}" for n in (47, 17, 253, 132, 50)),
    "types": "\n".join(f"  drop icmp type {n}" for n in (0, 8, 3, 11)),
    "not alike": "\n".join(
        f"  drop udp from 10.0.0.{i} to port {n}" for i, n in enumerate((79, 80, 81, 22, 53))
    ),
    "types of ICMPv6": "\n".join(f"  drop icmp6 type {n}" for n in (1, 128, 129, 135)),
}


@pytest.mark.parametrize("name", MAPS)
def test_rules_alike_are_one_map_and_mean_the_same(where: str, name: str) -> None:
    text = Text(
        f'policy p at xdp on "eth0" {{\n default pass\n fragments first-only\n{MAPS[name]}\n}}', "xdp"
    )
    one = built(text, "nftables")
    assert one is not None and one.refused == 0
    assert (" vmap {" in one.text) == (name != "not alike")
    frames = compared(one.chain, 1, text)
    wanted, got = mine(one, frames, text), theirs(where, one, frames, text)
    assert got == wanted, told(where, one, frames, text)
    assert sum(n for label, n in wanted.items() if label.startswith("rule")) >= 3


# ---- what becomes of packets ----

EFFECTS = """
policy p at tc on "eth0" {
  default drop
  ingress {
    mirror icmp into { "eth1", "ids0" }
    redirect udp to port 53 into "eth2" dscp ef
    continue ip6 dscp cs1
    redirect ip6 into "eth1"
  }
}
"""
CATCH = """
import socket, sys
sockets = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in sys.argv[1:]]
for s, device in zip(sockets, sys.argv[1:]):
    s.bind((device, 0))
    s.settimeout(1)
print("ready", flush=True)
for s, device in zip(sockets, sys.argv[1:]):
    while True:
        try:
            print(device, s.recv(9000).hex(), flush=True)
        except TimeoutError:
            break
"""


def test_effects_reach_the_packets(where: str) -> None:
    """Copies, devices and DSCP by the reference, from what arrives at the devices' far ends."""
    text = Text(EFFECTS, "tc ingress")
    one = built(text, "nftables")
    assert one is not None and one.refused == 0
    lines = ("icmp 10.0.0.1 > 10.0.0.2 type 8", "udp 10.0.0.1:4000 > 10.0.0.2:53", "tcp [::1]:5 > [::2]:80")
    packets = tuple(Frame(frame.data) for frame in map(packet.parse, lines) if isinstance(frame, Frame))
    case = engines.Case(text.source, packets)
    theirs(where, one, [], text)
    devices = [f"{device}-far" for device in ("eth1", "eth2", "ids0")]
    with netns.python(where, CATCH, *devices) as catching:
        assert catching.stdout is not None and catching.stdout.readline() == "ready\n"
        sender = netns.python(where, SEND, FAR)
        sender.communicate("".join(f"0 {packet.data.hex()}\n" for packet in packets), timeout=30)
        caught = Counter(catching.communicate(timeout=30)[0].split("\n"))
    wanted: Counter[str] = Counter()
    with engines.Opened(case) as opened:
        for number, decision in enumerate(opened.interp().decisions):
            assert decision is not None
            out = opened.outcome(number, decision)
            wanted.update(f"{device}-far {packets[number].data.hex()}" for device, _ in out.copies)
            if out.sent is not None:
                wanted[f"{out.sent[0]}-far {out.frame.hex()}"] += 1
    assert +Counter({line: n for line, n in caught.items() if line}) == wanted
    assert len(wanted) == 4


WATCH = """
table netdev watch
delete table netdev watch
table netdev watch {
  counter seen { }
  chain behind {
    type filter hook ingress device "eth0" priority 100;
    meta mark 0x10000013 counter name seen
  }
}
"""


def test_a_mark_keeps_its_other_bits(where: str) -> None:
    """Seen by a table of somebody else behind ours."""
    rules = "continue tcp mark 0x10/0xf0\n continue tcp mark 0x10000000/0xf0000000"
    source = f'policy p at tc on "eth0" {{\n default pass\n ingress {{\n {rules}\n }}\n}}\n'
    one = built(Text(source, "tc ingress"), "nftables")
    frame = packet.parse("tcp 10.0.0.1:4000 > 10.0.0.2:80")
    assert one is not None and isinstance(frame, Frame)
    nft_(where, "-f", "-", text=WATCH)
    theirs(where, one, [Frame(frame.data, mark=0xE00000F3)], Text(source, "tc ingress"))
    assert "packets 1 " in nft_(where, "list", "counter", "netdev", "watch", "seen")
    nft_(where, "delete", "table", "netdev", "watch")
