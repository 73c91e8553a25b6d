"""What every function of a module has around its body: signature with named arguments, section, attributes.

Knows attach points and contexts; must never know what a program does.
"""

from __future__ import annotations

from lockgate.stdlib_bpf import manifest
from lockgate.stdlib_bpf.emit.llvm import DebugInfo, Function, Label
from lockgate.stdlib_bpf.hooks import AttachPoint
from lockgate.stdlib_bpf.layout import Struct

# What stands once behind all functions of a module.
TAIL = "".join(
    [f"declare i{bits} @llvm.bswap.i{bits}(i{bits})\n" for bits in (16, 32, 64)]
    + [f"declare i64 @llvm.{name}.i64(i64, i64)\n" for name in ("umin", "umax")]
    + ['attributes #0 = { nounwind "no-jump-tables"="true" }\n']
)

Argument = tuple[str, str, int]  # LLVM type, name, debug type


def begin(debug: DebugInfo, line: int, name: str, arguments: list[Argument], section: str | None) -> Function:
    """A function that returns an i32, with its entry block placed. `line`: of the main source, for code that
    serves no single rule; `section`: of its code, None for the one of functions that programs call."""
    main = next(iter(debug.sources))
    scope = debug.subprogram(name, [(argument, type_) for _, argument, type_ in arguments], main, line)
    listed = ", ".join(f"{type_} %{argument}" for type_, argument, _ in arguments)
    placed = "" if section is None else f' section "{section}"'
    f = Function(name, f"define i32 @{name}({listed}) #0{placed} !dbg !{scope}", debug, scope, main)
    f.at(main, line)
    f.place(Label("entry"))
    return f


def context_argument(debug: DebugInfo, context: Struct) -> Argument:
    """A hook's context, as `begin` takes it."""
    members = [(m.name, debug.integer(m.size * 8), m.size, m.offset) for m in context.members if m.count == 1]
    return "ptr", "ctx", debug.pointer(debug.struct(context.name, context.size, members))


def row(name: str, point: AttachPoint) -> manifest.Function:
    """The manifest's row of a program."""
    return manifest.Function(
        name,
        point.name,
        point.section,
        point.prog_type,
        point.load_attach_type,
        point.link_attach_type,
        point.load_flags,
    )
