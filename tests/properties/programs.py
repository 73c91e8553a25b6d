"""Small policies that collide, and the facts at the edges of their sets.

Values come from a few neighbouring numbers at both ends of each domain, so that random rules overlap, cover
and touch each other, and random packets fall on boundaries.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st

from lockgate.compiler.policy.model import (
    AllOf,
    AnyOf,
    Chain,
    FieldTest,
    Flags,
    Live,
    Minus,
    Network,
    Not,
    Prefixes,
    Rule,
    Traffic,
    Union,
    Where,
)
from lockgate.compiler.source import Source, Span
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.fields import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6
from lockgate.stdlib_bpf.sets import EMPTY, IntervalSet
from lockgate.stdlib_bpf.state.limits import SECOND_NS, UNITS, Limit

T = TypeVar("T")
SOURCE = Source("random.gate", "rule\n" * 40)
LIVE = (Live("ban", 100), Live("vip-hosts", 50))
ROWS = [row for row in fields.ALL if "xdp" in row.hooks]
PROTOCOLS = (1, 6, 17, 47, 58, 132)


def edges(width_bits: int) -> st.SearchStrategy[int]:
    top = (1 << width_bits) - 1
    return st.one_of(st.integers(0, 9), st.integers(top - 3, top))


def sets(width_bits: int, max_ranges: int = 4) -> st.SearchStrategy[IntervalSet]:
    pairs = st.tuples(edges(width_bits), edges(width_bits)).map(lambda p: (min(p), max(p)))
    return st.lists(pairs, min_size=1, max_size=max_ranges).map(IntervalSet.from_ranges)


def prefixes() -> st.SearchStrategy[Prefixes]:
    some4 = st.one_of(st.just(EMPTY), sets(32), st.just(IntervalSet.full(32)))
    some6 = st.one_of(st.just(EMPTY), sets(128), st.just(IntervalSet.full(128)))
    return st.builds(Prefixes, some4, some6)


def networks() -> st.SearchStrategy[Network]:
    leaves: st.SearchStrategy[Network] = st.one_of(prefixes(), prefixes(), st.sampled_from(LIVE))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Union, inner, inner), st.builds(Minus, inner, inner), st.builds(Not, inner)
        ),
        max_leaves=4,
    )


def traffics() -> st.SearchStrategy[Traffic]:
    protocols = st.sampled_from(PROTOCOLS).map(IntervalSet.of)
    return st.one_of(
        st.just(Traffic()),
        st.builds(Traffic, st.sampled_from([ETH_P_IP, ETH_P_IPV6, ETH_P_ARP]).map(IntervalSet.of), st.none()),
        st.builds(Traffic, st.none(), protocols),
        st.builds(Traffic, st.none(), st.just(IntervalSet.of(6, 17)), sets(16)),
        st.builds(Traffic, st.none(), st.sampled_from([1, 58]).map(IntervalSet.of), st.none(), sets(8)),
    )


def optional(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.one_of(st.none(), st.none(), strategy)


def limits() -> st.SearchStrategy[Limit]:
    per = st.sampled_from((None, None, "source", "destination", "flow"))
    bits = {"v4_bits": st.sampled_from((0, 8, 32)), "v6_bits": st.sampled_from((0, 3, 128))}
    return st.builds(
        Limit, st.integers(1, 3), st.just(SECOND_NS), st.integers(1, 3), st.sampled_from(UNITS), per, **bits
    )


def rules(connect: bool = False) -> st.SearchStrategy[Rule]:
    nothing = st.none()
    flags = st.builds(Flags, edges(8), st.one_of(st.none(), st.just(0x12), st.just(0xFF)))
    return st.builds(
        Rule,
        span=st.integers(0, 30).map(lambda line: Span(SOURCE, line * 5, line * 5 + 4)),
        verdict=st.sampled_from(("allow", "reject") if connect else ("pass", "drop", "continue")),
        traffic=st.lists(traffics(), min_size=1, max_size=2).map(tuple),
        src=nothing if connect else optional(networks()),
        sports=nothing if connect else optional(sets(16)),
        dst=optional(networks()),
        dports=optional(sets(16, max_ranges=7)),
        flags=nothing if connect else optional(flags),
        where=nothing if connect else optional(wheres()),
        limit=nothing if connect else optional(limits()),
        sample=st.sampled_from((0, 0, 1, 5)),
    )


def wheres() -> st.SearchStrategy[Where]:
    """Conditions over all fields, deep enough that `or` and `and` meet."""
    tests = st.sampled_from(ROWS).flatmap(
        lambda row: sets(row.width_bits).map(lambda v: FieldTest(row.name, v & row.possible or row.possible))
    )
    return st.recursive(
        tests,
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(lambda items: AllOf(tuple(items))),
            st.lists(inner, min_size=2, max_size=3).map(lambda items: AnyOf(tuple(items))),
        ),
        max_leaves=4,
    )


@st.composite
def chains(draw: st.DrawFn, max_rules: int = 6) -> Chain:
    """Rule lists in which some rules that let the packet go on lead further than to the next one."""
    found = draw(st.lists(rules(), max_size=max_rules))
    for index, rule in enumerate(found):
        if rule.verdict == "continue" and draw(st.booleans()):
            found[index] = replace(rule, resume=draw(st.integers(index + 1, len(found))))
    return Chain("random", "xdp", "", ("eth0",), "pass", tuple(found), Span(SOURCE, 0, 4))


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """What a frame that is not malformed may say (`stdlib_bpf.decode.frame`)."""
    eth_type = draw(st.sampled_from([ETH_P_IP, ETH_P_IP, ETH_P_IPV6, ETH_P_IPV6, ETH_P_ARP, 7]))
    found: Facts = {"eth.type": eth_type}
    if eth_type in (ETH_P_IP, ETH_P_IPV6):
        found["ip.proto"] = draw(st.sampled_from(PROTOCOLS))
        if draw(st.integers(0, 5)):  # else a later fragment
            found["l4.proto"] = found["ip.proto"]
    for row in ROWS:
        held = all(found.get(guard, -1) in allowed for guard, allowed in row.guards)
        if row.name in found or not held or (row.transport and "l4.proto" not in found):
            continue
        if not row.optional or draw(st.booleans()):
            low, high = row.possible.ranges[0]
            found[row.name] = min(max(draw(edges(row.width_bits)), low), high)
    return found


def contents() -> st.SearchStrategy[dict[str, Prefixes]]:
    return st.fixed_dictionaries({live.name: st.builds(Prefixes, sets(32), sets(128)) for live in LIVE})
