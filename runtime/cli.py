"""Commands of the runtime: up, down, status, counters, set, events. Only this file, `nftcli` and
`backendcli` print.

`COMMANDS` is the table that `lockgate.cli` merges with the compiler's. Errors are `LockgateError`s;
`lockgate.cli` renders them and chooses the exit code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import click

from . import (
    backendcli,
    cgroups,
    counters,
    devices,
    events,
    expiry,
    flowlist,
    healthcli,
    inventory,
    nftables,
    nftcli,
    pins,
    plan,
    profiles,
    running,
    sets,
    show,
    swap,
    tallies,
)
from . import bundle as bundles
from .endpointcli import endpoints_command, flows_command
from .errors import UNCHANGED, LockgateError, NotLoaded, SetError
from .options import bpffs_option, output_option, settled_bpffs_option
from .prefixes import parse, read
from .running import Running
from .sys import bpf


@dataclass(frozen=True)
class Glue:
    """What the command line knows and this room must not: `compile` turns a policy file into what a target
    runs, given what `-I`, `--now` and `--root` say, or raises; None where there is no compiler."""

    compile: Callable[[Path, Mapping[str, Any], str], bytes] | None = None


BPF, NFTABLES = "bpf", "nftables"
BY_RULE = "rule"
target_option = click.option(
    "--target",
    type=click.Choice([BPF, NFTABLES]),
    default=BPF,
    show_default=True,
    help="The data plane that runs the policy.",
)
netns_option = click.option(
    "--netns", metavar="NAME", help="With --target nftables: the network namespace of the policy."
)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@target_option
@click.option("--netns", metavar="NAME", help="Network namespace of the interfaces.")
@click.option(
    "--xdp-mode",
    type=click.Choice(["auto", "native", "generic"]),
    default="auto",
    show_default=True,
    help="Where XDP runs; auto: in the driver if it can, else behind it.",
)
@click.option(
    "--endpoints",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Inventory for policies for labels: who carries them, at which addresses and interfaces.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option(
    "--profile",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Then count for --seconds, and write how many packets each rule decided, for `build --profile`.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="How long --profile counts.",
)
@click.option(
    "--full-log", type=click.Path(dir_okay=False, path_type=Path), help="Write the verifier's log here."
)
@click.option(
    "-I",
    "--include",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="For a policy: where imported files are looked for; repeatable.",
)
@click.option(
    "--now",
    metavar="YYYY-MM-DD",
    type=click.DateTime(["%Y-%m-%d"]),
    help="For a policy: the day for which rules that expire are judged; without it, none does.",
)
@click.option(
    "--root",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="For a policy: the outermost folder whose lockgate.toml holds; by default the one with .git.",
)
@bpffs_option
@output_option
@click.pass_context
def up(
    ctx: click.Context,
    file: Path,
    target: str,
    netns: str | None,
    xdp_mode: str,
    endpoints: Path | None,
    dry_run: bool,
    profile: Path | None,
    seconds: float,
    full_log: Path | None,
    include: tuple[Path, ...],
    now: datetime | None,
    root: Path | None,
    bpffs: str,
    output: str,
) -> None:
    """Load FILE and attach it; replace the policy of the same name if it runs.

    FILE is what `build` wrote for the target, or a policy that is compiled first. Either everything is
    switched to the new policy, or nothing is changed.
    """
    reading = {"include": include, "now": now.date() if now else None, "root": root}
    if target == NFTABLES:
        nftcli.up(_ruleset(ctx, file, reading), netns, dry_run, output)
        return
    load_plan = plan.make(_bundle(ctx, file, reading), netns, cast(plan.XdpMode, xdp_mode))
    known = None if endpoints is None else inventory.read(endpoints)
    load_plan = inventory.placed(load_plan, known, netns)
    if dry_run:
        click.echo(plan.render(load_plan))
        return
    try:
        with show.working(f"loading {load_plan.name}"):
            outcome = swap.up(load_plan, bpffs)
    except LockgateError as error:
        if full_log is not None and error.log:
            full_log.write_text(error.log)
            raise error.with_notes(f"the full log is in {full_log}") from error
        raise
    if output == "json":
        show.as_json(
            {
                "name": load_plan.name,
                "replaced": outcome.replaced,
                "added": outcome.added,
                "switched": outcome.switched,
                "removed": outcome.removed,
                "attachments": [_attachment(a) for a in outcome.state.attachments],
            }
        )
    else:
        click.echo(f"{load_plan.name}: {'replaced' if outcome.replaced else 'attached'}")
        for a in outcome.state.attachments:
            click.echo(f"  {a.point.name} of {a.point.place}{f' ({a.mode})' if a.mode else ''}")
    if profile is not None:
        policy = running.find(bpffs, load_plan.name)
        before = counters.read(policy)
        with show.working(f"counting for {seconds:g} s"):
            time.sleep(seconds)
        _write_profile(policy, profile, before)


def _write_profile(policy: Running, path: Path, before: Sequence[counters.Count] = ()) -> None:
    packets = profiles.write(profiles.collected(policy, before), path)
    click.echo(f"{path}: a profile of {packets:,} packets", err=True)


def _bundle(ctx: click.Context, file: Path, reading: Mapping[str, Any]) -> bundles.Bundle:
    compiled = _compiled(ctx, file, reading, BPF)
    return bundles.read(file) if compiled is None else bundles.parse(compiled, str(file))


def _ruleset(ctx: click.Context, file: Path, reading: Mapping[str, Any]) -> nftables.Ruleset:
    compiled = _compiled(ctx, file, reading, NFTABLES)
    return nftables.read(file) if compiled is None else nftables.parse(compiled, str(file))


def _compiled(ctx: click.Context, file: Path, reading: Mapping[str, Any], target: str) -> bytes | None:
    """A policy, compiled for a target; None for a file that is none, or where there is no compiler."""
    glue = ctx.find_object(Glue) or Glue()
    try:
        with file.open("rb") as opened:
            beginning = opened.read(4)
    except OSError:
        return None  # who reads it says what is wrong with it
    if file.suffix == ".gate" and beginning != b"PK\x03\x04" and glue.compile is not None:
        return glue.compile(file, reading, target)
    return None


@click.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every loaded policy.")
@target_option
@netns_option
@bpffs_option
@output_option
def down(name: str | None, everything: bool, target: str, netns: str | None, bpffs: str, output: str) -> None:
    """Detach the policy NAME and remove all that belongs to it."""
    if (name is None) != everything:
        raise click.UsageError("name a policy, or give --all")
    if target == NFTABLES:
        nftcli.down(name, netns, output)
        return
    names = pins.names(pins.base(bpffs)) if name is None else [name]
    links = {n: swap.down(n, bpffs) for n in names}
    if output == "json":
        show.as_json([{"name": n, "links": count} for n, count in links.items()])
        return
    for n, count in links.items():
        click.echo(f"{n}: removed, {count} link{'s' * (count != 1)} detached")


def _attachment(a: running.Attachment) -> dict[str, Any]:
    return {
        "hook": a.point.name,
        "target": a.point.place,
        "program": a.program,
        "mode": a.mode or None,
    }


def _attached(policy: Running, a: running.Attachment) -> bool:
    link = policy.open_link(a)
    if link is None:
        return False
    with link:
        return bpf.link_info(link).target != 0


@click.command()
@click.argument("name", required=False)
@target_option
@netns_option
@settled_bpffs_option
@output_option
def status(name: str | None, target: str, netns: str | None, bpffs: str, output: str) -> None:
    """Show what is loaded and where it is attached."""
    if target == NFTABLES:
        nftcli.status(name, netns, output)
        return
    policies = [running.find(bpffs, name)] if name else running.everything(bpffs)
    if output == "json":
        show.as_json(
            [
                {
                    "name": p.name,
                    "compiler": p.state.manifest.compiler,
                    "now": p.state.manifest.now,
                    "owners": sorted({c.owner for c in p.state.manifest.chains if c.owner}),
                    "digest": p.state.digest,
                    "attachments": [
                        {**_attachment(a), "attached": _attached(p, a)} for a in p.state.attachments
                    ],
                    "lost_devices": devices.lost(p),
                    "lost_cgroups": cgroups.lost(p),
                    "flows": None if (pressure := flowlist.pressure(p)) is None else vars(pressure),
                }
                for p in policies
            ]
        )
        return
    if not policies:
        click.echo("nothing is loaded")
        return
    rows = [
        (
            p.name,
            a.point.name,
            a.point.place,
            a.program,
            a.mode,
            "attached" if _attached(p, a) else "gone: the interface, cgroup or link was removed",
        )
        for p in policies
        for a in p.state.attachments
    ]
    show.table(("policy", "hook", "target", "program", "mode", "state"), rows)
    for policy in policies:
        for device in devices.lost(policy):
            click.echo(f"{policy.name}: packets for `{device}` are dropped: the interface was removed")
        for cgroup in cgroups.lost(policy):
            click.echo(f"{policy.name}: no process is in `{cgroup}` any more: the cgroup was removed")
        if (pressure := flowlist.pressure(policy)) is not None:
            click.echo(f"{policy.name}: {flowlist.pressure_text(pressure)}")


@click.command(name="counters")
@click.argument("name", required=False)
@click.option(
    "--profile",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write how many packets each rule of the policy decided, for `build --profile`.",
)
@click.option(
    "--by",
    type=click.Choice([BY_RULE, *tallies.WAYS]),
    default=BY_RULE,
    show_default=True,
    help="What to sum up by; `endpoint`: of the flows that are known now.",
)
@target_option
@netns_option
@settled_bpffs_option
@output_option
def counters_command(
    name: str | None, profile: Path | None, by: str, target: str, netns: str | None, bpffs: str, output: str
) -> None:
    """Show packets and bytes of every rule, policy or endpoint."""
    if target == NFTABLES:
        if by != BY_RULE:
            raise click.UsageError(f"--by {by} is not known to nftables: leave it out")
        nftcli.counters(name, netns, output)
        return
    if profile is not None:
        _write_profile(_only(bpffs, name), profile)
        return
    policies = [running.find(bpffs, name)] if name else running.everything(bpffs)
    if by != BY_RULE:
        tallies.show_by(by, policies, output)
        return
    found = [(p.name, c) for p in policies for c in counters.read(p)]
    if output == "json":
        show.as_json(
            [
                {
                    "policy": policy,
                    "chain": c.chain,
                    "kind": c.slot.kind,
                    "label": c.slot.label,
                    "verdict": c.slot.verdict,
                    "would": c.slot.would,
                    "file": c.slot.file,
                    "line": c.slot.line,
                    "ticket": c.slot.ticket,
                    "expires": c.slot.expires,
                    "packets": c.packets,
                    "bytes": c.bytes,
                }
                for policy, c in found
            ]
        )
        return
    if not found:
        click.echo("nothing is loaded")
        return
    rows = [
        (
            c.chain,
            c.slot.label,
            c.slot.said,
            c.packets,
            c.bytes,
            f"{c.slot.file}:{c.slot.line}" if c.slot.line else "",
        )
        for _, c in found
    ]
    show.table(("chain", "rule", "verdict", "packets", "bytes", "line"), rows)


@click.command(name="events")
@click.argument("name", required=False)
@click.option("--seconds", type=float, help="Stop after that many seconds.  [default: never]")
@settled_bpffs_option
@output_option
def events_command(name: str | None, seconds: float | None, bpffs: str, output: str) -> None:
    """Print packets that rules with `log` decide, as they come."""
    policy = _only(bpffs, name)
    for event in events.follow(policy, seconds):
        if output == "json":
            show.as_json(
                {
                    "ktime_ns": event.ktime_ns,
                    "chain": event.chain,
                    "rule": event.slot.label,
                    "verdict": event.slot.verdict,
                    "would": event.slot.would,
                    "ifindex": event.ifindex,
                    "length": event.length,
                    "header": event.header.hex(),
                    "destination": event.destination,
                    "flow_ended": None if event.flow is None else vars(event.flow),
                }
            )
            continue
        what = f"{event.length} bytes on interface {event.ifindex}  {event.header.hex()}"
        if event.flow is not None:
            what = f"the end of a flow of {sum(event.flow.packets)} packets, {sum(event.flow.bytes)} bytes"
        if event.destination is not None:
            protocol, address, port = event.destination
            what = f"protocol {protocol} to {address} port {port}"
        click.echo(
            f"{event.ktime_ns / 1e9:.6f}  {event.chain}  {event.slot.label}  {event.slot.said}  {what}"
        )


def _only(bpffs: str, name: str | None) -> Running:
    """The named policy, or the only one that is loaded."""
    if name is not None:
        return running.find(bpffs, name)
    policies = running.everything(bpffs)
    if len(policies) != 1:
        if not policies:
            raise NotLoaded("", ())
        raise click.UsageError(
            f"several policies are loaded, name one: {', '.join(p.name for p in policies)}"
        )
    return policies[0]


@click.group(name="set")
def set_group() -> None:
    """Show and change dynamic sets of loaded policies."""


policy_option = click.option(
    "--policy", metavar="NAME", help="The policy, where several have a set of this name."
)


def _with_set(name: str, policy: str | None, bpffs: str) -> Running:
    """The policy that has the set."""
    policies = [running.find(bpffs, policy)] if policy else running.everything(bpffs)
    having = [p for p in policies if name in sets.names(p)]
    if len(having) != 1:
        existing = sorted({n for p in policies for n in sets.names(p)})
        raise SetError.not_one(name, [p.name for p in having], existing)
    return having[0]


def _line(member: sets.Member) -> str:
    if member.left_ns is None:
        return str(member.prefix)
    return f"{member.prefix} {expiry.text_of(member.left_ns)}"


@set_group.command(name="add")
@click.argument("name", metavar="SET")
@click.argument("prefixes", nargs=-1, required=True, metavar="PREFIX...")
@click.option("--timeout", metavar="TIME", help="How long they stay (90s, 30m, 12h, 7d); for ever without.")
@policy_option
@target_option
@netns_option
@settled_bpffs_option
@output_option
def set_add(
    name: str,
    prefixes: tuple[str, ...],
    timeout: str | None,
    policy: str | None,
    target: str,
    netns: str | None,
    bpffs: str,
    output: str,
) -> None:
    """Add prefixes to SET. Those that it has already stay from now on as long as new ones."""
    parsed = [parse(text) for text in prefixes]
    span = 0 if timeout is None else expiry.duration(timeout)
    if target == NFTABLES:
        nftcli.set_add(name, parsed, span, policy, netns, output)
        return
    with pins.locked(bpffs):
        added = sets.add(_with_set(name, policy, bpffs), name, parsed, span)
    show.changed(name, output, {"added": added})


@set_group.command(name="del")
@click.argument("name", metavar="SET")
@click.argument("prefixes", nargs=-1, required=True, metavar="PREFIX...")
@policy_option
@target_option
@netns_option
@settled_bpffs_option
@output_option
def set_del(
    name: str,
    prefixes: tuple[str, ...],
    policy: str | None,
    target: str,
    netns: str | None,
    bpffs: str,
    output: str,
) -> None:
    """Remove prefixes from SET."""
    parsed = [parse(text) for text in prefixes]
    if target == NFTABLES:
        nftcli.set_del(name, parsed, policy, netns, output)
        return
    with pins.locked(bpffs):
        removed = sets.delete(_with_set(name, policy, bpffs), name, parsed)
    show.changed(name, output, {"removed": removed})


@set_group.command(name="load")
@click.argument("name", metavar="SET")
@click.argument("file", type=click.File("r"))
@policy_option
@target_option
@netns_option
@settled_bpffs_option
@output_option
def set_load(
    name: str, file: Any, policy: str | None, target: str, netns: str | None, bpffs: str, output: str
) -> None:
    """Make SET hold exactly the prefixes in FILE, one a line (`-`: standard input; `#` begins a comment). A
    prefix stays for the time behind it (`192.0.2.1 30m`), if there is one.

    The set changes at one instant: every look-up sees the old list or the new one."""
    try:
        listing = read(file.read(), file.name)
    except SetError as error:
        raise error.with_notes(UNCHANGED) from None
    if target == NFTABLES:
        nftcli.set_load(name, listing, policy, netns, output)
        return
    with pins.locked(bpffs):
        count = sets.load(_with_set(name, policy, bpffs), name, listing)
    show.changed(name, output, {"prefixes": count})


@set_group.command(name="flush")
@click.argument("name", metavar="SET")
@policy_option
@target_option
@netns_option
@settled_bpffs_option
@output_option
def set_flush(name: str, policy: str | None, target: str, netns: str | None, bpffs: str, output: str) -> None:
    """Remove everything from SET."""
    if target == NFTABLES:
        nftcli.set_flush(name, policy, netns, output)
        return
    with pins.locked(bpffs):
        removed = sets.flush(_with_set(name, policy, bpffs), name)
    show.changed(name, output, {"removed": removed})


@set_group.command(name="list")
@click.argument("name", metavar="SET", required=False)
@policy_option
@target_option
@netns_option
@settled_bpffs_option
@output_option
def set_list(
    name: str | None, policy: str | None, target: str, netns: str | None, bpffs: str, output: str
) -> None:
    """Print the prefixes of SET and how long they stay, as `set load` reads them, or all dynamic sets and how
    full they are."""
    if target == NFTABLES:
        nftcli.set_list(name, policy, netns, output)
        return
    if name is not None:
        with pins.locked(bpffs):  # or the trie that is read could be replaced meanwhile
            members = [_line(member) for member in sets.members(_with_set(name, policy, bpffs), name)]
        if output == "json":
            show.as_json(members)
        else:
            click.echo("".join(f"{text}\n" for text in members), nl=False)
        return
    with pins.locked(bpffs):
        policies = [running.find(bpffs, policy)] if policy else running.everything(bpffs)
        rows = [(p.name, n, sets.size(p, n), sets.capacity(p, n)) for p in policies for n in sets.names(p)]
    if output == "json":
        show.as_json([dict(zip(("policy", "set", "prefixes", "max"), row, strict=True)) for row in rows])
    else:
        show.table(("policy", "set", "prefixes", "max"), rows)


COMMANDS: dict[str, click.Command] = {
    "up": up,
    "down": down,
    "endpoints": endpoints_command,
    "flows": flows_command,
    "status": status,
    "counters": counters_command,
    "set": set_group,
    "backend": backendcli.backend_group,
    "health": healthcli.health_command,
    "events": events_command,
}
