"""Policies built for nftables and loaded in a namespace, beside the reference.

Frames go over a veth pair, and counters say which rule decided each.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lockgate.compiler.decision import DEFAULT, FRAGMENT, MALFORMED, Decision
from lockgate.compiler.policy.decide import decide
from lockgate.compiler.policy.model import Chain
from lockgate.engines import seen_by
from lockgate.stdlib_bpf import nft
from lockgate.stdlib_bpf.decode.frame import EXTENSION_HEADERS, VLAN_TPIDS, Frame, Malformed
from lockgate.stdlib_bpf.state.limits import Buckets
from tests import engines, netns
from tests.properties.packets import Maker
from tests.properties.strategies import DEVICES, Text
from tests.targets import Built

PACKETS = 250
OWN, FAR = "eth0", "far0"
SLOTS = {DEFAULT: "default", MALFORMED: "malformed", FRAGMENT: "fragments"}

# Reads a mark and a frame in hex from each line, and sends the frame.
SEND = """
import contextlib, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind((sys.argv[1], 0))
for line in sys.stdin:
    mark, data = line.split()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(mark).to_bytes(4, sys.byteorder))
    with contextlib.suppress(OSError):  # a frame that is dropped on its way out
        s.send(bytes.fromhex(data))
"""


@contextmanager
def stage() -> Iterator[str]:
    """A namespace with the policies' device, the far end of it, and the devices that rules name."""
    name = netns.unique("lg-n")
    netns.run("ip", "netns", "add", name)
    try:
        netns.run(*netns.inside(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
        for device, far in ((OWN, FAR), *((device, f"{device}-far") for device in DEVICES)):
            netns.run("ip", "-n", name, "link", "add", device, "type", "veth", "peer", far)
            for end in (device, far):
                netns.run("ip", "-n", name, "link", "set", end, "mtu", "9000", "arp", "off", "up")
        yield name
    finally:
        netns.run("ip", "netns", "del", name, check=False)


# ---- what is compared ----


def asked_of(chain: Chain, data: bytes, mark: int) -> Frame:
    """A frame as the reference has it: the kernel takes a tag off before tc's ingress."""
    frame = Frame(data, mark=mark)
    if (chain.hook, chain.direction) == ("tc", "ingress") and _type(data) in VLAN_TPIDS and len(data) >= 18:
        return replace(frame, data=data[:12] + data[16:], vlan_tci=int.from_bytes(data[14:16]))
    return frame


def _type(data: bytes, at: int = 12) -> int:
    return int.from_bytes(data[at : at + 2])


def _tags(chain: Chain, frame: Frame) -> bool:
    inner = _type(frame.data)
    if chain.hook == "xdp":
        inner = _type(frame.data, 16) if inner in VLAN_TPIDS else inner
    return inner in VLAN_TPIDS


def _facts(frame: Frame) -> dict[str, int]:
    facts = engines.facts_of(frame)
    return {} if isinstance(facts, Malformed) else facts


def _headers(frame: Frame) -> list[int]:
    """Kinds of IPv6's extension headers, as far as they are there."""
    at = 12 + 4 * (_type(frame.data) in VLAN_TPIDS)
    if _type(frame.data, at) != 0x86DD or len(frame.data) < at + 42:
        return []
    found, following, at = [], frame.data[at + 8], at + 42
    while following in EXTENSION_HEADERS and len(frame.data) >= at + 2 and len(found) < 20:
        found.append(following)
        units = frame.data[at + 1]
        length = {44: 8, 51: (units + 2) * 4}.get(following, (units + 1) * 8)
        following, at = frame.data[at], at + length
    return found + [following] * (following in EXTENSION_HEADERS)


def _walk(chain: Chain, frame: Frame) -> bool:
    headers = _headers(frame)
    return headers.count(44) > 1 or (bool(headers) and isinstance(engines.facts_of(frame), Malformed))


# Rows of the table that speak of packets → whether a frame is one.
FRAMES: dict[str, Callable[[Chain, Frame], bool]] = {
    "tags": _tags,
    "authentication": lambda _, f: bool({51, 135} & set(_headers(f))),
    "walk": _walk,
    "later": lambda _, f: (
        _facts(f).get("ip.fragment") == 2
        and "ip6.src" in _facts(f)
        and _facts(f)["ip.proto"] in EXTENSION_HEADERS
    ),
    "cut tag": lambda chain, f: (
        chain.direction != "egress"
        and len(f.data) < (20 if f.vlan_tci is None else 16)
        and (f.vlan_tci is not None or _type(f.data) in VLAN_TPIDS)
    ),
}


# ---- both judges ----


def nft_(where: str, *arguments: str, text: str | None = None) -> str:
    done = subprocess.run(
        netns.inside(where, "nft", *arguments),
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{text}"
    return done.stdout


def load(where: str, one: Built, text: Text) -> None:
    """Load the file and fill its dynamic sets."""
    lines = [one.text]
    for name in (name for name in one.unit.live if f"set {name}-4 " in one.text):  # a rule asks for it
        for family, values, width in (("4", text.live[name].v4, 32), ("6", text.live[name].v6, 128)):
            kind = engines.ipaddress.IPv4Network if width == 32 else engines.ipaddress.IPv6Network
            held = ", ".join(str(kind(prefix)) for prefix in values.prefixes(width))  # type: ignore[operator]
            if held:
                lines.append(f"add element netdev lockgate-policy {name}-{family} {{ {held} }}")
    nft_(where, "-f", "-", text="\n".join(lines) + "\n")


def theirs(where: str, one: Built, frames: Sequence[Frame], text: Text) -> Counter[str]:
    """Packets by label."""
    load(where, one, text)
    from_ = OWN if one.chain.direction == "egress" else FAR
    sender = netns.python(where, SEND, from_)
    _, complaints = sender.communicate("".join(f"{f.mark} {f.data.hex()}\n" for f in frames), timeout=60)
    assert sender.returncode == 0, complaints
    listed = json.loads(nft_(where, "-j", "list", "counters", "table", "netdev", "lockgate-policy"))
    found: Counter[str] = Counter()
    for entry in listed["nftables"]:
        if "counter" in entry:
            about = nft.read(entry["counter"]["name"], entry["counter"].get("comment", ""))
            assert about is not None, entry
            found[f"{about.kind} {about.label}"] += entry["counter"]["packets"]
    return +found


def label(chain: Chain, rule: int) -> str:
    return f"rule {chain.rules[rule].label}" if rule >= 0 else f"{SLOTS[rule]} {SLOTS[rule]}"


def mine(one: Built, frames: Sequence[Frame], text: Text) -> Counter[str]:
    """Packets by label, by the reference."""
    chain, buckets, found = one.chain, Buckets(), Counter[str]()
    for seen in seen_by(chain, [asked_of(chain, f.data, f.mark) for f in frames]):
        decision: Decision = decide(chain, seen, text.live, buckets)
        found[label(chain, decision.rule)] += 1
        found.update(label(chain, rule) for rule in decision.passed)
        matched = [chain.rules[i] for i in (*decision.passed, decision.rule) if i >= 0]
        found.update(f"count {rule.count}" for rule in matched if rule.count is not None)
    return found


def compared(chain: Chain, number: int, text: Text) -> list[Frame]:
    """Frames to be judged by both, all at one time."""
    made = Maker(chain, text.live, random.Random(number)).packets(PACKETS)
    frames = []
    for packet in made:
        assert isinstance(packet, Frame)
        frame = sent_as(chain, packet)
        while chain.direction == "egress" and _type(frame.data) in VLAN_TPIDS:
            data = frame.data[:12] + frame.data[16:]  # or most frames would have a tag that is part of them
            frame = replace(frame, data=data)
        seen = asked_of(chain, frame.data, frame.mark)
        if len(frame.data) >= 15 and not any(which(chain, seen) for which in FRAMES.values()):
            frames.append(frame)
    return frames


def sent_as(chain: Chain, packet: Frame) -> Frame:
    """A frame as it goes over the wire; marks stay within the namespace, where XDP's policies see none."""
    data = packet.data
    if packet.vlan_tci is not None:
        data = data[:12] + (0x8100).to_bytes(2) + packet.vlan_tci.to_bytes(2) + data[12:]
    return Frame(data, mark=packet.mark if chain.hook == "tc" else 0)


def told(where: str, one: Built, frames: Sequence[Frame], text: Text) -> str:
    """The last of the fewest first frames that the two do not agree about."""
    low, high = 0, len(frames)  # they agree about the first `low` frames, not about the first `high`
    while high - low > 1:
        middle = (low + high) // 2
        agreed = theirs(where, one, frames[:middle], text) == mine(one, frames[:middle], text)
        low, high = (middle, high) if agreed else (low, middle)
    frame = frames[low]
    seen = engines.facts_of(asked_of(one.chain, frame.data, frame.mark))
    got, wanted = theirs(where, one, frames[:high], text), mine(one, frames[:high], text)
    differ = f"nftables {got - wanted}, ours {wanted - got}"
    return f"{frame.data.hex()} mark {frame.mark}\n{seen}\n{differ}\n{one.source}\n{one.text}"
