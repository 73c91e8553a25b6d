"""Names to declarations: one name space a file, in any order, no cycles.

Knows who is called what and who was called; must never know what a declaration is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from .. import errors
from ..diagnostics import Sink
from ..syntax import tree as t
from . import names as builtin

if TYPE_CHECKING:
    from collections.abc import Iterator

Named = t.NetworkDecl | t.PortsDecl | t.ServiceDecl | t.InterfaceDecl | t.Policy
Declaration = TypeVar("Declaration", t.NetworkDecl, t.PortsDecl, t.ServiceDecl, t.InterfaceDecl, t.Policy)
Value = TypeVar("Value")

KINDS: dict[type, str] = {
    t.NetworkDecl: "network",
    t.PortsDecl: "ports",
    t.ServiceDecl: "service",
    t.InterfaceDecl: "interface",
    t.Policy: "policy",
}
MAX_DEPTH = 100  # declarations that rest on one another


class Scope:
    """The names of one file. Complaints go to `sink`; those about names that a skipped piece of text may
    have declared or used are withheld."""

    def __init__(self, module: t.Module, sink: Sink) -> None:
        self.sink = sink
        later = tuple(d for d in module.decls if isinstance(d, t.NotYet | t.Template | t.Tiers | t.Import))
        self.skipped = (*module.skipped, *(decl.span for decl in later))
        self.imports = any(isinstance(decl, t.Import) for decl in later)
        self.by_name: dict[str, Named] = {}
        self._used: set[str] = set()
        self._open: list[Named] = []
        for decl in module.decls:
            if not isinstance(decl, t.Test | t.NotYet | t.Template | t.Tiers | t.Import):
                self._declare(decl)

    def _declare(self, decl: Named) -> None:
        name = decl.name
        if "." in name.text:
            self.sink.add(
                errors.ReservedName(name.text, name.span, "a dot stands for an import").diagnostic()
            )
        elif name.text in builtin.ENTITIES or name.text in builtin.PROTOCOLS:
            why = (
                "it is a protocol" if name.text in builtin.PROTOCOLS else "it stands for a group of endpoints"
            )
            self.sink.add(errors.ReservedName(name.text, name.span, why).diagnostic())
        elif (first := self.by_name.get(name.text)) is not None:
            self.sink.add(errors.DuplicateName(name.text, name.span, first.name.span).diagnostic())
        else:
            self.by_name[name.text] = decl

    def find(self, name: t.Name, wanted: type[Declaration]) -> Declaration | None:
        """The declaration a name stands for; None after a complaint when there is none of that kind."""
        decl = self.by_name.get(name.text)
        if decl is not None:
            self._used.add(name.text)
        if isinstance(decl, wanted):
            return decl
        if decl is not None:
            self._complain(
                errors.WrongKind(name.text, name.span, KINDS[type(decl)], KINDS[wanted], decl.name.span)
            )
        elif name.text in builtin.ENTITIES and wanted is t.NetworkDecl:
            self._complain(errors.NotYet(f"the entity `{name.text}`", name.span))
        elif name.text in builtin.PROTOCOLS:
            self._complain(errors.WrongKind(name.text, name.span, "protocol", KINDS[wanted], None))
        elif not self._may_be_skipped(name.text):
            self._complain(self.unknown(name, wanted))
        return None

    def unknown(self, name: t.Name, wanted: type) -> errors.UnknownName:
        """The complaint about a name that nothing has, with names of the right kind to choose from."""
        known = tuple((n, d.name.span) for n, d in self.by_name.items() if isinstance(d, wanted))
        return errors.UnknownName(KINDS[wanted], name.text, name.span, known)

    def evaluate(self, decl: Named, compute: Callable[[], Value], otherwise: Value) -> Value:
        """`compute()` with `decl` marked as being worked on; `otherwise` after a complaint when it already
        is: the declarations go round in a circle."""
        if decl in self._open:
            circle = self._open[self._open.index(decl) :]
            self._complain(errors.Cycle(tuple((d.name.text, d.name.span) for d in circle)))
            return otherwise
        if len(self._open) >= MAX_DEPTH:
            self._complain(errors.TooDeep(decl.name.span, MAX_DEPTH))
            return otherwise
        with self._working_on(decl):
            return compute()

    @contextmanager
    def _working_on(self, decl: Named) -> Iterator[None]:
        self._open.append(decl)
        try:
            yield
        finally:
            self._open.pop()

    def warn_unused(self) -> None:
        """A warning for each name that nothing mentions; policies speak for themselves."""
        if self.sink.has_errors:
            return  # what is wrong may be why the name is not used
        for name, decl in self.by_name.items():
            if name not in self._used and not isinstance(decl, t.Policy):
                self._complain(errors.UnusedName(KINDS[type(decl)], name, decl.name.span))

    def _may_be_skipped(self, name: str) -> bool:
        if self.imports and "." in name:
            return True
        return any(name in piece.text for piece in self.skipped)

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())
