"""Brings a policy's directory back to one consistent state: after a failed `up`, after a finished one, after
a crash in the middle.

The rule: if `current` is there, every link must run the program that `current/state` names for it, links it
does not name go, and so do `next` and `past`. If `current` is missing but `next` and `past` are both there,
the crash fell between the two renames: all links had been switched, so `next` becomes `current`. If only
`next` is there, it was a first `up` that failed: all goes. Needs the lock of `pins.locked`.
"""

from __future__ import annotations

from pathlib import Path

from . import pins, running
from .running import State
from .sys import bpf


def recover(directory: Path) -> State | None:
    """Repair a policy's directory; the state that is in force afterwards, None when nothing is loaded (then
    the directory is gone)."""
    current, following, past = directory / "current", directory / "next", directory / "past"
    if not current.exists() and following.exists() and past.exists():
        following.rename(current)
    state = running.load(directory)
    if state is None:
        for link in pins.listing(directory / "links"):
            link.unlink(missing_ok=True)
        pins.remove_tree(directory)
        return None
    wanted = {a.pin: a.program for a in state.attachments}
    for path in pins.listing(directory / "links"):
        if path.name in wanted:
            _restore(path, current / "progs" / pins.quote(wanted[path.name]), following / "progs")
        else:
            path.unlink(missing_ok=True)
    pins.remove_tree(following)
    pins.remove_tree(past)
    return state


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
