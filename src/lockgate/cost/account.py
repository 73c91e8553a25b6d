"""The account of one rule list: predicted, and measured where that is possible. See `docs/when-not.md`."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lockgate.compiler.codegen.simulate import Packet
from lockgate.compiler.decision import DEFAULT
from lockgate.compiler.driver import FEATURES, Session
from lockgate.compiler.plan.ir import Plan
from lockgate.compiler.plan.predict import predict
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.runtime import features
from lockgate.runtime.bundle import Bundle
from lockgate.stdlib_bpf import hooks

from . import measure, memory, peers
from .advice import Advice, Facts, advise
from .samples import Sample, Sampler, by_rule, filled, ways

TYPICAL, WORST = "typical", "worst"
LIVE_ENTRIES = 1_000
WORST_PACKETS = 2_048
ACK = 16
NO_TEST_RUN = {"endpoint": "flows and labels are not there in test runs"}


@dataclass(frozen=True)
class Asked:
    """What an account is made for. `live_entries`: of each dynamic set, of each family; `rate`: packets a
    second that are expected; `rounds`: of measurements."""

    live_entries: int = LIVE_ENTRIES
    rate: float | None = None
    rounds: int = measure.ROUNDS


@dataclass(frozen=True)
class Figures:
    """`ns`: of a packet, by group (TYPICAL, WORST); of all maps; to load."""

    ns: dict[str, float]
    bytes: int | None = None
    load_ms: float | None = None


@dataclass(frozen=True)
class Account:
    """`worst`: label of who decides the dearest packets; `shares`: (label, ns of a typical packet), the
    dearest first; `left_out`: share of typical packets that rules answer, which are in no figure;
    `measured`: None where nothing was, then `why_not` says why, where it is not for want of asking."""

    chain: Chain
    nodes: int
    live_entries: int
    predicted: Figures
    worst: str
    shares: tuple[tuple[str, float], ...]
    left_out: float
    advice: Advice
    measured: Figures | None = None
    why_not: str | None = None
    peers: dict[str, peers.Priced] = field(default_factory=dict)


@dataclass(frozen=True)
class _Traffic:
    """Packets by group; `worst`: the rule that decides those of WORST; `left_out` as in `Account`; `live`:
    what dynamic sets hold."""

    groups: dict[str, list[Sample]]
    worst: int
    left_out: float
    live: dict[str, Prefixes]

    def packets(self) -> dict[str, list[Packet]]:
        """The groups' packets."""
        return {name: [one.packet for one in samples] for name, samples in self.groups.items()}


def account(session: Session, chain: Chain, bundle: Bundle | None, asked: Asked) -> Account:
    """Everything that can be told of a chain. `bundle`: to be measured, None for predictions alone. The
    errors of `runtime.loader`."""
    plan = _with_entries(session.plan(chain), asked.live_entries)
    traffic = _traffic(session, chain, plan, asked)
    predicted = _predicted(session, chain, plan, traffic, asked)
    why_not = NO_TEST_RUN.get(chain.hook) if bundle is not None else None
    measured, others = None, {}
    if bundle is not None and why_not is None and traffic.groups:
        packets = traffic.packets()
        found = measure.measure(bundle, chain.name, packets, traffic.live, asked.rounds)
        measured = Figures(found.ns, found.bytes, found.load_ms)
        frames = measure.frames_of(packets)
        for name, peer in peers.ALL.items() if all(frames.values()) else ():
            others[name] = peers.priced(peer, session.match(chain), traffic.live, frames, asked.rounds)
    return Account(
        chain,
        len(plan.nodes),
        asked.live_entries if traffic.live else 0,
        predicted,
        _label(chain, traffic.worst),
        _shares(chain, plan, traffic.groups.get(TYPICAL, [])),
        traffic.left_out,
        advise(_facts(session, chain, plan, measured or predicted, others, asked)),
        measured,
        why_not,
        others,
    )


