"""A writer of LLVM assembly text, as far as BPF programs need it.

Knows types, instructions, basic blocks and debug information; knows no fields, hooks or policies. Text and
not an object library, because BPF needs things such a library has no words for (helper calls by number,
cyclic debug information) and because a thousand rules are then written in milliseconds (ADR 0003).

One text serves two machines. A helper call is written `@bpf_helper_N(…)` and a map `@name`; `render_bpf`
turns the former into the call by number that the BPF back end wants, native simulation defines both.

Registers of the verifier's liking: pointers into the packet are compared as `pointer > data_end`, one branch
a condition, context fields read volatile and first thing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

TRIPLE = "bpfel"
DATA_LAYOUT = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"


@dataclass(frozen=True, slots=True)
class Value:
    """An operand: its LLVM type (`i32`, `ptr`, …) and how it is referred to (`%v7`, `42`, `@map`)."""

    type: str
    ref: str

    def __str__(self) -> str:
        return f"{self.type} {self.ref}"


@dataclass(frozen=True, slots=True)
class Label:
    """A basic block."""

    name: str


def const(type_: str, value: int) -> Value:
    """An integer constant."""
    return Value(type_, str(value))


NULL = Value("ptr", "null")
_HELPER = re.compile(r"@bpf_helper_(\d+)\(")


@dataclass
class DebugInfo:
    """Metadata nodes of one module; what LLVM turns into BTF and line info. `sources`: file name → text."""

    sources: dict[str, str]
    producer: str
    nodes: list[str] = field(default_factory=list)
    _ids: dict[str, int] = field(default_factory=dict)
    _files: dict[str, int] = field(default_factory=dict)
    _globals: list[int] = field(default_factory=list)
    unit: int = -1

    def __post_init__(self) -> None:
        main = next(iter(self.sources))
        self.unit = self.add("<unit>", distinct=True)  # completed by `finish`, when all globals are known
        self.main = main

    def add(self, text: str, distinct: bool = False) -> int:
        """A node's number; equal uniqued nodes are one."""
        if not distinct and text in self._ids:
            return self._ids[text]
        self.nodes.append(("distinct " if distinct else "") + text)
        self._ids[text] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def file(self, name: str) -> int:
        """A DIFile that carries the file's text, so that no file is needed when a program is dumped."""
        if name not in self._files:
            path, source = escape(name.encode()), escape(self.sources.get(name, "").encode())
            self._files[name] = self.add(f'!DIFile(filename: "{path}", directory: "", source: "{source}")')
        return self._files[name]

    def integer(self, bits: int, signed: bool = False) -> int:
        """An integer type by width."""
        name = {8: "unsigned char", 16: "unsigned short", 32: "unsigned int", 64: "unsigned long long"}[bits]
        if signed:
            name = {32: "int", 64: "long long"}[bits]
        encoding = "DW_ATE_signed" if signed else "DW_ATE_unsigned"
        return self.add(f'!DIBasicType(name: "{name}", size: {bits}, encoding: {encoding})')

    def pointer(self, to: int | None) -> int:
        """A pointer type; None for void."""
        base = "null" if to is None else f"!{to}"
        return self.add(f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {base}, size: 64)")

    def array(self, element: int, element_bits: int, count: int) -> int:
        """An array type."""
        elements = self.add(f"!{{!{self.add(f'!DISubrange(count: {count})')}}}")
        return self.add(
            f"!DICompositeType(tag: DW_TAG_array_type, baseType: !{element}, "
            f"size: {element_bits * count}, elements: !{elements})"
        )

    def struct(self, name: str, size: int, members: list[tuple[str, int, int, int]]) -> int:
        """A structure type of (name, type node, size in bytes, offset in bytes)."""
        nodes = [
            self.add(
                f'!DIDerivedType(tag: DW_TAG_member, name: "{n}", file: !{self.file(self.main)}, '
                f"baseType: !{t}, size: {s * 8}, offset: {o * 8})"
            )
            for n, t, s, o in members
        ]
        elements = self.add("!{" + ", ".join(f"!{n}" for n in nodes) + "}")
        title = f'name: "{name}", ' if name else ""
        return self.add(
            f"!DICompositeType(tag: DW_TAG_structure_type, {title}file: !{self.file(self.main)}, "
            f"size: {size * 8}, elements: !{elements})"
        )

    def variable(self, name: str, type_: int) -> int:
        """A global variable's expression node, for its `!dbg`."""
        variable = self.add(
            f'!DIGlobalVariable(name: "{name}", scope: !{self.unit}, file: !{self.file(self.main)}, line: 1, '
            f"type: !{type_}, isLocal: false, isDefinition: true)",
            distinct=True,
        )
        expression = self.add(
            f"!DIGlobalVariableExpression(var: !{variable}, expr: !{self.add('!DIExpression()')})"
        )
        self._globals.append(expression)
        return expression

    def subprogram(self, name: str, arguments: list[tuple[str, int]], file: str, line: int) -> int:
        """A function returning int. The arguments need names, or the kernel refuses the BTF."""
        types = ", ".join(f"!{t}" for t in (self.integer(32, signed=True), *(t for _, t in arguments)))
        signature = self.add(f"!DISubroutineType(types: !{self.add('!{' + types + '}')})")
        source = self.file(file)
        here = len(self.nodes)  # function, list of variables, variables: they refer to each other by number
        retained, first = here + 1, here + 2
        self.add(
            f'!DISubprogram(name: "{name}", scope: !{source}, file: !{source}, line: {line}, '
            f"type: !{signature}, scopeLine: {line}, flags: DIFlagPrototyped, "
            f"spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !{self.unit}, "
            f"retainedNodes: !{retained})",
            distinct=True,
        )
        self.nodes.append("!{" + ", ".join(f"!{first + i}" for i in range(len(arguments))) + "}")
        for i, (argument, type_) in enumerate(arguments):
            self.nodes.append(
                f'!DILocalVariable(name: "{argument}", arg: {i + 1}, scope: !{here}, file: !{source}, '
                f"line: {line}, type: !{type_})"
            )
        return here

    def location(self, scope: int, scope_file: str, file: str, line: int, column: int) -> int:
        """A place in a policy, inside a function."""
        if file != scope_file:
            scope = self.add(
                f"!DILexicalBlockFile(scope: !{scope}, file: !{self.file(file)}, discriminator: 0)"
            )
        return self.add(f"!DILocation(line: {line}, column: {column}, scope: !{scope})")

    def finish(self) -> str:
        """All nodes as text."""
        file = self.file(self.main)
        globals_ = self.add("!{" + ", ".join(f"!{g}" for g in self._globals) + "}")
        self.nodes[self.unit] = (
            f"distinct !DICompileUnit(language: DW_LANG_C11, file: !{file}, "
            f'producer: "{self.producer}", isOptimized: true, runtimeVersion: 0, emissionKind: FullDebug, '
            f"globals: !{globals_})"
        )
        flags = [
            self.add('!{i32 7, !"Dwarf Version", i32 5}'),
            self.add('!{i32 2, !"Debug Info Version", i32 3}'),
        ]
        lines = [
            f"!llvm.dbg.cu = !{{!{self.unit}}}",
            "!llvm.module.flags = !{" + ", ".join(f"!{f}" for f in flags) + "}",
        ]
        lines += [f"!{i} = {text}" for i, text in enumerate(self.nodes)]
        return "\n".join(lines) + "\n"


