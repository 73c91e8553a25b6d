"""Rules to matches: each rule becomes an or of conjunctions over fields, in the order of the rules.

    allow tcp from 10.0.0.0/8 + ban to any 443

becomes, `ban` being a dynamic set,

    match 0 from 0 when eth.type {0x0800} ip.proto {6} ip4.src {10.0.0.0/8} ip4.dst {0.0.0.0/0} th.dport {443}
    match 0 from 0 when eth.type {0x0800} ip.proto {6} ip4.src {0.0.0.0/0} ip4.src@ban {1} ip4.dst ...
    match 0 from 0 when eth.type {0x86dd} ip.proto {6} ip6.src {::/0} ip6.src@ban {1} ip6.dst ...

Knows the policy model and the field table; must never know a data structure, a hook or a kernel.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.sets import IntervalSet

from ..policy import alternatives
from ..policy.model import Chain, Flags, Network, Rule, Traffic
from .ir import Match, MatchProgram, RuleInfo
from .networks import FAMILIES, SELECTED, Cube, Cubes, families, live_sets

Tests = dict[str, IntervalSet]


def lower(chain: Chain) -> MatchProgram:
    """One chain of a checked policy. Unoptimised: passes take it from here."""
    known = Cubes()
    matches = [
        Match(tests, index, (index,))
        for index, rule in enumerate(chain.rules)
        for tests in conjunctions(rule, known)
    ]
    used = {live[1] for m in matches for name, _ in m.tests if (live := fields.split_live(name))}
    entries = {
        live.name: live.max_entries
        for rule in chain.rules
        for network in (rule.src, rule.dst)
        for live in live_sets(network)
    }
    return MatchProgram(
        name=chain.name,
        hook=chain.hook,
        direction=chain.direction,
        default=chain.default,
        rules=tuple(_info(rule, hooks.ALL[chain.hook]) for rule in chain.rules),
        matches=tuple(matches),
        live=tuple((name, entries[name]) for name in sorted(used)),
        devices=chain.devices,
        cgroups=chain.cgroups,
        fragments=chain.fragments,
        forward=chain.forward,
        selections=tuple(selection.text for selection in chain.selections),
    )


def conjunctions(rule: Rule, known: Cubes) -> Iterator[tuple[tuple[str, IntervalSet], ...]]:
    """The rule's matches, each with all guards, sorted; those that no packet satisfies are left out."""
    common: Tests = {}
    if rule.direction:
        common["flow.direction"] = IntervalSet.of(fields.DIRECTIONS.index(rule.direction))
    if rule.sports is not None:
        common["th.sport"] = rule.sports
    if rule.dports is not None:
        common["th.dport"] = rule.dports
    if rule.flags is not None:
        common["tcp.flags"] = flag_values(rule.flags)
    if (rule.limit is not None and rule.limit.per is not None) or rule.effects.dscp is not None:
        common["eth.type"] = fields.IP  # a bucket per address asks for one, and a DSCP for a header
    for traffic in rule.traffic:
        for kind in _traffic(traffic):
            for addresses in _addresses(rule, known):
                for conditions in alternatives.conjunctions(rule.where):
                    tests = fields.guarded(kind, common, addresses, conditions)
                    if tests is not None:
                        yield tuple(sorted(tests.items(), key=lambda test: fields.sort_key(test[0])))


def flag_values(flags: Flags) -> IntervalSet:
    """The values of the flags byte that satisfy a test of flags."""
    return IntervalSet.of(*(value for value in range(256) if flags.matches(value)))


def _traffic(traffic: Traffic) -> Iterator[Tests]:
    tests: Tests = {}
    if traffic.eth_types is not None:
        tests["eth.type"] = traffic.eth_types
    if traffic.protocols is not None:
        tests["ip.proto"] = traffic.protocols
    if traffic.ports is not None:
        tests["th.dport"] = traffic.ports
    if traffic.icmp_types is None:
        yield tests
        return
    # The type's field follows from the protocol; a guard empties the alternative that the rule excludes.
    yield tests | {"icmp.type": traffic.icmp_types}
    yield tests | {"icmp6.type": traffic.icmp_types}


def _addresses(rule: Rule, known: Cubes) -> Iterator[Tests]:
    if rule.src is None and rule.dst is None:
        yield {}
        return
    for family in FAMILIES:
        for source in _side(rule.src, family, "src", rule.direction, known):
            for destination in _side(rule.dst, family, "dst", rule.direction, known):
                yield source | destination


def _side(network: Network | None, family: int, side: str, direction: str, known: Cubes) -> Iterator[Tests]:
    if network is None:
        yield {}
    elif family in families(network):
        for cube in known.of(network, family):
            yield _cube_tests(cube, f"ip{family}.{side}", fields.end_of(side, direction))


def _cube_tests(cube: Cube, field: str, end: str) -> Tests:
    tests = {field: cube.values}
    for name, member in cube.live:
        if name.startswith(SELECTED):
            name = fields.selected_field(end, int(name.removeprefix(SELECTED)))
        else:
            name = fields.live_field(field, name)
        tests[name] = IntervalSet.of(int(member))
    return tests


def _info(rule: Rule, hook: hooks.Hook) -> RuleInfo:
    return RuleInfo(
        label=rule.label,
        verdict=rule.verdict,
        file=rule.span.source.name,
        line=rule.span.line,
        column=rule.span.column,
        name=rule.name,
        count=rule.count,
        sample=rule.sample,
        limit=rule.limit,
        effects=rule.effects,
        passing=rule.verdict in hook.passing,
        resume=rule.resume,
        lasts=rule.lasts,
        span=rule.span,
    )
