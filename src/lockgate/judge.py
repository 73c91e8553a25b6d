"""Commands that judge packets: eval and test. They may run any engine, so they know both halves."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from itertools import islice, repeat
from pathlib import Path

import click

from lockgate.compiler import calls, captures, claims, errors, packet, proof
from lockgate.compiler.cli import (
    exit_code,
    expanded,
    no_collector,
    policies_argument,
    policy_argument,
    reading_options,
    report,
    reporting,
    style_option,
)
from lockgate.compiler.codegen.simulate import Packet
from lockgate.compiler.decision import NO_RULE, UNJUDGED, Decision
from lockgate.compiler.diagnostics import Diagnostic, PolicyError
from lockgate.compiler.driver import Options, Session
from lockgate.compiler.policy.model import Balancer, Chain, Expect, Prefixes, Test
from lockgate.compiler.progress import progress
from lockgate.stdlib_bpf.balance.chosen import resolved
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.inventory import Inventory
from lockgate.stdlib_bpf.sets import IntervalSet

from . import junit, passage
from .engines import ENGINES
from .junit import Case, Suite

ASSERTIONS = frozenset({errors.AssertionFails.code, errors.AssertionNotProved.code})
Problem = tuple[Expect, str, dict[str, object]]
BATCH = 10_000  # packets judged at once: bounds memory on long captures


@click.command("eval")
@policy_argument
@click.argument("packets", nargs=-1, metavar="[PACKET]...")
@click.option("--policy", "name", help="Which policy of the file; needed when it has several.")
@click.option(
    "--direction", type=click.Choice(["ingress", "egress"]), help="Which direction, where there are two."
)
@click.option(
    "--pcap",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Judge a pcap or pcapng file.",
)
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    default="interp",
    show_default=True,
    help="interp: the reference; match, plan: the intermediate forms; native: the generated code on "
    "this machine; kernel: the bytecode, as root.",
)
@click.option(
    "--set",
    "contents",
    multiple=True,
    metavar="NAME=PREFIX[,PREFIX...]",
    help="What a dynamic set holds; empty unless given.",
)
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
@style_option
@reading_options
def evaluate(
    policy: Path,
    packets: tuple[str, ...],
    name: str | None,
    direction: str | None,
    pcap: Path | None,
    engine: str,
    contents: tuple[str, ...],
    output: str,
    style: str,
    options: Options,
) -> None:
    """Judge packets: which verdict, by which rule.

    A PACKET is text such as 'tcp 10.0.0.1:4000 > 10.0.0.2:80 syn', 'hex 0011…', or at connect
    'connect tcp 10.0.0.1:80'. With --pcap the frames of a capture are judged instead. JSON output is one
    object a line, in packet order.
    """
    if bool(packets) == (pcap is not None):
        raise click.UsageError("give packets as text, or one capture with --pcap")
    session = Session(policy, options)
    with reporting(session.sink, style), session:
        with no_collector(), progress(session):
            chain = chosen(session, name, direction)
        live = live_sets(session, contents)
        judge: Callable[..., Iterable[Decision | None]] = partial(ENGINES[engine], session, chain)
        if chain.sections:
            judge = partial(_by_endpoints, session, chain, engine, direction)
        stream = from_texts(packets, chain) if pcap is None else _from_capture(pcap, chain)
        totals: Counter[tuple[str, str]] = Counter()
        number = 0
        while batch := list(islice(stream, BATCH)):
            for decision in judge(batch, live):
                line = describe(chain, decision)
                totals[str(line["verdict"]), str(line["rule"])] += 1
                _print({"packet": number, **line}, packets[number] if packets else None, output)
                number += 1
        if output == "human" and number > 1:
            _print_totals(totals, number)


def _by_endpoints(
    session: Session,
    chain: Chain,
    engine: str,
    direction: str | None,
    packets: Sequence[Packet],
    live: dict[str, Prefixes],
) -> Iterator[Decision | None]:
    """What becomes of packets between the endpoints of an inventory, flows going on from packet to packet:
    the decision of the first end that stops one, or else of the last."""
    with ExitStack() as stack:
        judge = passage.ENGINES[engine](session, chain, live, stack)
        run = passage.Between(known_endpoints(session), chain.selections, judge)
        for item in packets:
            assert not isinstance(item, SocketCall)
            found = run(item if isinstance(item, Frame) else Frame(item), direction)
            yield found[-1].decision if found else Decision(chain.default, UNJUDGED)


def known_endpoints(session: Session) -> Inventory:
    """The inventory that the command line names."""
    found = session.inventory()
    if found is None:
        raise click.UsageError(
            "this asks who carries labels, and who is on this host: give --endpoints INVENTORY"
        )
    return found


def describe(chain: Chain, decision: Decision | None) -> dict[str, object]:
    """A decision as the JSON output has it. A packet that the engine cannot run has verdict null."""
    if decision is None:
        return {"verdict": None, "rule": "not run", "line": None}
    if decision.rule in NO_RULE:
        return {"verdict": decision.verdict, "rule": NO_RULE[decision.rule], "line": None}
    decided = chain.rules[decision.rule]
    told: dict[str, object] = {"verdict": decision.verdict, "rule": decided.label, "line": decided.span.line}
    if decided.stands_for is not None:
        told["default"] = True
    if decision.verdict == "redirect" and decided.effects.via is not None:
        told["via"] = decided.effects.via.name
    elif decision.verdict == "redirect":
        told["into"] = decided.effects.into[0]
    elif decision.verdict == "reject" and decided.effects.how:
        told["with"] = decided.effects.how
    return told


def _print(line: dict[str, object], text: str | None, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(line))
        return
    place = f" (line {line['line']})" if line["line"] else ""
    click.echo(f"{text or line['packet']}: {line['verdict'] or 'not run'} by {line['rule']}{place}")


def _print_totals(totals: Counter[tuple[str, str]], number: int) -> None:
    click.echo(f"\n{number} packets")
    for (verdict, rule), count in totals.most_common():
        click.echo(f"{count:9}  {verdict:9} {rule}")


def chosen(session: Session, name: str | None, direction: str | None) -> Chain:
    """The rule list that a command is about."""
    chains = [
        c
        for c in session.unit.chains
        if (name is None or c.policy == name or any(s.policy == name for s in c.sections))
        and (direction is None or c.direction in ("", direction))
    ]
    if len(chains) == 1:
        return chains[0]
    known = ", ".join(c.name for c in session.unit.chains) or "none"
    if not chains:
        raise click.UsageError(f"no such policy or direction; the file has {known}")
    raise click.UsageError(f"the file has several rule lists, choose with --policy and --direction: {known}")


def live_sets(session: Session, contents: tuple[str, ...]) -> dict[str, Prefixes]:
    """Contents of dynamic sets, as `--set` gives them."""
    live: dict[str, Prefixes] = {}
    for item in contents:
        name, equals, texts = item.partition("=")
        if not equals or name not in session.unit.live:
            known = ", ".join(session.unit.live) or "none"
            raise click.UsageError(f"--set wants NAME=PREFIX,… of a dynamic set; the policy uses {known}")
        live[name] = _prefixes(texts)
    return live


def _prefixes(texts: str) -> Prefixes:
    from lockgate.runtime.prefixes import parse

    ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for text in filter(None, texts.split(",")):
        try:
            network = parse(text)
        except Exception as error:
            raise click.UsageError(f"--set: {error}") from None
        ranges[network.version].append((int(network[0]), int(network[-1])))
    return Prefixes(IntervalSet.from_ranges(ranges[4]), IntervalSet.from_ranges(ranges[6]))


def from_texts(texts: Sequence[str], chain: Chain) -> Iterator[Packet]:
    """Packets from text, of the kind that a rule list judges."""
    for text in texts:
        try:
            parsed = packet.parse(text, chain.lists)
        except packet.PacketTextError as error:
            raise click.UsageError(f"packet `{text}`: {error}") from None
        if isinstance(parsed, SocketCall) != (chain.hook == "connect"):
            wanted = (
                "socket calls, such as 'connect tcp 192.0.2.1:80'" if chain.hook == "connect" else "frames"
            )
            raise click.UsageError(f"packet `{text}`: `{chain.policy}` judges {wanted}")
        yield parsed


def _from_capture(path: Path, chain: Chain) -> Iterator[Packet]:
    if chain.hook == "connect":
        raise click.UsageError(f"`{chain.policy}` judges socket calls, and a capture holds frames")
    try:
        yield from captures.read(path)
    except captures.CaptureError as error:
        raise click.UsageError(str(error)) from None


@click.command("test")
@policies_argument
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(list(ENGINES)),
    help="Engines to run the tests through. By default interp and native, and kernel when root.",
)
@click.option("--run", "only", metavar="TEXT", help="Only tests whose title contains this.")
@click.option(
    "--output",
    type=click.Choice(["human", "json", "junit"]),
    default="human",
    show_default=True,
    help="json: one object a test, a line each; junit: one XML document, a suite for each policy.",
)
@style_option
@reading_options
def test(
    policies: tuple[Path, ...],
    engines: tuple[str, ...],
    only: str | None,
    output: str,
    style: str,
    options: Options,
) -> None:
    """Run the `test` blocks of policies: each expectation, through every engine.

    POLICY is a file, or a folder: every *.gate file below it.
    """
    chosen = engines or ("interp", "native", *(("kernel",) if os.geteuid() == 0 else ()))
    suites = []
    for path in expanded(policies):
        suites.append(_suite(path, options, chosen, only or "", output))
        report(suites[-1].diagnostics, style)
    cases = [case for suite in suites for case in suite.cases]
    failed = sum(bool(case.findings) for case in cases)
    if output == "human" and any(not suite.broken for suite in suites):
        ran = ", ".join(chosen)
        skipped = "" if "kernel" in chosen else " (not through the kernel: that needs root)" * (not engines)
        services = "; of services through interp only" * any(case.of_service for case in cases)
        click.echo(f"{len(cases) - failed} passed, {failed} failed; through {ran}{skipped}{services}")
    if output == "junit":
        click.echo(junit.document(suites), nl=False)
    code = max((exit_code(suite.diagnostics) for suite in suites), default=0)
    if code:
        sys.exit(code)


def _suite(path: Path, options: Options, engines: Sequence[str], only: str, output: str) -> Suite:
    """Run the tests of one policy, and print each result as it comes."""
    session = Session(path, options)
    cases: list[Case] = []
    tests: tuple[Test, ...] | None = None
    with no_collector(), session, progress(session):
        with suppress(PolicyError):
            tests = session.unit.tests
        for block in tests or ():
            if only in block.title:
                started = time.perf_counter()
                problems = list(_problems(session, block, engines))
                findings = [
                    *_findings(session, problems),
                    *_refuted(session, block),
                    *_called(session, block),
                ]
                seconds, of_service = time.perf_counter() - started, bool(block.calls or block.claims)
                cases.append(Case(block.title, findings, seconds, of_service))
                session.sink.diagnostics += findings
                _print_test(block, problems, findings, output)
    return Suite(str(path), cases, session.sink.diagnostics, broken=tests is None)


def _problems(session: Session, block: Test, engines: Sequence[str]) -> Iterator[Problem]:
    """(expectation, engine, what came instead) of those that do not hold."""
    by_chain: dict[str, list[Expect]] = {}
    for expect in block.expects:
        by_chain.setdefault(expect.chain, []).append(expect)
    for name, expects in by_chain.items():
        chain = session.chain(name)
        if chain.sections:
            yield from _between(session, chain, block, expects, engines)
            continue
        for engine in engines:
            decisions = iter(ENGINES[engine](session, chain, list(_packets(expects)), block.given))
            for expect in expects:
                answers = [describe(chain, d) for d in islice(decisions, expect.repeat) if d is not None]
                wrong = next((got for got in answers if not _holds(expect, got)), None)
                if wrong is not None:
                    yield expect, engine, wrong


def _between(
    session: Session, chain: Chain, block: Test, expects: Sequence[Expect], engines: Sequence[str]
) -> Iterator[Problem]:
    """As `_problems`, of packets between endpoints."""
    for engine in engines:
        with ExitStack() as stack:
            judge = passage.ENGINES[engine](session, chain, block.given, stack)
            run = passage.Passage(chain.selections, block.parties, judge)
            for expect in expects:
                answers = [describe(chain, run(expect)) for _ in range(expect.repeat)]
                wrong = next((got for got in answers if not _holds(expect, got)), None)
                if wrong is not None:
                    yield expect, engine, wrong


def _packets(expects: Sequence[Expect]) -> Iterator[Packet]:
    """The packets of expectations, in order, each at its time."""
    for expect in expects:
        yield from repeat(replace(expect.packet, time_ns=expect.time_ns), expect.repeat)


def _holds(expect: Expect, got: dict[str, object]) -> bool:
    return (
        got["verdict"] == expect.verdict
        and expect.by in (None, got["rule"], "default" if got.get("default") else None)
        and expect.into in (None, got.get("into"))
        and expect.via in (None, got.get("via"))
        and expect.how in (None, got.get("with", ""))
    )


def _refuted(session: Session, block: Test) -> Iterator[Diagnostic]:
    """One finding for each assertion that does not hold for every packet."""
    for claim in block.asserts:
        chain = session.chain(claim.chain)
        if chain.sections:
            between = claims.check(chain, claim, block.parties.values(), block.given)
            example = between.example if isinstance(between, claims.Counterexample) else between
        else:
            between, example = None, proof.check(chain, claim, block.given)
        if isinstance(example, proof.Unproved):
            yield errors.AssertionNotProved(claim.span, example.reason).diagnostic()
        elif example is not None:
            told = describe(chain, example.decision)
            by = str(told["rule"])
            ends = claims.ends(between) if isinstance(between, claims.Counterexample) else {}
            text = proof.sentence(example, "default" if told.get("default") else by, ends) or example.packet
            deciding = None if example.decision.rule < 0 else chain.rules[example.decision.rule].span
            held = tuple(f"`{name}` holds its address" for name, _ in example.live)
            yield errors.AssertionFails(claim.span, text, by, deciding, held).diagnostic()


def _called(session: Session, block: Test) -> Iterator[Diagnostic]:
    """One finding for each expectation and assertion of a service that does not hold."""
    balancers = {one.name: _with_backends(one, session) for one in session.unit.balancers}
    for expect in block.calls:
        got = calls.answered(balancers[expect.balancer], expect.call, expect.selections)
        possible = [backend.address for backend in got.backends]
        if got.verdict == expect.verdict and expect.backend in (None, *possible):
            continue
        wanted = expect.verdict if expect.backend is None else f"backend {expect.backend}"
        said = got.verdict if expect.backend is None or not possible else f"backend {' or '.join(possible)}"
        yield errors.ExpectationFails(expect.span, wanted, said, "interp", expect.service).diagnostic()
    for claim in block.claims:
        balancer = balancers[claim.balancer]
        found = calls.refuted(balancer, claim.rule)
        if found is not None:
            example = f"{calls.text(balancer, found[0])} gets {found[1].verdict}"
            yield errors.AssertionFails(claim.span, example, claim.service).diagnostic()


def _with_backends(balancer: Balancer, session: Session) -> Balancer:
    """A balancer whose services have the backends that labels choose."""
    asked = any(service.selected for service in balancer.services)
    inventory = known_endpoints(session) if asked else session.inventory()
    if inventory is None:
        return balancer
    return replace(balancer, services=resolved(balancer.services, balancer.selections, inventory))


def _print_test(block: Test, problems: list[Problem], findings: list[Diagnostic], output: str) -> None:
    if output == "json":
        listed = [
            {"line": e.span.line, "engine": engine, "expected": e.verdict, "by": e.by, "got": got}
            for e, engine, got in problems
        ]
        listed += [
            {"line": d.labels[0].span.line, "engine": "proof", "got": d.witness, "code": d.code}
            for d in findings
            if d.code in ASSERTIONS
        ]
        click.echo(json.dumps({"test": block.title, "passed": not findings, "problems": listed}))
    elif output == "human":
        click.echo(f"{'FAIL' if findings else 'ok  '} {block.title}")


def _findings(session: Session, problems: list[Problem]) -> Iterator[Diagnostic]:
    """One finding for each answer that was not expected, with the engines that gave it."""
    answers: dict[tuple[Expect, str, str], list[str]] = {}
    for expect, engine, got in problems:
        answers.setdefault((expect, str(got["verdict"]), str(got["rule"])), []).append(engine)
    for (expect, verdict, rule), engines in answers.items():
        wanted = expect.verdict + (f" by {expect.by}" if expect.by else "")
        deciding = next((r.span for r in session.chain(expect.chain).rules if r.label == rule), None)
        finding = errors.ExpectationFails(expect.span, wanted, verdict, ", ".join(engines), rule, deciding)
        yield finding.diagnostic()


COMMANDS: dict[str, Callable[..., object]] = {"eval": evaluate, "test": test}
