"""`up` and `down`: one policy takes the place of another, wholly or not at all.

Order of an `up`: find every interface and cgroup; make all maps and verify all programs, which carry a new
number; pin them below `next/`; make the program that runs at each hook the new one's predecessor there, or
one that does nothing where none runs; give each hook its new program (LINK_UPDATE with a check of the old
program where a link exists, a new link where none does), which hands every packet to its predecessor; write
the state; write the new number into the word that all programs read. That is the instant. What follows only
tidies up (`recover`): rename `current` to `past` and `next` to `current`, let the predecessors go, drop the
links that the new policy does not have, and `past`. If anything fails before the word is written, the links
are switched back and `next` vanishes; no packet has been judged by anything but the old policy. The same
function repairs what a crash left, at the next command: what the word says is in force stays.

What a packet may meet: each program reads the word first thing and judges by one whole policy. A packet that
crosses two hooks around the instant may be judged by the old policy at the first and by the new one at the
second; where both policies have both hooks, never the other way round. A hook that the policy did not have
before does nothing until the instant. A hook that the new policy does not have goes on by the old one until
its link is dropped, right after the instant. There is no moment without a program.

Flows go on, too: their tables are taken over. Records of endpoints are new with each load.

Dynamic sets keep their entries: a set of the same shape is taken over as it is, one of another size is
copied. Nothing can change them meanwhile, since whoever does has the same lock. Counters begin at zero with
each policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lockgate.stdlib_bpf.state.balance import MEMBERS
from lockgate.stdlib_bpf.state.live import holds

from . import attach, backends, cgroups, devices, expiry, generation, inventory, loader, pins, running, tries
from .attach import Place
from .errors import UNCHANGED, LockgateError, NotLoaded, SetError, SystemRefused
from .plan import WORD_KEY, AttachPlan, HookPoint, LoadPlan, MapPlan, copy_key, map_key, trie_key
from .recover import drop_link, recover
from .refusal import explain
from .running import Attachment, Running, State
from .sys import bpf
from .sys.fd import Fd

KEPT = ("sockets", "clients", "flows", "expiry")  # roles of maps that are taken over
STILL_ATTACHED = f"{UNCHANGED}; the old policy is still attached"


@dataclass(frozen=True)
class Outcome:
    """What `up` did: `replaced` when a policy of this name ran before; the links added, switched, removed."""

    state: State
    replaced: bool
    added: int
    switched: int
    removed: int


@dataclass(frozen=True)
class _Target:
    """A hook of the plan, found on this machine. `pin` says which link it is; `old` what it runs, None when
    there is no living link; `copy` which copy of the program is for it: hooks whose predecessors differ need
    one each."""

    plan: AttachPlan
    pin: str
    old: Attachment | None
    copy: int

    @property
    def key(self) -> str:
        """Key of its program among those loaded."""
        return copy_key(self.plan.program, self.copy)


def up(plan: LoadPlan, bpffs: str | Path) -> Outcome:
    """Load and attach a plan, replacing a running policy of the same name. Any LockgateError means that
    traffic is judged as before."""
    with pins.locked(bpffs) as folder:
        directory = folder / pins.quote(plan.name)
        before = recover(directory)
        with _saying_what_remains(before is not None):
            plan = devices.expanded(plan)
            targets = _find(plan, directory, before)
            ifindexes, cgroup_ids = devices.numbers(plan), cgroups.numbers(plan)
            _check_modes(plan, targets, before)
            number = generation.following(before.generation if before else generation.NONE)
            with _load(plan, directory, before, targets, number, ifindexes, cgroup_ids) as loaded:
                try:
                    outcome = _replace(plan, directory, before, targets, loaded, number)
                except BaseException:
                    recover(directory)
                    raise
        recover(directory)
        return outcome


def down(name: str, bpffs: str | Path) -> int:
    """Detach a policy and remove everything of it. Returns the number of links. NotLoaded when there is no
    such policy (leftovers of a crash are removed all the same)."""
    with pins.locked(bpffs) as folder:
        directory = folder / pins.quote(name)
        found = directory.exists()
        links = pins.listing(directory / "links")
        for link in links:
            drop_link(link)
        pins.remove_tree(directory)
    if not found:
        raise NotLoaded(name, pins.names(folder))
    return len(links)


@contextmanager
def _saying_what_remains(replacing: bool) -> Iterator[None]:
    try:
        yield
    except LockgateError as failure:
        raise failure.with_notes(STILL_ATTACHED if replacing else UNCHANGED) from failure.__cause__
    except (bpf.BpfError, OSError) as error:
        if isinstance(error, bpf.BpfError):
            raise explain(error, "changing the policy").with_notes(
                STILL_ATTACHED if replacing else UNCHANGED
            ) from error
        raise SystemRefused(
            "changing the policy failed", (str(error), STILL_ATTACHED if replacing else UNCHANGED)
        ) from error


def _find(plan: LoadPlan, directory: Path, before: State | None) -> list[_Target]:
    attached = {a.pin: a for a in before.attachments} if before else {}
    places: dict[tuple[str, str], Place] = {}
    predecessors: dict[str, list[str | None]] = {}
    out = []
    for attachment in plan.attachments:
        point = attachment.point
        kind = attach.KINDS[point.kind]
        where = (point.kind, point.place)
        place = places.get(where) or places.setdefault(where, kind.resolve(point))
        pin = pin_name(point, place)
        old = attached.get(pin) if lives(directory / "links" / pin) else None
        known = predecessors.setdefault(attachment.program, [])
        predecessor = old.program if old else None
        if predecessor not in known:
            known.append(predecessor)
        out.append(_Target(attachment, pin, old, known.index(predecessor)))
    return out


def lives(path: Path) -> bool:
    """Whether a link is there; one whose device or cgroup is gone, and another has its number, vanishes."""
    if not path.exists():
        return False
    with running.open_pin(path) as link:
        if bpf.link_info(link).target:
            return True
    path.unlink()
    return False


def pin_name(point: HookPoint, place: Place) -> str:
    """Name of a link below `links/`: what it is called and which object that is, so that another device of
    the same name gets a link of its own."""
    return pins.quote(f"{point.key}:{place.scope}:{place.target}")


def _check_modes(plan: LoadPlan, targets: list[_Target], before: State | None) -> None:
    if before is None or plan.xdp_mode == "auto":
        return
    wanted = {t.pin for t in targets}
    for old in before.attachments:
        if old.pin in wanted and old.mode and old.mode != plan.xdp_mode:
            raise SystemRefused(
                f"`{old.point.place}` runs XDP in {old.mode} mode, and the mode of a link cannot change",
                (),
                (f"lockgate down {plan.name}, then up again with `--xdp-mode {plan.xdp_mode}`",),
            )


def _load(
    plan: LoadPlan,
    directory: Path,
    before: State | None,
    targets: list[_Target],
    number: int,
    ifindexes: devices.Numbers,
    cgroup_ids: cgroups.Numbers,
) -> loader.Loaded:
    """Load, with the running policy's dynamic sets and its word; a new word says that nothing is in force."""
    reuse: dict[str, Fd] = {}
    counts: dict[str, int] = {}
    for target in targets:
        counts[target.plan.program] = max(counts.get(target.plan.program, 0), target.copy + 1)
    standing = backends.standing(Running(directory, before)) if before else {}
    copies: list[tuple[MapPlan, Fd]] = []
    with ExitStack() as undo, ExitStack() as kept:
        for map_ in plan.maps if before is not None else ():
            path = directory / "current" / "maps" / pins.quote(map_.key)
            if not path.exists():
                continue
            if map_.map.role in KEPT:
                _take_over(map_, path, reuse, kept)
                continue
            if map_.map.set is None:
                continue
            slot, old = running.open_set(directory / "current", map_.key)
            if _same_shape(map_, old):
                reuse[map_.key] = kept.enter_context(slot)
                reuse[trie_key(map_.key, bpf.map_info(old).id)] = kept.enter_context(old)
            else:
                slot.close()
                copies.append((map_, undo.enter_context(old)))
        word = directory / "current" / "maps" / pins.quote(WORD_KEY)
        reuse[WORD_KEY] = running.open_pin(word) if before else generation.make_word(generation.NONE)
        kept.pop_all()  # now they are the loader's
        if plan.inventory is not None:
            reuse[inventory.NAMES_KEY] = inventory.make_names()
        loaded = loader.load(
            plan, reuse, number, counts, ifindexes=ifindexes, cgroup_ids=cgroup_ids, standing=standing
        )
        try:
            _introduce(plan, loaded)
            for map_, old in copies:
                trie = trie_key(map_.key, tries.in_force(loaded.maps[map_.key]))
                _copy(map_, old, loaded.maps[trie])
        except BaseException:
            loaded.close()
            raise
    return loaded


