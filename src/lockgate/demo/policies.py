"""The three example policies, compiled. Each is copied to a directory of its own under its own name, since a
bundle is named after its file; the cgroup's path becomes one that belongs to this process alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import lockgate.examples
from lockgate.compiler.codegen.llvm import Worker
from lockgate.compiler.driver import Session
from lockgate.runtime import bundle as bundles
from lockgate.runtime import show

from .report import Report

EXAMPLES = Path(lockgate.examples.__file__).parent
NAMES = ("edge", "host", "connect")
CGROUP = f"lg-demo-{os.getpid()}"
SHIPPED_CGROUP = '"/lockgate-example"'


@dataclass(frozen=True)
class Policy:
    """One compiled policy. `session` stays open for simulation; `seconds` from text to bundle."""

    name: str
    session: Session
    bundle: bundles.Bundle
    size_bytes: int
    seconds: float


class Compiled:
    """Context manager: compiles the examples, and others on demand, with one LLVM process."""

    def __enter__(self) -> Compiled:
        with ExitStack() as stack:
            self._folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix=f"lockgate-demo-{os.getpid()}-"))
            )
            self._worker = stack.enter_context(Worker())
            self._worker.start()
            shutil.copy(EXAMPLES / "edge" / "blocklist.txt", self._folder)
            self.policies = {name: self.compile(name, self.text(name)) for name in NAMES}
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def text(self, name: str) -> str:
        """The text of an example, with this process's cgroup."""
        shipped = (EXAMPLES / name / "policy.gate").read_text()
        return shipped.replace(SHIPPED_CGROUP, f'"/{CGROUP}"')

    def compile(self, name: str, text: str) -> Policy:
        """Compile a policy text under a name."""
        (self._folder / f"{name}.gate").write_text(text)
        started = time.perf_counter()
        session = Session(Path(f"{name}.gate"), worker=self._worker)
        with contextlib.chdir(self._folder):  # reports name the file as we do here
            data = session.bundle()
        return Policy(name, session, bundles.parse(data), len(data), time.perf_counter() - started)

    def show(self, report: Report) -> None:
        """Print what was compiled, and how long it took."""
        report.section("compiled: text to eBPF")
        rows = []
        for policy in self.policies.values():
            unit = policy.session.unit
            entries = sum(len(t.values) for c in unit.chains for t in policy.session.plan(c).tables)
            rows.append(
                (
                    policy.name,
                    " + ".join(f.point for c in policy.bundle.manifest.chains for f in c.functions),
                    sum(len(c.rules) for c in unit.chains),
                    entries,
                    policy.size_bytes // 1024,
                    round(policy.seconds * 1000),
                )
            )
        show.table(("policy", "programs at", "rules", "table entries", "KiB", "ms"), rows)
