"""Commands about endpoints: `endpoints` gives a running policy another inventory, `flows` shows what it
knows. They print; `cli` has the table of commands.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from . import acquaint, flowevents, flowlist, inventory, running, show
from .errors import InventoryError
from .options import bpffs_option, output_option, settled_bpffs_option

NS_PER_S = 1_000_000_000


@click.command("endpoints")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--netns", metavar="NAME", help="Network namespace of interfaces that do not say it.")
@bpffs_option
@output_option
def endpoints_command(name: str, file: Path, netns: str | None, bpffs: str, output: str) -> None:
    """Tell the running policy NAME who carries which labels now, by the inventory in FILE.

    Nothing is compiled or loaded. Flows that are open are judged again by their next packet."""
    outcome = acquaint.know(name, inventory.read(file), netns, bpffs)
    if output == "json":
        show.as_json({"name": name, **vars(outcome)})
        return
    click.echo(
        f"{name}: {outcome.changed} records changed, {outcome.added} programs attached, "
        f"{outcome.removed} detached"
        + (
            f"; {outcome.backends} backends came or went, {outcome.sockets} sockets ended"
            * bool(outcome.backends)
        )
    )


@click.command("flows")
@click.argument("name", required=False)
@click.option("--sweep", is_flag=True, help="Remove flows that are over, and say how many.")
@click.option("--follow", is_flag=True, help="Tell of flows of rules with `log` as they open and end.")
@click.option("--seconds", type=float, help="With --follow: stop after that many seconds.  [default: never]")
@settled_bpffs_option
@output_option
def flows_command(
    name: str | None, sweep: bool, follow: bool, seconds: float | None, bpffs: str, output: str
) -> None:
    """Show the flows that the policy NAME knows: by default of the one policy that has labels."""
    if sweep and follow:
        raise click.UsageError("give --sweep or --follow")
    if seconds is not None and not follow:
        raise click.UsageError("--seconds belongs to --follow")
    policy = running.find(bpffs, name) if name else _only(bpffs)
    if follow:
        for told in flowevents.follow(policy, seconds):
            if output == "json":
                show.as_json(flowevents.as_json(told))
            else:
                click.echo(flowevents.text(told))
        return
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    if sweep:
        removed = flowlist.sweep(policy, now)
        if output == "json":
            show.as_json({"name": policy.name, "removed": removed})
        else:
            click.echo(f"{policy.name}: {removed} flows removed")
        return
    lines = flowlist.read(policy, now)
    if output == "json":
        show.as_json(list(flowlist.as_json(lines)))
        return
    rows = [
        (
            line.protocol,
            line.subject.text,
            "->" if line.opened else "<-",
            line.peer.text,
            line.state,
            *line.packets,
            *line.bytes,
            line.age_ns // NS_PER_S,
            line.silent_ns // NS_PER_S,
        )
        for line in lines
    ]
    columns = ("protocol", "endpoint", "", "peer", "state", "received", "sent")
    show.table((*columns, "bytes in", "bytes out", "age s", "silent s"), rows)
    if (pressure := flowlist.pressure(policy)) is not None:
        click.echo(f"{policy.name}: {flowlist.pressure_text(pressure)}")


def _only(bpffs: str) -> running.Running:
    """The policy that is for endpoints. InventoryError unless there is exactly one."""
    having = [p for p in running.everything(bpffs) if inventory.chain_of(p.state.manifest) is not None]
    if len(having) != 1:
        names = ", ".join(p.name for p in having)
        raise InventoryError(
            f"several policies know flows: {names}" if having else "no loaded policy knows flows",
            (),
            ("lockgate flows NAME",) if having else (),
        )
    return having[0]
