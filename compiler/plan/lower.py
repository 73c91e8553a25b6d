"""Matches to a plan: split by family, then per family one chain of matches, each a chain of tests.

    0: eth.type in 0x0800 ? 1 : 4          (the split)
    1: ip4.src & 255.0.0.0 = 10.0.0.0 ? 2 : 7 for 0
    2: l4.proto in 6 ? 3 : 7 for 0
    3: th.dport in 443 ? 8 : 7 for 0

A chain is right for tens of matches and bearable for a thousand. The deep optimiser (a decision tree, bit
vectors, tables of classes) takes the place of `_planned` and `_chain`: it gets the list of `Conjunction` for
one kind of packet and returns the handle of a node; everything around it stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from ..match.ir import MatchProgram, RuleInfo
from .builder import Builder
from .choose import LATENCY, STRUCTURES, Chooser, Form, Goal
from .ir import DEFAULT, Between, Plan
from .order import ordered
from .specialise import REST, Conjunction, specialise

Planned = list[tuple[int, list[Form]]]


def lower(program: MatchProgram, structures: frozenset[str] | None = None, goal: Goal = LATENCY) -> Plan:
    """Plan a verified program. `structures`: names of lookup structures it may use (of `choose.STRUCTURES`,
    which has "inline" besides the tables' kinds), None for all; `goal`: what they are chosen for. ValueError
    for an unknown name."""
    chooser = Chooser(STRUCTURES if structures is None else structures, dict(program.live), goal)
    sides = [
        _planned(specialise(program, eth_types), chooser) for eth_types in (fields.IP4, fields.IP6, REST)
    ]
    builder = Builder()
    # Entered first, numbered first: the side of IPv4 is grown last.
    rest, six, four = (_chain(side, builder, program.rules) for side in reversed(sides))
    entry = _split(builder, fields.ETH_P_IP, four, _split(builder, fields.ETH_P_IPV6, six, rest))
    return Plan(
        name=program.name,
        hook=program.hook,
        direction=program.direction,
        default=program.default,
        rules=program.rules,
        tables=chooser.tables,
        nodes=builder.finish(entry),
        devices=program.devices,
        fragments=program.fragments,
    )


def _planned(conjunctions: list[Conjunction], chooser: Chooser) -> Planned:
    """Choose a form for every test, in the order of the matches, so that tables are named in that order."""
    return [(one.rule, _forms(one.tests, chooser)) for one in conjunctions]


def _forms(tests: tuple[tuple[str, IntervalSet], ...], chooser: Chooser) -> list[Form]:
    # Of what may be missing `ip.proto` is there in its family; every other field is by the time it is asked.
    doubtful = fields.ANSWERED - {"ip.proto"}
    planned = [(name, values, chooser.choose(name, values, name not in doubtful)) for name, values in tests]
    return [form for _, _, form in ordered(planned)]


def _chain(side: Planned, builder: Builder, rules: Sequence[RuleInfo]) -> int:
    """First match wins: what fails in one match goes on with the next. A rule that lets the packet go on
    leads behind all its matches."""
    following = behind = builder.leaf(DEFAULT)
    current = DEFAULT
    for rule, forms in reversed(side):
        if rule != current:
            current, behind = rule, following
        node = builder.passing(rule, behind) if rules[rule].passing else builder.leaf(rule)
        if rules[rule].limit is not None:
            node = builder.admit(rule, node, behind)
        for form in reversed(forms):
            node = form.emit(builder, node, following, rule)
        following = node
    return following


def _split(builder: Builder, eth_type: int, yes: int, no: int) -> int:
    return builder.branch(Between("eth.type", eth_type, eth_type), yes, no)
