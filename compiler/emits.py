"""What `build --emit` can print: one row a stage."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.stdlib_bpf import manifest

from . import nodetext
from .diagnostics import Sink
from .driver import MATCH, PLAN, Session
from .plan.cost import cost, price
from .plan.ir import Tag
from .policy.model import Chain
from .syntax import parse

EACH: dict[str, Callable[[Session, Chain], str]] = {
    "match": lambda session, chain: MATCH.text(session.match(chain)),
    "match-opt": lambda session, chain: MATCH.text(session.optimised(chain)),
    "plan": lambda session, chain: PLAN.text(session.plan(chain)),
    "llvm": lambda session, chain: session.llvm(chain),
    "asm": lambda session, chain: session.assembly(chain),
}
WHOLE: dict[str, Callable[[Session], str]] = {
    "tree": lambda session: nodetext.write(parse(session.unit.source, Sink())) + "\n",
    "policy": lambda session: nodetext.write(session.unit) + "\n",
    "manifest": lambda session: manifest.to_json(session.description()),
}
EMITS = (*EACH, *WHOLE)


def explain(session: Session, chain: Chain) -> str:
    """The tables of a chain and what a packet is predicted to cost."""
    plan = session.plan(chain)
    predicted = cost(plan)
    lines = [f"{chain.name}: {len(plan.rules)} rules, {len(plan.nodes)} nodes"]
    for table in plan.tables:
        predicted_cost = price(table)
        full = " when full" if table.live else ""
        what = f"dynamic set {table.live}" if table.live else f"{len(table.values)} ranges"
        lines.append(
            f"  {table.name}: {table.kind}, {what}, about {predicted_cost.latency_ns:.0f} ns a lookup{full}, "
            f"{predicted_cost.bytes / 1024:.0f} KiB"
        )
    for tags in plan.tags:
        predicted_cost = price(tags)
        asked = sorted(
            {node.field for node in plan.nodes if isinstance(node, Tag) and node.tags == tags.name}
        )
        lines.append(
            f"  {tags.name}: {tags.kind}, {len(tags.members)} sets of {tags.ranges} ranges at once by "
            f"{', '.join(asked)}, about {predicted_cost.latency_ns:.0f} ns a lookup, "
            f"{predicted_cost.bytes / 1024:.0f} KiB"
        )
    for one in plan.classifiers:
        predicted_cost = price(one)
        rules = len({box.rule for box in one.boxes})
        lines.append(
            f"  {one.name}: {one.kind}, {rules} rules by {', '.join(one.fields)}, about "
            f"{predicted_cost.latency_ns:.0f} ns a lookup, {predicted_cost.bytes / 1024:.0f} KiB"
        )
    lines.append(
        f"  predicted, beside decoding: {predicted.expected_ns:.0f} ns for typical traffic, "
        f"{predicted.worst_ns:.0f} ns at worst; {predicted.table_bytes / 1024:.0f} KiB of tables"
    )
    return "\n".join(lines) + "\n"
