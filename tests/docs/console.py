"""Runs the commands that a Markdown page shows, in the page's order, and compares what they print.

    ```gate front.gate        a file of the page: written into the sandbox
    ```console                commands behind `$ `, what they print below them

Commands run in an empty directory, in a network namespace that has an interface `eth0`, with a BPF file
system of their own; `sudo` is left out. `make` commands run dry in the checkout: other tests run them for
real. Numbers may differ from run to run, and ordinary users run no kernel engine; a line `…` stands for lines
that are left out.

    python -m tests.docs.console README.md      rewrites what commands print, where nothing is left out
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests import netns

ROOT = Path(__file__).parents[2]
LEFT_OUT = "…"
FAILURE = re.compile(r"(::)?[eE]rror|.*:\d+: E\d{4} ")  # an error, in any form
FENCE = re.compile(r"^```(\w*)[ ]?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A command with what the page says it prints; `start` and `end`: where that stands in the page."""

    command: str
    shown: tuple[str, ...]
    start: int
    end: int

    @property
    def needs_root(self) -> bool:
        """Whether it loads something."""
        return self.command.startswith("sudo ")


@dataclass(frozen=True)
class Ran:
    """What a step printed (both streams, in order) and how it ended."""

    step: Step
    lines: tuple[str, ...]
    code: int


def files_of(page: str) -> dict[str, str]:
    """Files that a page shows in full."""
    return {name: body for kind, name, body in FENCE.findall(page) if name and kind != "console"}


def steps_of(page: str) -> list[Step]:
    """Commands of all console blocks, in order."""
    steps: list[Step] = []
    for block in FENCE.finditer(page):
        if block[1] != "console":
            continue
        at = block.start(3)
        for line in block[3].splitlines(keepends=True):
            text = line.rstrip("\n")
            if text.startswith("$ "):
                steps.append(Step(text[2:], (), at + len(line), at + len(line)))
            elif steps:
                last = steps[-1]
                steps[-1] = replace(last, shown=(*last.shown, text), end=at + len(line))
            at += len(line)
    return steps


@contextmanager
def sandbox(files: dict[str, str], root: bool) -> Iterator[Sandbox]:
    """A directory with the page's files, and for root a namespace and a BPF file system."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lg-docs-")))
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / "examples").symlink_to(ROOT / "examples")
        namespace = mount = None
        if root:
            mount = stack.enter_context(netns.bpffs(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
            namespace = netns.unique("lg-docs")
            netns.run("ip", "netns", "add", namespace)
            stack.callback(netns.run, "ip", "netns", "del", namespace, check=False)
            netns.run("ip", "-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "wan0")
            netns.run("ip", "-n", namespace, "link", "set", "eth0", "up")
        yield Sandbox(folder, namespace, mount)


@dataclass(frozen=True)
class Sandbox:
    """Where commands run."""

    folder: Path
    namespace: str | None
    bpffs: Path | None

    def run(self, step: Step) -> Ran:
        """Run one command."""
        words = ["bash", "-c", step.command.removeprefix("sudo ")]
        where = self.folder
        if step.command.startswith("make "):
            words, where = ["bash", "-c", f"make -n {step.command.removeprefix('make ')}"], ROOT
        elif self.namespace:
            words = netns.inside(self.namespace, *words)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LOCKGATE"))}
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "100"}
        if self.bpffs:
            environment["LOCKGATE_BPFFS"] = str(self.bpffs)
        done = subprocess.run(
            words, cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=120,
        )  # fmt: skip
        return Ran(step, tuple(line.rstrip() for line in done.stdout.splitlines()), done.returncode)


def normal(line: str) -> str:
    """A line without what differs from run to run: numbers, digests, widths of columns, the kernel engine."""
    line = line.replace(", kernel", "").replace(" (not through the kernel: that needs root)", "")
    line = re.sub(r"\b[0-9a-f]{16,}\b", "DIGEST", line)
    return " ".join(re.sub(r"\d+(\.\d+)?", "N", line).split())


def differences(ran: Ran) -> Iterator[str]:
    """What the page says and the command does not print, or the other way round."""
    shown, printed = [normal(s) for s in ran.step.shown], [normal(s) for s in ran.lines]
    failing = any(FAILURE.match(line) for line in ran.step.shown)
    if (ran.code != 0) != failing:
        yield f"`{ran.step.command}` ends with {ran.code}"
    if LEFT_OUT not in shown and shown != printed:
        yield f"`{ran.step.command}` prints\n" + "\n".join(ran.lines)
    rest = iter(printed)
    for line in shown:
        if line != LEFT_OUT and line not in rest:
            yield f"`{ran.step.command}` does not print: {line}"
            return


def bless(path: Path) -> None:
    """Rewrite what commands print."""
    page = path.read_text()
    steps = steps_of(page)
    new: list[tuple[Step, Sequence[str]]] = []
    with sandbox(files_of(page), root=os.geteuid() == 0) as box:
        for step in steps:
            if step.command.startswith("make "):
                continue
            ran = box.run(step)
            if LEFT_OUT not in step.shown:
                new.append((step, ran.lines))
    for step, lines in reversed(new):
        page = page[: step.start] + "".join(f"{line}\n" for line in lines) + page[step.end :]
    path.write_text(page)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        bless(Path(argument))