def _take_over(plan: MapPlan, path: Path, reuse: dict[str, Fd], kept: ExitStack) -> None:
    """A map goes on if it has the same shape. Flows are judged again by their next packets, since their
    judgement has another generation."""
    with ExitStack() as unless:
        old = unless.enter_context(running.open_pin(path))
        if _same_shape(plan, old):
            reuse[plan.key] = kept.enter_context(old)
            unless.pop_all()


def _introduce(plan: LoadPlan, loaded: loader.Loaded) -> None:
    """Tell the new programs who is who, before any of them judges."""
    if plan.inventory is None:
        return
    chain = inventory.chain_of(plan.manifest)
    if chain is not None:
        inventory.fill(chain, plan.inventory, plan.netns, loaded.maps)
    for each in plan.manifest.chains:
        for map_ in each.maps:
            if each.services and map_.name == MEMBERS:
                inventory.fill_members(each, plan.inventory, loaded.maps[map_key(each.name, map_)])


def _same_shape(plan: MapPlan, old: Fd) -> bool:
    info, spec = bpf.map_info(old), plan.map
    return (info.type, info.key_size, info.value_size, info.max_entries, info.flags) == (
        spec.type,
        spec.key_size,
        spec.value_size,
        spec.max_entries,
        spec.flags,
    )


