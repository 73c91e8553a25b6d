"""A packet that shows what a diagnostic claims. Never guessed: each is judged by the reference first."""

from __future__ import annotations

from lockgate.stdlib_bpf.decode.frame import decode
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.fields import split_live

from . import packet, policy
from .match.ir import Match
from .policy.model import Chain


def of(chain: Chain, match: Match) -> str | None:
    """A packet that `match` describes, as text, with the rule that decides it instead. None where none is
    found: at connect, and for what packet text has no words for."""
    facts = {
        name: values.ranges[0][0]
        for name, values in match.tests
        if split_live(name) is None and name != "tcp.flags"
    }
    flags = match.get("tcp.flags")
    if flags is not None:
        facts["tcp.flags"] = max(low for low, _ in flags)
    try:
        text = packet.describe(facts, chain.lists)
        frame = packet.parse(text, chain.lists)
    except ValueError:
        return None
    decoded = None if isinstance(frame, SocketCall) else decode(frame)
    if not isinstance(decoded, dict) or any(decoded.get(name) != value for name, value in facts.items()):
        return None
    decision = policy.decide(chain, decoded, {})
    if decision.rule < 0 or decision.rule == match.rule:
        return None
    return f"{text}   {decision.verdict} by `{chain.rules[decision.rule].label}`"
