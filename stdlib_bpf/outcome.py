"""What leaves a program besides its verdict: the reference that generated code must agree with.

Takes the effects of every rule that had one and the packet as it arrived; gives the bytes afterwards, the
mark, and where packet and copies went. A mirrored copy is the packet as it arrived, with the mark of the
rules so far; a packet that ends here (`Hook.ends`) is not rewritten; a rejected one becomes its answer
(`reply`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import hooks
from .answers import ERRNOS
from .effects import Effects
from .fields import ETH_P_IP, ETH_P_IPV6
from .headers import network_header
from .hooks.tc import TC_ACT_REDIRECT
from .reply import reply

SELF = ""  # instead of a device: the one that the packet is at
Applied = tuple[str, Effects]  # action and effects of a rule
Sent = tuple[str, str]  # device and way


@dataclass(frozen=True)
class Outcome:
    """`value`: what the program returns; `frame`: the bytes afterwards; `mark`: the packet's; `sent`: where
    it goes instead, None for nowhere else; `copies`: where copies went; `errno`: of a socket call that is
    rejected; `proxy`: port of the local proxy that a call is sent to, 0 for none."""

    value: int
    frame: bytes = b""
    mark: int = 0
    sent: Sent | None = None
    copies: tuple[Sent, ...] = ()
    errno: int = 0
    proxy: int = 0


def outcome(
    hook: hooks.Hook,
    direction: str,
    applied: Sequence[Applied],
    frame: bytes = b"",
    mark: int = 0,
    tag_in_metadata: bool = False,
) -> Outcome:
    """What becomes of a packet or socket call. `applied`: the rules that let it go on, in order, and at last
    what decides; `tag_in_metadata`: one VLAN tag was taken off the frame before."""
    copies: list[Sent] = []
    for action, effects in applied:
        if effects.mark is not None:
            value, mask = effects.mark
            mark = mark & ~mask | value
        if action == "mirror":
            copies += [(device, effects.how) for device in effects.into]
    verdict, last = applied[-1]
    value = hook.verdicts[verdict]
    if hook.target == "cgroup":
        proxy = 0 if last.via is None else last.via.port
        return Outcome(value, errno=ERRNOS[last.how] if verdict == "reject" else 0, proxy=proxy)
    sent = (last.into[0], last.how) if verdict == "redirect" else None
    if verdict == "reject":
        answer = reply(frame, last.how, tag_in_metadata)
        if answer is not None:
            back = "egress" if direction == "ingress" else "ingress"
            return Outcome(TC_ACT_REDIRECT, answer, mark, (SELF, back), tuple(copies))
    dscps = [effects.dscp for _, effects in applied if effects.dscp is not None]
    if dscps and verdict not in hook.ends:
        frame = rewritten(frame, dscps[-1], tag_in_metadata)
    return Outcome(value, frame, mark, sent, tuple(copies))


def rewritten(frame: bytes, dscp: int, tag_in_metadata: bool = False) -> bytes:
    """A frame with another DSCP (RFC 2474 §3). Its ECN bits stay; the checksum of IPv4 is updated by the word
    that changed (RFC 1624 §3, equation 3), so one that was wrong is wrong by as much afterwards. A frame that
    is no IP packet is left as it is."""
    at, ethertype = network_header(frame, tag_in_metadata)
    out = bytearray(frame)
    if ethertype == ETH_P_IPV6:
        word = int.from_bytes(frame[at : at + 2])
        out[at : at + 2] = (word & 0xF03F | dscp << 6).to_bytes(2)
    elif ethertype == ETH_P_IP:
        before = int.from_bytes(frame[at : at + 2])
        after = before & 0xFF03 | dscp << 2
        out[at : at + 2] = after.to_bytes(2)
        total = (~int.from_bytes(frame[at + 10 : at + 12]) & 0xFFFF) + (~before & 0xFFFF) + after
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        out[at + 10 : at + 12] = (~total & 0xFFFF).to_bytes(2)
    return bytes(out)
