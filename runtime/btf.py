"""BPF type information, as far as a loader must read it: names, section contents, function and line tables.

Knows the raw format (Documentation/bpf/btf.rst, include/uapi/linux/btf.h), no ELF and no kernel. Offsets in
bytes; everything little endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_INT, _ARRAY, _STRUCT, _UNION, _ENUM, _PROTO, _VAR, _DATASEC, _TAG, _ENUM64 = (
    1,
    3,
    4,
    5,
    6,
    13,
    14,
    15,
    17,
    19,
)
_FIXED_EXTRA = {_INT: 4, _ARRAY: 12, _VAR: 4, _TAG: 4}
_PER_MEMBER = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _PROTO: 8, _DATASEC: 12, _ENUM64: 12}


class BtfError(ValueError):
    """Damaged type information."""


@dataclass(frozen=True)
class LineInfo:
    """From instruction `insn` on, code comes from this line. The offsets are those of the string section, as
    struct bpf_line_info wants them."""

    insn: int
    file_offset: int
    text_offset: int
    line_column: int
    file: str
    text: str

    @property
    def line(self) -> int:
        """Line number, from 1 (0: none)."""
        return self.line_column >> 10

    def shifted(self, by: int) -> LineInfo:
        """The same for code that lies `by` instructions further on."""
        return replace(self, insn=self.insn + by)

    def record(self) -> bytes:
        """struct bpf_line_info."""
        return struct.pack("<IIII", self.insn, self.file_offset, self.text_offset, self.line_column)


class Btf:
    """Sections `.BTF` and `.BTF.ext` of one object."""

    def __init__(self, raw: bytes, ext: bytes | None) -> None:
        try:
            self._raw = raw
            magic, version, _, header, types, type_bytes, strings, string_bytes = _HEADER.unpack_from(raw)
            if magic != _MAGIC or version != 1:
                raise BtfError("type information of an unknown kind")
            self._strings = raw[header + strings : header + strings + string_bytes]
            self._types = self._index(header + types, header + types + type_bytes)
            self._functions: dict[str, list[tuple[int, int]]] = {}
            self._lines: dict[str, list[LineInfo]] = {}
            if ext:
                self._read_ext(ext)
        except (struct.error, UnicodeDecodeError) as error:
            raise BtfError(f"damaged type information ({error})") from None

    def infos(self, section: str) -> tuple[list[tuple[int, int]], list[LineInfo]]:
        """Function and line records of a section; instruction numbers count from its start."""
        return self._functions.get(section, []), self._lines.get(section, [])

    def fixed(self, sizes: dict[str, int], offsets: dict[str, int]) -> bytearray:
        """The types with sizes of sections and offsets of variables filled in, which the compiler leaves to
        the linker (libbpf's btf_fixup_datasec). `sizes` by section, `offsets` by variable, in bytes."""
        out = bytearray(self._raw)
        for kind, name, count, at in self._types[1:]:
            if kind != _DATASEC or self._string(name) not in sizes:
                continue
            struct.pack_into("<I", out, at + 8, sizes[self._string(name)])
            entries = []
            for i in range(count):
                variable, offset, size = struct.unpack_from("<III", out, at + 12 + 12 * i)
                if variable >= len(self._types):
                    raise BtfError(f"a section names type {variable}, which is not there")
                entries.append((offsets.get(self._string(self._types[variable][1]), offset), variable, size))
            for i, (offset, variable, size) in enumerate(sorted(entries)):
                struct.pack_into("<III", out, at + 12 + 12 * i, variable, offset, size)
        return out

    def _index(self, at: int, end: int) -> list[tuple[int, int, int, int]]:
        """(kind, name, members, offset) of each type; type 0 is void."""
        out = [(0, 0, 0, 0)]
        if end > len(self._raw):
            raise BtfError("type information ends too early")
        while at < end:
            name, info, _ = struct.unpack_from("<III", self._raw, at)
            kind, count = (info >> 24) & 31, info & 0xFFFF
            out.append((kind, name, count, at))
            at += 12 + _FIXED_EXTRA.get(kind, 0) + _PER_MEMBER.get(kind, 0) * count
        return out

    def _string(self, offset: int) -> str:
        end = self._strings.find(b"\0", offset)
        if offset > len(self._strings) or end < 0:
            raise BtfError("a name lies outside of the strings")
        return self._strings[offset:end].decode()

    def _read_ext(self, ext: bytes) -> None:
        magic, _, _, header, functions, function_bytes, lines, line_bytes = _HEADER.unpack_from(ext)
        if magic != _MAGIC:
            raise BtfError("line table of an unknown kind")
        for section, records in self._sections(ext, header + functions, function_bytes):
            self._functions[section] = [(r[0] // 8, r[1]) for r in records]
        for section, records in self._sections(ext, header + lines, line_bytes):
            self._lines[section] = [
                LineInfo(r[0] // 8, r[1], r[2], r[3], self._string(r[1]), self._string(r[2])) for r in records
            ]

    def _sections(self, ext: bytes, at: int, size: int) -> list[tuple[str, list[tuple[int, ...]]]]:
        if size == 0:
            return []
        end = at + size
        (record,) = struct.unpack_from("<I", ext, at)
        if record < 8 or record % 4 or end > len(ext):
            raise BtfError("damaged line table")
        at += 4
        out = []
        while at < end:
            name, count = struct.unpack_from("<II", ext, at)
            at += 8
            if at + count * record > end:
                raise BtfError("damaged line table")
            out.append(
                (
                    self._string(name),
                    [struct.unpack_from(f"<{record // 4}I", ext, at + i * record) for i in range(count)],
                )
            )
            at += count * record
        return out


def bytes_by_int(size: int) -> tuple[bytes, int, int]:
    """Type information with an int and an array of so many bytes, and the numbers of these types: what the
    kernel wants to hear of a map's keys and values, where it wants to (kernel/bpf/bpf_local_storage.c,
    bpf_local_storage_map_check_btf)."""
    strings = b"\0int\0byte\0"

    def integer(name: int, bits: int, encoding: int) -> bytes:
        return struct.pack("<IIII", name, _INT << 24, bits // 8, encoding << 24 | bits)

    types = integer(1, 32, 1) + integer(5, 8, 0) + struct.pack("<IIIIII", 0, _ARRAY << 24, 0, 2, 1, size)
    header = _HEADER.pack(_MAGIC, 1, 0, _HEADER.size, 0, len(types), len(types), len(strings))
    return header + types + strings, 1, 3
