"""Runs compiled chains in the kernel without attaching them to anything that carries traffic: the engine
"kernel" of tests and `eval`.

XDP and tc programs run by BPF_PROG_TEST_RUN, which refuses frames under 14 bytes (an Ethernet header). For tc
it also refuses frames whose EtherType promises an IP header that is cut short (net/bpf/test_run.c); those go
over the wire of `wirerun`. Which rule decided is read from the counters: one deciding slot grows by one with
each packet. For connect see `connectrun`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.manifest import Chain, Map
from lockgate.stdlib_bpf.state.clock import CLOCK, CLOCK_BYTES
from lockgate.stdlib_bpf.state.counters import DECIDING
from lockgate.stdlib_bpf.state.devices import DEVMAP
from lockgate.stdlib_bpf.state.endpoints import Endpoints
from lockgate.stdlib_bpf.state.flows import Flow, Key
from lockgate.stdlib_bpf.state.live import NEVER

from . import flowtable, loader, records, tries
from .bundle import Bundle
from .counters import CounterReader
from .errors import SystemRefused
from .plan import LoadPlan, make, map_key, trie_key
from .prefixes import Prefix, key_of, token_of
from .refusal import explain
from .sys import bpf
from .sys.fd import Fd
from .wirerun import LOOPBACK_IFINDEX, TC_ACT_SHOT, Wire

MIN_FRAME_BYTES = 14
NO_DEVICE = 1 << 30  # ifindexes from here on are nobody's; the kernel counts from 1


@dataclass(frozen=True)
class Given:
    """A frame to run. `segments`: how many packets of the wire it stands for (tc only); `clock_ns`: what the
    program's clock says, 0 for the kernel's own; `mark` and `iif`: the packet's (tc only), as in
    `decode.frame.Frame`; `first_buffer`: bytes in the first of several buffers, None for as many as fit (XDP
    only, Linux 6.18). `point`: the program that runs, by its place, "" for the first; `ifindex`: of the
    interface that the frame is at, which must be there, 0 for loopback (tc only)."""

    data: bytes
    segments: int = 1
    clock_ns: int = 0
    mark: int = 0
    iif: int | None = 0
    first_buffer: int | None = None
    point: str = ""
    ifindex: int = 0


class Ran(NamedTuple):
    """`value`: what the program returned, signed (TC_ACT_UNSPEC is -1); `slot`: the deciding counter slot;
    `passed`: slots of rules that matched before and let the packet go on, ascending; `frame` and `mark`: the
    packet's afterwards, None where the kernel does not say."""

    value: int
    slot: int
    passed: tuple[int, ...] = ()
    frame: bytes | None = None
    mark: int | None = None


class _Run(NamedTuple):
    """`value`: None when the frame got through the wire, which does not tell."""

    value: int | None
    frame: bytes | None = None
    mark: int | None = None


