"""Options that commands of the runtime share."""

from __future__ import annotations

from typing import Any

import click

from . import pins
from .recover import settle


def _settled(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Repair what a crashed command has left before anything is read."""
    if not ctx.resilient_parsing:
        settle(value)
    return value


_bpffs: dict[str, Any] = {
    "default": pins.DEFAULT_BPFFS,
    "show_default": True,
    "envvar": "LOCKGATE_BPFFS",
    "metavar": "PATH",
    "help": "BPF file system that keeps what is loaded.",
}
bpffs_option = click.option("--bpffs", **_bpffs)
settled_bpffs_option = click.option("--bpffs", callback=_settled, **_bpffs)
output_option = click.option(
    "--output", type=click.Choice(["text", "json"]), default="text", help="For people, or for machines."
)
