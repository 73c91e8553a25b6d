"""The worker process: LLVM in, LLVM out. Run as `python -m lockgate.compiler.codegen.worker`.

LLVM ends the process on some failures (a diagnostic of the BPF back end calls exit, a failed assertion
aborts) and native simulation may fault on a program with a missing bounds check, so neither runs in the
compiler's own process. Requests and answers are pickled tuples behind a length (u64, little endian) on
standard input and output; the parent is `llvm.Worker`.
"""

from __future__ import annotations

import pickle
import struct
import sys
from typing import Any, BinaryIO

import llvmlite.binding as llvm

from .native import NativeProgram

# Optimisation beyond these is our own IRs' work: LLVM's control-flow passes make programs that the verifier
# cannot prune (ADR 0003).
_PASSES = ("add_sroa_pass", "add_sccp_pass", "add_aggressive_dce_pass")


def optimise(text: str) -> llvm.ModuleRef:
    """Parse, check and optimise a module. RuntimeError from LLVM when it is not valid."""
    module = llvm.parse_assembly(text)
    module.verify()
    machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=0))
    manager = llvm.create_new_module_pass_manager()
    for name in _PASSES:
        getattr(manager, name)()
    manager.run(module, builder)
    return module


def compile_bpf(text: str, cpu: str) -> bytes:
    """LLVM text to a relocatable BPF object."""
    machine = llvm.Target.from_triple("bpfel").create_target_machine(cpu=cpu, opt=2)
    return bytes(machine.emit_object(optimise(text)))


def disassemble(text: str, cpu: str) -> str:
    """LLVM text to BPF assembly."""
    machine = llvm.Target.from_triple("bpfel").create_target_machine(cpu=cpu, opt=2)
    return str(machine.emit_assembly(optimise(text)))


class _Server:
    """Answers requests; keeps loaded native programs by number."""

    def __init__(self) -> None:
        self.programs: dict[int, NativeProgram] = {}
        self.next = 0

    def answer(self, request: tuple[Any, ...]) -> Any:
        match request:
            case ("compile", text, cpu):
                return compile_bpf(text, cpu)
            case ("disassemble", text, cpu):
                return disassemble(text, cpu)
            case ("load", text, spec):
                self.next += 1
                self.programs[self.next] = NativeProgram(optimise(text), spec)
                return self.next
            case ("run", number, function, calls):
                return self.programs[number].run(function, calls)
            case ("fill", number, name, ranges):
                return self.programs[number].fill(name, ranges)
            case ("read", number, name):
                return self.programs[number].read(name)
            case ("write", number, name, contents):
                return self.programs[number].write(name, contents)
            case ("counters", number):
                return self.programs[number].counters()
            case ("unload", number):
                return self.programs.pop(number).close()
        raise ValueError(f"unknown request {request[0]!r}")


def _read(stream: BinaryIO) -> Any | None:
    head = stream.read(8)
    if len(head) < 8:
        return None
    return pickle.loads(stream.read(struct.unpack("<Q", head)[0]))


def _write(stream: BinaryIO, value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def main() -> None:
    """Serve until the parent closes its end."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    server, requests, answers = _Server(), sys.stdin.buffer, sys.stdout.buffer
    while (request := _read(requests)) is not None:
        try:
            answer = (True, server.answer(request))
        except Exception as error:
            answer = (False, f"{type(error).__name__}: {error}")
        _write(answers, answer)


if __name__ == "__main__":
    main()
