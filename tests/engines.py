"""Every meaning of a policy, asked about the same packets: the heart of law, file tests and corpus.

The reference is `policy.decide` over the reference decoder. Beside it stand the match IR before and after its
passes, the plan, the generated code run natively, and the generated code run by the kernel. All must give the
same verdict, the same deciding rule, and the same counters.

Which packets the kernel can be asked about is said by `can_run`, not by silence: its test runs take neither
frames under 14 bytes, nor a tag that was taken off into metadata, nor at tc an untagged frame that ends
inside its IP header (slow, since it goes over a wire); `tests/kernel/test_real_frames.py` has all of those.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from lockgate.compiler import policy, profile
from lockgate.compiler.codegen.llvm import Worker
from lockgate.compiler.codegen.simulate import EPOCH_NS
from lockgate.compiler.decision import DEFAULT, FRAGMENT, MALFORMED, Decision
from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.driver import Options, Session
from lockgate.compiler.match import run as match_run
from lockgate.compiler.plan.parts import PART_INSNS
from lockgate.compiler.plan.run import Runner
from lockgate.compiler.policy.decide import decide
from lockgate.compiler.policy.model import Chain, Prefixes, Unit
from lockgate.compiler.source import Source
from lockgate.engines import given, seen_by
from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.decode import frame as frames
from lockgate.stdlib_bpf.decode import sock_addr
from lockgate.stdlib_bpf.decode.frame import Facts, Frame, Malformed
from lockgate.stdlib_bpf.decode.sock_addr import AF_INET, SocketCall
from lockgate.stdlib_bpf.effects import NONE
from lockgate.stdlib_bpf.outcome import Outcome, outcome
from lockgate.stdlib_bpf.state.limits import Buckets

Packet = Frame | SocketCall
Contents = Mapping[str, Prefixes]

MIN_KERNEL_FRAME = 14  # BPF_PROG_TEST_RUN refuses less
IP_HEADER = {b"\x08\x00": 20, b"\x86\xdd": 40}  # at tc it wants these whole
MAX_KERNEL_FRAME = 3000  # and more than a page less its room in front and behind
NAME = "policy.gate"


@dataclass(frozen=True)
class Case:
    """A policy and what to ask it. `files`: texts that the policy names; `live`: contents of dynamic sets;
    `structures`: kinds of table the planner may use, None for all; `chain`: None for the first; `profile`:
    packets by the label of who decided them, None for no profile; `part_insns`: about how many instructions a
    function may have."""

    source: str
    packets: tuple[Packet, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    live: Contents = field(default_factory=dict)
    structures: frozenset[str] | None = None
    chain: str | None = None
    profile: Mapping[str, int] | None = None
    part_insns: int = PART_INSNS


@dataclass(frozen=True)
class Answer:
    """One engine's answers. `decisions`: None where it was not asked; `counters`: (packets, bytes) by slot,
    None for an engine that does not count; `outcomes`: what became of each packet, None where that is not
    known."""

    engine: str
    decisions: tuple[Decision | None, ...]
    counters: tuple[tuple[int, int], ...] | None = None
    outcomes: tuple[Outcome | None, ...] = ()


@dataclass(frozen=True)
class Difference:
    """An engine that disagrees with the reference. `packet`: index, None when only the counters differ."""

    engine: str
    packet: int | None
    expected: object
    got: object


class DisagreementError(AssertionError):
    """Engines that should mean the same do not."""


def load(source: str, files: Mapping[str, str], sink: Sink | None = None) -> Unit:
    """A policy from text, with the files it names at hand."""

    def read(path: Path) -> bytes:
        return files[str(path)].encode() if str(path) in files else path.read_bytes()

    return policy.load(Source(NAME, source), Sink() if sink is None else sink, read_file=read)


def facts_of(packet: Packet) -> Facts | Malformed:
    """What the reference decoder reads."""
    if isinstance(packet, SocketCall):
        return sock_addr.decode(packet)
    return frames.decode(packet)


@cache
def worker() -> Worker:
    """The LLVM process of this test process."""
    return Worker()


def stop_worker() -> None:
    """End the LLVM process, if there is one."""
    if worker.cache_info().currsize:
        worker().close()
        worker.cache_clear()


class Opened:
    """A case, compiled. Use `with`."""

    def __init__(self, case: Case, unit: Unit | None = None) -> None:
        self.case = case
        self.unit = load(case.source, case.files) if unit is None else unit
        self.session = Session(
            Path(NAME),
            Options(structures=case.structures, part_insns=case.part_insns),
            worker=worker(),
        )
        self.session._unit = self.unit  # the text is at hand, and no file
        names = [c.name for c in self.unit.chains]
        self.chain: Chain = self.unit.chains[names.index(case.chain) if case.chain else 0]
        if case.profile is not None:
            hits = {self.chain.name: profile.hits(case.profile, self.chain)}
            self.session._profile = profile.Applied("test.profile", "", hits)
        self.facts = tuple(seen_by(self.chain, case.packets))
        self.named = sorted({r.count for r in self.chain.rules if r.count is not None})

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.__exit__()

    # ---- engines ----

    def interp(self, kernel: bool = False) -> Answer:
        """The reference. `kernel`: of the packets that the kernel can be asked about, None for others: what a
        packet is answered may depend on those before it."""
        packets = self.case.packets
        asked = [i for i, p in enumerate(packets) if not kernel or can_run(p, self.chain.hook)]
        decisions: list[Decision | None] = [None] * len(packets)
        buckets = Buckets()
        for i, seen in zip(asked, seen_by(self.chain, [packets[i] for i in asked]), strict=True):
            decisions[i] = decide(self.chain, seen, self.case.live, buckets)
        return Answer("interp", tuple(decisions), self.count(decisions))

    def match(self) -> Answer:
        """The match IR before any pass."""
        program, buckets = self.session.match(self.chain), Buckets()
        return Answer("match", tuple(match_run.run(program, f, self.case.live, buckets) for f in self.facts))

    def optimised(self) -> Answer:
        """The match IR behind all passes."""
        program, buckets = self.session.optimised(self.chain), Buckets()
        return Answer("passes", tuple(match_run.run(program, f, self.case.live, buckets) for f in self.facts))

    def plan(self) -> Answer:
        """The plan, with its built tables."""
        runner, buckets = Runner(self.session.plan(self.chain)), Buckets()
        return Answer("plan", tuple(runner.run(f, self.case.live, buckets) for f in self.facts))

    def native(self) -> Answer:
        """The generated code on this machine."""
        with self.session.native(self.chain) as native:
            native.set_live({name: (p.v4, p.v6) for name, p in self.case.live.items()})
            seen = native.observe(self.case.packets)
            decisions, outcomes = (tuple(part) for part in zip(*seen, strict=True)) if seen else ((), ())
            return Answer("native", decisions, tuple(native.counters()), outcomes)

    def kernel(self) -> Answer:
        """The generated code in the kernel: test runs for frames, real sockets at connect."""
        from lockgate.runtime import bundle
        from lockgate.runtime.connectrun import ConnectRunner
        from lockgate.runtime.testrun import load_chain

        parsed = bundle.parse(self.session.bundle())
        if self.chain.hook == "connect":
            with ConnectRunner(parsed, self.chain.name) as runner:
                self._fill(runner.chain)
                return self._connect_answer(runner)
        with load_chain(parsed, self.chain.name) as chain:
            self._fill(chain)
            indices = [i for i, p in enumerate(self.case.packets) if can_run(p, self.chain.hook)]
            ran = chain.run([given(self.case.packets[i]) for i in indices])  # type: ignore[arg-type]
            decisions: list[Decision | None] = [None] * len(self.case.packets)
            outcomes: list[Outcome | None] = [None] * len(self.case.packets)
            for i, result in zip(indices, ran, strict=True):
                assert result is not None
                verdict = chain.chain.slots[result.slot].verdict or ""
                decisions[i] = Decision(
                    verdict, self._rule(result.slot), tuple(map(self._rule, result.passed))
                )
                if result.frame is not None and result.mark is not None:
                    outcomes[i] = Outcome(result.value, result.frame, result.mark)
            return Answer("kernel", tuple(decisions), tuple(chain.counters()), tuple(outcomes))

    def _fill(self, chain: object) -> None:
        for name, prefixes in self.case.live.items():
            chain.set_live(name, networks_of(prefixes))  # type: ignore[attr-defined]

    def _connect_answer(self, runner: object) -> Answer:
        calls = [p for p in self.case.packets if can_run(p, self.chain.hook)]
        results = iter(runner.run(calls, EPOCH_NS))  # type: ignore[attr-defined]
        decisions: list[Decision | None] = []
        outcomes: list[Outcome | None] = []
        for packet in self.case.packets:
            result = next(results) if can_run(packet, self.chain.hook) else None
            outcomes.append(None if result is None else _called(result))
            if result is None:
                decisions.append(None)
            elif result.slot is None:
                decisions.append(Decision(f"no program ran, {result.errno_name}", MALFORMED))
            else:
                decisions.append(
                    Decision(
                        went(result),
                        self._rule(result.slot),
                        tuple(map(self._rule, result.passed)),
                    )
                )
        counters = tuple(runner.chain.counters())  # type: ignore[attr-defined]
        return Answer("kernel", tuple(decisions), counters, tuple(outcomes))

    def _rule(self, slot: int) -> int:
        refused = 2 + len(self.chain.rules) + len(self.named)
        return {0: MALFORMED, 1: DEFAULT, refused: FRAGMENT}.get(slot, slot - 2)

    # ---- comparison ----

    def count(self, decisions: Sequence[Decision | None]) -> tuple[tuple[int, int], ...]:
        """The counters that these decisions must leave: said here once more, apart from the compiler."""
        lost_events = any(rule.sample for rule in self.chain.rules)
        before_lost = 2 + len(self.chain.rules) + len(self.named)
        refused = self.chain.fragments != "first-only"
        slots = [[0, 0] for _ in range(before_lost + refused + lost_events)]
        for packet, decision in zip(self.case.packets, decisions, strict=True):
            if decision is None:
                continue
            size = 0 if isinstance(packet, SocketCall) else frames.counted(packet)
            no_rule = {MALFORMED: 0, DEFAULT: 1, FRAGMENT: before_lost}
            hit = [no_rule.get(decision.rule, 2 + decision.rule)]
            hit += [2 + rule for rule in decision.passed]
            matched = [self.chain.rules[rule] for rule in (*decision.passed, decision.rule) if rule >= 0]
            named = [rule.count for rule in matched if rule.count is not None]
            hit += [2 + len(self.chain.rules) + self.named.index(name) for name in named]
            for slot in hit:
                slots[slot][0] += 1
                slots[slot][1] += size
        return tuple((packets, size) for packets, size in slots)

    def outcome(self, number: int, decision: Decision) -> Outcome:
        """What must become of a packet, by the reference."""
        rules, hook = self.chain.rules, hooks.ALL[self.chain.hook]
        applied = [(rules[i].verdict, rules[i].effects) for i in decision.passed]
        last = rules[decision.rule].effects if decision.rule >= 0 else NONE
        packet = self.case.packets[number]
        applied.append((decision.verdict, last))
        if isinstance(packet, SocketCall):
            return outcome(hook, self.chain.direction, applied)
        return outcome(
            hook, self.chain.direction, applied, packet.data, packet.mark, packet.vlan_tci is not None
        )

    def differences(self, reference: Answer, answer: Answer) -> Iterator[Difference]:
        """Where an answer is not the reference's."""
        asked = [
            None if got is None else expected
            for expected, got in zip(reference.decisions, answer.decisions, strict=True)
        ]
        for i, (expected, got) in enumerate(zip(asked, answer.decisions, strict=True)):
            if expected != got:
                yield Difference(answer.engine, i, expected, got)
        for i, got in enumerate(answer.outcomes):
            decision = reference.decisions[i]
            if got is None or decision is None:
                continue
            expected = self.outcome(i, decision)
            if answer.engine == "kernel":  # which says nothing of where things were sent
                expected = replace(expected, sent=None, copies=(), proxy=0)
            if expected != got:
                yield Difference(answer.engine, i, expected, got)
        if answer.counters is not None and answer.counters != (counted := self.count(asked)):
            yield Difference(answer.engine, None, counted, answer.counters)

    def judge(self, kernel: bool) -> tuple[list[Answer], list[Difference]]:
        """All engines' answers, the reference first, and where they differ."""
        answers = [self.interp(), self.match(), self.optimised(), self.plan(), self.native()]
        found = [d for answer in answers[1:] for d in self.differences(answers[0], answer)]
        if kernel:
            answers.append(self.kernel())
            found += self.differences(self.interp(kernel=True), answers[-1])
        return answers, found


