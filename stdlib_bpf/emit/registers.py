"""Where generated code keeps the fields of a packet between decoding and judging: one register each.

A register is a piece of the stack that holds the field in host order. `ip.proto` and `l4.proto` hold MISSING
where the packet has none, so every test of them answers no; the others may be read only where the plan has
established that the field is there, and hold something meaningless elsewhere.

Their place is chosen for the verifier. It follows a value that lies at the beginning of an 8-byte slot, with
all it has learned of it, and then explores the rules once for every way through the decoder and narrows on at
every comparison: a thousand rules end beyond its limit. Of the second half of a slot it keeps no more than
"something is there" (check_stack_write_fixed_off in kernel/bpf/verifier.c), so all ways through the decoder
look alike to it and the rules are explored once. Hence offset 4 of a slot, and volatile accesses, which LLVM
leaves where they are.
"""

from __future__ import annotations

from collections.abc import Iterable

from .llvm import Function, Value, const

MISSING = 0xFFFF
ALWAYS = ("eth.type", "ip.proto", "l4.proto")
# Not fields: the frame's length in bytes, the deciding rule's counter slot, its named counter's slot, and of
# how many packets one sends an event (0: none).
LENGTH, SLOT, NAMED, SAMPLE = "length", "slot", "named", "sample"
NO_SLOT = 0xFFFFFFFF
# For what rules do to a packet: where its network and transport headers begin (bytes into the frame; the
# latter MISSING where there is none), bytes of the IP packet from the transport header on, the new DSCP and
# the answer to a rejected packet (`emit.reply`).
NETWORK, TRANSPORT, LEFT, DSCP, ANSWER = "network", "transport", "left", "dscp", "answer"
NO_DSCP = 0xFFFF


class Registers:
    """The registers of one function; `widths`: field → width in bits of those that the plan reads."""

    def __init__(self, function: Function, widths: Iterable[tuple[str, int]]) -> None:
        self.function = function
        self._offsets: dict[str, int] = {}
        self._wide: set[str] = set()
        size = 0
        for name, width in (*((name, 32) for name in (*ALWAYS, LENGTH, SLOT, NAMED, SAMPLE)), *widths):
            if name not in self._offsets:
                self._offsets[name] = size + (0 if width == 128 else 4)
                size += 16 if width == 128 else 8
                if width == 128:
                    self._wide.add(name)
        self._room = function.alloca(f"[{size} x i8]", "registers")

    def wanted(self, name: str) -> bool:
        """Whether the plan reads a field."""
        return name in self._offsets

    def address(self, name: str, part: int = 0) -> Value:
        """Where a register lies. `part` 1: the low half of a 128-bit one, which follows the high half."""
        return self.function.gep(self._room, self._offsets[name] + 8 * part)

    def clear(self, filler: Value) -> None:
        """Set every register to "nothing decoded yet". `filler`: any i32 the verifier knows nothing of; a
        constant zero would make one more state for it to explore."""
        wide = self.function.zext(filler, "i64")
        for name in self._offsets:
            if name in self._wide:
                for part in (0, 1):
                    self.function.store(wide, self.address(name, part), volatile=True)
            else:
                value = const("i32", MISSING) if name in (*ALWAYS, TRANSPORT) else filler
                self.function.store(value, self.address(name), volatile=True)

    def set(self, name: str, value: Value) -> None:
        """Keep a decoded value of at most 32 bits, if the plan reads the field."""
        if name in self._offsets:
            self.function.store(self.function.zext(value, "i32"), self.address(name), volatile=True)

    def set_wide(self, name: str, high: Value, low: Value) -> None:
        """Keep a decoded value of 128 bits in two halves, if the plan reads the field."""
        if name in self._offsets:
            for part, value in enumerate((high, low)):
                self.function.store(value, self.address(name, part), volatile=True)

    def get(self, name: str) -> Value:
        """The register's value: i32, or i128 for a wide one."""
        f = self.function
        if name not in self._wide:
            return f.load("i32", self.address(name), volatile=True)
        high, low = (f.load("i64", self.address(name, part), volatile=True) for part in (0, 1))
        return f.op("or", f.op("shl", f.zext(high, "i128"), 64), f.zext(low, "i128"))
