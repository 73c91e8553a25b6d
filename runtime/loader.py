"""LoadPlan → Loaded: maps made and filled, programs verified. Nothing here touches traffic.

Owns every descriptor until it is handed on; on failure all are closed and the kernel is as before. Knows no
hooks and no pins.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from lockgate.stdlib_bpf.hooks.xdp import BPF_F_XDP_HAS_FRAGS
from lockgate.stdlib_bpf.state import cgroups, devices
from lockgate.stdlib_bpf.state.clock import CLOCK

from . import balance, generation, refusal, tries
from .elf import ProgramSpec
from .errors import LockgateError, PolicyLine, VerifierRejected, telling_line
from .plan import OWN_KEY, WORD_KEY, DataPlan, LoadPlan, MapPlan, ProgramPlan, copy_key, map_key, trie_key
from .sys import attrs, bpf, netns
from .sys.fd import Fd


@dataclass
class Loaded:
    """Descriptors of a loaded plan by their keys; `previous` has the keys of `programs`. `close` gives them
    all back; what is pinned or attached lives on."""

    plan: LoadPlan
    maps: dict[str, Fd] = field(default_factory=dict)
    programs: dict[str, Fd] = field(default_factory=dict)
    previous: dict[str, Fd] = field(default_factory=dict)

    def close(self) -> None:
        """Close every descriptor."""
        for fd in (*self.programs.values(), *self.previous.values(), *self.maps.values()):
            fd.close()

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(
    plan: LoadPlan,
    reuse: Mapping[str, Fd] | None = None,
    number: int = generation.FIRST,
    copies: Mapping[str, int] | None = None,
    own_clock: bool = False,
    ifindexes: Mapping[str, tuple[int, ...]] | None = None,
    cgroup_ids: Mapping[str, tuple[int, ...]] | None = None,
    standing: Mapping[str, balance.Standing] | None = None,
) -> Loaded:
    """Make and fill all maps, load all programs. `reuse`: maps that exist already, by key; they change owner.
    `number`: this load's generation, which is in force at once unless `reuse` has a word that says otherwise.
    `copies`: how many copies of a program to load, each with an array for its own predecessor (default 1).
    `own_clock`: leave the word of `stdlib_bpf.state.clock` writable. `ifindexes`: of each chain's devices;
    `cgroup_ids`: of each chain's cgroups; `standing`: of each balancer, the backends that stay. Raises
    VerifierRejected, NoPrivileges, FeatureMissing or SystemRefused, and leaves nothing behind."""
    loaded = Loaded(plan, dict(reuse or {}))
    found = {devices.DEVICES: ifindexes or {}, cgroups.CGROUPS: cgroup_ids or {}}
    with ExitStack() as undo, ExitStack() as types:
        undo.callback(loaded.close)
        btf = _load_btf(plan, types)
        for map_ in plan.maps:
            if map_.key in loaded.maps:
                continue
            if map_.map.set is not None:
                loaded.maps |= _make_set(map_)
            else:
                loaded.maps[map_.key] = _make_map(map_)
        for data in (*plan.data, DataPlan(OWN_KEY, generation.pack(number))):
            freeze = not (own_clock and data.key.endswith(f":{CLOCK}"))
            loaded.maps[data.key] = _make_data(_as_found(data, found), freeze)
        _fill_devmaps(plan, loaded, ifindexes or {})
        for chain in plan.manifest.chains:
            if chain.services:
                named = {m.name: m for m in chain.maps if m.role in balance.FILLED}
                maps = {name: loaded.maps[map_key(chain.name, m)] for name, m in named.items()}
                balance.fill(chain, maps, (standing or {}).get(chain.name, {}))
        if WORD_KEY not in loaded.maps:
            loaded.maps[WORD_KEY] = generation.make_word(number)
        for program in plan.programs:
            for copy in range((copies or {}).get(program.key, 1)):
                key = copy_key(program.key, copy)
                previous = loaded.previous[key] = generation.make_previous()
                loaded.programs[key] = _load_program(program, loaded.maps, previous, btf.get(program.chain))
        undo.pop_all()
    return loaded


def _load_btf(plan: LoadPlan, stack: ExitStack) -> dict[str, Fd]:
    out = {}
    for chain, raw in plan.btf:
        if not raw:
            continue
        try:
            out[chain] = stack.enter_context(bpf.btf_load(raw, f"types of {chain}"))
        except bpf.BpfError as error:
            raise refusal.explain(error, f"loading the type information of `{chain}`") from error
    return out


def _make_set(plan: MapPlan) -> dict[str, Fd]:
    """The slot of a dynamic set, and the empty trie in it, by their keys."""
    try:
        trie = tries.make(plan.map)
        try:
            slot = tries.make_slot(trie, plan.map.set or "")
        except BaseException:
            trie.close()
            raise
        return {plan.key: slot, trie_key(plan.key, tries.in_force(slot)): trie}
    except bpf.BpfError as error:
        raise refusal.explain(error, f"making set `{plan.map.set}`") from error


def _make_map(plan: MapPlan) -> Fd:
    spec = plan.map
    feature = "ringbuf" if spec.type == attrs.MAP_TYPE_RINGBUF else None
    try:
        if spec.role in balance.SPECIAL:
            return balance.make_map(spec)
        fd = bpf.map_create(
            spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags, spec.name
        )
    except bpf.BpfError as error:
        raise refusal.explain(error, f"making map `{plan.key}`", feature) from error
    try:
        if spec.image_count:
            bpf.map_update_batch(fd, plan.keys, plan.values, spec.image_count)
    except bpf.BpfError as error:
        fd.close()
        raise refusal.explain(error, f"filling map `{plan.key}` with {spec.image_count} entries") from error
    return fd


def _make_data(plan: DataPlan, freeze: bool) -> Fd:
    """One array element that programs read directly and, frozen, nobody changes any more."""
    flags = attrs.F_RDONLY_PROG | attrs.F_MMAPABLE
    try:
        fd = bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, len(plan.contents), 1, flags, plan.key)
    except bpf.BpfError as error:
        raise refusal.explain(error, f"making table `{plan.key}`") from error
    try:
        bpf.map_update(fd, bytes(4), plan.contents)
        if freeze:
            bpf.map_freeze(fd)
    except bpf.BpfError as error:
        fd.close()
        raise refusal.explain(error, f"filling table `{plan.key}`") from error
    return fd


# Tables of what rules name: its numbers on a machine → their bytes.
_PACKED = {devices.DEVICES: devices.pack, cgroups.CGROUPS: cgroups.pack}


def _as_found(plan: DataPlan, found: Mapping[str, Mapping[str, tuple[int, ...]]]) -> DataPlan:
    """A table as it is, or what a chain's rules name as it is on this machine. `found`: numbers by the
    table's name and the chain."""
    chain, _, name = plan.key.partition(":")
    return DataPlan(plan.key, _PACKED[name](found[name].get(chain, ()))) if name in _PACKED else plan


