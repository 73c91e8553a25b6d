"""The command `fmt`: policies in the one style.

Knows files, folders and standard input; must never know the style, which is `syntax/format.py`. A file is
replaced all at once, keeps its permissions, and is left alone when it is no policy.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from .cli import report, style_option
from .diagnostics import Diagnostic, Sink
from .source import Source
from .syntax import format_source

STDIN = "-"
SUFFIX = ".gate"
OK, FINDINGS, USAGE = 0, 1, 2


@click.command("fmt")
@click.argument("paths", nargs=-1, metavar="[FILE|DIR|-]...")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 when a file is not in the style.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
@style_option
def fmt(paths: tuple[str, ...], check: bool, diff: bool, style: str) -> None:
    """Put policies into the one style: columns, line ends, blanks. Comments stay, and so does the meaning.

    Of a DIR, all files `*.gate` below it; without arguments, of this one. `-` reads standard input and prints
    the result. A file with syntax errors is not touched: its errors are shown and the exit code is 1.
    """
    worst = OK
    complaints: list[Diagnostic] = []
    for source in _sources(paths or (".",)):
        if isinstance(source, str):
            click.echo(f"Error: {source}", err=True)
            worst = USAGE
            continue
        sink = Sink()
        text = format_source(source, sink)
        if text is None:
            complaints += sink.diagnostics
            worst = max(worst, FINDINGS)
            continue
        changed = text != source.text
        if diff and changed:
            click.echo(_difference(source, text), nl=False)
        elif source.path is None and not check:
            click.echo(text, nl=False)
        elif changed:
            click.echo(f"{'not in the style' if check else 'formatted'}: {source.shown}", err=True)
        if changed and check:
            worst = max(worst, FINDINGS)
        elif changed and source.path and not diff:
            _replace(source.path, text)
    report(complaints, style)
    sys.exit(worst)


def _sources(paths: tuple[str, ...]) -> Iterator[Source | str]:
    """Each file, or why it cannot be read."""
    for given in paths:
        if given == STDIN:
            yield _decoded("<stdin>", sys.stdin.buffer.read(), None)
            continue
        path = Path(given)
        found = _below(path) if path.is_dir() else [path]
        for file in found:
            try:
                yield _decoded(str(file), file.read_bytes(), file)
            except OSError as error:
                yield f"cannot read `{file}`: {error.strerror or error}"


def _below(folder: Path) -> list[Path]:
    """Policies in a folder and its folders, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob(f"*{SUFFIX}")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _decoded(name: str, data: bytes, path: Path | None) -> Source | str:
    try:
        return Source(name, data.decode().removeprefix("\ufeff"), path)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return f"cannot read `{name}`: line {line} is not UTF-8 text"


def _difference(source: Source, text: str) -> str:
    """A unified diff that `patch` takes."""
    old, new = (re.findall(r"[^\n]*\n|[^\n]+", t) for t in (source.text, text))
    lines = difflib.unified_diff(old, new, source.shown, source.shown)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _replace(path: Path, text: str) -> None:
    """Put a text in the place of a file's own, all or nothing; a link stays one."""
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(text.encode())
        shutil.copymode(target, partial)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise click.UsageError(f"cannot write `{path}`: {error.strerror or error}") from None


COMMANDS = {"fmt": fmt}
