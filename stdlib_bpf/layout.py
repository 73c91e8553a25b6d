"""A memory layout, said once.

Generated code, Python packing and debug information all take offsets from here. Knows offsets, widths and
byte order; imports only the standard library.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class Member:
    """One member: `size` bytes each, `count` of them, at byte `offset`; `big_endian` says how the bytes of a
    value lie in memory (a `be16` of a header), else they are in host order."""

    name: str
    offset: int
    size: int
    count: int = 1
    big_endian: bool = False

    @property
    def end(self) -> int:
        """Offset of the first byte behind the member."""
        return self.offset + self.size * self.count


@dataclass(frozen=True)
class Struct:
    """A C structure. `size` in bytes; members may leave gaps and need not be all of the kernel's."""

    name: str
    size: int
    members: tuple[Member, ...]
    source: str = field(default="", compare=False)

    @cached_property
    def by_name(self) -> dict[str, Member]:
        """Members by name."""
        return {m.name: m for m in self.members}

    @cached_property
    def _words(self) -> dict[str, tuple[struct.Struct, Member]]:
        """How one element of each member is packed."""
        return {
            m.name: (struct.Struct((">" if m.big_endian else "<") + _CODES[m.size]), m) for m in self.members
        }

    def offset(self, name: str) -> int:
        """Byte offset of a member."""
        return self.by_name[name].offset

    def pack(self, **values: int | bytes | list[int]) -> bytes:
        """The structure's bytes; members not given are zero. KeyError for a name it has not."""
        out = bytearray(self.size)
        for name, value in values.items():
            one, m = self._words[name]
            if isinstance(value, int):
                one.pack_into(out, m.offset, value)
            elif isinstance(value, bytes):
                out[m.offset : m.offset + len(value)] = value
            else:
                for number, item in enumerate(value):
                    one.pack_into(out, m.offset + number * m.size, item)
        return bytes(out)

    def unpack(self, data: bytes) -> dict[str, int | bytes]:
        """Members of `data` (at least `size` bytes): an int each, bytes for arrays."""
        out: dict[str, int | bytes] = {}
        for m in self.members:
            if m.count > 1:
                out[m.name] = data[m.offset : m.end]
            else:
                (out[m.name],) = self._words[m.name][0].unpack_from(data, m.offset)
        return out


def packed(name: str, *members: tuple[str, int] | tuple[str, int, int], source: str = "") -> Struct:
    """A structure of members laid out one after the other: (name, size[, count]). The caller orders them so
    that each is naturally aligned; ValueError when one is not."""
    offset, out = 0, []
    for item in members:
        size, count = item[1], item[2] if len(item) == 3 else 1
        if offset % size:
            raise ValueError(f"{name}.{item[0]} is not aligned")
        out.append(Member(item[0], offset, size, count))
        offset += size * count
    return Struct(name, offset, tuple(out), source)