_ESCAPES = {b: f"\\{b:02x}" for b in range(256) if not 32 <= b < 127 or b in b'"\\'}


def escape(data: bytes) -> str:
    """Bytes as the inside of an LLVM string."""
    return data.decode("latin-1").translate(_ESCAPES)


@dataclass
class Function:
    """One function under construction: instructions go to the end of the current block."""

    name: str
    header: str
    debug: DebugInfo
    scope: int
    scope_file: str
    _allocas: list[str] = field(default_factory=list)
    _lines: list[str] = field(default_factory=list)
    _next: int = 0
    _labels: dict[str, int] = field(default_factory=dict)
    _location: str = ""
    _scratch: int = 0

    # ---- structure ----

    def label(self, hint: str) -> Label:
        """A new block, to be placed later."""
        n = self._labels[hint] = self._labels.get(hint, -1) + 1
        return Label(f"{hint}.{n}" if n else hint)

    def place(self, label: Label) -> None:
        """Begin a block here."""
        self._lines.append(f"{label.name}:")

    def at(self, file: str, line: int, column: int = 1) -> None:
        """Instructions from here on belong to this place of a policy."""
        self._location = f", !dbg !{self.debug.location(self.scope, self.scope_file, file, line, column)}"

    def _emit(self, text: str) -> None:
        self._lines.append(f"  {text}{self._location}")

    def _value(self, type_: str, text: str) -> Value:
        self._next += 1
        ref = f"%v{self._next}"
        self._emit(f"{ref} = {text}")
        return Value(type_, ref)

    # ---- memory ----

    def alloca(self, type_: str, hint: str, align: int = 8) -> Value:
        """Room on the stack, in the entry block."""
        self._next += 1
        ref = f"%{hint}.slot{self._next}"
        self._allocas.append(f"  {ref} = alloca {type_}, align {align}")
        return Value("ptr", ref)

    def room(self, size: int, at: int = 0) -> Value:
        """So many scratch bytes on the stack, `at` a multiple of 8 from its begin. There is one scratch in a
        function, as the stack has 512 bytes: what lies in it is used up before the next one asks for room,
        and what is needed at one time stands side by side."""
        self._scratch = max(self._scratch, at + size)
        return self.gep(Value("ptr", "%scratch"), at) if at else Value("ptr", "%scratch")

    def load(self, type_: str, pointer: Value, align: int = 0, volatile: bool = False) -> Value:
        """Read memory. `align` 0: the type's natural alignment."""
        word = "load volatile" if volatile else "load"
        tail = f", align {align}" if align else ""
        return self._value(type_, f"{word} {type_}, {pointer}{tail}")

    def store(self, value: Value, pointer: Value, align: int = 0, volatile: bool = False) -> None:
        """Write memory."""
        word = "store volatile" if volatile else "store"
        self._emit(f"{word} {value}, {pointer}" + (f", align {align}" if align else ""))

    def gep(self, pointer: Value, offset: int | Value, element: str = "i8") -> Value:
        """Address of an element behind a pointer."""
        index = offset if isinstance(offset, Value) else const("i64", offset)
        return self._value("ptr", f"getelementptr {element}, {pointer}, {index}")

    # ---- arithmetic: operands have one type ----

    def op(self, name: str, a: Value, b: Value | int) -> Value:
        """A binary instruction: add, sub, mul, and, or, xor, shl, lshr."""
        right = b.ref if isinstance(b, Value) else str(b)
        return self._value(a.type, f"{name} {a}, {right}")

    def compare(self, predicate: str, a: Value, b: Value | int) -> Value:
        """icmp: eq, ne, ugt, uge, ult, ule."""
        right = b.ref if isinstance(b, Value) else str(b)
        return self._value("i1", f"icmp {predicate} {a}, {right}")

    def at_least(self, value: Value, low: Value | int) -> Value:
        """The larger of two values."""
        return self._pair("umax", value, low)

    def at_most(self, value: Value, high: Value | int) -> Value:
        """The smaller of two values."""
        return self._pair("umin", value, high)

    def _pair(self, intrinsic: str, a: Value, b: Value | int) -> Value:
        right = b.ref if isinstance(b, Value) else str(b)
        return self._value(a.type, f"call {a.type} @llvm.{intrinsic}.{a.type}({a}, {a.type} {right})")

    def exchange(self, pointer: Value, expected: Value, new: Value) -> Value:
        """Atomically store `new` if the memory holds `expected`; what it held."""
        pair = self._value(f"{{ {new.type}, i1 }}", f"cmpxchg {pointer}, {expected}, {new} seq_cst seq_cst")
        return self._value(new.type, f"extractvalue {pair}, 0")

    def fetch_add(self, pointer: Value, by: Value) -> Value:
        """Atomically add to memory; what it held."""
        return self._value(by.type, f"atomicrmw add {pointer}, {by} seq_cst")

    def zext(self, value: Value, type_: str) -> Value:
        """Widen with zeros; the value itself when it has the type."""
        return value if value.type == type_ else self._value(type_, f"zext {value} to {type_}")

    def trunc(self, value: Value, type_: str) -> Value:
        """Cut to the low bits; the value itself when it has the type."""
        return value if value.type == type_ else self._value(type_, f"trunc {value} to {type_}")

    def resize(self, value: Value, type_: str) -> Value:
        """Widen with zeros, or cut to the low bits. A constant stays one; the caller knows that it fits."""
        if not value.ref.startswith("%"):
            return Value(type_, value.ref)
        return (self.zext if int(type_[1:]) > int(value.type[1:]) else self.trunc)(value, type_)

    def pointer(self, address: Value) -> Value:
        """An integer as a pointer."""
        return self._value("ptr", f"inttoptr {address} to ptr")

    def address(self, pointer: Value) -> Value:
        """A pointer as an integer of 64 bits."""
        return self._value("i64", f"ptrtoint {pointer} to i64")

    def byteswap(self, value: Value) -> Value:
        """Network to host order and back (LLVM knows the target's order: little endian here)."""
        bits = value.type[1:]
        return self._value(value.type, f"call {value.type} @llvm.bswap.i{bits}({value})")

    def call_helper(self, number: int, type_: str, *arguments: Value) -> Value:
        """Call a BPF helper by its number in include/uapi/linux/bpf.h."""
        listed = ", ".join(str(a) for a in arguments)
        return self._value(type_, f"call {type_} @bpf_helper_{number}({listed})")

    def call(self, name: str, type_: str, *arguments: Value) -> Value:
        """Call another function of the module."""
        listed = ", ".join(str(a) for a in arguments)
        return self._value(type_, f"call {type_} @{name}({listed})")

    # ---- control flow ----

    def jump(self, to: Label) -> None:
        """Go on elsewhere."""
        self._emit(f"br label %{to.name}")

    def branch(self, condition: Value, yes: Label, no: Label, likely: bool | None = None) -> None:
        """Two ways. `likely`: whether `yes` is the usual one; it decides which way falls through."""
        weights = "" if likely is None else f", !prof !{self._weights(likely)}"
        self._emit(f"br {condition}, label %{yes.name}, label %{no.name}{weights}")

    def _weights(self, likely: bool) -> int:
        yes, no = (2000, 1) if likely else (1, 2000)
        return self.debug.add(f'!{{!"branch_weights", i32 {yes}, i32 {no}}}')

    def switch(self, value: Value, default: Label, cases: list[tuple[int, Label]]) -> None:
        """Many ways by constant."""
        listed = " ".join(f"{value.type} {v}, label %{label.name}" for v, label in cases)
        self._emit(f"switch {value}, label %{default.name} [ {listed} ]")

    def ret(self, value: Value) -> None:
        """Return."""
        self._emit(f"ret {value}")

    def text(self) -> str:
        """The function as text. Its first block is `entry`, which the caller places."""
        first, *rest = self._lines
        scratch = [f"  %scratch = alloca [{self._scratch} x i8], align 8"] if self._scratch else []
        return "\n".join([f"{self.header} {{", first, *scratch, *self._allocas, *rest, "}"]) + "\n"


def render_bpf(body: str) -> str:
    """The module text for the BPF back end: helper calls by number."""
    head = f'target triple = "{TRIPLE}"\ntarget datalayout = "{DATA_LAYOUT}"\n'
    return head + _HELPER.sub(r"inttoptr (i64 \1 to ptr)(", body)
