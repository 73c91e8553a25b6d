"""Programs at XDP as one writes them by hand: what a compiler's output has to stand beside.

Each reads Ethernet and IPv4 without options, and lets everything else pass. `rules` compares a packet with
one rule after the other, in the shortest way there is; `read` makes one read at a random place of a table;
`redirect` sends every frame to a device.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lockgate.runtime.coldrun import BPF_SIZE, insn, map_insn, program
from lockgate.runtime.sys import attrs, bpf
from lockgate.runtime.sys.fd import Fd
from lockgate.stdlib_bpf.classifiers import Box

from .harness import XDP

# Instruction, name of a place, or instruction that jumps to a place.
Line = bytes | str | tuple[bytes, str]
FIELDS = ((26, 4), (30, 4), (23, 1), (34, 2), (36, 2))  # (offset, bytes), as in the rules' boxes
ACTIONS = ("pass", "drop")  # by a rule's code, modulo 2
HEADERS = 38  # bytes of Ethernet, IPv4 and the ports
MOV, MOV32, ADD, AND32, MUL32, SHIFT32, LEFT = 0xB7, 0xB4, 0x07, 0x54, 0x24, 0x74, 0x67
JUMP_NE, BELOW, ABOVE = 0x56, 0xA6, 0x26  # of 32 bits, with a constant
JUMP_TRUE, BEYOND = 0x55, 0x2D  # of 64 bits; the latter of two registers
BIG_ENDIAN, EXIT, CALL = 0xDC, 0x95, 0x85
REDIRECT = 23  # enum bpf_func_id
ODD = 0x9E3779B1


def assembled(lines: Iterable[Line]) -> bytes:
    """The program's bytes. KeyError for a place that is not there."""
    found, places, at = list(lines), dict[str, int](), 0
    for line in found:
        if isinstance(line, str):
            places[line] = at
        else:
            at += len(line if isinstance(line, bytes) else line[0]) // 8
    out = b""
    for line in found:
        if isinstance(line, tuple):
            jump, place = line
            distance = places[place] - len(out) // 8 - 1
            out += jump[:2] + distance.to_bytes(2, "little", signed=True) + jump[4:]
        elif isinstance(line, bytes):
            out += line
    return out


def _load(register: int, base: int, offset: int, size: int) -> bytes:
    return insn(0x61 | BPF_SIZE[size], register, base, offset)


def _answer(action: str) -> bytes:
    return insn(MOV, 0, imm=XDP.verdicts[action]) + insn(EXIT)


def _parsed() -> Iterator[Line]:
    """r7 is where the frame begins."""
    yield _load(7, 1, XDP.context.offset("data"), 4) + _load(8, 1, XDP.context.offset("data_end"), 4)
    yield insn(0xBF, 2, 7) + insn(ADD, 2, imm=HEADERS)
    yield insn(BEYOND, 2, 8), "other"
    yield _load(3, 7, 12, 2)
    yield insn(JUMP_NE, 3, imm=socket.htons(0x0800)), "other"
    yield _load(3, 7, 14, 1)
    yield insn(JUMP_NE, 3, imm=0x45), "other"
    yield insn(0x05, offset=2)
    yield "other"
    yield _answer("pass")


def rules(boxes: Sequence[Box], default: str = "pass") -> Fd:
    """Rules over source, destination, protocol and ports, in order; without any, it only reads headers. The
    errors of `bpf.prog_load`: the verifier has limits."""

    def lines() -> Iterator[Line]:
        yield from _parsed()
        for number, box in enumerate(boxes):
            after = f"after {number}"
            asked = zip(FIELDS, box.ranges, strict=True)
            tests = [line for (at, size), ends in asked for line in _tested(at, size, ends, after)]
            yield from tests
            yield _answer(ACTIONS[box.code % 2])
            if not tests:
                return  # no packet comes here, which the verifier refuses
            yield after
        yield _answer(default)

    return program(assembled(lines()), XDP)


def _tested(offset: int, size: int, ends: tuple[int, int], other: str) -> Iterator[Line]:
    """Fields are read again for each rule: what the verifier learns of a register that stays, it would carry
    from rule to rule."""
    low, high = ends
    free = high - low
    if free + 1 == 1 << 8 * size:
        return
    yield _load(2, 7, offset, size)
    if free & (free + 1) == 0 and low & free == 0:  # a value, or a prefix
        if free:
            yield insn(AND32, 2, imm=_signed((~free & ((1 << 8 * size) - 1)), size))
        yield insn(JUMP_NE, 2, imm=_signed(low, size)), other
        return
    if size > 1:
        yield insn(BIG_ENDIAN, 2, imm=8 * size)
    yield insn(BELOW, 2, imm=low), other
    yield insn(ABOVE, 2, imm=high), other


def _signed(value: int, size: int) -> int:
    """A value of the packet as a constant of an instruction."""
    swapped = int.from_bytes(value.to_bytes(size), "little")
    return swapped - (1 << 32) if swapped >> 31 else swapped


def read(size: int) -> tuple[Fd, Fd]:
    """A program that drops what it reads zero about in a table of `size` bytes, a power of two, and the
    table, half of it zeros by chance: one read of eight bytes, at a place that the source address says."""
    table = bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, size, 1, 0, "table")
    bpf.map_update(table, bytes(4), np.random.default_rng(1).integers(0, 2, size // 8, np.uint64).tobytes())
    words = size.bit_length() - 4  # in bits

    def lines() -> Iterator[Line]:
        yield from _parsed()
        yield _load(2, 7, 26, 4) + insn(MUL32, 2, imm=ODD - (1 << 32))
        yield insn(SHIFT32, 2, imm=32 - words) + insn(LEFT, 2, imm=3)
        yield map_insn(1, table, True) + insn(0x0F, 1, 2) + _load(3, 1, 0, 8)
        yield insn(JUMP_TRUE, 3), "other"
        yield _answer("drop")

    return program(assembled(lines()), XDP), table


def redirect(ifindex: int) -> Fd:
    """A program that sends every frame to a device."""
    return program(insn(MOV, 1, imm=ifindex) + insn(MOV, 2) + insn(CALL, imm=REDIRECT) + insn(EXIT), XDP)
