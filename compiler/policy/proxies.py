"""`proxy` declarations: local proxies that calls can be sent to.

Knows what a declaration must say; must never know how a call gets there.
"""

from __future__ import annotations

from collections.abc import Iterable

from lockgate.stdlib_bpf.effects import Proxy

from .. import errors
from ..syntax import tree as t
from .resolve import Scope
from .targets import Targets


class Proxies:
    """Evaluates declarations, each once."""

    def __init__(self, scope: Scope, targets: Targets) -> None:
        self.scope, self.targets, self.sink = scope, targets, scope.sink
        self._values: dict[int, Proxy | None] = {}  # by identity of the declaration

    def declared(self, decl: t.ProxyDecl) -> Proxy | None:
        """The proxy of a declaration, with cgroup "" where it names none; None after a complaint."""
        if id(decl) not in self._values:
            self._values[id(decl)] = self._value(decl)
        return self._values[id(decl)]

    def _value(self, decl: t.ProxyDecl) -> Proxy | None:
        before = self.sink.errors
        if not 1 <= decl.port.value <= 0xFFFF:
            self.sink.add(errors.OutOfRange("the port", decl.port.span, 1, 0xFFFF).diagnostic())
        path = "" if decl.cgroup is None else next(iter(self.targets.cgroups((decl.cgroup,))), "")
        return Proxy(decl.name.text, decl.port.value, path) if self.sink.errors == before else None

    def find(self, name: t.Name) -> Proxy | None:
        """The proxy that a name stands for; None after a complaint."""
        decl = self.scope.find(name, t.ProxyDecl)
        return None if decl is None else self.declared(decl)

    def cgroups(self, rules: Iterable[t.Rule]) -> tuple[str, ...]:
        """The cgroups of the proxies that some rules send calls to, sorted."""
        named = (part.proxy for rule in rules for part in rule.parts if isinstance(part, t.Via))
        decls = (self.scope.lookup(name) for name in named)
        found = (self.declared(decl) for decl in decls if isinstance(decl, t.ProxyDecl))
        return tuple(sorted({proxy.cgroup for proxy in found if proxy is not None and proxy.cgroup}))
