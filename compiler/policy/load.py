"""A policy file to a checked unit: the order of the front end's steps.

Knows the steps; must never know what they check. Reads only the policy's file and the files it names.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from .. import errors, syntax
from ..diagnostics import Sink
from ..source import Source, Span
from ..syntax import tree as t
from . import delegation, forwarding, imports, settings, tiers
from .balance import Balances
from .between import EndpointTests
from .calls import ServiceTests
from .check import Policies
from .endpoints import Endpoints
from .expiry import Expiry
from .files import Inputs, ReadFile, UnreadableInput
from .model import Chain, Live, Minus, Network, Not, Union, Unit
from .networks import Networks
from .proxies import Proxies
from .resolve import Scope
from .rules import Rules
from .targets import Targets
from .templates import Templates
from .traffic import TrafficTypes


def load(
    where: str | Path | Source,
    sink: Sink,
    *,
    read_file: ReadFile = Path.read_bytes,
    include: Iterable[Path] = (),
    now: date | None = None,
    root: Path | None = None,
) -> Unit:
    """Read, parse and check a policy. `where`: its path, or its source when the text is at hand; files that
    it names are read with `read_file`, relative to it; imports also from the folders `include`. `now`: the
    day for which rules that expire are judged. `root`: the outermost directory whose `lockgate.toml` holds.
    Warnings go to `sink`, and so do errors, which raise PolicyError at the end with everything that `sink`
    holds."""
    inputs = Inputs(read_file, include)
    source = _source(where, inputs, sink)
    found = settings.read(source, inputs, root, sink)
    inputs.include(folder for each in reversed(found) for folder in each.include)
    program = imports.read(syntax.parse(source, sink), inputs, sink)
    unit = check(program, inputs, sink, now)
    delegation.check(found, program, unit.chains, sink)
    sink.stop_on_errors()
    return unit


def check(program: imports.Program, inputs: Inputs, sink: Sink, now: date | None = None) -> Unit:
    """Check a parsed policy: the declarations of all its files, then its own policies and tests. The unit
    means something only when `sink` got no error. `now`: as in `load`."""
    module = program.main
    scope = Scope(program, sink)
    networks, traffic, targets = Networks(scope, inputs), TrafficTypes(scope), Targets(scope)
    proxies = Proxies(scope, targets)
    rules = Rules(networks, traffic, targets, proxies)
    templates = Templates(scope, networks, traffic, targets, rules)
    policies = Policies(module, rules, targets, templates, Expiry(now, sink))
    balances = Balances(networks, targets)
    tests = EndpointTests(scope, networks, traffic, policies)
    for decl in (decl for each in program.modules for decl in each.decls):
        match decl:
            case t.NetworkDecl():
                networks.declared(decl)
            case t.PortsDecl():
                traffic.declared_ports(decl)
            case t.ServiceDecl():
                traffic.declared_service(decl)
            case t.InterfaceDecl():
                targets.declared(decl)
            case t.ProxyDecl():
                proxies.declared(decl)
            case t.NotYet(span, what):
                sink.add(errors.NotYet(what, span).diagnostic())
    order = tiers.check(program, sink)
    templates.check()
    chains: list[Chain] = []
    for decl in module.decls:
        if isinstance(decl, t.Policy):
            chains += policies.chains(decl)
        elif isinstance(decl, t.Balance):
            balances.declared(decl)
    forward = forwarding.check(program, sink)
    endpoints = Endpoints(policies, order, networks.selections, forward).chain(module.decls)
    chains += [] if endpoints is None else [endpoints]
    balancers = balances.balancers()
    of_services = ServiceTests(scope, networks, traffic, policies, balancers)
    checked_tests = tuple(
        of_services.service_test(decl) if of_services.is_mine(decl) else tests.test(decl, chains)
        for decl in module.decls
        if isinstance(decl, t.Test)
    )
    _check_shared_targets(chains, sink)
    scope.warn_unused()
    return Unit(
        source=module.source,
        chains=tuple(chains),
        tests=checked_tests,
        balancers=balancers,
        live=_live_of(chains),
        inputs=inputs.digests,
        now=None if now is None else now.isoformat(),
    )


def _source(where: str | Path | Source, inputs: Inputs, sink: Sink) -> Source:
    if isinstance(where, Source):
        return inputs.given(where)
    try:
        return inputs.given(inputs.policy(Path(where)))
    except UnreadableInput as reason:
        empty = Source(Path(where).name, "", Path(where))
        sink.add(errors.UnreadablePolicy(str(where), Span(empty, 0, 0), str(reason)).diagnostic())
        sink.stop_on_errors()
        raise  # not reached: there is an error


def _check_shared_targets(chains: list[Chain], sink: Sink) -> None:
    """Two XDP policies on one interface: the kernel runs one program there."""
    seen: dict[str, Chain] = {}
    for chain in chains:
        if chain.hook != "xdp":
            continue
        for target in chain.targets:
            first = seen.setdefault(target, chain)
            if first is not chain:
                sink.add(errors.SharedTarget(target, chain.span, first.span).diagnostic())


def _live_of(chains: list[Chain]) -> dict[str, Live]:
    """Dynamic sets that some rule uses, by name, sorted."""
    found: dict[str, Live] = {}
    pending = [n for c in chains for r in c.rules for n in (r.src, r.dst) if n is not None]
    while pending:
        network: Network = pending.pop()
        match network:
            case Live(name, _):
                found[name] = network
            case Union(left, right) | Minus(left, right):
                pending += [left, right]
            case Not(operand):
                pending.append(operand)
    return dict(sorted(found.items()))
