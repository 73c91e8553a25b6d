"""What `lockgate flows --follow` shows: flows of rules with `log` as they open and end, and what is denied,
by the endpoints' names.

A flow of two pods of one host is told by each end's policy, as it is judged. Names are those of when the
following began.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from lockgate.stdlib_bpf.decode.frame import Frame, decode
from lockgate.stdlib_bpf.manifest import Slot
from lockgate.stdlib_bpf.state import events as layout
from lockgate.stdlib_bpf.state.endpoints import ADDRESSES
from lockgate.stdlib_bpf.state.flows import Key

from . import events, flowlist, inventory
from .flowlist import End, Owners
from .plan import map_key
from .running import Running

ENDS = {layout.CLOSED: "closed", layout.SILENT: "expired", layout.DENIED: "revoked"}
OPENED, REFUSED, SEEN = "opened", "denied", "logged"
OF_VERDICT = {"allow": OPENED, "drop": REFUSED}


@dataclass(frozen=True)
class Told:
    """One event. `what`: opened, denied, logged (by a rule that lets it go on, as in audit), closed, expired,
    or revoked, when a changed policy no longer allows it. `sent`: whether the endpoint sends the packet, or
    sent the first one; of ends, `packets` and `bytes` received and sent, and `lasted_ns`."""

    ktime_ns: int
    what: str
    protocol: str
    endpoint: End
    peer: End
    sent: bool
    slot: Slot
    packets: tuple[int, int] | None = None
    bytes: tuple[int, int] | None = None
    lasted_ns: int = 0


def follow(policy: Running, seconds: float | None = None) -> Iterator[Told]:
    """Events as they come, for `seconds` (None: until the caller stops). SystemRefused when no rule logs."""
    chain = inventory.chain_of(policy.state.manifest)
    assert chain is not None  # the caller has seen to it
    with ExitStack() as opened:
        of = {m.name: map_key(chain.name, m) for m in chain.maps}
        addresses = opened.enter_context(policy.open_map(of[ADDRESSES]))
        names = opened.enter_context(policy.open_map(inventory.NAMES_KEY))
        owners = flowlist.owners(chain, addresses, inventory.names(names))
    for event in events.follow(policy, seconds):
        told = _told(event, owners) if event.chain == chain.name else None
        if told is not None:
            yield told


def _told(event: events.Event, owners: Owners) -> Told | None:
    if event.flow is not None:
        end = event.flow
        protocol, endpoint, peer = flowlist.ends(end.key, owners)
        return Told(
            event.ktime_ns,
            ENDS.get(event.kind, "ended"),
            protocol,
            endpoint,
            peer,
            bool(end.opener),
            event.slot,
            end.packets,
            end.bytes,
            event.ktime_ns - end.since_ns,
        )
    key = _key_of(event, owners)
    if key is None:
        return None
    protocol, endpoint, peer = flowlist.ends(key[0], owners)
    what = OF_VERDICT.get(event.slot.verdict or "", SEEN)
    return Told(event.ktime_ns, what, protocol, endpoint, peer, key[1], event.slot)


def _key_of(event: events.Event, owners: Owners) -> tuple[Key, bool] | None:
    """The flow of a packet, and whether the endpoint that is judged sends it: its interface says so."""
    facts = decode(Frame(event.header.ljust(event.length, b"\0")))
    if not isinstance(facts, dict) or not ("ip4.src" in facts or "ip6.src" in facts):
        return None
    family = 4 if "ip4.src" in facts else 6
    src, dst = facts[f"ip{family}.src"], facts[f"ip{family}.dst"]
    ends = [(src, facts.get("th.sport", 0)), (dst, facts.get("th.dport", 0))]
    sends = owners.interface(family, src) == event.ifindex
    subject, peer = ends if sends else ends[::-1]
    return (event.ifindex, family, facts["ip.proto"], *subject, *peer), sends


def text(told: Told) -> str:
    """A line for people."""
    arrow = "->" if told.sent else "<-"
    who = f"{told.protocol} {told.endpoint.text} {arrow} {told.peer.text}"
    line = f"{told.ktime_ns / 1e9:.6f}  {told.what}  {who}  {told.slot.label}"
    if told.packets is None or told.bytes is None:
        return f"{line}  {told.slot.said}"
    counts = zip(("received", "sent"), told.packets, told.bytes, strict=True)
    said = ", ".join(f"{way} {packets} packets {size:,} bytes" for way, packets, size in counts)
    return f"{line}  {said}, {told.lasted_ns / 1e9:.1f} s"


def as_json(told: Told) -> dict[str, Any]:
    """For machines, as `flows` has it."""
    out: dict[str, Any] = {
        "ktime_ns": told.ktime_ns,
        "event": told.what,
        "protocol": told.protocol,
        "subject": flowlist.end_json(told.endpoint),
        "peer": flowlist.end_json(told.peer),
        "opened_by": "subject" if told.sent else "peer",
        "rule": told.slot.label,
        "verdict": told.slot.verdict,
        "would": told.slot.would,
        "file": told.slot.file,
        "line": told.slot.line,
    }
    if told.packets is not None and told.bytes is not None:
        for place, way in enumerate(("received", "sent")):
            out[way] = {"packets": told.packets[place], "bytes": told.bytes[place]}
        out["age_s"] = told.lasted_ns / 1e9
    return out
