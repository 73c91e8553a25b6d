"""A running policy gets another inventory: nothing is compiled or loaded; records change, links come and go.

Order: programs are attached at new interfaces, where they drop everything until the records are there; the
records are brought to what the inventory says, and the count of changes is raised; the state is stored; links
at interfaces that are no longer named go. A crash in between leaves either inventory's links (`recover`), and
records that the next run mends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lockgate.stdlib_bpf.inventory import Inventory
from lockgate.stdlib_bpf.state.balance import MEMBERS

from . import attach, backends, inventory, pins, running
from .errors import InventoryError, NotLoaded
from .inventory import NAMES_KEY
from .plan import AttachPlan, map_key, numbered
from .recover import drop_link, recover
from .refusal import explain
from .running import Attachment, Running, State
from .swap import lives, pin_name
from .sys import bpf


@dataclass(frozen=True)
class Outcome:
    """`changed`: records written or removed; links `added` and `removed`; `backends`: those of services that
    came or went, and `sockets` that ended since they were connected to one that went."""

    changed: int
    added: int
    removed: int
    backends: int = 0
    sockets: int = 0


def know(name: str, known: Inventory, netns: str | None, bpffs: str | Path) -> Outcome:
    """Give the running policy another inventory. NotLoaded, InventoryError, or another LockgateError; then
    links and state are as before."""
    with pins.locked(bpffs) as folder:
        directory = folder / pins.quote(name)
        state = recover(directory)
        if state is None:
            raise NotLoaded(name, pins.names(folder))
        if not inventory.asks(state.manifest):
            raise InventoryError(f"`{name}` has no policies for labels")
        chain = inventory.chain_of(state.manifest)
        mine = {
            f"{each.name}:{function.name}"
            for each in state.manifest.chains
            if each is chain or inventory.at_labels(each)
            for function in each.functions
        }
        others = [AttachPlan(a.point, a.program) for a in state.attachments if a.program not in mine]
        wanted = numbered([*others, *inventory.attachments(state.manifest, known, netns)])
        old = {a.pin: a for a in state.attachments}
        new: list[Attachment] = []
        try:
            for one in wanted:
                new.append(_attached(directory, one, old))
            changed = 0 if chain is None else _fill(directory, state, known, netns)
            changed += _spare(Running(directory, state), known)
        except BaseException:
            recover(directory)  # links that the state does not name go
            raise
        _store(directory, replace(state, attachments=tuple(new)))
        gone = old.keys() - {a.pin for a in new}
        for pin in gone:
            drop_link(directory / "links" / pin)
        moved, ended = backends.follow(Running(directory, state), known)
        return Outcome(changed, len({a.pin for a in new} - old.keys()), len(gone), moved, ended)


def _attached(directory: Path, wanted: AttachPlan, old: dict[str, Attachment]) -> Attachment:
    """The link that is there, or a new one."""
    kind = attach.KINDS[wanted.point.kind]
    pin = pin_name(wanted.point, kind.resolve(wanted.point))
    path = directory / "links" / pin
    if pin in old and lives(path):
        return old[pin]
    with running.open_pin(directory / "current" / "progs" / pins.quote(wanted.program)) as program:
        link, mode = kind.attach(wanted.point, program, "auto")
        with link:
            bpf.pin(link, str(path))
    return Attachment(pin, wanted.point, wanted.program, mode)


def _spare(running: Running, known: Inventory) -> int:
    """Tell balancers whose calls are exempt."""
    changed = 0
    for chain in running.state.manifest.chains:
        for map_ in chain.maps:
            if chain.services and map_.name == MEMBERS:
                with running.open_map(map_key(chain.name, map_)) as fd:
                    changed += inventory.fill_members(chain, known, fd)
    return changed


def _fill(directory: Path, state: State, known: Inventory, netns: str | None) -> int:
    chain = inventory.chain_of(state.manifest)
    assert chain is not None
    keys = [NAMES_KEY, *(map_key(chain.name, m) for m in chain.maps if m.role == "endpoints")]
    maps = {key: running.open_pin(directory / "current" / "maps" / pins.quote(key)) for key in keys}
    try:
        return inventory.fill(chain, known, netns, maps)
    except bpf.BpfError as error:
        raise explain(error, f"telling `{state.manifest.name}` who is who") from error
    finally:
        for map_ in maps.values():
            map_.close()


def _store(directory: Path, state: State) -> None:
    """Put a state in the place of the one that is there, by one rename."""
    following = directory / "current" / "state-next"
    following.unlink(missing_ok=True)
    running.store(state, following)
    following.rename(directory / "current" / "state")
