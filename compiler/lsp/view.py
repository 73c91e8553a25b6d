"""One policy as it is in the editor: parsed and named at once, checked when asked.

Knows the order of the front end's steps and of the analyses; must never know the protocol. What is broken
gives what could be read of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from .. import syntax
from ..diagnostics import Diagnostic, PolicyError, Sink
from ..driver import Options, Session
from ..policy import imports
from ..policy.files import Inputs, ReadFile, UnreadableInput
from ..policy.model import Network
from ..policy.networks import BROKEN, Networks
from ..policy.resolve import Scope
from ..policy.targets import Targets
from ..policy.traffic import TrafficTypes
from ..source import Source
from ..syntax import tree as t
from .index import Index, children


@dataclass
class Checked:
    """What the compiler says of a policy. `session`: the compilation, when it has no errors."""

    diagnostics: list[Diagnostic]
    session: Session | None


@dataclass
class View:
    """A policy's own file, which has a path, and what it leads to. Files are read with `read_file`."""

    source: Source
    read_file: ReadFile
    options: Options = field(default_factory=Options)
    sink: Sink = field(default_factory=Sink)

    def __post_init__(self) -> None:
        self.inputs = Inputs(self.read_file, self.options.include)
        self.inputs.given(self.source)
        self.module = syntax.parse(self.source, Sink())
        self.program = imports.read(self.module, self.inputs, Sink())
        self.scope = Scope(self.program, self.sink)
        self.index = Index(self.program, self.scope)
        self.networks = Networks(self.scope, self.inputs)
        self.traffic = TrafficTypes(self.scope)
        self.targets = Targets(self.scope)

    @property
    def sources(self) -> Iterable[Source]:
        """All files of the policy, its own first."""
        return [module.source for module in self.program.modules]

    def list_at(self, offset: int) -> Source | None:
        """The list of addresses that a `file` names at an offset; None when it cannot be read."""
        pending: list[object] = list(self.module.decls)
        while pending:
            node = pending.pop()
            if isinstance(node, t.File) and node.path.span.start <= offset <= node.path.span.end:
                with suppress(UnreadableInput):
                    return self.inputs.read(node.path.text, self.source)
                return None
            pending += [child for _, child in children(node)]
        return None

    @cached_property
    def checked(self) -> Checked:
        """All that `lockgate check` says. Takes as long as that; safe to call from another thread."""
        sink = Sink()
        assert self.source.path is not None
        session = Session(self.source.path, self.options, sink, self.read_file)
        try:
            with session:
                session.analyse()
        except PolicyError:
            return Checked(_sorted(sink), None)
        return Checked(_sorted(sink), session)


def _sorted(sink: Sink) -> list[Diagnostic]:
    return sorted(sink.diagnostics, key=lambda d: d.sort_key)


def sound(network: Network) -> Network | None:
    """A network's value; None for one that was complained about."""
    return None if network is BROKEN else network
