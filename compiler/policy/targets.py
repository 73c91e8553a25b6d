"""What a policy is attached to: interfaces by device name, cgroups by path.

Knows how Linux names them (IFNAMSIZ: 15 bytes; no `/`, no blanks); must never look whether they exist.
"""

from __future__ import annotations

from lockgate.stdlib_bpf.state import cgroups
from lockgate.stdlib_bpf.state.devices import is_pattern

from .. import errors
from ..syntax import tree as t
from .resolve import Scope

MAX_DEVICE_BYTES = 15


def namespace_of(target: str) -> str:
    """The network namespace that a device is said to be in, "" when it is not said."""
    return target.rpartition("/")[0]


class Targets:
    """Evaluates `on …` and `for cgroup …`, each interface declaration once."""

    def __init__(self, scope: Scope) -> None:
        self.scope, self.sink = scope, scope.sink
        self._values: dict[int, tuple[str, ...]] = {}  # by identity of the declaration

    def declared(self, decl: t.InterfaceDecl) -> tuple[str, ...]:
        """Devices of an `interface` declaration; fewer after a complaint."""
        if id(decl) not in self._values:
            nothing: tuple[str, ...] = ()
            value = self.scope.evaluate(decl, lambda: self.devices(decl.items), nothing)
            self._values.setdefault(id(decl), value)
        return self._values[id(decl)]

    def devices(self, items: tuple[t.Name | t.Text, ...]) -> tuple[str, ...]:
        """`DEVICE` or `NETNS/DEVICE` for each, in order, without repetition; DEVICE may be a pattern."""
        found: list[str] = []
        for item in items:
            if isinstance(item, t.Text):
                found += self._device(item)
            elif self.scope.lookup(item) is not None or self.scope.alias(item) is not None:
                decl = self.scope.find(item, t.InterfaceDecl)
                found += self.declared(decl) if decl is not None else ()
            else:
                known = tuple(self.scope.known(item, t.InterfaceDecl))
                self.sink.add(errors.UnquotedDevice(item.text, item.span, known).diagnostic())
        return tuple(dict.fromkeys(found))

    def _device(self, item: t.Text) -> tuple[str, ...]:
        namespace, _, device = item.text.rpartition("/")
        reason = None
        if not device or device in (".", ".."):
            reason = "it has no device name"
        elif is_pattern(namespace):
            reason = "only the device can be a pattern"
        elif len(device.encode()) > MAX_DEVICE_BYTES and not is_pattern(device):
            reason = f"the kernel allows {MAX_DEVICE_BYTES} bytes"
        elif any(c.isspace() or c == ":" or not c.isprintable() for c in item.text):
            reason = "blanks, colons and control characters are not allowed"
        elif "/" in namespace or namespace in (".", "..") or ("/" in item.text and not namespace):
            reason = "write `NAMESPACE/DEVICE`, with one `/`"
        if reason is not None:
            self.sink.add(errors.BadTarget("interface", item.text, item.span, reason).diagnostic())
            return ()
        return (item.text,)

    def cgroups(self, items: tuple[t.Name | t.Text, ...]) -> tuple[str, ...]:
        """Paths below the cgroup2 root, beginning with `/`."""
        found: list[str] = []
        for item in items:
            reason = cgroups.problem(item.text)
            if reason is None:
                found.append(cgroups.normal(item.text))
            else:
                self.sink.add(errors.BadTarget("cgroup", item.text, item.span, reason).diagnostic())
        return tuple(dict.fromkeys(found))
