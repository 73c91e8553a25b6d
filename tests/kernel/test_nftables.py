"""The kernel's own judge: random rule lists, written for nftables and in our language, over the same frames.

nftables has the frames at the netdev ingress hook of a veth device, where tc sees them too, and says by a
counter for each rule what it made of them. Where we differ on purpose is a row of DIFFERENCES with the
reason; frames of such a kind are left out of the comparison, and each row is shown to be still true.
"""

from __future__ import annotations

import ipaddress
import json
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from lockgate.compiler.codegen.simulate import Frame
from lockgate.compiler.policy.decide import decide
from lockgate.compiler.policy.model import Chain
from lockgate.stdlib_bpf.decode.frame import Malformed
from tests import engines, netns
from tests.properties.packets import AH, IP4, IP6, MOBILITY, TPIDS, Maker, Shape

pytestmark = pytest.mark.kernel

LISTS, FRAMES = 40, 200
HEAD = 14
NETWORKS = {
    4: ("10.0.0.0/8", "10.0.0.1", "192.0.2.0/24", "192.0.2.7", "0.0.0.0/1", "255.255.255.255"),
    6: ("2001:db8::/32", "2001:db8::1", "fe80::/10", "::1", "8000::/1", "2001:db8:0:1::/64"),
}
PORTS = ((22, 22), (80, 80), (1024, 65535), (0, 1023), (53, 53), (65535, 65535))
FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg")
TYPES = {"icmp": (0, 3, 8, 11), "icmp6": (1, 2, 128, 135)}
# What both can ask of an IP packet: our condition and nft's by family.
CONDITIONS: dict[str, dict[int, str]] = {
    "ip.ttl == 64": {4: "ip ttl 64", 6: "ip6 hoplimit 64"},
    "ip.ttl < 2": {4: "ip ttl < 2", 6: "ip6 hoplimit < 2"},
    "ip.ttl != 64": {4: "ip ttl != 64", 6: "ip6 hoplimit != 64"},
    "ip.dscp == ef": {4: "ip dscp ef", 6: "ip6 dscp ef"},
    "ip.dscp in { cs1, 0 }": {4: "ip dscp { cs1, cs0 }", 6: "ip6 dscp { cs1, cs0 }"},
    "ip.length > 100": {4: "ip length > 100", 6: "ip6 length > 60"},
    "ip.fragment == first": {4: "ip frag-off & 0x3fff == 0x2000"},
    "ip.fragment == none": {4: "ip frag-off & 0x3fff == 0"},
    "ip4.options > 0": {4: "ip hdrlength > 5"},
    "eth.dst == 02:00:00:00:00:02": dict.fromkeys((4, 6), "ether daddr 02:00:00:00:00:02"),
    "eth.src != 02:00:00:00:00:01": dict.fromkeys((4, 6), "ether saddr != 02:00:00:00:00:01"),
    "meta.length > 100": dict.fromkeys((4, 6), "meta length > 86"),  # without the link header there
    "ip6.frag-header and ip.fragment == none": {
        6: "exthdr frag exists frag frag-off 0 frag more-fragments 0"
    },
}
OF_TCP = {
    "tcp.window == 0": "tcp window 0",
    "tcp.window in 1-1000": "tcp window 1-1000",
    "tcp.header > 20": "tcp doff > 5",
}
VERDICTS = {"drop": "drop", "allow": "accept"}

# Reads frames in hex, a line each, and sends them.
SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind((sys.argv[1], 0))
for line in sys.stdin:
    s.send(bytes.fromhex(line))