def _traffic(session: Session, chain: Chain, plan: Plan, asked: Asked) -> _Traffic:
    live = filled(session, chain, asked.live_entries)
    sampler = Sampler(session, chain, live)
    drawn = sampler.mix(hits=session.hits(chain))
    mix = [one for one in drawn if not _answered(chain, one)]
    if not mix:
        return _Traffic({}, DEFAULT, 1.0, live)
    worst, packets = max(by_rule(mix), key=lambda item: predict(plan, ways(item[1])).ns)
    if worst != DEFAULT:
        packets = sampler.of(worst, WORST_PACKETS)
    return _Traffic({TYPICAL: mix, WORST: packets}, worst, 1 - len(mix) / len(drawn), live)


def _predicted(session: Session, chain: Chain, plan: Plan, traffic: _Traffic, asked: Asked) -> Figures:
    ns = {name: predict(plan, ways(samples)).ns for name, samples in traffic.groups.items()}
    size = memory.predicted_bytes(session.module(chain), asked.live_entries)
    return Figures(ns, size, memory.predicted_load_ms(plan, size))


def _with_entries(plan: Plan, entries: int) -> Plan:
    """The plan with its dynamic sets as full as they are taken to be."""
    tables = (replace(t, max_entries=min(entries, t.max_entries)) if t.live else t for t in plan.tables)
    return replace(plan, tables=tuple(tables))


def _answered(chain: Chain, one: Sample) -> bool:
    """Whether a packet is answered by another one, which is built in its place: no run after it would find
    the frame that it wants."""
    verdict = chain.default if one.rule == DEFAULT else chain.rules[one.rule].verdict
    return verdict == "reject" and hooks.ALL[chain.hook].target == "interface"


def _label(chain: Chain, rule: int) -> str:
    return "default" if rule == DEFAULT else chain.rules[rule].label


def _shares(chain: Chain, plan: Plan, mix: Sequence[Sample]) -> tuple[tuple[str, float], ...]:
    if not mix:
        return ()
    told = predict(plan, ways(mix))
    found: defaultdict[str, float] = defaultdict(float, {"(decoding and counting)": told.decode_ns})
    for rule, ns in told.rules.items():
        found[_label(chain, rule)] += ns
    for name, ns in told.shared.items():
        found[_shared(plan, name)] += ns
    return tuple(sorted(((k, v) for k, v in found.items() if v), key=lambda item: (-item[1], item[0])))


def _shared(plan: Plan, name: str) -> str:
    """What `predict` names so."""
    if not name:
        return "(tests that serve several rules)"
    for tags in plan.tags:
        if tags.name == name:
            return f"(one look-up in {len(tags.members):,} sets)"
    rules = len({box.rule for box in plan.classifier(name).boxes})
    return f"(one look-up for {rules:,} rules)"


def _facts(
    session: Session,
    chain: Chain,
    plan: Plan,
    figures: Figures,
    others: Mapping[str, peers.Priced],
    asked: Asked,
) -> Facts:
    verdicts = {chain.default, *(rule.verdict for rule in chain.rules)}
    needed = [features.ALL[name].min_kernel for name in FEATURES[chain.hook]]
    return Facts(
        hook=chain.hook,
        rules=len(chain.rules),
        entries=sum(len(t.values) for t in plan.tables if t.live is None) + sum(t.ranges for t in plan.tags),
        ours_ns=figures.ns.get(TYPICAL, 0.0),
        live=tuple(most for _, most in session.match(chain).live),
        peers={name: one.ns[TYPICAL] for name, one in others.items() if TYPICAL in one.ns},
        rate=asked.rate,
        kernel=_version(platform.release()) if platform.system() == "Linux" else None,
        needs=max(version for text in needed if (version := _version(text)) is not None),
        filtering=_filtering() if others else None,
        replies=_replies(chain),
        drops="drop" in verdicts,
    )


def _version(text: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _filtering() -> bool | None:
    """Whether nftables has tables where we are."""
    if shutil.which("nft") is None:
        return False
    done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, timeout=10)
    return bool(done.stdout.strip()) if done.returncode == 0 else None


def _replies(chain: Chain) -> tuple[str, ...]:
    """Rules that let TCP packets in because they have ACK, from a port that servers have."""
    return tuple(
        rule.label
        for rule in chain.rules
        if rule.verdict in ("allow", "pass")
        and rule.flags is not None
        and rule.flags.mask == rule.flags.value == ACK
    )
