"""The command trace: how a decision comes about, rule by rule, in each stage.

Prints what `compiler.trace` and the reference say; decides nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import click

from lockgate.compiler import policy as policies
from lockgate.compiler import trace
from lockgate.compiler.cli import policy_argument, reading_options, reporting, style_option
from lockgate.compiler.decision import NO_RULE, Decision
from lockgate.compiler.driver import Options, Session
from lockgate.compiler.policy.between import POINT_OF
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.compiler.policy.tiered import FAILSAFE
from lockgate.compiler.stateful import Stateful
from lockgate.stdlib_bpf.decode.frame import Facts, Frame, Malformed

from . import passage
from .engines import facts_of
from .judge import chosen, describe, from_texts, known_endpoints, live_sets

MARKS = {trace.DECIDES: "=>", trace.GOES_ON: "->", trace.MISSES: "  ", trace.SKIPPED: "  "}


@click.command("trace")
@policy_argument
@click.argument("text", metavar="PACKET")
@click.option("--policy", "name", help="Which policy of the file; needed when it has several.")
@click.option(
    "--direction", type=click.Choice(["ingress", "egress"]), help="Which direction, where there are two."
)
@click.option(
    "--set",
    "contents",
    multiple=True,
    metavar="NAME=PREFIX[,PREFIX...]",
    help="What a dynamic set holds; empty unless given.",
)
@style_option
@reading_options
def command(
    policy: Path,
    text: str,
    name: str | None,
    direction: str | None,
    contents: tuple[str, ...],
    style: str,
    options: Options,
) -> None:
    """Show how the decision about a PACKET comes about: each rule that is asked, and why it does not match.

    Of policies for labels, each tier and policy, for both ends that the packet has by `--endpoints`.
    """
    session = Session(policy, options)
    with reporting(session.sink, style), session:
        chain = chosen(session, name, direction)
        live = live_sets(session, contents)
        (packet,) = from_texts([text], chain)
        if chain.sections and isinstance(packet, Frame):
            lines = _ends(session, chain, packet, live, direction)
        else:
            lines = _rules(chain, facts_of(packet), live)
        for line in lines:
            click.echo(line)


def _rules(chain: Chain, facts: Facts | Malformed, live: Mapping[str, Prefixes]) -> Iterator[str]:
    """A list that knows no endpoints."""
    decision = policies.decide(chain, facts, live)
    if isinstance(facts, dict):
        for step in trace.steps(chain, facts, live):
            yield _step(chain, step)
    yield _end(chain, decision)


def _ends(
    session: Session, chain: Chain, packet: Frame, live: Mapping[str, Prefixes], direction: str | None
) -> Iterator[str]:
    """What the ends of a packet say, each with its tiers."""
    run = passage.Between(
        known_endpoints(session), chain.selections, passage.interp(session, chain, live, ExitStack())
    )
    ends = [(way, record) for way, record in run.ends(packet) if direction in (None, way)]
    if not ends:
        yield "neither end is an endpoint of the inventory: not judged"
    for way, record in ends:
        yield f"{way} of {run.names[record.endpoint]}"
        point = POINT_OF[way, record.kind]
        asked: list[Facts] = []

        def ask(facts: Facts, asked: list[Facts] = asked) -> Decision:
            asked.append(facts)
            return policies.decide(chain, facts, live)

        state = Stateful.of(chain, run.known(record))
        decision = state.decide(replace(packet, point=point, ifindex=passage.IFINDEX), ask)
        for facts in asked:
            yield from _sections(chain, facts, live)
        yield "  " + _end(chain, decision)
        if decision.verdict != chain.default:
            return


def _sections(chain: Chain, facts: Facts, live: Mapping[str, Prefixes]) -> Iterator[str]:
    """Tier by tier, policy by policy."""
    found = {step.rule: step for step in trace.steps(chain, facts, live)}
    tier = None
    for section in chain.sections:
        steps = [found[i] for i in range(section.first, section.last) if i in found]
        if not steps and section.first != section.last:
            return
        if (section.tier, section.policy == FAILSAFE) != tier and section.policy != FAILSAFE:
            yield f"  tier {section.tier}" if section.tier else "  policies"
        tier = section.tier, section.policy == FAILSAFE
        if facts["flow.direction"] != ("ingress", "egress").index(section.direction):
            continue
        title = section.policy or ("default" if section.tier else "undecided")
        if not trace.selects(chain, section, facts):
            yield f"    {title}: does not select it"
            continue
        yield f"    {title}" + (" (audit: decides nothing)" if section.audit else "")
        for step in steps:
            yield "      " + _step(chain, step)


def _step(chain: Chain, step: trace.Step) -> str:
    rule = chain.rules[step.rule]
    why = f": {step.reason}" if step.reason else ""
    return f"{MARKS[step.outcome]} {rule.label} (line {rule.span.line}) {rule.verdict} {step.outcome}{why}"


def _end(chain: Chain, decision: Decision) -> str:
    told = describe(chain, decision)
    by = NO_RULE.get(decision.rule, told["rule"])
    return f"{decision.verdict} by {by}"


COMMANDS = {"trace": command}