def can_run(packet: Packet, hook: str) -> bool:
    """Whether the kernel engine can be asked about a packet."""
    if isinstance(packet, Frame):
        size, eth_type = len(packet.data), packet.data[12:14]
        least = IP_HEADER.get(eth_type, 0) if hook == "tc" else 0
        there = hook == "tc" or packet.iif == 0  # a test run at XDP arrives on loopback
        return there and packet.vlan_tci is None and MIN_KERNEL_FRAME + least <= size <= MAX_KERNEL_FRAME
    # Protocols with a connect hook, on the sockets that Linux lets one open. A datagram to port 0 never
    # reaches the hook; neither does a datagram of a ping socket or of TCP.
    if packet.protocol == socket.IPPROTO_UDP:
        return packet.operation == "connect" or packet.port != 0
    own_icmp = socket.IPPROTO_ICMP if packet.family == AF_INET else socket.IPPROTO_ICMPV6
    return packet.operation == "connect" and packet.protocol in (socket.IPPROTO_TCP, own_icmp)


def networks_of(prefixes: Prefixes) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The fewest prefixes of a set, as the runtime takes them."""
    four = [ipaddress.IPv4Network((a, n)) for a, n in prefixes.v4.prefixes(32)]
    six = [ipaddress.IPv6Network((a, n)) for a, n in prefixes.v6.prefixes(128)]
    return [*four, *six]


def went(result: object) -> str:
    """The verdict of a socket call. One that is sent to a proxy goes to loopback, where none listens; from a
    namespace that has nothing else no other call gets that far."""
    verdict, number = result.verdict, result.errno  # type: ignore[attr-defined]
    astray = verdict == "redirect" and number not in (errno.EINPROGRESS, errno.ECONNREFUSED)
    return f"{verdict}, and got {errno.errorcode.get(number)}" if astray else verdict


def _called(result: object) -> Outcome:
    """What became of a socket call. An errno of a call that was let pass is the network's, unless it is
    EPERM."""
    allowed, number = result.allowed, result.errno  # type: ignore[attr-defined]
    return Outcome(int(allowed), errno=0 if allowed and number != errno.EPERM else number)


@cache
def why_no_kernel() -> str | None:
    """None when this process may load programs, else the reason for a skip."""
    if os.geteuid() != 0:
        return "the kernel engine needs root"
    try:
        with Opened(Case('policy p at xdp on "lo" { default pass  fragments first-only }', ())) as opened:
            opened.kernel()
    except PermissionError as reason:
        return f"the kernel engine needs bpf(2): {reason}"
    except Exception as reason:
        if type(reason).__name__ in ("NoPrivileges", "NoBpf"):
            return f"the kernel engine needs bpf(2): {reason}"
        raise
    return None
