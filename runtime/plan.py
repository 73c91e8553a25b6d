"""Bundle → LoadPlan: everything `up` will do, as plain values, before a kernel is asked anything.

Pure: the same bundle and options give the same plan. `render` is what `--dry-run` prints. Keys of maps are
the names of their pins: `events`, `generation`, `set:NAME:lpm4`, `CHAIN:MAP`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from lockgate.stdlib_bpf.inventory import Inventory
from lockgate.stdlib_bpf.manifest import Chain, Function, Manifest, Map, Slot
from lockgate.stdlib_bpf.state.devices import BPF_MAP_TYPE_DEVMAP, is_pattern
from lockgate.stdlib_bpf.state.generation import NOW_SECTION, OWN_SECTION, PREVIOUS

from . import elf
from .bundle import Bundle
from .errors import BundleCorrupt, BundleForeign, SystemRefused
from .sys import attrs

XdpMode = Literal["auto", "native", "generic"]

# Keys of the word of generations and of a load's own number (`runtime.generation`).
WORD_KEY, OWN_KEY = "generation", "generation-own"

# enum bpf_attach_type → (kind of hook, its name in pins and messages); include/uapi/linux/bpf.h
ATTACH_TYPES: dict[int, tuple[str, str]] = {
    37: ("xdp", "xdp"),
    46: ("tcx", "tcx-ingress"),
    47: ("tcx", "tcx-egress"),
    10: ("cgroup", "connect4"),
    11: ("cgroup", "connect6"),
    14: ("cgroup", "sendmsg4"),
    15: ("cgroup", "sendmsg6"),
    19: ("cgroup", "recvmsg4"),
    20: ("cgroup", "recvmsg6"),
    29: ("cgroup", "getpeername4"),
    30: ("cgroup", "getpeername6"),
    3: ("cgroup", "sockops"),
    21: ("cgroup", "getsockopt"),
}


@dataclass(frozen=True)
class MapPlan:
    """A map to create (or take over) under `key`, with its contents: `keys` and `values` end to end."""

    key: str
    map: Map
    keys: bytes = b""
    values: bytes = b""


@dataclass(frozen=True)
class DataPlan:
    """An in-place table: one frozen array element that holds the bytes of an object's section."""

    key: str
    contents: bytes


@dataclass(frozen=True)
class ProgramPlan:
    """A program to load. `references`: symbol or section in the object → key of the map it means; `previous`:
    symbol of the array with its predecessor, of which every copy that is loaded has its own."""

    key: str
    chain: str
    function: Function
    spec: elf.ProgramSpec
    license: str
    references: tuple[tuple[str, str], ...]
    previous: str
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class HookPoint:
    """A place where a program can be: `kind` is xdp, tcx or cgroup; `target` an interface or a cgroup's path
    below the mount; `ordinal` tells several programs of one policy at one place apart (never at xdp)."""

    kind: str
    name: str
    attach_type: int
    target: str
    netns: str | None = None
    ordinal: int = 0

    @property
    def place(self) -> str:
        """The target as users write it: `NETNS/eth0`, or a path."""
        return f"{self.netns}/{self.target}" if self.netns else self.target

    @property
    def key(self) -> str:
        """Unique among the hooks of a policy."""
        return f"{self.name}@{self.place}" + (f"+{self.ordinal}" if self.ordinal else "")


@dataclass(frozen=True)
class AttachPlan:
    """Attach the program `program` at `point`."""

    point: HookPoint
    program: str


@dataclass(frozen=True)
class DevicesPlan:
    """The interfaces that a chain sends packets to, found by name in a namespace when it is loaded."""

    chain: str
    names: tuple[str, ...]
    netns: str | None


@dataclass(frozen=True)
class CgroupsPlan:
    """The cgroups that a chain asks about, found by path when it is loaded."""

    chain: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class LoadPlan:
    """All steps, in order: type information per object, maps, tables, programs, hooks. Everything before the
    hooks is without effect on traffic."""

    name: str
    manifest: Manifest
    digest: str
    btf: tuple[tuple[str, bytes], ...]  # chain → type information
    maps: tuple[MapPlan, ...]
    data: tuple[DataPlan, ...]
    programs: tuple[ProgramPlan, ...]
    attachments: tuple[AttachPlan, ...]
    xdp_mode: XdpMode = "auto"
    devices: tuple[DevicesPlan, ...] = ()
    cgroups: tuple[CgroupsPlan, ...] = ()
    inventory: Inventory | None = None
    netns: str | None = None  # where interfaces of the inventory are that do not say it


