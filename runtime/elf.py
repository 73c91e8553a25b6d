"""An ELF object of ours as plain values: instructions, relocations, line table, in-place tables.

The same bytes give the same `Object` on every machine: nothing here asks the kernel. Broken input gives
`ElfError`, never anything else. Functions in `.text` are appended to each program that (directly or not)
calls them, as libbpf does. Sources: Documentation/bpf/{btf,llvm_reloc}.rst.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

from elftools.common.exceptions import ELFError as ElftoolsError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from .btf import Btf, BtfError, LineInfo

R_BPF_64_64, R_BPF_64_32 = 1, 10
EM_BPF = 247
_IN_PLACE = (".rodata.", ".data.")
_EXECUTABLE = 4  # SHF_EXECINSTR
_CALL, _PSEUDO_CALL, _LD_IMM64 = 0x85, 1, 0x18


class ElfError(ValueError):
    """Not an object of ours; the message says what is wrong."""


@dataclass(frozen=True)
class Relocation:
    """The ld_imm64 at instruction `insn` loads the address of map `symbol`, or, when `symbol` is a section
    that programs read in place (`in_place`), of the byte `addend` in it."""

    insn: int
    symbol: str
    addend: int = 0

    @property
    def in_place(self) -> bool:
        """Whether the instruction means memory and not a map."""
        return self.symbol.startswith(_IN_PLACE)


@dataclass(frozen=True)
class ProgramSpec:
    """One program, complete with the functions it calls. `insns`: 8 bytes each; `func_info`: (instruction,
    BTF type id) records; `lines`: ascending by instruction."""

    name: str
    section: str
    insns: bytes
    relocations: tuple[Relocation, ...]
    func_info: tuple[tuple[int, int], ...]
    lines: tuple[LineInfo, ...]

    def line_of(self, insn: int) -> LineInfo | None:
        """The line entry that covers an instruction."""
        found = None
        for line in self.lines:
            if line.insn > insn:
                break
            found = line
        return found


@dataclass(frozen=True)
class Object:
    """An object file. `data`: section name → bytes of each `.rodata.*` section; `btf` is empty when there is
    none."""

    license: str
    btf: bytes
    programs: tuple[ProgramSpec, ...]
    data: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    value: int
    size: int
    type: str


@dataclass(frozen=True)
class _Function:
    """A function in its section; offsets count bytes."""

    symbol: _Symbol
    section_name: str
    code: bytes
    relocations: tuple[tuple[int, int, _Symbol], ...]  # (offset in the function, type, symbol)
    func_info: tuple[tuple[int, int], ...]  # instruction numbers count from the function's start
    lines: tuple[LineInfo, ...]


def read(data: bytes) -> Object:
    """Read an object. ElfError says what is broken or foreign."""
    try:
        return _Reader(data).object()
    except ElfError:
        raise
    except BtfError as error:
        raise ElfError(str(error)) from None
    except (
        ElftoolsError,
        struct.error,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        AssertionError,
        OverflowError,
        MemoryError,
        RecursionError,
        OSError,
        EOFError,
    ) as error:  # pyelftools lets several kinds escape on damaged headers
        raise ElfError(f"damaged ELF object ({type(error).__name__}: {error})") from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        elf = ELFFile(io.BytesIO(data))
        if elf["e_machine"] not in ("EM_BPF", EM_BPF) or not elf.little_endian or elf.elfclass != 64:
            raise ElfError("not a little-endian BPF object")
        self.sections = list(elf.iter_sections())
        self.names = [s.name for s in self.sections]
        table = elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            raise ElfError("no symbol table")
        self.symbols = [
            _Symbol(
                s.name,
                s["st_shndx"] if isinstance(s["st_shndx"], int) else -1,
                s["st_value"],
                s["st_size"],
                s["st_info"]["type"],
            )
            for s in table.iter_symbols()
        ]
        self.btf = self._btf()

    def object(self) -> Object:
        functions = self._functions()
        by_place = {(f.symbol.section, f.symbol.value): f for f in functions}
        programs = tuple(self._link(f, by_place) for f in functions if f.section_name != ".text")
        if not programs:
            raise ElfError("no program in the object")
        license_ = self._bytes("license") or b""
        data = tuple(
            (s.name, bytes(s.data())) for s in self.sections if s.name.startswith(".rodata.") and s["sh_size"]
        )
        btf = bytes(self.btf.fixed(self._sizes(), self._offsets())) if self.btf else b""
        return Object(license_.rstrip(b"\0").decode(), btf, programs, data)

    def _bytes(self, name: str) -> bytes | None:
        return bytes(self.sections[self.names.index(name)].data()) if name in self.names else None

    def _btf(self) -> Btf | None:
        raw = self._bytes(".BTF")
        return Btf(raw, self._bytes(".BTF.ext")) if raw else None

    def _sizes(self) -> dict[str, int]:
        return {s.name: s["sh_size"] for s in self.sections}

    def _offsets(self) -> dict[str, int]:
        return {s.name: s.value for s in self.symbols if s.type == "STT_OBJECT"}

    def _functions(self) -> list[_Function]:
        relocations: dict[int, list[tuple[int, int, _Symbol]]] = {}
        for section in self.sections:
            if isinstance(section, RelocationSection) and section["sh_type"] == "SHT_REL":
                relocations[section["sh_info"]] = [
                    (r["r_offset"], r["r_info_type"], self.symbols[r["r_info_sym"]])
                    for r in section.iter_relocations()
                ]
        out = []
        for symbol in self.symbols:
            if symbol.type != "STT_FUNC" or symbol.section < 0:
                continue
            section = self.sections[symbol.section]
            if not section["sh_flags"] & _EXECUTABLE:
                raise ElfError(
                    f"function `{symbol.name}` lies in section `{section.name}`, which holds no code"
                )
            out.append(
                self._function(symbol, section.name, section.data(), relocations.get(symbol.section, []))
            )
        return out

    def _function(
        self, symbol: _Symbol, section: str, code: bytes, relocations: list[tuple[int, int, _Symbol]]
    ) -> _Function:
        start, end = symbol.value, symbol.value + symbol.size
        if end > len(code) or symbol.size == 0 or symbol.size % 8 or start % 8:
            raise ElfError(f"function `{symbol.name}` reaches beyond its section")
        func_info, lines = self.btf.infos(section) if self.btf else ([], [])
        return _Function(
            symbol,
            section,
            code[start:end],
            tuple((o - start, t, s) for o, t, s in relocations if start <= o < end),
            tuple((i - start // 8, t) for i, t in func_info if start <= i * 8 < end),
            tuple(x.shifted(-(start // 8)) for x in lines if start <= x.insn * 8 < end),
        )

    def _link(self, entry: _Function, by_place: dict[tuple[int, int], _Function]) -> ProgramSpec:
        """The program with every function it reaches behind it, calls pointing at them."""
        order: list[_Function] = [entry]
        bases = {id(entry): 0}
        code = bytearray(entry.code)
        relocations: list[Relocation] = []
        calls: list[tuple[int, _Function]] = []
        for function in order:  # grows while it is walked
            base = bases[id(function)]
            for offset, kind, symbol in function.relocations:
                at = base // 8 + offset // 8
                if kind == R_BPF_64_32:
                    callee = self._callee(function, offset, symbol, by_place)
                    if id(callee) not in bases:
                        bases[id(callee)] = len(code)
                        code += callee.code
                        order.append(callee)
                    calls.append((at, callee))
                elif kind == R_BPF_64_64:
                    relocations.append(self._data_relocation(function, offset, symbol, at))
                else:
                    raise ElfError(f"relocation of kind {kind} in `{function.symbol.name}`")
        for at, callee in calls:
            struct.pack_into("<i", code, at * 8 + 4, bases[id(callee)] // 8 - at - 1)
        return ProgramSpec(
            entry.symbol.name,
            entry.section_name,
            bytes(code),
            tuple(sorted(relocations, key=lambda r: r.insn)),
            tuple((i + bases[id(f)] // 8, t) for f in order for i, t in f.func_info),
            tuple(x.shifted(bases[id(f)] // 8) for f in order for x in f.lines),
        )

    @staticmethod
    def _callee(
        function: _Function, offset: int, symbol: _Symbol, by_place: dict[tuple[int, int], _Function]
    ) -> _Function:
        if offset + 8 > len(function.code) or function.code[offset] != _CALL:
            raise ElfError(f"call relocation at no call in `{function.symbol.name}`")
        (imm,) = struct.unpack_from("<i", function.code, offset + 4)
        # against a section, the instruction's imm says which instruction of it (minus one)
        place = symbol.value if symbol.type == "STT_FUNC" else symbol.value + (imm + 1) * 8
        callee = by_place.get((symbol.section, place))
        if callee is None:
            raise ElfError(f"`{function.symbol.name}` calls `{symbol.name}`, which is not in the object")
        return callee

    def _data_relocation(self, function: _Function, offset: int, symbol: _Symbol, at: int) -> Relocation:
        if offset + 16 > len(function.code) or function.code[offset] != _LD_IMM64:
            raise ElfError(f"data relocation at no 64-bit load in `{function.symbol.name}`")
        if not 0 <= symbol.section < len(self.sections):
            raise ElfError(f"`{function.symbol.name}` refers to `{symbol.name}`, which is not in the object")
        section = self.names[symbol.section]
        if section == ".maps":
            return Relocation(at, symbol.name)
        if not section.startswith(_IN_PLACE):
            raise ElfError(f"`{function.symbol.name}` refers to section `{section}`")
        (addend,) = struct.unpack_from("<i", function.code, offset + 4)
        addend += symbol.value
        if not 0 <= addend < self.sections[symbol.section]["sh_size"]:
            raise ElfError(f"`{function.symbol.name}` reaches beyond section `{section}`")
        return Relocation(at, section, addend)
