"""Small policies as values, compiled to real bundles: what kernel tests load.

Written with the policy model instead of the language, so that these tests stand on code generation and
runtime alone.
"""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from functools import cache
from pathlib import Path

from lockgate.compiler.codegen import bundle as writer
from lockgate.compiler.codegen.llvm import Worker
from lockgate.compiler.driver import Options, Session
from lockgate.compiler.policy.model import Chain, Live, Network, Prefixes, Rule, Traffic, Unit
from lockgate.compiler.source import Source, Span
from lockgate.runtime import bundle as bundles
from lockgate.stdlib_bpf.sets import EMPTY, IntervalSet

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58


def nets(*texts: str) -> Prefixes:
    """A network from prefixes of both families."""
    v4, v6 = [], []
    for text in texts:
        net = ipaddress.ip_network(text)
        (v4 if net.version == 4 else v6).append((int(net.network_address), int(net.broadcast_address)))
    return Prefixes(IntervalSet.of(*v4) if v4 else EMPTY, IntervalSet.of(*v6) if v6 else EMPTY)


def rule(
    verdict: str,
    name: str | None = None,
    *,
    proto: int | None = None,
    src: Network | None = None,
    dst: Network | None = None,
    dport: int | None = None,
    count: str | None = None,
    sample: int = 0,
) -> Rule:
    """A rule; where it stands is filled in by `chain`."""
    traffic = Traffic(protocols=IntervalSet.of(proto)) if proto is not None else Traffic()
    return Rule(
        Span(Source("unplaced.gate", "x"), 0, 1),
        verdict,
        name,
        (traffic,),
        src,
        None,
        dst,
        IntervalSet.of(dport) if dport is not None else None,
        None,
        count=count,
        sample=sample,
    )


def unit(name: str, *chains: Chain) -> Unit:
    """A unit named `name`, each rule on a line of its own."""
    count = sum(len(c.rules) for c in chains)
    text = "\n".join(f"rule number {i + 1:04}" for i in range(count)) + "\n"
    source = Source(f"{name}.gate", text)
    placed, at, width = [], 0, len("rule number 0001\n")
    for chain in chains:
        rules = []
        for item in chain.rules:
            rules.append(replace(item, span=Span(source, at, at + width - 1)))
            at += width
        placed.append(replace(chain, rules=tuple(rules), span=Span(source, 0, 4)))
    live = {n.name: n for c in chains for r in c.rules for n in (r.src, r.dst) if isinstance(n, Live)}
    return Unit(source, tuple(placed), live=live)


def chain(
    policy: str, hook: str, target: str | tuple[str, ...], default: str, *rules: Rule, direction: str = ""
) -> Chain:
    """A chain without a place."""
    targets = (target,) if isinstance(target, str) else target
    span = Span(Source("unplaced.gate", "x"), 0, 1)
    return Chain(policy, hook, direction, targets, default, rules, span)


@cache
def _worker() -> Worker:
    return Worker()


def stop_worker() -> None:
    """End the LLVM process, if there is one."""
    if _worker.cache_info().currsize:
        _worker().close()
        _worker.cache_clear()


def bundle(name: str, *chains: Chain, structures: frozenset[str] | None = None) -> bytes:
    """The bundle file's bytes. `structures`: that tables may be, None for any."""
    session = Session(Path(f"{name}.gate"), Options(structures=structures), worker=_worker())
    session._unit = unit(name, *chains)
    return session.bundle()


def refused_by_verifier(name: str, *chains: Chain) -> bytes:
    """A bundle, whole and well-formed, whose first object calls a helper that no kernel has."""
    whole = bundles.parse(bundle(name, *chains))
    member = whole.manifest.chains[0].object
    lookup = bytes((0x85, 0, 0, 0, 1, 0, 0, 0))  # call 1: bpf_map_lookup_elem
    before = whole.members[member]
    assert lookup in before
    broken = before.replace(lookup, bytes((0x85, 0, 0, 0, 0x0F, 0x27, 0, 0)))
    return writer.write(whole.manifest, {**whole.members, member: broken})
