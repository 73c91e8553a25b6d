"""The choice of a table's entry: the generated code, run on this machine, is the reference."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.stdlib_bpf.balance import choice
from lockgate.stdlib_bpf.emit.balance_choice import entry, hashed
from lockgate.stdlib_bpf.emit.llvm import DebugInfo, Function, Label, Value


def text() -> str:
    """A function that does no more than choose."""
    debug = DebugInfo({"t": ""}, "test")
    words = [("key", debug.integer(64)), ("pool", debug.integer(32)), ("size", debug.integer(32))]
    scope = debug.subprogram("choose", words, "t", 1)
    head = f"define i32 @choose(i64 %key, i32 %pool, i32 %size) !dbg !{scope}"
    f = Function("choose", head, debug, scope, "t")
    f.at("t", 1)
    f.place(Label("entry"))
    key, pool, size = Value("i64", "%key"), Value("i32", "%pool"), Value("i32", "%size")
    f.ret(entry(f, hashed(f, key, pool), size))
    return f.text() + debug.finish()


@pytest.fixture(scope="module")
def chosen() -> Iterator[Callable[[int, int, int], int]]:
    llvm = pytest.importorskip("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine()
    with llvm.create_mcjit_compiler(llvm.parse_assembly(text()), machine) as engine:
        engine.finalize_object()
        kind = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32)
        yield kind(engine.get_function_address("choose"))


@given(st.integers(0, (1 << 64) - 1), st.integers(0, 20_000), st.integers(1, 70_000))
def test_native_code_chooses_as_the_reference(
    chosen: Callable[[int, int, int], int], key: int, pool: int, size: int
) -> None:
    assert chosen(key, pool, size) == choice.entry(choice.hashed(key, pool), size)
