"""Which interfaces a plan means on this machine: those that fit a pattern, those that packets are sent to.

Looks names up; changes nothing. A chain's devices lie in the network namespace of its targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from lockgate.stdlib_bpf.manifest import Chain
from lockgate.stdlib_bpf.state.devices import DEVICES, IFINDEX_BYTES, is_pattern, unpack

from . import netlink
from .errors import InterfaceMissing, LockgateError
from .plan import AttachPlan, HookPoint, LoadPlan, map_key, numbered
from .running import Running
from .sys import bpf

Numbers = dict[str, tuple[int, ...]]  # chain → ifindexes, in the order of its devices


def expanded(plan: LoadPlan) -> LoadPlan:
    """The plan with every interface that is there now in the place of a pattern that it fits, sorted by name.
    InterfaceMissing for a pattern that fits none; SystemRefused when two policies meet at XDP on one."""
    if not any(_is_pattern(attachment.point) for attachment in plan.attachments):
        return plan
    found = dict.fromkeys(one for attachment in plan.attachments for one in _each(attachment))
    return replace(plan, attachments=numbered(found))


def _each(attachment: AttachPlan) -> Iterator[AttachPlan]:
    point = replace(attachment.point, ordinal=0)
    if not _is_pattern(point):
        yield replace(attachment, point=point)
        return
    existing = netlink.interfaces(point.netns)
    names = sorted(name for name in existing if fnmatchcase(name, point.target))
    if not names:
        raise InterfaceMissing.none_fits(point.target, point.netns, existing)
    for name in names:
        yield replace(attachment, point=replace(point, target=name))


def _is_pattern(point: HookPoint) -> bool:
    return point.kind != "cgroup" and is_pattern(point.target)


def numbers(plan: LoadPlan) -> Numbers:
    """The ifindex of every device. InterfaceMissing for one that is not there."""
    found: Numbers = {}
    for chain in plan.devices:
        existing = netlink.interfaces(chain.netns)
        for name in chain.names:
            if name not in existing:
                raise InterfaceMissing(name, chain.netns, existing)
        found[chain.chain] = tuple(existing[name] for name in chain.names)
    return found


def lost(policy: Running) -> list[str]:
    """Devices that packets of a running policy are sent to and that are not there any more, as users write
    them: each was found when the policy was loaded."""
    out = []
    for chain in policy.state.manifest.chains:
        points = [a.point for a in policy.state.attachments if a.program.startswith(f"{chain.name}:")]
        if not chain.devices or not points:
            continue
        try:
            existing = set(netlink.interfaces(points[0].netns).values())
        except LockgateError:  # the namespace is gone
            existing = set()
        space = f"{points[0].netns}/" if points[0].netns else ""
        known = zip(chain.devices, _numbers(policy, chain), strict=True)
        out += [space + name for name, ifindex in known if ifindex not in existing]
    return sorted(set(out))


def _numbers(policy: Running, chain: Chain) -> tuple[int, ...]:
    """What a chain's programs have; the kernel itself takes devices that go out of a device map."""
    devmap = next((m for m in chain.maps if m.role == "devices"), None)
    key = f"{chain.name}:{DEVICES}" if devmap is None else map_key(chain.name, devmap)
    with policy.open_map(key) as map_:
        if devmap is None:
            return unpack(bpf.map_lookup(map_, bytes(4), IFINDEX_BYTES * len(chain.devices)) or b"")
        found = [
            bpf.map_lookup(map_, i.to_bytes(4, "little"), IFINDEX_BYTES) for i in range(len(chain.devices))
        ]
        return unpack(b"".join(value or bytes(IFINDEX_BYTES) for value in found))