class LoadedChain:
    """One chain's programs and maps, in the kernel but attached to nothing. Use `with`."""

    def __init__(
        self,
        plan: LoadPlan,
        chain: Chain,
        cgroup_ids: tuple[int, ...] = (),
        device: int | None = None,
    ) -> None:
        self.chain = chain
        self._wire: Wire | None = None
        alone = replace(plan, devices=())  # device maps are filled here
        self._loaded = loader.load(
            alone,
            own_clock=True,
            ifindexes={chain.name: _devices(chain) if device is None else (device,) * len(chain.devices)},
            cgroup_ids={chain.name: cgroup_ids or (0,) * len(chain.cgroups)},
        )
        try:
            counters = next(m for m in chain.maps if m.role == "counters")
            self._counters = CounterReader(
                self._loaded.maps[map_key(chain.name, counters)], counters.max_entries
            )
            self._deciding = [i for i, s in enumerate(chain.slots) if s.kind in DECIDING]
            passing = hooks.ALL[chain.hook].passing
            self._passing = frozenset(i for i in self._deciding if chain.slots[i].verdict in passing)
            self._clock = self._loaded.maps.get(f"{chain.name}:{CLOCK}")
            self._fill_devmap()
        except BaseException:
            self._loaded.close()
            raise

    def __enter__(self) -> LoadedChain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        if self._wire is not None:
            self._wire.close()
        self._loaded.close()

    def program(self, function: int = 0) -> Fd:
        """The descriptor of one of the chain's programs, still owned by this object."""
        return self._loaded.programs[f"{self.chain.name}:{self.chain.functions[function].name}"]

    def map(self, key: str) -> Fd:
        """The descriptor of a map by its key (`plan.map_key`), still owned by this object."""
        return self._loaded.maps[key]

    def map_bytes(self) -> int:
        """Memory that the kernel charges for all maps."""
        return sum(bpf.map_bytes(map_) for map_ in self._loaded.maps.values())

    def trie(self, spec: Map) -> Fd:
        """The descriptor of a dynamic set's trie, still owned by this object."""
        key = map_key(self.chain.name, spec)
        return self._loaded.maps[trie_key(key, tries.in_force(self._loaded.maps[key]))]

    def set_live(self, name: str, prefixes: Iterable[Prefix]) -> None:
        """Make a dynamic set hold exactly these prefixes; those of a family that the chain never asks about
        are left out. SystemRefused when they do not fit."""
        wanted = list(prefixes)
        for spec in self.chain.maps:
            if spec.set != name:
                continue
            trie = self.trie(spec)
            for entry in list(tries.entries(trie, spec)):
                bpf.map_delete(trie, key_of(entry.token))
            own = {token_of(p): NEVER for p in wanted if (p.version == 4) == (spec.key_size == 8)}
            try:
                tries.fill(trie, own)
            except bpf.BpfError as error:
                raise explain(error, f"filling set `{name}` with {len(own)} prefixes") from error

    def _fill_devmap(self) -> None:
        """A frame that is redirected is not sent in a test run, but its device must be there: loopback."""
        devmap = self._loaded.maps.get(f"{self.chain.name}:{DEVMAP}")
        if devmap is not None:
            for place in range(len(self.chain.devices)):
                bpf.map_update(devmap, place.to_bytes(4, "little"), LOOPBACK_IFINDEX.to_bytes(4, "little"))

    def know(self, endpoints: Endpoints) -> None:
        """Who has which address and interface, from now on."""
        found = {
            m.name: self.map(map_key(self.chain.name, m)) for m in self.chain.maps if m.role == "endpoints"
        }
        records.fill(found, endpoints, len(self.chain.selections))

    def flows(self) -> dict[Key, Flow]:
        """The flows that the programs know."""
        tables = {m.name: self.map(map_key(self.chain.name, m)) for m in self.chain.maps if m.role == "flows"}
        return dict(flowtable.read(tables))

    def forget(self) -> None:
        """Empty the tables of flows."""
        for m in self.chain.maps:
            if m.role == "flows":
                flowtable.clear(self.map(map_key(self.chain.name, m)))

    def set_clock(self, clock_ns: int) -> None:
        """What the programs' clock says from now on, 0 for the kernel's own."""
        if self._clock is not None:
            bpf.map_update(self._clock, bytes(4), clock_ns.to_bytes(CLOCK_BYTES, "little"))

    def run(self, frames: Sequence[bytes | Given]) -> list[Ran | None]:
        """Decide frames one at a time, in order. None where the kernel cannot run one: under 14 bytes, or for
        XDP over what fits a page (some 3,500 bytes)."""
        points = {f.point: self.program(i) for i, f in enumerate(self.chain.functions)}
        out: list[Ran | None] = []
        before = self._counters.raw()
        for item in frames:
            given = Given(item) if isinstance(item, bytes) else item
            self.set_clock(given.clock_ns)
            ran = self._run_one(points.get(given.point, self.program()), given)
            if ran is None:
                out.append(None)
                continue
            after = self._counters.raw()
            slot, passed = self.decided(before, after)
            value = ran.value
            if value is None:  # it went through: TC_ACT_OK or TC_ACT_UNSPEC, as the slot's verdict has it
                value = hooks.ALL[self.chain.hook].verdicts[self.chain.slots[slot].verdict or ""]
            out.append(Ran(value, slot, passed, ran.frame, ran.mark))
            before = after
        return out

    def _run_one(self, program: Fd, given: Given) -> _Run | None:
        """What the program made of a frame; None when the kernel cannot run it."""
        data, context, tc = given.data, b"", hooks.ALL["tc"].context
        at_tc = hooks.ALL[self.chain.hook].context is tc
        if at_tc:
            context = tc.pack(
                ifindex=given.ifindex,
                mark=given.mark,
                ingress_ifindex=0 if given.iif is None else NO_DEVICE + given.iif,
                gso_segs=0 if given.segments == 1 else given.segments,
            )
        elif given.first_buffer is not None:
            context = hooks.ALL["xdp"].context.pack(data_end=given.first_buffer)
        if len(data) < MIN_FRAME_BYTES:
            return None
        try:
            ran = bpf.test_run(program, data, context=context)
            mark = tc.unpack(ran.context)["mark"] if at_tc else 0
            assert isinstance(mark, int)
            return _Run(_signed(ran.value), ran.data, mark)
        except bpf.BpfError as error:
            if error.errno != errno.EINVAL:
                raise explain(error, f"running a frame of {len(data)} bytes") from error
        if not at_tc or given.ifindex:  # a wire has an interface of its own
            return None
        if self._wire is None:
            self._wire = Wire(program)
        return _Run(None if self._wire.send(data, given.mark) else TC_ACT_SHOT)

    def decided(self, before: bytes, after: bytes) -> tuple[int, tuple[int, ...]]:
        """The slot of who decided, and those that let the packet go on, from two readings of `counters_raw`.
        SystemRefused unless exactly one of the former grew, and each by one: then the program does not count
        as it should, or somebody else ran it."""
        old, new = self._counters.totals(before), self._counters.totals(after)
        grown = [i for i in self._deciding if new[i][0] != old[i][0]]
        deciding = [i for i in grown if i not in self._passing]
        if len(deciding) != 1 or any(new[i][0] - old[i][0] != 1 for i in grown):
            raise SystemRefused(
                f"the counters of `{self.chain.name}` do not say which rule decided",
                (f"slots that grew: {grown}",),
                ("this is a bug in lockgate",),
            )
        return deciding[0], tuple(i for i in grown if i in self._passing)

    def counters_raw(self) -> bytes:
        """The counters now, for `decided`."""
        return self._counters.raw()

    def counters(self) -> list[tuple[int, int]]:
        """(packets, bytes) of every slot since loading."""
        return self._counters.totals()

    def time(self, frame: bytes, repeat: int) -> int:
        """Mean ns of one run over `repeat` runs in the kernel, without system calls between them."""
        try:
            return bpf.test_run(self.program(), frame, repeat).duration_ns
        except bpf.BpfError as error:
            doing = f"timing a frame of {len(frame)} bytes"
            if error.errno == errno.EINVAL and len(frame) < MIN_FRAME_BYTES:
                doing += " (the kernel wants at least 14)"
            raise explain(error, doing) from error


def load_chain(
    bundle: Bundle, chain: str, cgroup_ids: tuple[int, ...] = (), device: int | None = None
) -> LoadedChain:
    """Load one chain of a bundle by name. `cgroup_ids`: of those that it asks about; `device`: ifindex of the
    one that gets what is sent to any, None for nowhere. KeyError when there is no such chain; the errors of
    `loader.load`."""
    found = next((c for c in bundle.manifest.chains if c.name == chain), None)
    if found is None:
        raise KeyError(chain)
    alone = Bundle(replace(bundle.manifest, chains=(found,)), bundle.members, bundle.digest)
    return LoadedChain(make(alone), found, cgroup_ids, device)


def _devices(chain: Chain) -> tuple[int, ...]:
    """Devices in a test run: numbers of none that is there, so that no copy is sent anywhere."""
    return tuple(NO_DEVICE + place for place in range(1, len(chain.devices) + 1))


def sets_of(chain: Chain) -> Mapping[str, int]:
    """Dynamic sets of a chain and how many prefixes of a family each holds."""
    return {m.set: m.max_entries for m in chain.maps if m.set is not None}


def _signed(value: int) -> int:
    return value - (1 << 32) if value & 1 << 31 else value
