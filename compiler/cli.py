"""Commands of the compiler: check and build. The only place of the compiler that prints and exits.

Exit codes: 0 clean, 1 the policy has errors (or a test fails), 2 usage or unreadable input, 3 refused by
kernel or system, 70 a bug of lockgate.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from . import driver, emits, errors, fixes, render, targets
from .diagnostics import Diagnostic, Fix, PolicyError, Severity, Sink
from .plan.choose import GOALS
from .progress import progress

STYLES = click.Choice(list(render.FORMS))
STDIN = Path("-")
KINDS = click.Choice(
    [
        "inline",
        "hash",
        "lpm_trie",
        "range_index",
        "cuckoo",
        "prefix_index",
        "range_tree",
        "perfect6",
        "rule_tree",
        "tag_index",
        "tag_tree",
    ]
)


def size(ctx: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """Bytes as people write them: 65536, 512K, 64MiB, 1.5G; powers of 1024."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]?)(?:i?B)?", text, re.IGNORECASE)
    if found is None:
        raise click.BadParameter(f"`{text}` is not a size; write it as in 512K, 64M or 1G", ctx, option)
    return int(float(found[1]) * 1024 ** " KMG".index(found[2].upper() or " "))


policy_argument = click.argument("policy", type=click.Path(path_type=Path))
policies_argument = click.argument(
    "policies",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="POLICY...",
)
style_option = click.option(
    "--message-format",
    "style",
    type=STYLES,
    default="human",
    show_default=True,
    envvar="LOCKGATE_MESSAGE_FORMAT",
    show_envvar=True,
    help="How messages look: "
    + "; ".join(f"{name} {form.about}" for name, form in render.FORMS.items())
    + ".",
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
    @click.option(
        "--now",
        metavar="YYYY-MM-DD",
        type=click.DateTime(["%Y-%m-%d"]),
        help="The day for which rules that expire are judged; without it, none does.",
    )
    @click.option(
        "--root",
        metavar="FOLDER",
        type=click.Path(path_type=Path, file_okay=False),
        help="The outermost folder whose lockgate.toml holds; by default the one that holds .git.",
    )
    @click.option(
        "--endpoints",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="An inventory: which endpoints there are, by their labels (docs/endpoints.md). It is asked for "
        "doubtful policies, and changes no program.",
    )
    @wraps(command)
    def wrapped(
        *arguments: Any,
        include: tuple[Path, ...],
        now: datetime | None,
        root: Path | None,
        endpoints: Path | None,
        **rest: Any,
    ) -> None:
        day = None if now is None else now.date()
        options = driver.Options(include=include, now=day, root=root, endpoints=endpoints)
        command(*arguments, options=options, **rest)

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
    @click.option(
        "--optimize",
        type=click.Choice(list(GOALS)),
        default="latency",
        show_default=True,
        help="What lookup structures are chosen for: time, bytes, or entries that change one by one.",
    )
    @click.option(
        "--max-memory",
        metavar="SIZE",
        callback=size,
        help="What the tables of the policy may take together, as in 512K, 64M or 1G; smaller structures are "
        "chosen where the preferred ones do not fit, and the policy is refused where none do.",
    )
    @click.option(
        "--profile",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="How many packets each rule decided, as `lockgate counters --profile` wrote it: busy rules come "
        "earlier where no verdict can tell. It changes speed alone.",
    )
    @click.option("--no-verify", is_flag=True, help="Do not check the intermediate forms between passes.")
    @click.option(
        "--validate",
        is_flag=True,
        help="Prove, or where rules are too many judge by packets, that each pass and the planner kept the "
        "meaning, and say which; a difference is an internal error that shows a packet.",
    )
    @wraps(command)
    def wrapped(
        *arguments: Any,
        skip: tuple[str, ...],
        fuel: int | None,
        structures: tuple[str, ...],
        optimize: str,
        max_memory: int | None,
        profile: Path | None,
        no_verify: bool,
        validate: bool,
        options: driver.Options,
        **rest: Any,
    ) -> None:
        full = replace(
            options,
            structures=frozenset(structures) or None,
            optimize=optimize,
            max_memory=max_memory,
            profile=profile,
            skip=frozenset(skip),
            fuel=fuel,
            verify=not no_verify,
            validate=validate,
        )
        command(*arguments, options=full, **rest)

    return wrapped


@contextmanager
def reporting(sink: Sink, style: str) -> Iterator[None]:
    """Print diagnostics at the end, unless the compiler itself failed, and turn errors into exit codes."""
    code = 0
    try:
        yield
    except PolicyError:
        code = exit_code(sink.diagnostics)
    report(sink.diagnostics, style)
    if code:
        sys.exit(code)


def exit_code(diagnostics: Sequence[Diagnostic]) -> int:
    """2 when a policy cannot be read, 1 when one has errors, else 0."""
    if any(d.code == errors.UnreadablePolicy.code for d in diagnostics):
        return 2
    return int(any(d.severity is Severity.ERROR for d in diagnostics))


def report(diagnostics: Sequence[Diagnostic], style: str, *, to_stderr: bool = True) -> None:
    """Print diagnostics in order of place."""
    if diagnostics or render.FORMS[style].always:
        stream = sys.stderr if to_stderr else sys.stdout
        colour = render.wants_colour(stream.isatty(), os.environ)
        text = render.render(diagnostics, style, colour=colour)
        click.echo(text, err=to_stderr, nl=False, color=colour)


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


@click.command()
@policies_argument
@click.option("--stdin-filename", type=click.Path(path_type=Path), help="What `-` is called in messages.")
@click.option("--fix", is_flag=True, help="Apply the fixes that cannot change what was meant.")
@click.option("--unsafe-fixes", is_flag=True, help="Apply the others, too: read what they did.")
@click.option("--diff", is_flag=True, help="Show what fixes would change, and write nothing.")
@style_option
@reading_options
def check(
    policies: tuple[Path, ...],
    stdin_filename: Path | None,
    fix: bool,
    unsafe_fixes: bool,
    diff: bool,
    style: str,
    options: driver.Options,
) -> None:
    """Check policies: syntax, names, types, rules that never decide.

    POLICY is a file, a folder (every *.gate file below it), or `-` for standard input. Documents (json,
    sarif) go to standard output, messages to standard error. With --fix files are written anew, and what
    remains is printed; of standard input the mended text is.
    """
    stdin = stdin_filename or Path("<stdin>")
    paths = [stdin if path == STDIN else path for path in expanded(policies)]
    overlay = fixes.Overlay(_reader(stdin if STDIN in policies else None))
    mending = fix or unsafe_fixes or diff
    found: dict[tuple[object, ...], Diagnostic] = {}
    applied: list[tuple[Diagnostic, Fix]] = []
    with no_collector():
        for path in paths:
            if mending:
                applied += fixes.mend(partial(_diagnosed, path, options), overlay, unsafe=unsafe_fixes)
            for d in _diagnosed(path, options, overlay.read):
                found.setdefault((d.sort_key, d.labels[:1] and d.labels[0].span.end), d)
    diagnostics = list(found.values())
    if mending:
        _finish_fixes(applied, overlay, stdin, diff)
    if mending and not diff and stdin in paths:
        click.echo(overlay.read(stdin), nl=False)
    taken = mending and (diff or stdin in paths)  # standard output, by a diff or a text
    report(diagnostics, style, to_stderr=taken or not render.FORMS[style].always)
    if style == "human" and not mending and (sure := len(fixes.choose(diagnostics, unsafe=False))):
        click.echo(f"\n{sure} of these can be mended: lockgate check --fix", err=True)
    code = exit_code(diagnostics)
    sys.exit(code or int(diff and bool(overlay.changed)))


def expanded(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, folders as the policies below them, each once."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = sorted(
                p for p in path.rglob("*.gate") if not any(x[0] == "." for x in p.relative_to(path).parts)
            )
            if not below:
                raise click.UsageError(f"no *.gate file in `{path}`")
            found += below
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _reader(stdin: Path | None) -> fixes.ReadFile:
    """Reads files; `stdin` is what standard input is called."""
    data = b"" if stdin is None else sys.stdin.buffer.read()
    return lambda path: data if path == stdin else path.read_bytes()


def _diagnosed(path: Path, options: driver.Options, read_file: fixes.ReadFile) -> list[Diagnostic]:
    session = driver.Session(path, options, read_file=read_file)
    with no_collector(), session, progress(session), suppress(PolicyError):
        session.analyse()
    return session.sink.diagnostics


def _finish_fixes(
    applied: list[tuple[Diagnostic, Fix]], overlay: fixes.Overlay, stdin: Path, diff: bool
) -> None:
    """Show or write what fixes changed, and say what they did."""
    if diff:
        click.echo("".join(overlay.diff()), nl=False)
        return
    for path in overlay.changed:
        if path != stdin:
            write_file(path.resolve(), overlay.mended[path].encode())
    for d, done in applied:
        place = f"{done.span.source.shown}:{done.span.line}:{done.span.column}"
        was = done.span.text.strip()
        now = done.replacement.strip()
        said = f"`{was}` is now `{now}`" if was and now else f"`{was}` is gone" if was else f"`{now}` is new"
        click.echo(f"mended {place}: {d.code} {said}", err=True)


@click.command()
@policy_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the result goes; beside the policy by default, as NAME.bundle or with the target's suffix.",
)
@click.option(
    "--target",
    "plane",
    type=click.Choice(list(targets.ALL)),
    default=targets.DEFAULT,
    show_default=True,
    help="The data plane to build for: "
    + "; ".join(f"{t.name} is {t.about}" for t in targets.ALL.values())
    + ".",
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
    plane: str,
    emit: tuple[str, ...],
    emit_after: tuple[str, ...],
    objects: Path | None,
    time_passes: bool,
    explain: bool,
    style: str,
    options: driver.Options,
) -> None:
    """Compile a policy, to a bundle if no other target is named. Needs neither root nor BPF; same input, same
    bytes, on any machine."""
    chosen = targets.ALL[plane]
    session = driver.Session(policy, options)
    if emit_after:
        session.observe = _print_after(emit_after)
    with no_collector(), reporting(session.sink, style), session, progress(session):
        chosen.begin(session)
        session.analyse(chosen.check)
        if emit or emit_after or explain:
            _print_stages(session, emit, explain)
        else:
            target = output or policy.with_suffix(chosen.suffix)
            data = chosen.build(session)
            write_file(target, data)
            if objects:
                _write_objects(session, objects)
            chains = session.unit.chains
            counted = f"{_many(len(chains), 'rule list')}, {_many(sum(len(c.rules) for c in chains), 'rule')}"
            services = sum(len(one.services) for one in session.unit.balancers)
            counted += f", {_many(services, 'service')}" if services else ""
            click.echo(f"{target}: {counted}, {len(data)} bytes", err=True)
    for chain_name, step, good in session.validated:
        click.echo(f"{chain_name}, {step}: {good}", err=True)
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
    for one in session.unit.balancers if "llvm" in emit else ():
        click.echo(session.balancer_llvm(one), nl=False)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + "s" * (count != 1)


def write_file(target: Path, data: bytes) -> None:
    """Write all or nothing. Exits with 2 when the place cannot be written."""
    written = target.with_name(f".{target.name}.partial")
    try:
        written.write_bytes(data)
        if target.exists():
            shutil.copymode(target, written)
        written.replace(target)
    except OSError as error:
        written.unlink(missing_ok=True)
        raise click.UsageError(f"cannot write `{target}`: {error.strerror or error}") from None


def _write_objects(session: driver.Session, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for chain in session.unit.chains:
        write_file(folder / f"{chain.name}.o", session.object(chain))
    for one in session.unit.balancers:
        write_file(folder / f"{one.name}.o", session.balancer_object(one))


@click.command(name="targets")
def targets_command() -> None:
    """Show what each data plane can do, and where each judges otherwise than the language says."""
    click.echo(targets.table(), nl=False)


COMMANDS = {"check": check, "build": build, "targets": targets_command}