def make(bundle: Bundle, netns: str | None = None, xdp_mode: XdpMode = "auto") -> LoadPlan:
    """The plan of a bundle. `netns`: where interfaces are that do not say it themselves. BundleCorrupt or
    BundleForeign when objects and manifest do not fit each other."""
    btf: list[tuple[str, bytes]] = []
    maps: dict[str, MapPlan] = {}
    data: list[DataPlan] = []
    programs: list[ProgramPlan] = []
    attachments: list[AttachPlan] = []
    devices: list[DevicesPlan] = []
    for chain in bundle.manifest.chains:
        object_ = _object(bundle, chain)
        btf.append((chain.name, object_.btf))
        references = {NOW_SECTION: WORD_KEY, OWN_SECTION: OWN_KEY}
        for map_ in chain.maps:
            if map_.role == PREVIOUS:
                continue
            plan = _map(bundle, chain, map_)
            references[map_.name] = plan.key
            _merge(maps, plan, chain)
        for section, contents in object_.data:
            if section == OWN_SECTION:
                continue
            key = f"{chain.name}:{section.removeprefix('.rodata.')}"
            references[section] = key
            data.append(DataPlan(key, contents))
        if chain.devices:
            home = chain.targets[0].rpartition("/")[0] or netns
            devices.append(DevicesPlan(chain.name, chain.devices, home))
        specs = {p.name: p for p in object_.programs}
        for function in chain.functions:
            program = _program(chain, function, specs, object_, references)
            programs.append(program)
            for target in function.targets or chain.targets:
                attachments.append(AttachPlan(point_of(function, target, netns), program.key))
    return LoadPlan(
        bundle.manifest.name,
        bundle.manifest,
        bundle.digest,
        tuple(btf),
        tuple(maps.values()),
        tuple(data),
        tuple(programs),
        numbered(attachments),
        xdp_mode,
        tuple(devices),
        tuple(CgroupsPlan(c.name, c.cgroups) for c in bundle.manifest.chains if c.cgroups),
    )


def _object(bundle: Bundle, chain: Chain) -> elf.Object:
    try:
        return elf.read(bundle.members[chain.object])
    except elf.ElfError as error:
        raise BundleCorrupt(chain.object, str(error)) from None


def copy_key(program: str, copy: int) -> str:
    """The key of a copy of a program; the first has the program's own."""
    return f"{program}+{copy}" if copy else program


def map_key(chain: str, map_: Map) -> str:
    """Where a map is pinned: events and dynamic sets are shared by all chains of a bundle, and one chain has
    flows."""
    if map_.role in ("events", "flows", "expiry"):
        return map_.name
    if map_.set is not None:
        return f"set:{map_.set}:{map_.key}"
    return f"{chain}:{map_.name}"


def trie_key(key: str, number: int) -> str:
    """Where a trie of a dynamic set is pinned, which lies in the slot `key`: the kernel's number says which
    of those that a crash may have left is in force."""
    return f"{key}@{number}"


def _map(bundle: Bundle, chain: Chain, map_: Map) -> MapPlan:
    key = map_key(chain.name, map_)
    if map_.image is None:
        return MapPlan(key, map_)
    image = bundle.members[map_.image]
    split = map_.image_count * map_.key_size
    return MapPlan(key, map_, image[:split], image[split:])


def _shape(map_: Map) -> tuple[int, int, int, int, int]:
    return map_.type, map_.key_size, map_.value_size, map_.max_entries, map_.flags


def _merge(maps: dict[str, MapPlan], plan: MapPlan, chain: Chain) -> None:
    old = maps.get(plan.key)
    if old is not None and (_shape(old.map) != _shape(plan.map) or old.keys != plan.keys):
        raise BundleCorrupt(chain.object, f"map `{plan.map.name}` has another shape than in the chain before")
    maps[plan.key] = plan