"""


# ---- one rule, two spellings ----


@dataclass(frozen=True)
class Neutral:
    """A rule that both can say. `family` None: either; `addresses`: side → prefixes of the family, and
    whether they are negated; `ports`: side → ranges."""

    verdict: str
    family: int | None
    protocols: tuple[str, ...]
    addresses: dict[str, tuple[tuple[str, ...], bool]]
    ports: dict[str, tuple[tuple[int, int], ...]]
    flags: tuple[tuple[str, ...], tuple[str, ...] | None] | None = None
    types: tuple[int, ...] = ()
    conditions: tuple[str, ...] = ()

    def gate(self) -> str:
        """In our language."""
        kinds = ", ".join(self.protocols) or (f"ip{self.family}" if self.family else "")
        words = [self.verdict, kinds]
        for side, word in (("src", "from"), ("dst", "to")):
            parts = []
            if side in self.addresses:
                prefixes, negated = self.addresses[side]
                parts.append(("not " if negated else "") + "{ " + ", ".join(prefixes) + " }")
            elif self.family and self.protocols and side == "src" and not self.addresses:
                parts.append("0.0.0.0/0" if self.family == 4 else "::/0")
            if side in self.ports:
                parts.append("port { " + ", ".join(f"{a}-{b}" for a, b in self.ports[side]) + " }")
            words += [word, *parts] if parts else []
        if self.flags is not None:
            value, mask = self.flags
            words.append("flags " + ",".join(value) + ("" if mask is None else "/" + ",".join(mask)))
        if self.types:
            words.append("type { " + ", ".join(map(str, self.types)) + " }")
        words += ["if " + " and ".join(self.conditions)] if self.conditions else []
        return " ".join(word for word in words if word)

    def nft(self) -> str:
        """In nft's."""
        words = []
        if self.family:
            words.append(f"meta protocol {'ip' if self.family == 4 else 'ip6'}")
        if self.protocols:
            names = [{"icmp6": "ipv6-icmp"}.get(name, name) for name in self.protocols]
            if not self.family:
                words.append("meta protocol { ip, ip6 }")
            words.append(f"meta l4proto {{ {', '.join(names)} }}")
        for side, (prefixes, negated) in self.addresses.items():
            merged = ipaddress.collapse_addresses(map(ipaddress.ip_network, prefixes))  # type: ignore[type-var]
            listed = ", ".join(map(str, merged))
            word = "ip" if self.family == 4 else "ip6"
            words.append(f"{word} {side[0]}addr {'!= ' if negated else ''}{{ {listed} }}")
        for side, ranges in self.ports.items():
            words.append(f"th {side[0]}port {{ {', '.join(f'{a}-{b}' for a, b in disjoint(ranges))} }}")
        if self.flags is not None:
            value, mask = self.flags
            if mask is None:
                words.append(f"tcp flags & ({'|'.join(value)}) != 0")
            else:
                words.append(f"tcp flags & ({'|'.join(mask)}) == {'|'.join(value)}")
        if self.types:
            word = "icmpv6" if self.protocols == ("icmp6",) else "icmp"
            words.append(f"{word} type {{ {', '.join(map(str, sorted(set(self.types))))} }}")
        words += [OF_TCP.get(c) or CONDITIONS[c][self.family or 0] for c in self.conditions]
        return " ".join(words)


