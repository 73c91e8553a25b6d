"""`balance` declarations to services, and services to balancers: one for each set of cgroups.

Knows what a service must say; must never know how a backend is chosen (`stdlib_bpf.balance`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf.balance import maglev
from lockgate.stdlib_bpf.balance.services import (
    EMPTY,
    MAGLEV,
    MAX_WEIGHT,
    MIN_WEIGHT,
    PROTOCOLS,
    REJECT,
    SPREADS,
    Backend,
    Front,
    Service,
    selection_place,
)
from lockgate.stdlib_bpf.state.cgroups import ROOT, within

from .. import errors
from ..source import Span
from ..syntax import tree as t
from .model import Balancer
from .networks import Networks
from .options import duration_ns
from .selectors import Selections, selector, union
from .targets import Targets
from .traffic import single

MAX_EXEMPT = 63  # cgroups that the services of one balancer exempt: bits of a word, from 1
MAX_AFFINITY_DAYS = 30
NAME = "balance"


@dataclass(frozen=True)
class _Declared:
    """A service as it was declared: `exempt` are paths; `vips` and `fronts` say where each stands."""

    service: Service
    targets: tuple[str, ...]
    exempt: tuple[str, ...]
    spared: tuple[t.Selector, ...]  # who is exempt by labels
    chosen: tuple[t.Selector, ...]  # who is a backend by labels
    owner: str | None
    span: Span
    vips: tuple[Span, ...]


class Balances:
    """Checks `balance` declarations, in the order of the file."""

    def __init__(self, networks: Networks, targets: Targets) -> None:
        self.networks, self.targets, self.sink = networks, targets, networks.sink
        self._declared: list[_Declared] = []
        self._taken: dict[tuple[str, str], Span] = {}  # by cgroup and address: where it was declared

    def declared(self, decl: t.Balance) -> None:
        """Check a declaration; without what was complained about."""
        before = self.sink.errors
        settings = self._settings(decl)
        lists = {
            kind: [i for i in decl.items if isinstance(i, kind)] for kind in (t.Vip, t.Front, t.Backends)
        }
        missing = [
            word
            for word, kind in (("vip", t.Vip), ("port", t.Front), ("backends", t.Backends))
            if not lists[kind]
        ]
        if missing:
            self._complain(errors.IncompleteService(decl.name.span, tuple(missing)))
        vips = self._vips([i for i in decl.items if isinstance(i, t.Vip)])
        fronts = self._fronts([i for i in decl.items if isinstance(i, t.Front)])
        lines = [i for i in decl.items if isinstance(i, t.Backends)]
        backends = self._backends(lines, vips)
        home = self.targets.cgroups(decl.home) if decl.home else (ROOT,)
        affinity = self._affinity(decl)
        exempt, spared = self._exempt([i for i in decl.items if isinstance(i, t.Exempt)])
        chosen = tuple(i for line in lines for i in line.items if isinstance(i, t.Selector))
        if self.sink.errors == before and lines and not chosen:
            self._answered(vips, backends, lines[0].span)
        if self.sink.errors > before:
            return
        spread, empty = settings.get("spread", MAGLEV), settings.get("empty", REJECT)
        weights = [b.weight for b in backends]
        service = Service(
            name=decl.name.text,
            vips=tuple(vips),
            fronts=fronts,
            backends=backends,
            spread=spread,
            affinity_ms=affinity,
            empty=empty,
            size=maglev.size(weights) if SPREADS[spread] == MAGLEV and not chosen else 0,
        )
        owner, where = settings.get("owner"), tuple(vips.values())
        found = _Declared(service, home, exempt, spared, chosen, owner, decl.span, where)
        if self._alone(found):
            self._declared.append(found)

    def balancers(self) -> tuple[Balancer, ...]:
        """One for each set of cgroups, in the order of the file."""
        homes: dict[tuple[str, ...], list[_Declared]] = {}
        for one in self._declared:
            homes.setdefault(one.targets, []).append(one)
        for same in homes.values():
            if len({*(p for d in same for p in d.exempt), *(s for d in same for s in d.spared)}) > MAX_EXEMPT:
                what = "the number of cgroups and selectors that services of a cgroup exempt"
                self._complain(errors.OutOfRange(what, same[0].span, 0, MAX_EXEMPT))
        return tuple(
            _balancer(f"{NAME}.{number}" if number > 1 else NAME, targets, declared)
            for number, (targets, declared) in enumerate(homes.items(), 1)
        )

    # ---- settings ----

    def _settings(self, decl: t.Balance) -> dict[str, str]:
        """Words and texts that stand once; complains about what stands twice."""
        seen: dict[str, Span] = {}
        found: dict[str, str] = {}
        for item in decl.items:
            key = _key(item)
            if key is None:
                continue
            if key in seen:
                self._complain(errors.Repeated(f"`{key}`", item.span, seen[key]))
                continue
            seen[key] = item.span
            if isinstance(item, t.Attribute) and isinstance(item.value, t.Name | t.Text):
                found[key] = item.value.text
                if isinstance(item.value, t.Name):
                    self._word(key, item.value)
        return found

    def _word(self, key: str, word: t.Name) -> None:
        known = {"spread": tuple(SPREADS), "empty": EMPTY}[key]
        if word.text not in known:
            self._complain(
                errors.UnknownName(f"`{key}`", word.text, word.span, tuple((name, None) for name in known))
            )

    def _affinity(self, decl: t.Balance) -> int:
        """In ms; 0 for none."""
        line = next((i for i in decl.items if isinstance(i, t.Affinity)), None)
        if line is None:
            return 0
        most = MAX_AFFINITY_DAYS * 24 * 3600 * 1000
        found = duration_ns(line.duration.text) // 1_000_000
        if not 1 <= found <= most:
            self._complain(errors.OutOfRange("`affinity` in milliseconds", line.duration.span, 1, most))
        return found

    def _exempt(self, lines: Iterable[t.Exempt]) -> tuple[tuple[str, ...], tuple[t.Selector, ...]]:
        """Paths of cgroups, and selectors."""
        items = [item for line in lines for item in line.cgroups]
        paths = self.targets.cgroups(item for item in items if isinstance(item, t.Text))
        return paths, tuple(item for item in items if isinstance(item, t.Selector))

    # ---- addresses, ports, backends ----

    def _vips(self, lines: Iterable[t.Vip]) -> dict[str, Span]:
        found: dict[str, Span] = {}
        for item in (address for line in lines for address in line.addresses):
            text = self._host(item)
            if text is None:
                continue
            if text in found:
                self._complain(errors.SharedServiceAddress(text, item.span, found[text]))
            found.setdefault(text, item.span)
        return found

    def _host(self, item: t.Address) -> str | None:
        """The address of one host, as `ipaddress` writes it; None after a complaint."""
        prefix = self.networks.prefix(item.span)
        if prefix is None:
            return None
        value = single(prefix.prefixes.v4 if prefix.family == 4 else prefix.prefixes.v6)
        if value is None:
            self._complain(errors.BadServiceAddress(item.span, "a network"))
            return None
        address = (ipaddress.IPv4Address if prefix.family == 4 else ipaddress.IPv6Address)(value)
        reason = (
            "it stands for this host"
            if address.is_unspecified
            else "a multicast address"
            if address.is_multicast
            else "the broadcast address"
            if prefix.family == 4 and value == 0xFFFFFFFF
            else None
        )
        if reason is not None:
            self._complain(errors.BadServiceAddress(item.span, reason))
            return None
        return str(address)

    def _fronts(self, lines: Iterable[t.Front]) -> tuple[Front, ...]:
        found: dict[tuple[int, int], Span] = {}
        fronts = []
        for line in lines:
            protocol = PROTOCOLS.get(line.protocol.text)
            if protocol is None:
                self._complain(errors.NotBalanced(line.protocol.span))
            target = line.port if line.target is None else line.target
            good = [self._port(number) for number in (line.port, target)[: 1 if target is line.port else 2]]
            if protocol is None or not all(good):
                continue
            key = protocol, line.port.value
            if key in found:
                what = f"{line.protocol.text} {line.port.value}"
                self._complain(errors.SharedServiceAddress(what, line.span, found[key]))
            found.setdefault(key, line.span)
            fronts.append(Front(protocol, line.port.value, target.value))
        return tuple(fronts)

    def _port(self, number: t.Number) -> bool:
        return self.networks.in_range("the port", number, 1, 0xFFFF)

    def _backends(self, lines: Sequence[t.Backends], vips: dict[str, Span]) -> tuple[Backend, ...]:
        found: dict[tuple[str, int], Span] = {}
        backends = []
        for item in (item for line in lines for item in line.items):
            if isinstance(item, t.Selector):
                continue
            backend = self._backend(item)
            if backend is None:
                continue
            key, span = (backend.address, backend.port), item.address.span
            if backend.address in vips:
                self._complain(errors.RepeatedBackend(span, vips[backend.address], is_vip=True))
            elif key in found:
                self._complain(errors.RepeatedBackend(span, found[key], is_vip=False))
            found.setdefault(key, span)
            backends.append(backend)
        return tuple(backends)

    def _backend(self, item: t.Backend) -> Backend | None:
        address = self._host(item.address)
        port = item.port is None or self._port(item.port)
        for again in item.weights[1:]:
            self._complain(errors.Repeated("`weight`", again.span, item.weights[0].span))
        weight = item.weights[0] if item.weights else None
        fits = weight is None or self.networks.in_range("`weight`", weight, MIN_WEIGHT, MAX_WEIGHT)
        if address is None or not port or not fits:
            return None
        return Backend(
            address,
            0 if item.port is None else item.port.value,
            1 if weight is None else weight.value,
            item.draining,
        )

    def _answered(self, vips: dict[str, Span], backends: Sequence[Backend], where: Span) -> None:
        """Whether somebody takes new clients of each address."""
        for vip, span in vips.items():
            family = ipaddress.ip_address(vip).version
            same = [b for b in backends if b.family == family]
            if all(b.draining for b in same):
                self._complain(errors.NoBackend(span, where, family, bool(same)))

    def _alone(self, new: _Declared) -> bool:
        """Whether no other service of the same cgroups has one of its addresses."""
        before = self.sink.errors
        for vip, span in zip(new.service.vips, new.vips, strict=True):
            first = next((s for t in new.targets if (s := self._taken.get((t, vip))) is not None), None)
            if first is not None:
                self._complain(errors.SharedServiceAddress(vip, span, first))
            for target in new.targets:
                self._taken.setdefault((target, vip), span)
        return self.sink.errors == before

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())


def _key(item: t.Setting) -> str | None:
    """What a setting is called that stands once."""
    match item:
        case t.Attribute(_, key, _):
            return key
        case t.Affinity():
            return "affinity"
        case t.Exempt():
            return "exempt"
        case t.Backends():
            return "backends"
    return None


def _balancer(name: str, targets: tuple[str, ...], declared: Sequence[_Declared]) -> Balancer:
    """The services of some cgroups, with the places of those that they exempt."""
    paths = tuple(sorted({path for one in declared for path in one.exempt} - {ROOT}))
    selections = Selections()

    def numbers(nodes: Iterable[t.Selector]) -> tuple[int, ...]:
        for node in nodes:
            selections.written_at(node, (selector(node),))
        return tuple(dict.fromkeys(selections.number(union([selector(node)])) for node in nodes))

    spared = [{selection_place(len(paths), n) for n in numbers(one.spared)} for one in declared]
    services = [
        replace(
            one.service,
            exempt=tuple(sorted(places | {n for path in one.exempt for n in within(paths, path)})),
            selected=numbers(one.chosen),
        )
        for one, places in zip(declared, spared, strict=True)
    ]
    return Balancer(
        name,
        targets,
        tuple(services),
        declared[0].span,
        paths,
        tuple(selections.listed),
        tuple(selections.written.items()),
    )
