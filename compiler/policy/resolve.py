"""Names to declarations: one name space a file, in any order, no cycles.

A name is looked up in the file in which it is written; `ALIAS.NAME` in the file that is imported there as
ALIAS. Knows who is called what and who was called; must never know what a declaration is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from .. import errors
from ..diagnostics import Sink
from ..source import Source, Span
from ..syntax import tree as t
from . import names as builtin
from .imports import Program

Named = (
    t.NetworkDecl
    | t.PortsDecl
    | t.ServiceDecl
    | t.InterfaceDecl
    | t.ProxyDecl
    | t.Template
    | t.Policy
    | t.Balance
    | t.Import
)
Declaration = TypeVar(
    "Declaration",
    t.NetworkDecl,
    t.PortsDecl,
    t.ServiceDecl,
    t.InterfaceDecl,
    t.ProxyDecl,
    t.Template,
    t.Policy,
    t.Balance,
)
Value = TypeVar("Value")

KINDS: dict[type, str] = {
    t.NetworkDecl: "network",
    t.PortsDecl: "ports",
    t.ServiceDecl: "service",
    t.InterfaceDecl: "interface",
    t.ProxyDecl: "proxy",
    t.Template: "template",
    t.Policy: "policy",
    t.Balance: "balance",
    t.Import: "import",
}
MAX_DEPTH = 100  # declarations that rest on one another
MAX_ADVISED = 100  # unknown names for which a known one is sought


@dataclass
class _File:
    """The names of one file. `skipped`: text that may have declared or used names; nothing is said about
    those."""

    module: t.Module
    names: dict[str, Named]
    skipped: tuple[Span, ...]

    def may_be_skipped(self, name: str) -> bool:
        """Whether a name may have been declared in text that was left out."""
        return any(name in piece.text for piece in self.skipped)


class Scope:
    """The names of all files of one compilation. Complaints go to `sink`."""

    def __init__(self, program: Program, sink: Sink) -> None:
        self.program, self.sink = program, sink
        self._used: set[int] = set()  # identities of declarations
        self._open: list[Named] = []
        self._unknown = 0
        self._files: dict[Source, _File] = {}
        for module in program.modules:
            later = tuple(decl.span for decl in module.decls if isinstance(decl, t.NotYet))
            self._files[module.source] = _File(module, {}, (*module.skipped, *later))
            for decl in module.decls:
                if isinstance(decl, Named):
                    self._declare(decl)
        self._prefixes = self._prefixes_of_files()

    def _declare(self, decl: Named) -> None:
        name = decl.name
        names = self._files[name.span.source].names
        if "." in name.text:
            self._complain(errors.ReservedName(name.text, name.span, "a dot stands for an import"))
        elif name.text in builtin.ENTITIES or name.text in builtin.PROTOCOLS:
            why = (
                "it is a protocol" if name.text in builtin.PROTOCOLS else "it stands for a group of endpoints"
            )
            self._complain(errors.ReservedName(name.text, name.span, why))
        elif (first := names.get(name.text)) is not None:
            self._complain(errors.DuplicateName(name.text, name.span, first.name.span))
        else:
            names[name.text] = decl

    def _prefixes_of_files(self) -> dict[Source, str]:
        """What stands before a name of each file, seen from the policy's own file: the shortest way of
        imports, the first of several."""
        prefixes = {self.program.main.source: ""}
        pending = [self.program.main]
        for module in pending:
            for decl in module.decls:
                target = self.program.imported.get(decl) if isinstance(decl, t.Import) else None
                if isinstance(decl, t.Import) and target is not None and target.source not in prefixes:
                    prefixes[target.source] = f"{prefixes[module.source]}{decl.name.text}."
                    pending.append(target)
        return prefixes

    # ---- looking up ----

    def lookup(self, name: t.Name) -> Named | None:
        """The declaration that a name stands for where it is written, without a word when there is none."""
        file = self._files[name.span.source]
        alias, _, inner = name.text.rpartition(".")
        if not alias:
            return file.names.get(name.text)
        decl = file.names.get(alias)
        target = self.program.imported.get(decl) if isinstance(decl, t.Import) else None
        found = None if target is None else self._files[target.source].names.get(inner)
        return None if isinstance(found, t.Policy | t.Balance | t.Import) else found

    def alias(self, name: t.Name) -> t.Import | None:
        """The `import` that a dotted name goes through."""
        alias = name.text.partition(".")[0] if "." in name.text else ""
        decl = self._files[name.span.source].names.get(alias)
        return decl if isinstance(decl, t.Import) else None

    def find(self, name: t.Name, wanted: type[Declaration]) -> Declaration | None:
        """The declaration a name stands for; None after a complaint when there is none of that kind."""
        decl = self.lookup(name)
        if decl is not None:
            self._used.add(id(decl))
        if (through := self.alias(name)) is not None:
            self._used.add(id(through))
        if isinstance(decl, wanted):
            return decl
        if decl is not None:
            self._complain(
                errors.WrongKind(name.text, name.span, KINDS[type(decl)], KINDS[wanted], decl.name.span)
            )
        elif name.text in builtin.PROTOCOLS:
            self._complain(errors.WrongKind(name.text, name.span, "protocol", KINDS[wanted], None))
        elif not self._may_be_skipped(name):
            self._complain(self.unknown(name, wanted))
        return None

    def unknown(self, name: t.Name, wanted: type) -> errors.UnknownName:
        """The complaint about a name that nothing has, with names of the right kind to choose from: the first
        hundred times, since each choice looks at all names."""
        self._unknown += 1
        known = tuple(self.known(name, wanted)) if self._unknown <= MAX_ADVISED else ()
        return errors.UnknownName(KINDS[wanted], name.text, name.span, known)

    def known(self, name: t.Name, wanted: type) -> Iterator[tuple[str, Span]]:
        """Names of a kind that could stand where `name` stands, each with its declaration."""
        file = self._files[name.span.source]
        for text, decl in file.names.items():
            if isinstance(decl, wanted):
                yield text, decl.name.span
            target = self.program.imported.get(decl) if isinstance(decl, t.Import) else None
            if target is not None and wanted not in (t.Policy, t.Balance):
                for inner, other in self._files[target.source].names.items():
                    if isinstance(other, wanted):
                        yield f"{text}.{inner}", other.name.span

    def _may_be_skipped(self, name: t.Name) -> bool:
        file = self._files[name.span.source]
        through = self.alias(name)
        if through is None:
            return file.may_be_skipped(name.text.partition(".")[0])
        target = self.program.imported.get(through)
        return target is None or self._files[target.source].may_be_skipped(name.text.rpartition(".")[2])

    def qualified(self, name: t.Name) -> str:
        """A declared name as the policy's own file would write it."""
        return self._prefixes[name.span.source] + name.text

    # ---- what rests on what ----

    def evaluate(self, decl: Named, compute: Callable[[], Value], otherwise: Value) -> Value:
        """`compute()` with `decl` marked as being worked on; `otherwise` after a complaint when it already
        is: the declarations go round in a circle."""
        if any(decl is other for other in self._open):
            circle = self._open[[d is decl for d in self._open].index(True) :]
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
        """A warning for each name of the policy's own file that nothing mentions. Policies speak for
        themselves, and the names of a file without policies are there for others."""
        names = self._files[self.program.main.source].names
        if self.sink.has_errors:
            return  # what is wrong may be why the name is not used
        policies = [decl for decl in names.values() if isinstance(decl, t.Policy | t.Balance)]
        scopes = [decl.scope for decl in policies if isinstance(decl, t.Policy)]
        library, endpoints = not policies, any(isinstance(scope, t.EndpointScope) for scope in scopes)
        for name, decl in names.items():
            if id(decl) in self._used or isinstance(decl, t.Policy | t.Balance):
                continue
            if isinstance(decl, t.Import) and not (endpoints and self._brings_tiers(decl)):
                self._complain(errors.UnusedImport(name, decl.path.text, decl.span))
            elif not library and not isinstance(decl, t.Import):
                self._complain(errors.UnusedName(KINDS[type(decl)], name, decl.name.span, decl.span))

    def _brings_tiers(self, decl: t.Import) -> bool:
        """Whether a file says in which order policies for endpoints are asked, or imports one that does."""
        target = self.program.imported.get(decl)
        return target is not None and any(
            isinstance(each, t.Tiers | t.Forward) or (isinstance(each, t.Import) and self._brings_tiers(each))
            for each in target.decls
        )

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())
