"""A match list as one kind of packet sees it: IPv4, IPv6, or everything else.

What the EtherType already decides is dropped: tests of `eth.type`, matches of other kinds, and tests for the
presence of what such a packet always has. Relies on the decoder's promise (`stdlib_bpf.decode`): in a frame
that is not malformed every field is there that is not optional and whose guards hold, with `l4.proto` in the
place of `ip.proto` for the fields of a transport header.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ..match.ir import Match, MatchProgram

REST = fields.IP.complement(16)
L4_PROTO = fields.L4_PROTO.name


@dataclass(frozen=True)
class Conjunction:
    """`tests`: (field, values) that must all hold, none of them settled already; `rule` decides."""

    rule: int
    tests: tuple[tuple[str, IntervalSet], ...]


def specialise(program: MatchProgram, eth_types: IntervalSet) -> list[Conjunction]:
    """The program's matches for packets of these EtherTypes, up to the first that takes every packet.
    `eth_types`: fields.IP4, fields.IP6 or REST."""
    out: list[Conjunction] = []
    led_to = -1  # the last rule that an earlier one leads to
    for match in program.matches:
        rule, tests = program.rules[match.rule], _remaining(match, eth_types)
        if tests is not None:
            out.append(Conjunction(match.rule, tests))
            led_to = max(led_to, rule.resume or led_to)
            if not tests and rule.final and led_to <= match.rule:
                break
    return out


def _remaining(match: Match, eth_types: IntervalSet) -> tuple[tuple[str, IntervalSet], ...] | None:
    transport = any(fields.lookup(name).transport for name, _ in match.tests)
    tests: list[tuple[str, IntervalSet]] = []
    for name, values in match.tests:
        if name == "eth.type":
            here = values & eth_types
            if not here:
                return None
            if here != eth_types:
                tests.append((name, here))
        elif name == "ip.proto" and transport:
            # Where the transport header is read, test the protocol of a header that is there: one comparison
            # leaves out later fragments too.
            tests.append((L4_PROTO, values))
        elif (row := fields.lookup(name)).optional or not row.possible.issubset(values):
            tests.append((name, values))
    return tuple(tests)