def _fill_devmaps(plan: LoadPlan, loaded: Loaded, ifindexes: Mapping[str, tuple[int, ...]]) -> None:
    """The kernel looks an ifindex up in the namespace of whoever fills the map (kernel/bpf/devmap.c)."""
    for chain in plan.devices:
        devmap = loaded.maps.get(f"{chain.chain}:{devices.DEVMAP}")
        if devmap is None:
            continue
        try:
            with netns.inside(chain.netns):
                for place, ifindex in enumerate(ifindexes.get(chain.chain, ())):
                    bpf.map_update(devmap, struct.pack("<I", place), struct.pack("<I", ifindex))
        except bpf.BpfError as error:
            raise refusal.explain(error, f"naming the devices of `{chain.chain}`") from error


def _load_program(plan: ProgramPlan, maps: Mapping[str, Fd], previous: Fd, btf: Fd | None) -> Fd:
    program = bpf.Program(
        plan.function.name,
        plan.function.prog_type,
        plan.function.load_attach_type,
        _relocated(plan, maps, previous),
        plan.license,
        b"".join(struct.pack("<II", *record) for record in plan.spec.func_info),
        b"".join(line.record() for line in plan.spec.lines),
        plan.function.load_flags,
    )
    try:
        return bpf.prog_load(program, btf)[0]
    except bpf.BpfError as error:
        raise _refused(plan, error) from error


def _relocated(plan: ProgramPlan, maps: Mapping[str, Fd], previous: Fd) -> bytes:
    """The instructions with descriptors of maps in place: ld_imm64 takes two instructions; src_reg (upper
    half of byte 1) says what the first imm is; the second imm is the offset into an array's value."""
    code = bytearray(plan.spec.insns)
    by_symbol = {symbol: maps[key] for symbol, key in plan.references} | {plan.previous: previous}
    for relocation in plan.spec.relocations:
        at = relocation.insn * 8
        kind = attrs.PSEUDO_MAP_VALUE if relocation.in_place else attrs.PSEUDO_MAP_FD
        code[at + 1] = code[at + 1] & 0x0F | kind << 4
        struct.pack_into("<i", code, at + 4, by_symbol[relocation.symbol].number)
        struct.pack_into("<I", code, at + 12, relocation.addend if relocation.in_place else 0)
    return bytes(code)


def _refused(plan: ProgramPlan, error: bpf.BpfError) -> LockgateError:
    if not error.log.strip():
        feature = "xdp-frags" if plan.function.load_flags & BPF_F_XDP_HAS_FRAGS else None
        return refusal.explain(error, f"loading program `{plan.key}`", feature)
    place = _place(plan, failing_instruction(error.log))
    return VerifierRejected(plan.chain, plan.function.name, error.log, place, telling_line(error.log))


_INSTRUCTION = re.compile(r"^(\d+): \([0-9a-f]{2}\)", re.MULTILINE)


def failing_instruction(log: str) -> int | None:
    """Number of the last instruction that the verifier looked at."""
    found = _INSTRUCTION.findall(log)
    return int(found[-1]) if found else None


def _place(plan: ProgramPlan, insn: int | None) -> PolicyLine | None:
    line = _line(plan.spec, insn)
    if line is None:
        return None
    file, number, text = line
    for slot in plan.slots:
        if slot.kind == "rule" and slot.line == number:
            return PolicyLine(file, number, text, slot.label)
    return PolicyLine(file, number, text)


def _line(spec: ProgramSpec, insn: int | None) -> tuple[str, int, str] | None:
    found = spec.line_of(insn) if insn is not None else None
    return (found.file, found.line, found.text.strip()) if found is not None and found.line else None
