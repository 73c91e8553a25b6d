"""The command `lockgate`: one group over the compiler's commands and the runtime's.

Knows the names of all commands and where they live; imports a command's module only when it is used, so that
`--help` is quick and a host without the compiler can run the runtime's. Also the one place where the two
halves meet: `up POLICY.gate` compiles first. Turns errors into messages and exit codes: 0 ok, 1 findings in a
policy, 2 usage or broken input, 3 kernel or system refused, 70 a bug in lockgate.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import click

from . import __version__

RUNTIME, COMPILER = "lockgate.runtime.cli", "lockgate.compiler.cli"
JUDGE, DEMO, COST = "lockgate.judge", "lockgate.demo", "lockgate.cost"
EXTRA_MODULES = ("lark", "llvmlite", "numpy")
INSTALL = "pip install 'lockgate[compiler]'"

# name → (module whose `COMMANDS` has it, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "check": (COMPILER, "Find errors and doubtful rules in a policy."),
    "build": (COMPILER, "Compile a policy to a bundle."),
    "test": (JUDGE, "Run the tests written in a policy."),
    "eval": (JUDGE, "Say what a policy does with packets, and which rule decides."),
    "trace": ("lockgate.trace", "Show how a decision comes about, rule by rule."),
    "cost": (COST, "Say what a policy costs a packet, and what to use for it."),
    "targets": (COMPILER, "Show what each data plane can do."),
    "fmt": ("lockgate.compiler.fmt", "Put policies into the one style."),
    "import": ("lockgate.compiler.importing", "Make policies of other people's."),
    "lsp": ("lockgate.compiler.lsp.command", "Serve an editor."),
    "explain": (COMPILER, "Explain an error code."),
    "demo": (DEMO, "Show policies at work on this machine."),
    "up": (RUNTIME, "Load a bundle or policy and attach it, replacing what runs."),
    "down": (RUNTIME, "Detach a policy and remove all that belongs to it."),
    "status": (RUNTIME, "Show what is loaded and where it is attached."),
    "counters": (RUNTIME, "Show packets and bytes of every rule."),
    "endpoints": (RUNTIME, "Tell a running policy who carries which labels now."),
    "flows": (RUNTIME, "Show the flows that a policy for endpoints knows."),
    "set": (RUNTIME, "Show and change dynamic sets."),
    "backend": (RUNTIME, "Show and change who answers for services."),
    "health": (RUNTIME, "Ask the backends of services whether they are well."),
    "events": (RUNTIME, "Print packets that rules with `log` decide."),
}
OF_THE_LIBRARY = (
    click.NoSuchOption,
    click.BadParameter,
    click.BadOptionUsage,
    click.BadArgumentUsage,
)
OK, FINDINGS, USAGE, REFUSED, BUG = 0, 1, 2, 3, 70


class CompilerMissing(click.ClickException):
    """A command of the compiler where the compiler is not installed."""

    exit_code = USAGE

    def __init__(self, what: str, module: str) -> None:
        super().__init__(f"{what} needs the compiler, and `{module}` is not installed\n  = help: {INSTALL}")


class LazyGroup(click.Group):
    """A group whose commands are rows of `COMMANDS` until they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the table's order: the life of a policy."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module that has the command."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name == "explain":
            return explain
        module = COMMANDS[cmd_name][0]
        if module != RUNTIME:
            require_compiler(f"`lockgate {cmd_name}`")
        found: click.Command | None = importlib.import_module(module).COMMANDS.get(cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with a suggestion for a command that does not exist."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"no command `{args[0]}`" + (f"; did you mean `{close[0]}`?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and what they do, from the table alone."""
        for title, running in (("Policies", False), ("Running", True)):
            rows = [(n, text) for n, (where, text) in COMMANDS.items() if (where == RUNTIME) == running]
            with formatter.section(title):
                formatter.write_dl(rows)


def require_compiler(what: str) -> None:
    """CompilerMissing, which says what to install, when a module of the extra `compiler` is not there."""
    for module in EXTRA_MODULES:
        if importlib.util.find_spec(module) is None:
            raise CompilerMissing(what, module)


def compile_policy(path: Path, reading: Mapping[str, Any], target: str) -> bytes:
    """A policy file as what a target runs, for `up`; prints its warnings. `reading`: `include`, `now`, `root`
    of `driver.Options`."""
    require_compiler(f"`{path}` is a policy: compiling it")
    from lockgate.compiler import cli as compiler
    from lockgate.compiler.diagnostics import Sink
    from lockgate.compiler.driver import Options
    from lockgate.compiler.targets import build

    sink = Sink()
    built = build(path, target, Options(**reading), sink)
    compiler.report(sink.diagnostics, "human")
    return built


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok, 1 findings in a policy, 2 usage or broken input, "
    "3 refused by kernel or system, 70 a bug in lockgate.",
)
@click.version_option(__version__, prog_name="lockgate")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Compile network policies to eBPF, and run them."""
    if ctx.invoked_subcommand is not None and COMMANDS.get(ctx.invoked_subcommand, ("",))[0] == RUNTIME:
        from lockgate.runtime.cli import Glue

        ctx.obj = Glue(compile_policy)


@click.command()
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Explain an error CODE such as E0202: what it means, why it matters, what to write instead.

    Without CODE, list all codes. Works without the compiler, since the runtime's messages point here too.
    """
    import difflib

    from lockgate.compiler.errors import pages

    known = pages.pages()
    if code is None:
        for page in known.values():
            click.echo(f"{page.code}  {page.slug}: {pages.sections(page.text)['']}")
        return
    if code.upper() not in known:
        close = " or ".join(difflib.get_close_matches(code.upper(), known, 2))
        raise click.UsageError(
            f"no error has the code `{code}`" + (f"; did you mean {close}?" if close else "")
        )
    click.echo(pages.markdown(known[code.upper()]), nl=False)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point of the console script; always ends the process."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        result = cli.main(args=given, prog_name="lockgate", standalone_mode=False)
        code = result if isinstance(result, int) else OK
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.Abort:
        code = 130
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = OK
    except click.ClickException as error:
        click.echo(_in_our_words(error), err=True)
        code = error.exit_code
    except Exception as error:
        code = _failure(error, given)
    sys.exit(code)


def _in_our_words(error: click.ClickException) -> str:
    """A mistake in a command line, in the form of all other messages."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message()
    text = error.format_message().strip().removesuffix(".")
    if isinstance(error, OF_THE_LIBRARY):
        text = re.sub(r"(?<!\w)'([^'\n]*)'", r"`\1`", text)
        text = re.sub(r"\.? \(?Did you mean (?:one of: )?(.+?)\??\)?$", r"; did you mean \1?", text)
    context = getattr(error, "ctx", None)
    help = (
        f"\n  = help: {context.command_path} --help" if context is not None and "= help:" not in text else ""
    )
    return f"error: {text[:1].lower()}{text[1:]}{help}"


def _wants_json(arguments: list[str]) -> bool:
    if "--output=json" in arguments or "--json" in arguments:
        return True
    return any(pair == ("--output", "json") for pair in pairwise(arguments))


def _message_format(arguments: list[str]) -> str:
    """What `--message-format` or the environment asks for; the command itself did not live to say it."""
    from lockgate.compiler.render import FORMS

    words = [w for argument in arguments for w in argument.split("=", 1)]
    asked = [form for option, form in pairwise(words) if option == "--message-format"]
    form = (asked or [os.environ.get("LOCKGATE_MESSAGE_FORMAT", "")])[-1]
    return form if form in FORMS else "json" if _wants_json(arguments) else "human"


def _failure(error: Exception, arguments: list[str]) -> int:
    """Print what went wrong, to standard error; the exit code for it."""
    as_json = _wants_json(arguments)
    runtime_errors = sys.modules.get("lockgate.runtime.errors")
    if runtime_errors is not None and isinstance(error, runtime_errors.LockgateError):
        _print(runtime_errors.as_json(error) if as_json else runtime_errors.render(error))
        return int(error.exit_code)
    diagnostics = sys.modules.get("lockgate.compiler.diagnostics")
    if diagnostics is not None and isinstance(error, diagnostics.PolicyError):
        _print_findings(error, as_json)
        return FINDINGS
    _internal_failure(error, arguments)
    return BUG


def _internal_failure(error: Exception, arguments: list[str]) -> None:
    """Say that lockgate is wrong, where, and what to report; never in the words of Python or a library."""
    from lockgate.compiler import errors, render

    from . import reproducer

    causes = reproducer.chain_of(error)
    stages = [str(stage).strip() for one in causes if (stage := getattr(one, "stage", None))]
    passes = [f"pass `{name}`" for one in causes if (name := getattr(one, "pass_name", None))]
    inputs: dict[str, bytes] = next((one.inputs for one in causes if hasattr(one, "inputs")), {})
    where = ", ".join([*(f"stage `{stage}`" for stage in stages), *passes]) or f"command `{arguments[0]}`"
    witness = next((str(text) for one in causes if (text := getattr(one, "witness", None))), None)
    archive = reproducer.write(error, arguments, inputs)
    finding = errors.InternalError(where, __version__, str(archive), witness).diagnostic()
    click.echo(render.render([finding], _message_format(arguments)), err=True, nl=False)


def _print_findings(error: Any, as_json: bool) -> None:
    from lockgate.compiler import render

    click.echo(
        render.render(error.diagnostics, "json" if as_json else "human", colour=False), err=True, nl=False
    )


def _print(what: str | dict[str, object]) -> None:
    click.echo(what if isinstance(what, str) else json.dumps(what, sort_keys=True), err=True)
