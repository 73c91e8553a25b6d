"""A policy's file and all files that it imports, parsed: each once, however many ways lead to it.

Knows which file names which; must never know what a name stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .. import errors, syntax
from ..diagnostics import Sink
from ..source import Source
from ..syntax import tree as t
from .files import Inputs, UnreadableInput

MAX_DEPTH = 100  # files that import one another


@dataclass(frozen=True)
class Program:
    """`modules`: all files in the order of reading, the policy's own first. `imported`: what each `import`
    brings; one that failed is absent."""

    modules: tuple[t.Module, ...]
    imported: Mapping[t.Import, t.Module]

    @property
    def main(self) -> t.Module:
        """The policy's own file."""
        return self.modules[0]


def read(main: t.Module, inputs: Inputs, sink: Sink) -> Program:
    """Read what a module imports, and what that imports. Complaints go to `sink`."""
    reader = _Reader(inputs, sink)
    reader.modules[main.source] = main
    reader.follow(main)
    return Program(tuple(reader.modules.values()), reader.imported)


class _Reader:
    def __init__(self, inputs: Inputs, sink: Sink) -> None:
        self.inputs, self.sink = inputs, sink
        self.modules: dict[Source, t.Module] = {}
        self.imported: dict[t.Import, t.Module] = {}
        self.open: list[t.Import] = []  # the chain of imports that led here

    def follow(self, module: t.Module) -> None:
        for decl in module.decls:
            if isinstance(decl, t.Import):
                found = self._import(decl)
                if found is not None:
                    self.imported[decl] = found

    def _import(self, decl: t.Import) -> t.Module | None:
        try:
            source = self.inputs.find(decl.path.text, decl.span.source)
        except UnreadableInput as reason:
            self._complain(
                errors.UnreadableImport(decl.path.text, decl.path.span, str(reason), reason.looked)
            )
            return None
        circle = [*self.open, decl]
        chain = [step.span.source for step in circle]
        if source in chain:
            steps = circle[chain.index(source) :]
            self._complain(errors.ImportCycle(tuple((s.span.source.name, s.path.span) for s in steps)))
            return None
        if source not in self.modules:
            if len(circle) > MAX_DEPTH:
                self._complain(errors.TooDeep(decl.path.span, MAX_DEPTH))
                return None
            self.modules[source] = syntax.parse(source, self.sink)
            self.open.append(decl)
            self.follow(self.modules[source])
            self.open.pop()
        return self.modules[source]

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())
