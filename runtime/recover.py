"""Brings a policy's directory back to one consistent state: after a failed `up`, after a finished one, after
a crash in the middle.

The word of generations decides. If it says the number in `next/state`, the new policy is in force: `next`
becomes `current`. Otherwise what `current` has is in force, or nothing; `next` goes. Then every link must run
the program that `current/state` names for it, links it does not name go, and so do the predecessors of its
programs. Needs the lock of `pins.locked`.

The order matters only on the way back, while programs that must never judge still run: links are switched
back or detached first; then every run of a program is waited for; only then may their predecessors vanish,
and their number be given to another load.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from . import generation, pins, running
from .errors import NoBpfFilesystem
from .plan import WORD_KEY
from .running import State
from .sys import bpf


def settle(bpffs: str | Path) -> None:
    """Finish or undo what crashes have left. Waits for a command that is changing something; where there is
    no BPF file system, there is nothing to do."""
    try:
        directories = pins.listing(pins.base(bpffs))
    except NoBpfFilesystem:
        return
    for directory in directories:
        if (directory / "next").exists() or (directory / "past").exists():
            with pins.locked(bpffs):
                recover(directory)


def recover(directory: Path) -> State | None:
    """Repair a policy's directory; the state that is in force afterwards, None when nothing is loaded (then
    the directory is gone)."""
    current, following, past = directory / "current", directory / "next", directory / "past"
    if _in_force(following):
        if current.exists():
            current.rename(past)
        following.rename(current)
    state = running.load(directory)
    wanted = {a.pin: a.loaded for a in state.attachments} if state else {}
    for path in pins.listing(directory / "links"):
        if path.name in wanted:
            _restore(path, current / "progs" / pins.quote(wanted[path.name]), following / "progs")
        else:
            drop_link(path)
    if following.exists():
        bpf.wait_for_programs()
    for path in pins.listing(current / "previous"):
        with running.open_pin(path) as previous:
            generation.forget(previous)
    if state is None:
        pins.remove_tree(directory)
        return None
    for leftover in (current / "previous", following, past):
        pins.remove_tree(leftover)
    return state


def drop_link(path: Path) -> None:
    """Detach a link and remove its pin. Not by the pin alone: the kernel detaches some time after the last
    name is gone (kernel/bpf/syscall.c, bpf_link_put)."""
    with running.open_pin(path) as link, suppress(bpf.BpfError):  # its device or cgroup may be gone
        bpf.link_detach(link)
    path.unlink(missing_ok=True)


def _in_force(following: Path) -> bool:
    """Whether a replacement came as far as its instant."""
    state = running.read(following / "state")
    if state is None:
        return False
    with running.open_pin(following / "maps" / pins.quote(WORD_KEY)) as word:
        return generation.read_word(word) == state.generation


def _restore(link_path: Path, program_path: Path, others: Path) -> None:
    """Switch a link back to its program, if it runs one of `others`."""
    with running.open_pin(link_path) as link, running.open_pin(program_path) as program:
        info = bpf.link_info(link)
        if info.target == 0 or info.prog_id == bpf.prog_id(program):
            return
        for path in pins.listing(others):
            with running.open_pin(path) as other:
                if bpf.prog_id(other) == info.prog_id:
                    bpf.link_update(link, program, other)
                    return
