"""Where generated code keeps the fields of a packet between decoding and judging: one register each.

A register is a stack slot that LLVM turns into a machine register (SROA). It holds the field in host order.
`ip.proto` and `l4.proto` hold MISSING where the packet has none, so every test of them answers no; the other
registers may be read only where the plan has established that the field is there.
"""

from __future__ import annotations

from collections.abc import Iterable

from .llvm import Function, Value, const

MISSING = 0xFFFF
ALWAYS = ("eth.type", "ip.proto", "l4.proto")


def register_type(width_bits: int) -> str:
    """LLVM type that holds a field."""
    return "i128" if width_bits == 128 else "i32"


class Registers:
    """The registers of one function; `widths`: field → width in bits of those that the plan reads."""

    def __init__(self, function: Function, widths: Iterable[tuple[str, int]]) -> None:
        self.function = function
        self._slots: dict[str, tuple[str, Value]] = {}
        for name, width in (*((name, 16) for name in ALWAYS), *widths):
            if name not in self._slots:
                type_ = register_type(width)
                slot = function.alloca(type_, name.replace(".", "_"), 16 if type_ == "i128" else 4)
                self._slots[name] = (type_, slot)

    def wanted(self, name: str) -> bool:
        """Whether the plan reads a field."""
        return name in self._slots

    def clear(self) -> None:
        """Set every register to "nothing decoded yet"."""
        for name, (type_, slot) in self._slots.items():
            self.function.store(const(type_, MISSING if name in ALWAYS else 0), slot)

    def set(self, name: str, value: Value) -> None:
        """Keep a decoded value, if the plan reads the field."""
        if name in self._slots:
            type_, slot = self._slots[name]
            self.function.store(self.function.zext(value, type_), slot)

    def get(self, name: str) -> Value:
        """The field's value."""
        type_, slot = self._slots[name]
        return self.function.load(type_, slot)
