"""The runtime's side of generations (`stdlib_bpf.state.generation`): the word, and whom a program hands its
packets to while the word does not yet say its number.

The word is one array map of one element, made at the first `up` and taken over by every later one. Writing
it is the instant at which a policy changes. The kernel copies the value with memcpy (kernel/bpf/arraymap.c),
which need not be one store; that does no harm, because programs that wait for their number go by nothing but
the number itself: a word half written is still "not yet".
"""

from __future__ import annotations

import struct

from lockgate.stdlib_bpf.manifest import Function
from lockgate.stdlib_bpf.state.generation import SLOT, WORD_BYTES

from .sys import attrs, bpf
from .sys.fd import Fd

NONE, FIRST = 0, 1
_LIMIT = 1 << 32
_SLOT = struct.pack("<I", SLOT)


def following(number: int) -> int:
    """The number of the next load; never NONE, so that a word just made is no load's number."""
    return (number + 1) % _LIMIT or FIRST


def pack(number: int) -> bytes:
    """A number as programs read it."""
    return number.to_bytes(WORD_BYTES, "little")


def make_word(number: int) -> Fd:
    """A new word."""
    word = bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, WORD_BYTES, 1, 0, "generation")
    try:
        write_word(word, number)
    except BaseException:
        word.close()
        raise
    return word


def write_word(word: Fd, number: int) -> None:
    """From now on the programs with that number judge, at all hooks."""
    bpf.map_update(word, bytes(4), pack(number))


def read_word(word: Fd) -> int:
    """The number of the load in force."""
    return int.from_bytes(bpf.map_lookup(word, bytes(4), WORD_BYTES) or b"", "little")


def make_previous() -> Fd:
    """An array for one predecessor, empty."""
    return bpf.map_create(attrs.MAP_TYPE_PROG_ARRAY, 4, 4, SLOT + 1, 0, "previous")


def hand_over(previous: Fd, program: Fd) -> None:
    """Programs with this array hand packets to `program` until the word says their number."""
    bpf.map_update(previous, _SLOT, struct.pack("<I", program.number))


def forget(previous: Fd) -> None:
    """Let the predecessor go. Needs no waiting once the word is written: a packet that finds the array empty
    on its way over is judged by the policy that is in force."""
    bpf.map_delete(previous, _SLOT)


def absent(function: Function, verdict: int) -> Fd:
    """A predecessor of a program for a hook that had none: `verdict` lets things go on as if nothing were
    there."""
    insns = struct.pack("<BBhi", 0xB7, 0, 0, verdict) + struct.pack("<BBhi", 0x95, 0, 0, 0)  # r0 = …; exit
    program = bpf.Program(
        "absent",
        function.prog_type,
        function.load_attach_type,
        insns,
        "GPL",
        flags=function.load_flags,
    )
    return bpf.prog_load(program, None)[0]
