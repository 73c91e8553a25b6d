"""up, down, status, counters and set for policies that nftables runs.

Prints; knows `nftables`, and nothing of BPF.
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from . import expiry, nftables, nftsets, show
from .errors import SetError
from .prefixes import Listing, Prefix


def up(ruleset: nftables.Ruleset, netns: str | None, dry_run: bool, output: str) -> None:
    """Load a ruleset, or print it."""
    if dry_run:
        click.echo(ruleset.text, nl=False)
        return
    where = netns or ruleset.netns
    replaced = nftables.up(ruleset, where)
    bases = nftables.status(ruleset.name, where)
    if output == "json":
        attached = [_attachment(base) for base in bases]
        show.as_json({"name": ruleset.name, "replaced": replaced, "attachments": attached})
        return
    click.echo(f"{ruleset.name}: {'replaced' if replaced else 'attached'}")
    for base in bases:
        click.echo(f"  {base.hook} of {_target(base)}")


def down(name: str | None, netns: str | None, output: str) -> None:
    """Remove a policy, or all."""
    names = nftables.names(netns) if name is None else [name]
    chains = {one: nftables.down(one, netns) for one in names}
    if output == "json":
        show.as_json([{"name": one, "chains": count} for one, count in chains.items()])
        return
    for one, count in chains.items():
        click.echo(f"{one}: removed, {count} chain{'s' * (count != 1)} detached")


def status(name: str | None, netns: str | None, output: str) -> None:
    """Show what is loaded."""
    names = nftables.names(netns) if name is None else [name]
    found = [(one, nftables.status(one, netns)) for one in names]
    if output == "json":
        show.as_json([{"name": one, "attachments": [*map(_attachment, bases)]} for one, bases in found])
        return
    if not found:
        click.echo("nothing is loaded")
        return
    gone = "gone: the interface was removed"
    rows = [
        (one, base.hook, _target(base), base.chain, "attached" if _target(base) else gone)
        for one, bases in found
        for base in bases
    ]
    show.table(("policy", "hook", "target", "chain", "state"), rows)


def counters(name: str | None, netns: str | None, output: str) -> None:
    """Show packets and bytes of every rule."""
    names = nftables.names(netns) if name is None else [name]
    found = [(one, count) for one in names for count in nftables.counters(one, netns)]
    if output == "json":
        show.as_json(
            [
                {
                    "policy": one,
                    "chain": count.counter.chain,
                    "kind": count.counter.kind,
                    "label": count.counter.label,
                    "verdict": count.counter.verdict or None,
                    "file": count.counter.file or None,
                    "line": count.counter.line or None,
                    "packets": count.packets,
                    "bytes": count.bytes,
                }
                for one, count in found
            ]
        )
        return
    if not found:
        click.echo("nothing is loaded")
        return
    rows = [
        (c.counter.chain, c.counter.label, c.counter.verdict, c.packets, c.bytes, _place(c)) for _, c in found
    ]
    show.table(("chain", "rule", "verdict", "packets", "bytes", "line"), rows)


def set_add(
    name: str, prefixes: Iterable[Prefix], span: int, policy: str | None, netns: str | None, output: str
) -> None:
    """Add prefixes to a dynamic set, for so many ns."""
    added = nftsets.add(_with_set(name, policy, netns), prefixes, span, netns)
    show.changed(name, output, {"added": added})


def set_del(
    name: str, prefixes: Iterable[Prefix], policy: str | None, netns: str | None, output: str
) -> None:
    """Remove prefixes from a dynamic set."""
    removed = nftsets.delete(_with_set(name, policy, netns), prefixes, netns)
    show.changed(name, output, {"removed": removed})


def set_load(name: str, listing: Listing, policy: str | None, netns: str | None, output: str) -> None:
    """Make a dynamic set hold exactly a list."""
    count = nftsets.load(_with_set(name, policy, netns), listing, netns)
    show.changed(name, output, {"prefixes": count})


def set_flush(name: str, policy: str | None, netns: str | None, output: str) -> None:
    """Remove everything from a dynamic set."""
    removed = nftsets.flush(_with_set(name, policy, netns), netns)
    show.changed(name, output, {"removed": removed})


def set_list(name: str | None, policy: str | None, netns: str | None, output: str) -> None:
    """Print the prefixes of a dynamic set, or all sets and how full they are."""
    if name is not None:
        found = nftsets.members(_with_set(name, policy, netns), netns)
        texts = [
            f"{m.prefix}" + (f" {expiry.text_of(m.left_ns)}" if m.left_ns is not None else "") for m in found
        ]
        if output == "json":
            show.as_json(texts)
        else:
            click.echo("".join(f"{text}\n" for text in texts), nl=False)
        return
    rows = [
        (one.policy, one.name, len(nftsets.members(one, netns)), one.capacity)
        for one in nftsets.everything(netns, policy)
    ]
    if output == "json":
        show.as_json([dict(zip(("policy", "set", "prefixes", "max"), row, strict=True)) for row in rows])
    else:
        show.table(("policy", "set", "prefixes", "max"), rows)


def _with_set(name: str, policy: str | None, netns: str | None) -> nftsets.LiveSet:
    """The set of that name. SetError where there is none, or several policies have one."""
    found = nftsets.everything(netns, policy)
    having = [one for one in found if one.name == name]
    if len(having) != 1:
        raise SetError.not_one(name, [one.policy for one in having], sorted({one.name for one in found}))
    return having[0]


def _target(base: nftables.Base) -> str:
    """What a chain judges: packets at devices, or those that the host routes, receives or sends."""
    return "this host" if base.hook in nftables.ROUTED else ", ".join(base.devices)


def _place(count: nftables.Count) -> str:
    return f"{count.counter.file}:{count.counter.line}" if count.counter.line else ""


def _attachment(base: nftables.Base) -> dict[str, object]:
    return {"hook": base.hook, "target": list(base.devices), "chain": base.chain}
