"""`up` and `down`: one policy takes the place of another, wholly or not at all.

Order of an `up`: find every interface and cgroup; make all maps and verify all programs; pin them below
`next/`; switch hook by hook (LINK_UPDATE with a check of the old program where a link exists, a new link
where none does); write the state; rename `current` to `past` and `next` to `current`; drop the links that the
new policy does not have, and `past`. Before the first switch nothing is visible to traffic. If anything fails
before the renames, the links are switched back and `next` vanishes (`recover`); the same function repairs
what a crash left, at the next `up` or `down`.

What a packet may meet: each hook switches between two packets, never within one; there is no moment without a
program. The hooks of a policy switch one after the other (an XDP update waits for an RCU grace period, some
10 ms), so in between a packet may pass one hook under the new policy and the next hook under the old one.

Dynamic sets keep their entries: a set of the same shape is taken over as it is, one of another size is
copied. Counters begin at zero with each policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import attach, loader, pins, running
from .attach import Place
from .errors import UNCHANGED, LockgateError, NotLoaded, SetError, SystemRefused
from .plan import AttachPlan, HookPoint, LoadPlan, MapPlan
from .recover import recover
from .refusal import explain
from .running import Attachment, State
from .sys import bpf
from .sys.fd import Fd

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
    """A hook of the plan, found on this machine; `pin` says which link it is."""

    plan: AttachPlan
    pin: str


def up(plan: LoadPlan, bpffs: str | Path) -> Outcome:
    """Load and attach a plan, replacing a running policy of the same name. Any LockgateError means that
    traffic is judged as before."""
    with pins.locked(bpffs) as folder:
        directory = folder / pins.quote(plan.name)
        before = recover(directory)
        with _saying_what_remains(before is not None):
            targets = _find(plan)
            _check_modes(plan, targets, before)
            with ExitStack() as stack:
                loaded = stack.enter_context(_load(plan, directory, before))
                try:
                    outcome = _replace(plan, directory, before, targets, loaded)
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
            link.unlink(missing_ok=True)
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


def _find(plan: LoadPlan) -> list[_Target]:
    places: dict[tuple[str, str], Place] = {}
    out = []
    for attachment in plan.attachments:
        point = attachment.point
        kind = attach.KINDS[point.kind]
        where = (point.kind, point.place)
        place = places.get(where) or places.setdefault(where, kind.resolve(point))
        out.append(_Target(attachment, pin_name(point, place)))
    return out


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


def _load(plan: LoadPlan, directory: Path, before: State | None) -> loader.Loaded:
    """Load, with the running policy's dynamic sets."""
    reuse: dict[str, Fd] = {}
    copies: list[tuple[MapPlan, Fd]] = []
    with ExitStack() as undo:
        for map_ in plan.maps if before is not None else ():
            path = directory / "current" / "maps" / pins.quote(map_.key)
            if map_.map.set is None or not path.exists():
                continue
            old = running.open_pin(path)
            if _same_shape(map_, old):
                reuse[map_.key] = old
            else:
                copies.append((map_, undo.enter_context(old)))
        loaded = loader.load(plan, reuse)
        try:
            for map_, old in copies:
                _copy(map_, old, loaded.maps[map_.key])
        except BaseException:
            loaded.close()
            raise
    return loaded


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
    info = bpf.map_info(old)
    key = bpf.map_next_key(old, None, info.key_size)
    while key is not None:
        value = (bpf.map_lookup(old, key, info.value_size) or b"").ljust(plan.map.value_size, b"\0")
        try:
            bpf.map_update(new, key, value[: plan.map.value_size])
        except bpf.BpfError as error:
            raise SetError(
                f"set `{plan.map.set}` of the running policy does not fit the new one",
                (f"the new set holds {plan.map.max_entries} prefixes", str(error)),
                ("raise its `max`, or remove prefixes with `lockgate set del`",),
            ) from error
        key = bpf.map_next_key(old, key, info.key_size)


def _replace(
    plan: LoadPlan, directory: Path, before: State | None, targets: list[_Target], loaded: loader.Loaded
) -> Outcome:
    links, following = directory / "links", directory / "next"
    for path in (directory, links, following, following / "maps", following / "progs"):
        path.mkdir(mode=0o700, exist_ok=True)
    for key, fd in loaded.maps.items():
        bpf.pin(fd, str(following / "maps" / pins.quote(key)))
    for key, fd in loaded.programs.items():
        bpf.pin(fd, str(following / "progs" / pins.quote(key)))
    old = {a.pin: a for a in before.attachments} if before else {}
    attachments, added = [], 0
    for target in targets:
        program = loaded.programs[target.plan.program]
        mode = _switch(directory, old.get(target.pin), target.pin, program)
        if mode is None:
            mode = _attach(target, program, plan.xdp_mode, links)
            added += 1
        attachments.append(Attachment(target.pin, target.plan.point, target.plan.program, mode))
    state = State(plan.manifest, plan.digest, tuple(attachments))
    running.store(state, following / "state")
    if before is not None:
        (directory / "current").rename(directory / "past")
    following.rename(directory / "current")
    gone = len(old.keys() - {a.pin for a in attachments})
    return Outcome(state, before is not None, added, len(attachments) - added, gone)


def _switch(directory: Path, old: Attachment | None, pin: str, program: Fd) -> str | None:
    """Give an existing link the new program; its mode, or None when there is no living link."""
    path = directory / "links" / pin
    if old is None or not path.exists():
        return None
    with running.open_pin(path) as link:
        if bpf.link_info(link).target == 0:  # the device or cgroup is gone, and another has its number
            path.unlink()
            return None
        with running.open_pin(directory / "current" / "progs" / pins.quote(old.program)) as previous:
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
