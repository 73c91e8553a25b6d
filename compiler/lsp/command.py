"""The command `lsp`: the language server on standard input and output."""

from __future__ import annotations

import importlib.util
from datetime import date
from pathlib import Path

import click

INSTALL = "pip install 'lockgate[editor]'"


class EditorMissing(click.ClickException):
    """The language server where its library is not installed."""

    exit_code = 2

    def __init__(self) -> None:
        super().__init__(f"`lockgate lsp` needs `pygls`, which is not installed\n  = help: {INSTALL}")


@click.command()
@click.option(
    "-I",
    "--include",
    multiple=True,
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where imported files are looked for that do not lie beside the importing one; repeatable.",
)
@click.option("--stdio", is_flag=True, help="Speak on standard input and output, as always.")
def lsp(include: tuple[Path, ...], stdio: bool) -> None:
    """Serve an editor: findings while typing, hover, definitions, renaming, completion, formatting, fixes.

    Speaks the Language Server Protocol on standard input and output. Editors start it: see docs/editors.md.
    Rules that expire are judged for today.
    """
    if importlib.util.find_spec("pygls") is None:
        raise EditorMissing
    from ..driver import Options
    from .server import serve

    serve(Options(include=include, now=date.today()))


COMMANDS = {"lsp": lsp}
