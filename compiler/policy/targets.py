"""What a policy is attached to: interfaces by device name, cgroups by path.

Knows how Linux names them (IFNAMSIZ: 15 bytes; no `/`, no blanks); must never look whether they exist. So
what a pattern stands for is not known here, and a difference takes only what has the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from lockgate.stdlib_bpf.state import cgroups
from lockgate.stdlib_bpf.state.devices import is_pattern

from .. import errors
from ..syntax import tree as t
from .resolve import Scope

MAX_DEVICE_BYTES = 15


WILD = re.compile(r"[*?[]")


def namespace_of(target: str) -> str:
    """The network namespace that a device is said to be in, "" when it is not said."""
    return target.rpartition("/")[0]


def device_of(target: str) -> str:
    """A device's name without the namespace that it is said to be in."""
    return target.rpartition("/")[2]


class Targets:
    """Evaluates `on …` and `for cgroup …`, each interface declaration once."""

    def __init__(self, scope: Scope) -> None:
        self.scope, self.sink = scope, scope.sink
        self._values: dict[int, tuple[str, ...]] = {}  # by identity of the declaration
        self._broken: set[int] = set()  # of those that were complained about
        self._missing = 0  # times that such a one was asked

    def declared(self, decl: t.InterfaceDecl) -> tuple[str, ...]:
        """Devices of an `interface` declaration; fewer after a complaint."""
        if id(decl) not in self._values:
            nothing: tuple[str, ...] = ()
            before = self.sink.errors
            value = self.scope.evaluate(decl, lambda: self.devices(decl.items), nothing)
            self._values.setdefault(id(decl), value)
            if self.sink.errors > before:
                self._broken.add(id(decl))
        self._missing += id(decl) in self._broken
        return self._values[id(decl)]

    def devices(self, items: Iterable[t.DeviceItem]) -> tuple[str, ...]:
        """`DEVICE` or `NETNS/DEVICE` for each, in order, without repetition; DEVICE may be a pattern."""
        return tuple(dict.fromkeys(device for item in items for device in self._value(item)))

    def _value(self, item: t.DeviceItem) -> tuple[str, ...]:
        match item:
            case t.Text():
                return self._device(item)
            case t.Devices(_, items):
                return self.devices(items)
            case t.DeviceSum():
                return self._sum(item)
            case t.Name(span, text):
                if self.scope.lookup(item) is not None or self.scope.alias(item) is not None:
                    decl = self.scope.find(item, t.InterfaceDecl)
                    return self.declared(decl) if decl is not None else ()
                known = tuple(self.scope.known(item, t.InterfaceDecl))
                self.sink.add(errors.UnquotedDevice(text, span, known).diagnostic())
        return ()

    def _sum(self, item: t.DeviceSum) -> tuple[str, ...]:
        """`a + b - c`, from the left."""
        before = self.sink.errors, self._missing
        found = list(self._value(item.first))
        some = bool(found)
        for sign, term in item.rest:
            devices = self._value(term)
            if sign == "+":
                found += devices
                some = some or bool(devices)
                continue
            found = [device for device in found if device not in devices]
            shared = [(a, b) for a in found for b in devices if _may_share(a, b)]
            if shared:
                self.sink.add(errors.BadDifference(term.span, shared[0]).diagnostic())
                found = [device for device in found if device not in dict(shared)]
        if some and not found and (self.sink.errors, self._missing) == before:
            self.sink.add(errors.BadDifference(item.span).diagnostic())
        return tuple(found)

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

    def cgroups(self, items: Iterable[t.DeviceItem]) -> tuple[str, ...]:
        """Paths below the cgroup2 root, beginning with `/`."""
        found: list[str] = []
        for item in items:
            assert isinstance(item, t.Text)  # all that the grammar takes
            reason = cgroups.problem(item.text)
            if reason is None:
                found.append(cgroups.normal(item.text))
            else:
                self.sink.add(errors.BadTarget("cgroup", item.text, item.span, reason).diagnostic())
        return tuple(dict.fromkeys(found))


def _may_share(a: str, b: str) -> bool:
    """Whether two names, one of which is a pattern, may stand for one device. Two patterns surely do not when
    they begin differently."""
    if namespace_of(a) != namespace_of(b):
        return False
    if is_pattern(a) and is_pattern(b):
        start, other = (WILD.split(name)[0] for name in (a, b))
        return start.startswith(other) or other.startswith(start)
    return fnmatchcase(a, b) or fnmatchcase(b, a)
