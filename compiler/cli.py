"""Commands of the compiler: check and build. The only place of the compiler that prints and exits.

Exit codes: 0 clean, 1 the policy has errors (or a test fails), 2 usage or unreadable input, 3 refused by
kernel or system, 70 a bug of lockgate.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from . import driver, emits, errors, render
from .diagnostics import PolicyError, Sink

STYLES = click.Choice(["human", "concise", "json"])
KINDS = click.Choice(["inline", "hash", "lpm_trie", "range_index"])

policy_argument = click.argument("policy", type=click.Path(path_type=Path))
style_option = click.option(
    "--message-format",
    "style",
    type=STYLES,
    default="human",
    show_default=True,
    help="How messages look: human with the source underlined, concise one a line, json one document.",
)


def reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what a policy's text means; the command gets them as one `options`."""

    @click.option(
        "-I",
        "--include",
        multiple=True,
        metavar="FOLDER",
        type=click.Path(path_type=Path, file_okay=False),
        help="Where imported files are looked for that do not lie beside the importing one; repeatable.",
    )
    @wraps(command)
    def wrapped(*arguments: Any, include: tuple[Path, ...], **rest: Any) -> None:
        command(*arguments, options=driver.Options(include=include), **rest)

    return wrapped


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add all options that say how to compile; the command gets them as one `options`."""

    @reading_options
    @click.option(
        "--skip", multiple=True, type=click.Choice(driver.MATCH_PIPELINE.names), help="Leave a pass out."
    )
    @click.option(
        "--fuel", type=click.IntRange(0), help="Run only that many passes, to find one that breaks."
    )
    @click.option(
        "--structures", multiple=True, type=KINDS, help="Let the planner use only these lookup structures."
    )
    @click.option("--no-verify", is_flag=True, help="Do not check the intermediate forms between passes.")
    @wraps(command)
    def wrapped(
        *arguments: Any,
        skip: tuple[str, ...],
        fuel: int | None,
        structures: tuple[str, ...],
        no_verify: bool,
        options: driver.Options,
        **rest: Any,
    ) -> None:
        full = replace(
            options,
            structures=frozenset(structures) or None,
            skip=frozenset(skip),
            fuel=fuel,
            verify=not no_verify,
        )
        command(*arguments, options=full, **rest)

    return wrapped


@contextmanager
def reporting(sink: Sink, style: str) -> Iterator[None]:
    """Print diagnostics at the end, whatever happens, and turn failures into exit codes."""
    code = 0
    try:
        yield
    except PolicyError:
        unreadable = any(d.code == errors.UnreadablePolicy.code for d in sink.diagnostics)
        code = 2 if unreadable else 1
    report(sink, style)
    if code:
        sys.exit(code)


def report(sink: Sink, style: str) -> None:
    """Print the diagnostics to standard error, in order of place."""
    if sink.diagnostics:
        from rich.console import Console

        colour = Console(stderr=True).is_terminal and not Console().no_color
        ordered = sorted(sink.diagnostics, key=lambda d: d.sort_key)
        click.echo(render.render(ordered, style, colour=colour), err=True, nl=False, color=colour)


@contextmanager
def no_collector() -> Iterator[None]:
    """Without Python's search for cycles: a compilation makes hundreds of thousands of objects and hardly any
    cycle, and ends soon."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def progress(session: driver.Session) -> Iterator[None]:
    """Say what is going on, on a terminal, while it takes long enough to ask."""
    if not sys.stderr.isatty():  # asked before rich, whose import takes longer than most compilations
        yield
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(f"compiling {session.path}") as status:
        before = session.observe

        def observe(chain: str, stage: str, ir: Any) -> None:
            status.update(f"compiling {session.path}: {chain}, {stage} done")
            if before:
                before(chain, stage, ir)

        session.observe = observe
        yield


@click.command()
@policy_argument
@style_option
@reading_options
def check(policy: Path, style: str, options: driver.Options) -> None:
    """Check a policy: syntax, names, types, rules that never decide. Writes nothing."""
    session = driver.Session(policy, options)
    with no_collector(), reporting(session.sink, style), session, progress(session):
        session.analyse()


@click.command()
@policy_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the bundle goes; beside the policy as NAME.bundle by default.",
)
@click.option(
    "--emit",
    "emit",
    multiple=True,
    type=click.Choice(sorted(emits.EMITS)),
    help="Print a stage instead of writing a bundle.",
)
@click.option(
    "--emit-after",
    multiple=True,
    type=click.Choice(driver.MATCH_PIPELINE.names),
    help="Print the match IR after a pass, instead of writing a bundle.",
)
@click.option(
    "--objects",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write the ELF objects into this folder, for stock loaders.",
)
@click.option(
    "--time-passes", is_flag=True, help="Print how long each stage and pass took, to standard error."
)
@click.option("--explain", is_flag=True, help="Print the chosen lookup structures and their predicted cost.")
@style_option
@with_options
def build(
    policy: Path,
    output: Path | None,
    emit: tuple[str, ...],
    emit_after: tuple[str, ...],
    objects: Path | None,
    time_passes: bool,
    explain: bool,
    style: str,
    options: driver.Options,
) -> None:
    """Compile a policy to a bundle. Needs neither root nor BPF; same input, same bytes, on any machine."""
    session = driver.Session(policy, options)
    if emit_after:
        session.observe = _print_after(emit_after)
    with no_collector(), reporting(session.sink, style), session, progress(session):
        session.prepare()
        session.analyse()
        if emit or emit_after or explain:
            _print_stages(session, emit, explain)
        else:
            target = output or policy.with_suffix(".bundle")
            data = session.bundle()
            _write(target, data)
            if objects:
                _write_objects(session, objects)
            chains = session.unit.chains
            counted = f"{_many(len(chains), 'rule list')}, {_many(sum(len(c.rules) for c in chains), 'rule')}"
            click.echo(f"{target}: {counted}, {len(data)} bytes", err=True)
    if time_passes:
        for stage, seconds in session.seconds:
            click.echo(f"{seconds * 1000:9.1f} ms  {stage}", err=True)


def _print_after(names: tuple[str, ...]) -> driver.Observer:
    def observe(chain: str, stage: str, ir: Any) -> None:
        if stage.removeprefix("match/") in names and stage.startswith("match/"):
            click.echo(f"# {chain}, after {stage.removeprefix('match/')}")
            click.echo(driver.MATCH.text(ir), nl=False)

    return observe


def _print_stages(session: driver.Session, emit: tuple[str, ...], explain: bool) -> None:
    for name in emit:
        if name in emits.WHOLE:
            click.echo(emits.WHOLE[name](session), nl=False)
    for chain in session.unit.chains:
        session.optimised(chain)
        for name in emit:
            if name in emits.EACH:
                click.echo(emits.EACH[name](session, chain), nl=False)
        if explain:
            click.echo(emits.explain(session, chain), nl=False)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)


def _write(target: Path, data: bytes) -> None:
    """Write all or nothing. Exits with 2 when the place cannot be written."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise click.UsageError(f"cannot write `{target}`: {error.strerror or error}") from None


def _write_objects(session: driver.Session, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for chain in session.unit.chains:
        _write(folder / f"{chain.name}.o", session.object(chain))


COMMANDS = {"check": check, "build": build}