def _copy(plan: MapPlan, old: Fd, new: Fd) -> None:
    now = expiry.now()
    own = {e.token: e.own_ns for e in tries.entries(old, plan.map) if holds(e.own_ns, now)}
    if len(own) > plan.map.max_entries:
        raise SetError(
            f"set `{plan.map.set}` of the running policy does not fit the new one",
            (f"it has {len(own)} prefixes, the new set holds {plan.map.max_entries}",),
            ("raise its `max`, or remove prefixes with `lockgate set del`",),
        )
    tries.fill(new, own)


def _replace(
    plan: LoadPlan,
    directory: Path,
    before: State | None,
    targets: list[_Target],
    loaded: loader.Loaded,
    number: int,
) -> Outcome:
    """Everything up to and with the instant."""
    links, following = directory / "links", directory / "next"
    for path in (directory, links, following):
        path.mkdir(mode=0o700, exist_ok=True)
    # the arrays of predecessors too: without descriptor or pin the kernel empties them
    for kind, fds in (("maps", loaded.maps), ("progs", loaded.programs), ("previous", loaded.previous)):
        (following / kind).mkdir(mode=0o700)
        for key, fd in fds.items():
            bpf.pin(fd, str(following / kind / pins.quote(key)))
    _name_predecessors(plan, directory, targets, loaded)
    attachments = []
    for target in targets:
        program = loaded.programs[target.key]
        if target.old is not None:
            mode = _switch(directory, target.old, program)
        else:
            mode = _attach(target, program, plan.xdp_mode, links)
        attachments.append(Attachment(target.pin, target.plan.point, target.plan.program, mode, target.copy))
    state = State(plan.manifest, plan.digest, tuple(attachments), number)
    running.store(state, following / "state")
    generation.write_word(loaded.maps[WORD_KEY], number)  # the instant
    switched = sum(t.old is not None for t in targets)
    gone = {a.pin for a in before.attachments} - {t.pin for t in targets} if before else ()
    return Outcome(state, before is not None, len(targets) - switched, switched, len(gone))


def _name_predecessors(
    plan: LoadPlan, directory: Path, targets: list[_Target], loaded: loader.Loaded
) -> None:
    """Say whom each program hands its packets to before the instant."""
    functions = {p.key: p.function for p in plan.programs}
    for target in {t.key: t for t in targets}.values():
        function = functions[target.plan.program]
        if target.old is not None:
            predecessor = running.open_pin(directory / "current" / "progs" / pins.quote(target.old.loaded))
        else:
            nothing = attach.KINDS[target.plan.point.kind].nothing
            predecessor = generation.absent(function, nothing)
        with predecessor:
            generation.hand_over(loaded.previous[target.key], predecessor)


def _switch(directory: Path, old: Attachment, program: Fd) -> str:
    """Give a link the new program; its mode."""
    with (
        running.open_pin(directory / "links" / old.pin) as link,
        running.open_pin(directory / "current" / "progs" / pins.quote(old.loaded)) as previous,
    ):
        try:
            bpf.link_update(link, program, previous)
        except bpf.BpfError as error:
            doing = f"replacing the program at {old.point.name} of `{old.point.place}`"
            raise explain(error, doing) from error
    return old.mode


def _attach(target: _Target, program: Fd, xdp_mode: str, links: Path) -> str:
    point = target.plan.point
    link, mode = attach.KINDS[point.kind].attach(point, program, xdp_mode)
    with link:
        bpf.pin(link, str(links / target.pin))
    return mode
