"""The command `cost`: what a policy costs a packet here, and whether it should be eBPF at all.

It compiles and it measures, so it knows both halves. Without root it predicts, and says so.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from lockgate.compiler.cli import no_collector, policy_argument, reporting, style_option, with_options
from lockgate.compiler.driver import Options, Session
from lockgate.compiler.progress import progress
from lockgate.runtime import bundle as bundles
from lockgate.runtime import show

from . import measure as measuring
from .account import LIVE_ENTRIES, TYPICAL, WORST, Account, Asked, Figures, account
from .peers import Priced

MAX_SHARES = 12  # rows of the table by rule
NOT_ROOT = "predictions only: measuring needs root"


@click.command()
@policy_argument
@click.option("--policy", "name", help="Only this policy of the file.")
@click.option(
    "--rate", type=click.FloatRange(min=0), metavar="PACKETS", help="Packets a second that are expected."
)
@click.option(
    "--live-entries",
    type=click.IntRange(0),
    default=LIVE_ENTRIES,
    show_default=True,
    metavar="N",
    help="How many prefixes of each family dynamic sets are taken to hold.",
)
@click.option(
    "--measure/--no-measure",
    "wanted",
    default=None,
    help="Measure in this kernel, which needs root, or only predict. By default measure when root.",
)
@click.option("--quick", is_flag=True, help="Measure fewer rounds.")
@click.option("--output", type=click.Choice(["human", "json"]), default="human", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --output json.")
@style_option
@with_options
def cost(
    policy: Path,
    name: str | None,
    rate: float | None,
    live_entries: int,
    wanted: bool | None,
    quick: bool,
    output: str,
    as_json: bool,
    style: str,
    options: Options,
) -> None:
    """Say what POLICY costs: ns a packet, memory, time to load, by rule; and what to use for it.

    Everything is predicted; as root it is also measured, with packets that the kernel has not seen before,
    net of a program that does nothing, beside the same rules in nftables and in iptables with ipset where
    those are installed. Rules that these cannot say are named. Nothing is attached or left behind.
    """
    root = os.geteuid() == 0
    if wanted and not root:
        raise click.UsageError("--measure needs root")
    asked = Asked(live_entries, rate, 5 if quick else measuring.ROUNDS)
    session = Session(policy, options)
    with reporting(session.sink, style), session:
        with no_collector(), progress(session):
            session.prepare()
            session.analyse()
            measured = wanted is not False and root
            bundle = bundles.parse(session.bundle()) if measured else None
        chains = [chain for chain in session.unit.chains if name in (None, chain.policy)]
        if not chains:
            known = ", ".join(dict.fromkeys(chain.policy for chain in session.unit.chains)) or "none"
            raise click.UsageError(f"no policy `{name}`; the file has {known}")
        accounts = []
        for chain in chains:
            with show.working(f"the cost of {chain.name}"):
                accounts.append(account(session, chain, bundle, asked))
        note = NOT_ROOT if not root and wanted is None else None
        if as_json or output == "json":
            show.as_json({"policy": str(policy), "note": note, "chains": [record(one) for one in accounts]})
            return
        click.echo("\n".join(text(one) for one in accounts), nl=False)
        if note:
            click.echo(f"\n{note}")


# ---- for machines ----


def record(one: Account) -> dict[str, object]:
    """An account as the JSON output has it; times in ns and ms, sizes in bytes."""
    return {
        "chain": one.chain.name,
        "hook": one.chain.hook,
        "rules": len(one.chain.rules),
        "nodes": one.nodes,
        "live_entries": one.live_entries,
        "predicted": vars(one.predicted),
        "measured": None if one.measured is None else vars(one.measured),
        "not_measured_because": one.why_not,
        "worst": one.worst,
        "left_out": round(one.left_out, 4),
        "rules_ns": dict(one.shares),
        "peers": {name: vars(peer) for name, peer in one.peers.items()},
        "use": one.advice.use,
        "reasons": [vars(reason) for reason in one.advice.reasons],
    }


# ---- for people ----


def text(one: Account) -> str:
    """An account as lines."""
    chain = one.chain
    taken = f"; dynamic sets with {one.live_entries:,} entries" if one.live_entries else ""
    lines = [f"{chain.name} at {chain.hook}: {len(chain.rules):,} rules, {one.nodes:,} nodes{taken}"]
    lines += _table(one)
    lines += _remarks(one)
    total = sum(ns for _, ns in one.shares)
    if total:
        lines.append("  where a typical packet spends it, predicted:")
        for label, ns in one.shares[:MAX_SHARES]:
            lines.append(f"    {100 * ns / total:4.0f} %  {ns:8.1f} ns  {label}")
        if (rest := one.shares[MAX_SHARES:]) and (ns := sum(ns for _, ns in rest)):
            lines.append(f"    {100 * ns / total:4.0f} %  {ns:8.1f} ns  {len(rest):,} others")
    lines.append(f"  use {one.advice.use}")
    marks = {"for": "+", "against": "-"}
    lines += [f"    {marks[reason.speaks]} {reason.text}" for reason in one.advice.reasons]
    return "".join(f"{line}\n" for line in lines)


def _table(one: Account) -> list[str]:
    """Typical and worst packet, memory and load time: a column for each source."""
    columns = ["predicted", *(["measured"] if one.measured else [])]
    ours = [one.predicted, *([one.measured] if one.measured else [])]
    others = {name: peer for name, peer in one.peers.items() if peer.failed is None}
    sources: list[Figures | Priced] = [*ours, *others.values()]
    rows = [
        [f"{group} packet{by}", *(_cell(it.ns.get(group), "ns") for it in sources)]
        for group, by in ((TYPICAL, ""), (WORST, f" ({one.worst})"))
        if group in one.predicted.ns
    ]
    rows.append(["memory", *(_size(it.bytes) for it in ours), *("" for _ in others)])
    rows.append(["to load", *(_cell(it.load_ms, "ms") for it in sources)])
    cells = [["", *columns, *others], *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in cells
    ]


def _remarks(one: Account) -> list[str]:
    lines = []
    if one.why_not:
        lines.append(f"  not measured: {one.why_not}")
    if one.left_out:
        lines.append(f"  without the {100 * one.left_out:.0f} % of packets that rules answer by a packet")
    for name, peer in one.peers.items():
        if peer.failed is not None:
            lines.append(f"  {name}: {peer.failed}")
        elif peer.unsaid:
            said = ", ".join(f"`{label}` ({reason})" for label, reason in list(peer.unsaid.items())[:5])
            more = f" and {len(peer.unsaid) - 5:,} more" if len(peer.unsaid) > 5 else ""
            lines.append(f"  {name} without {said}{more}, which cannot be said there simply")
    return lines


def _cell(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.0f} {unit}"


def _size(value: int | None) -> str:
    if value is None:
        return ""
    return f"{value / 1024:,.0f} KiB" if value < 10 << 20 else f"{value / (1 << 20):,.0f} MiB"


COMMANDS = {"cost": cost}
