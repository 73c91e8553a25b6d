"""Tables for people and JSON for machines. Rich is loaded only when the output is a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import click


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print rows under headings; columns that hold only numbers are aligned to the right. Plain text, columns
    two blanks apart, when the output is no terminal."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(columns))]
    if sys.stdout.isatty():
        _rich(columns, cells, numeric, title)
        return
    widths = [max(len(columns[i]), *(len(row[i]) for row in cells), 0) for i in range(len(columns))]
    for row in (list(columns), *cells):
        line = "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        click.echo(line.rstrip())


def _rich(columns: Sequence[str], cells: list[list[str]], numeric: list[bool], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=title or None, title_justify="left")
    for name, right in zip(columns, numeric, strict=True):
        grid.add_column(name, justify="right" if right else "left")
    for row in cells:
        grid.add_row(*(Text(cell) for cell in row))
    Console().print(grid)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say what is going on while the block runs, if a person is watching standard error."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def changed(name: str, output: str, counts: Mapping[str, int]) -> None:
    """Say what became of a set: how many entries of what."""
    if output == "json":
        as_json({"set": name, **counts})
    else:
        click.echo(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))


def as_json(value: object) -> None:
    """Print one JSON document on one line."""
    click.echo(json.dumps(value, sort_keys=True))