def disjoint(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges joined, since old versions of nft refuse overlapping ones."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return out


def drawn(rng: random.Random) -> Neutral:
    """One random rule."""
    family = rng.choice((4, 6, 4, 6, None))
    icmp = {4: "icmp", 6: "icmp6"}
    choices: list[tuple[str, ...]] = [("tcp",), ("tcp",), ("udp",), ("sctp",), ("tcp", "udp"), ()]
    protocols = rng.choice(choices + ([(icmp[family],)] if family else []))
    addresses = {}
    for side in ("src", "dst"):
        if family and rng.random() < 0.5:
            chosen = tuple(rng.sample(NETWORKS[family], rng.randrange(1, 4)))
            addresses[side] = (chosen, rng.random() < 0.25)
    ports = {}
    if protocols and protocols[0] in ("tcp", "udp", "sctp"):
        for side in ("src", "dst"):
            if rng.random() < 0.5:
                ports[side] = tuple(rng.sample(PORTS, rng.randrange(1, 3)))
    flags = None
    if protocols == ("tcp",) and rng.random() < 0.4:
        mask = tuple(rng.sample(FLAGS, rng.randrange(1, 4)))
        flags = (mask[: rng.randrange(1, len(mask) + 1)], mask) if rng.random() < 0.6 else (mask, None)
    named = protocols[0] if protocols else ""
    types = tuple(rng.sample(TYPES[named], 2)) if named in TYPES and rng.random() < 0.6 else ()
    asked = [c for c, words in CONDITIONS.items() if family in words] + list(OF_TCP) * (protocols == ("tcp",))
    chosen = rng.sample(asked, rng.choice((0, 0, 1, 1, 2))) if family and asked else []
    conditions = tuple({condition.split()[0]: condition for condition in chosen}.values())
    verdict = rng.choice(tuple(VERDICTS))
    return Neutral(verdict, family, protocols, addresses, ports, flags, types, conditions)


# ---- where we differ on purpose ----


def _later_fragment(shape: Shape) -> bool:
    return shape.later_fragment


def _has(*kinds: int) -> Callable[[Shape], bool]:
    return lambda shape: shape.eth_type == IP6 and any(e.kind in kinds for e in shape.extensions)


def _tags(shape: Shape) -> bool:
    return len(shape.tags) >= 2


# name → (which frames, why we differ). Malformed frames are a row of their own, found by the decoder.
DIFFERENCES: dict[str, tuple[Callable[[Shape], bool], str]] = {
    "later fragments": (
        _later_fragment,
        "nftables reads ports, flags and types out of a later fragment's payload; with us it has none",
    ),
    "two tags and more": (
        _tags,
        "nftables looks behind the one tag that the kernel takes into metadata; we behind two",
    ),
    "authentication header": (
        _has(AH),
        "nftables takes AH for the protocol and looks no further; we walk it (RFC 4302)",
    ),
    "mobility header": (
        _has(MOBILITY),
        "nftables ends its walk at the mobility header; we walk it (RFC 6275)",
    ),
}


# ---- the two judges ----


class Judge:
    """nftables at the ingress of the pair's inner device."""

    def __init__(self, pair: netns.Pair) -> None:
        self.pair = pair

    def counts(self, rules: Sequence[Neutral], frames: Sequence[bytes]) -> list[int]:
        """Frames that each rule matched, and those that none did."""
        names = [*(f"r{i}" for i in range(len(rules))), "rest"]
        lines = [f"  counter {name} {{ }}" for name in names]
        lines.append(f'  chain in {{ type filter hook ingress device "{self.pair.inner_if}" priority 0;')
        lines += [f"    {r.nft()} counter name r{i} {VERDICTS[r.verdict]}" for i, r in enumerate(rules)]
        lines += ["    counter name rest accept", "  }"]
        text = "table netdev lg\ndelete table netdev lg\ntable netdev lg {\n" + "\n".join(lines) + "\n}\n"
        self._nft("-f", "-", input=text)
        sender = netns.python(self.pair.outer, SEND, self.pair.outer_if)
        _, complaints = sender.communicate("".join(frame.hex() + "\n" for frame in frames), timeout=60)
        assert sender.returncode == 0, complaints
        found: dict[str, int] = {}
        for _ in range(100):
            listed = json.loads(self._nft("-j", "list", "counters", "table", "netdev", "lg"))["nftables"]
            found = {c["counter"]["name"]: c["counter"]["packets"] for c in listed if "counter" in c}
            if sum(found.values()) >= len(frames):
                break
        return [found[name] for name in names]

    def _nft(self, *arguments: str, input: str | None = None) -> str:
        done = subprocess.run(
            netns.inside(self.pair.inner, "nft", *arguments),
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr}\n{input}"
        return done.stdout


def ours(rules: Sequence[Neutral]) -> Chain:
    """The same list in our language, compiled to a checked policy."""
    text = "\n".join(f"    r{i}: {rule.gate()}" for i, rule in enumerate(rules))
    source = f'policy p at tc on "eth0" {{\n  default pass\n  ingress {{\n{text}\n  }}\n}}\n'
    return engines.load(source, {}).chains[0]


def expected(chain: Chain, frames: Sequence[bytes]) -> list[int]:
    """The same counts by the reference, for frames as tc sees them."""
    counted = [0] * (len(chain.rules) + 1)
    for data in frames:
        decision = decide(chain, engines.facts_of(seen(data)), {})
        counted[decision.rule if decision.rule >= 0 else -1] += 1
    return counted


def seen(data: bytes) -> Frame:
    """The kernel takes the outer tag off before any hook but XDP."""
    if data[12:14] in TAGS:
        return Frame(data[:12] + data[16:], int.from_bytes(data[14:16]))
    return Frame(data)


TAGS = tuple(tpid.to_bytes(2) for tpid in TPIDS)


@pytest.fixture
def judge(pair: netns.Pair) -> Judge:
    """With jumbo frames and a device on which the kernel says nothing of its own accord."""
    for name, device in ((pair.inner, pair.inner_if), (pair.outer, pair.outer_if)):
        netns.run(*netns.inside(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
        netns.run("ip", "-n", name, "link", "set", device, "mtu", "9000")
    return Judge(pair)


def shapes(chain: Chain, seed: int, count: int) -> list[Shape]:
    maker = Maker(chain, {}, random.Random(seed))
    return [maker.shape() for _ in range(count)]


def comparable(shape: Shape) -> bool:
    """Whether both should say the same of a frame."""
    if len(shape.frame()) < 20 + HEAD or any(which(shape) for which, _ in DIFFERENCES.values()):
        return False
    return not isinstance(engines.facts_of(seen(shape.frame())), Malformed)


def test_rule_lists_mean_what_nftables_makes_of_them(judge: Judge) -> None:
    compared, matched, used = 0, 0, list[Neutral]()
    for seed in range(LISTS):
        rng = random.Random(seed)
        rules = [drawn(rng) for _ in range(rng.randrange(3, 15))]
        chain, used = ours(rules), used + rules
        frames = [s.frame() for s in shapes(chain, seed, FRAMES * 2) if comparable(s)][:FRAMES]
        theirs, mine = judge.counts(rules, frames), expected(chain, frames)
        if theirs != mine:
            raise AssertionError(told(judge, rules, chain, frames))
        compared, matched = compared + len(frames), matched + sum(mine[:-1])
    assert {c for r in used for c in r.conditions} == {*CONDITIONS, *OF_TCP}
    assert compared >= LISTS * FRAMES * 3 // 4, "too many frames were left out"
    assert matched >= compared // 3, "too few frames met a rule"


def told(judge: Judge, rules: Sequence[Neutral], chain: Chain, frames: Sequence[bytes]) -> str:
    """The first frame that the two do not agree about, with both rule lists."""
    for frame in frames:
        theirs, mine = judge.counts(rules, [frame]), expected(chain, [frame])
        if theirs != mine:
            lists = "\n".join(f"r{i}: {r.gate()}\n    {r.nft()}" for i, r in enumerate(rules))
            facts = engines.facts_of(seen(frame))
            return f"{frame.hex()}\n{facts}\nnftables {theirs}\nours     {mine}\n{lists}"
    return "they agree on each frame alone"


PROBES = (
    Neutral("drop", None, ("tcp",), {}, {"dst": ((80, 80),)}),
    Neutral("drop", None, ("udp",), {}, {"dst": ((53, 53),)}),
    Neutral("drop", 4, (), {}, {}),
    Neutral("drop", 6, (), {}, {}),
)


@pytest.mark.parametrize("name", [*DIFFERENCES, "malformed"])
def test_a_difference_is_still_one(judge: Judge, name: str) -> None:
    """Frames that show it: nftables counts them otherwise than we do."""
    rules = list(PROBES)
    chain = ours(rules)
    if name == "malformed":
        wanted = [s for s in shapes(chain, 1, 4000) if s.eth_type == IP4 and not s.tags and not s.fragment]
        frames = [f[:-3] for s in wanted if len(f := s.frame()) > 40][:FRAMES]
        frames = [f for f in frames if isinstance(engines.facts_of(seen(f)), Malformed)]
    else:
        which = DIFFERENCES[name][0]
        frames = [s.frame() for s in shapes(chain, 1, 6000) if which(s) and len(s.frame()) > 40][:FRAMES]
    assert len(frames) >= 20
    assert judge.counts(rules, frames) != expected(chain, frames)
