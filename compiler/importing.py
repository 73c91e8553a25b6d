"""The commands `import …`: files of other languages in, one `.gate` file out.

Knows files, options and exit codes; must never know a language that is imported (`importers/`). Nothing is
written while an error is left, unless `--partial` asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .cli import no_collector, report, style_option, write_file
from .diagnostics import Sink
from .importers import sources
from .progress import saying
from .source import Source

OK, FINDINGS, USAGE = 0, 1, 2
files_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True), metavar="FILE..."
)


@click.group("import")
def import_() -> None:
    """Make a policy of rules that are written for something else.

    What has no exact words here is an error with its place, and nothing is written; see docs/import.md.
    """


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Add what all importers take."""
    for add in (
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Where the policy goes; to standard output by default.",
        ),
        click.option(
            "--partial",
            is_flag=True,
            help="Write what can be said although something cannot: it means something else then.",
        ),
        style_option,
    ):
        command = add(command)
    return files_argument(command)


def finish(text: str | None, sink: Sink, output: Path | None, partial: bool, style: str) -> None:
    """Report, write, and exit: 0 when everything was said, 1 otherwise."""
    report(sink.diagnostics, style)
    if text is not None and (partial or not sink.has_errors):
        if output is None:
            click.echo(text, nl=False)
        else:
            write_file(output, text.encode())
    if sink.has_errors and not partial:
        where = "standard output" if output is None else f"`{output}`"
        click.echo(f"nothing was written to {where}", err=True)
    sys.exit(FINDINGS if sink.has_errors else OK)


def read(files: tuple[Path, ...], told: Callable[[Source], Source] = lambda source: source) -> list[Source]:
    """The files, or standard input for `-`, as `told` tells them. Exits with 2 when one cannot be read."""
    try:
        return [told(sources.read(path, sys.stdin.buffer)) for path in files]
    except sources.UnreadableError as error:
        raise click.UsageError(str(error)) from None


@import_.command("iptables-save")
@common
@click.option(
    "--device",
    "devices",
    multiple=True,
    required=True,
    metavar="NAME",
    help="An interface that the policy is for; repeatable.",
)
@click.option(
    "--local",
    multiple=True,
    metavar="ADDRESS",
    help="An address of this host, or a network, broadcast addresses too; needed where it forwards.",
)
@click.option("--ignore-nat", is_flag=True, help="Translated packets do not pass these interfaces.")
def iptables_save(
    files: tuple[Path, ...],
    devices: tuple[str, ...],
    local: tuple[str, ...],
    ignore_nat: bool,
    output: Path | None,
    partial: bool,
    style: str,
) -> None:
    """Make a policy of the output of iptables-save, of ip6tables-save, or of both.

    A FILE may also be the output of `ipset save`. The table `filter` becomes policies at tc: INPUT at
    ingress, OUTPUT and FORWARD at egress, with user chains written out where they are called.
    """
    from .importers import iptables

    sink = Sink()
    try:
        settings = iptables.settings(devices, local, ignore_nat)
    except ValueError as error:
        raise click.UsageError(f"--local: {error}") from None
    with no_collector(), saying("importing") as say:
        text = iptables.imported(read(files), settings, sink, say)
    finish(text, sink, output, partial, style)


@import_.command("nft")
@common
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="NAME",
    help="An interface that the policy is for; repeatable. Chains of family netdev name their own.",
)
@click.option("--ignore-nat", is_flag=True, help="Translated packets do not pass these interfaces.")
def nft(
    files: tuple[Path, ...],
    devices: tuple[str, ...],
    ignore_nat: bool,
    output: Path | None,
    partial: bool,
    style: str,
) -> None:
    """Make a policy of the output of `nft -j list ruleset`, or of rules in nft's own language.

    The latter are loaded by nft(8) into a network namespace of their own, and listed. Base chains of type
    filter become policies at tc: those of ingress, prerouting and input at ingress, those of forward, output,
    postrouting and egress at egress.
    """
    from .importers import nft as importer
    from .importers.nft import listing

    sink = Sink()
    with no_collector(), saying("importing") as say:
        settings = importer.Settings(tuple(dict.fromkeys(devices)), ignore_nat)
        text = importer.imported(read(files, listing.told), settings, sink, say)
    finish(text, sink, output, partial, style)


@import_.command("kubernetes")
@common
@click.option(
    "--inventory-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write pods, namespaces and nodes as the inventory of endpoints.",
)
@click.option("--namespace", default="default", show_default=True, help="Of objects that name none.")
@click.option("--allow-nodes", is_flag=True, help="Nodes may reach every pod, and pods every node.")
def kubernetes(
    files: tuple[Path, ...],
    inventory_out: Path | None,
    namespace: str,
    allow_nodes: bool,
    output: Path | None,
    partial: bool,
    style: str,
) -> None:
    """Make policies for endpoints of NetworkPolicy objects and of those of cluster administrators.

    A FILE holds manifests, or what `kubectl get -o yaml` or `-o json` prints: NetworkPolicy,
    AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy, and Pod, Namespace and Node.
    """
    from .importers import kubernetes as importer

    sink = Sink()
    with no_collector(), saying("importing") as say:
        result = importer.imported(read(files), namespace, allow_nodes, sink, say)
    if inventory_out is not None and not sink.has_errors:
        write_file(inventory_out, result.inventory.encode())
    finish(result.text, sink, output, partial, style)


@import_.command("calico")
@common
@click.option("--namespace", default="default", show_default=True, help="Of objects that name none.")
def calico(files: tuple[Path, ...], namespace: str, output: Path | None, partial: bool, style: str) -> None:
    """Make policies for endpoints of Calico's.

    A FILE holds manifests, or what `calicoctl get` or `kubectl get` prints: NetworkPolicy and
    GlobalNetworkPolicy of projectcalico.org, Tier, NetworkSet, GlobalNetworkSet, and Namespace.
    """
    from .importers import calico as importer

    sink = Sink()
    with no_collector(), saying("importing") as say:
        text = importer.imported(read(files), namespace, sink, say)
    finish(text, sink, output, partial, style)


COMMANDS: dict[str, Any] = {"import": import_}
