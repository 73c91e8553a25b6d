"""Where generated code keeps the fields of a packet between decoding and judging: one register each.

A register is a piece of the stack that holds the field in host order. Those of `fields.ANSWERED` hold all
ones, more than the field can be, where the packet has none, so that every comparison with a range of the
field's values answers no; the others may be read only where the plan has established that the field is there,
and hold something meaningless elsewhere.

Their place is chosen for the verifier. It follows a value that lies at the beginning of an 8-byte slot, with
all it has learned of it, and then explores the rules once for every way through the decoder and narrows on at
every comparison: a thousand rules end beyond its limit. Of the second half of a slot it keeps no more than
"something is there" (check_stack_write_fixed_off in kernel/bpf/verifier.c), so all ways through the decoder
look alike to it and the rules are explored once. Hence offset 4 of a slot, or 2 for a small one, and volatile
accesses, which LLVM leaves where they are. What 32 bits do not hold lies in two registers, 128 bits in two
whole slots.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..fields import ANSWERED, BY_NAME
from .llvm import Function, Value, const

ALWAYS = ("eth.type", "ip.proto", "l4.proto")
LENGTH = "meta.length"
# What is no field: bytes that counters count (`decode.frame.counted`), the deciding rule's counter slot, its
# named counter's slot, and of how many packets one sends an event (0: none).
COUNTED, SLOT, NAMED, SAMPLE = "counted", "slot", "named", "sample"
DATAGRAM = "meta.datagram"  # identification of a fragment's datagram, where fragments are tracked
ECHO = "meta.echo"  # identifier of an ICMP echo, where flows are known
FATE = "flow.fate"  # what is to become of a packet's flow (`emit.flows`); missing: nothing
FORWARD = "forward"  # how the packet leaves (`emit.forward`); missing: through the stack
LASTS = "flow.lasts"  # what the deciding rule makes, an index of `state.flows.LASTS`
NO_SLOT = 0xFFFFFFFF
# For what rules do to a packet: where its network and transport headers begin (bytes into the frame; the
# latter missing where there is none), bytes of the IP packet from the transport header on, the new DSCP and
# the answer to a rejected packet (`emit.reply`).
NETWORK, TRANSPORT, LEFT, DSCP, ANSWER = "network", "transport", "left", "dscp", "answer"
PROXY = "proxy"  # port of the local proxy that a socket's call is sent to, 0 for none
NO_DSCP = 0xFFFF
# Where functions of a program hand over to one another: the verdict, the node of the plan to go on with, and
# what dynamic sets say (a number follows, 32 answers each).
VERDICT, NEXT, ANSWERS = "verdict", "next", "answers"
TAG = "{field} by {tags}"  # the tag of a field: of two words, which no name of a field has
# With more registers than this small ones share slots: of 512 bytes of stack others want some, too. Machine
# code for 16 bits is a byte longer.
ROOMY = 20


@dataclass(frozen=True)
class _Place:
    """`offsets` of the parts in the registers' room, the highest part first; `bits` of each part."""

    offsets: tuple[int, ...]
    bits: int


class Registers:
    """The registers of one function, for the `names` of fields that the plan reads. `room`: where they lie,
    None for a place on the function's own stack."""

    def __init__(self, function: Function, names: Iterable[str], room: Value | None = None) -> None:
        self.function = function
        self._places: dict[str, _Place] = {}
        self.size = 0
        self._halves: list[int] = []  # of slots, where 16 bits have room
        wanted = list(dict.fromkeys((*ALWAYS, COUNTED, SLOT, NAMED, SAMPLE, *names)))
        least = 16 if len(wanted) > ROOMY else 32
        for name in wanted:
            self._places[name] = self._place(max(least, _bits(name)))
        self.room = room or function.alloca(f"[{self.size} x i8]", "registers")

    def _place(self, bits: int) -> _Place:
        if bits == 128:
            return _Place((self._slot(), self._slot()), 64)
        if bits == 16 and self._halves:
            return _Place((self._halves.pop(0),), 16)
        offsets = tuple(self._slot() + 4 for _ in range(max(1, bits // 32)))
        self._halves += [offset - 2 for offset in offsets]
        return _Place(offsets, min(bits, 32))

    def _slot(self) -> int:
        self.size += 8
        return self.size - 8

    def wanted(self, name: str) -> bool:
        """Whether the plan reads a field."""
        return name in self._places

    def address(self, name: str, part: int = 0) -> Value:
        """Where a register lies. `part`: of those that have several, the highest first."""
        return self.function.gep(self.room, self._places[name].offsets[part])

    def clear(self, filler: Value) -> None:
        """Set every register to "nothing decoded yet". `filler`: the bytes to count, an i32 the
        verifier knows nothing of; a constant zero would make one more state for it to explore."""
        for name, place in self._places.items():
            known = name in ANSWERED or name in (*ALWAYS, TRANSPORT, FATE, FORWARD)
            for part in range(len(place.offsets)):
                self._store(place, part, missing(place.bits) if known else filler)

    def set(self, name: str, value: Value) -> None:
        """Keep a decoded value of at most 64 bits, if the plan reads the field."""
        if name in self._places:
            place = self._places[name]
            if len(place.offsets) == 2:
                wide = self.function.zext(value, "i64")
                self._store(place, 0, self.function.op("lshr", wide, 32))
                value = wide
            self._store(place, len(place.offsets) - 1, value)

    def set_wide(self, name: str, high: Value, low: Value) -> None:
        """Keep a decoded value of 128 bits in two halves, if the plan reads the field."""
        if name in self._places:
            for part, value in enumerate((high, low)):
                self._store(self._places[name], part, value)

    def _store(self, place: _Place, part: int, value: Value) -> None:
        f = self.function
        sized = f.resize(value, f"i{place.bits}")
        f.store(sized, f.gep(self.room, place.offsets[part]), volatile=True)

    def get(self, name: str) -> Value:
        """The register's value: i32, or i64 or i128 where that is not enough."""
        f, place = self.function, self._places[name]
        parts = [f.load(f"i{place.bits}", f.gep(self.room, at), volatile=True) for at in place.offsets]
        if len(parts) == 1:
            return f.zext(parts[0], "i32")
        whole = f"i{2 * place.bits}"
        high, low = (f.zext(part, whole) for part in parts)
        return f.op("or", f.op("shl", high, place.bits), low)

    def is_missing(self, name: str) -> Value:
        """Whether a register of one part says that the field is not there; an i1."""
        return self.function.compare("eq", self.get(name), missing(self._places[name].bits))


def missing(bits: int) -> Value:
    """What a part of a register of that many bits holds where the field is missing."""
    return const(f"i{max(bits, 32)}", (1 << bits) - 1)


def _bits(name: str) -> int:
    """Size of a register in bits: the field's values, and room to say that there is none."""
    if name not in BY_NAME:
        return 32
    needed = BY_NAME[name].width_bits + (name in ANSWERED)
    return next(bits for bits in (16, 32, 64, 128) if needed <= bits)