def _program(
    chain: Chain,
    function: Function,
    specs: dict[str, elf.ProgramSpec],
    object_: elf.Object,
    references: dict[str, str],
) -> ProgramPlan:
    spec = specs.get(function.name)
    if spec is None:
        raise BundleCorrupt(chain.object, f"it has no program `{function.name}`")
    if function.link_attach_type not in ATTACH_TYPES:
        raise BundleForeign(chain.object, f"`{function.name}` is for attach type {function.link_attach_type}")
    used = {r.symbol for r in spec.relocations}
    previous = [m.name for m in chain.maps if m.role == PREVIOUS and m.name in used]
    if len(previous) != 1 or not {NOW_SECTION, OWN_SECTION} <= used:
        raise BundleForeign(chain.object, f"`{function.name}` does not begin with its generation")
    for relocation in spec.relocations:
        if relocation.symbol not in references and relocation.symbol not in previous:
            raise BundleCorrupt(
                chain.object, f"`{function.name}` uses map `{relocation.symbol}`, which is not listed"
            )
    return ProgramPlan(
        f"{chain.name}:{function.name}",
        chain.name,
        function,
        spec,
        object_.license,
        tuple((symbol, key) for symbol, key in references.items() if symbol in used),
        previous[0],
        chain.slots,
    )


def point_of(function: Function, target: str, netns: str | None) -> HookPoint:
    """Where a program goes at a target as bundles and inventories write it."""
    kind, name = ATTACH_TYPES[function.link_attach_type]
    point = HookPoint(kind, name, function.link_attach_type, target)
    if kind == "cgroup":
        return replace(point, target="/".join(p for p in target.split("/") if p) or "/")
    space, _, interface = target.rpartition("/")
    return replace(point, target=interface, netns=space or netns)


def numbered(attachments: Iterable[AttachPlan]) -> tuple[AttachPlan, ...]:
    """Attachments with ordinals that tell apart those of one place. SystemRefused for two at XDP."""
    taken: dict[tuple[int, str], int] = {}
    out = []
    for attachment in attachments:
        point = attachment.point
        ordinal = taken.get((point.attach_type, point.place), 0)
        taken[point.attach_type, point.place] = ordinal + 1
        if ordinal and point.kind == "xdp":
            raise SystemRefused(
                f"two policies of the bundle want XDP on `{point.place}`",
                ("an interface takes one XDP program",),
                ("join the policies, or give one of them another hook or interface",),
            )
        out.append(replace(attachment, point=replace(point, ordinal=ordinal)))
    return tuple(out)


_TYPE_NAMES = {
    attrs.MAP_TYPE_HASH: "hash",
    attrs.MAP_TYPE_ARRAY: "array",
    attrs.MAP_TYPE_PERCPU_ARRAY: "per-CPU array",
    attrs.MAP_TYPE_LPM_TRIE: "LPM trie",
    attrs.MAP_TYPE_RINGBUF: "ring buffer",
    BPF_MAP_TYPE_DEVMAP: "device map",
}


def render(plan: LoadPlan) -> str:
    """The plan as text, a step a line."""
    out = [f"bundle {plan.name}, sha256 {plan.digest}"]
    for chain, btf in plan.btf:
        out.append(f"  load  type information of {chain}: {len(btf)} bytes")
    for map_ in plan.maps:
        spec = map_.map
        kind = _TYPE_NAMES.get(spec.type, f"map of type {spec.type}")
        filled = f", filled with {spec.image_count} entries" if spec.image_count else ""
        slot = ", behind a slot" if spec.set is not None else ""
        out.append(f"  make  {kind} {map_.key}: {spec.max_entries} entries{filled}{slot}")
    for data in plan.data:
        out.append(f"  make  table {data.key}: {len(data.contents)} bytes, frozen")
    for devices in plan.devices:
        space = f"{devices.netns}/" if devices.netns else ""
        listed = ", ".join(space + name for name in devices.names)
        out.append(f"  find  devices of {devices.chain}: {listed}")
    for cgroups in plan.cgroups:
        out.append(f"  find  cgroups of {cgroups.chain}: {', '.join(cgroups.paths)}")
    out.append("  make  the word of generations, unless the policy runs already")
    for program in plan.programs:
        out.append(
            f"  load  program {program.key}: {len(program.spec.insns) // 8} instructions, "
            f"section {program.function.section}"
        )
    for attachment in plan.attachments:
        point = attachment.point
        each = "each " if point.kind != "cgroup" and is_pattern(point.target) else ""
        out.append(f"  attach {attachment.program} at {point.name} of {each}{point.place}")
    out.append("  write the word: all hooks change at once")
    return "\n".join(out)
