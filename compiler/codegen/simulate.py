"""Native simulation: packets in, decisions out, through the generated code on this machine."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.decode.sock_addr import AF_INET, SocketCall
from lockgate.stdlib_bpf.outcome import SELF, Outcome, Sent
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state import cgroups, counters, devices
from lockgate.stdlib_bpf.state.counters import DECIDING
from lockgate.stdlib_bpf.state.endpoints import ADDRESSES, INTERFACES, VERSION, Endpoints, address_key
from lockgate.stdlib_bpf.state.flows import FLOWS, OPENINGS, Flow, Key, unpack
from lockgate.stdlib_bpf.state.live import NEVER
from lockgate.stdlib_bpf.tables.base import MapImage

from ..decision import Decision, decider
from .acts import CLONE_REDIRECT, REDIRECT_MAP, REDIRECT_NEIGH, REDIRECT_PEER, Note
from .llvm import Worker
from .module import DataSection, Module
from .native import Answer, Call, NativeSpec, Range
from .shim import render_native

SELF_IFINDEX = 2  # of the device that a simulated packet is at; those that rules name follow
CGROUP = 1  # id of every cgroup that no rule names; those that rules name follow
EPOCH_NS = 1_000_000_000  # what a program's clock says at time 0: not 0, which is the kernel's own clock
Packet = bytes | Frame | SocketCall


class NativeChain:
    """One chain loaded into a worker. Close it, or use `with`."""

    def __init__(self, worker: Worker, module: Module) -> None:
        self.module, self.hook = module, hooks.ALL[module.hook]
        self._worker = worker
        images = dict(module.images)
        sets = tuple(
            (m.name, _ranges(images.get(m.name), m.key), _key_offset(m.key), m.key_size - _key_offset(m.key))
            for m in module.maps
            if m.role in ("table", "set")
        )
        on_packets = self.hook.decoder == "frame"
        spec = NativeSpec(
            sets=sets,
            states=tuple(
                (m.name, m.key_size, m.value_size, m.key == "index")
                for m in module.maps
                if m.role in ("state", "endpoints", "flows", "expiry")
            ),
            data=tuple((d.name, self._numbered(d)) for d in module.data),
            data_at=self.hook.context.offset("data") if on_packets else None,
            slots=len(module.slots),
            live=frozenset(m.name for m in module.maps if m.set is not None),
            mark_at=self.hook.context.offset("mark") if "mark" in self.hook.context.by_name else None,
        )
        self._number = worker.request("load", render_native(module), spec)
        self._functions = {f.point: f.name for f in module.functions}

    def __enter__(self) -> NativeChain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the program."""
        self._worker.request("unload", self._number)

    def set_live(self, contents: Mapping[str, tuple[IntervalSet, IntervalSet]]) -> None:
        """Fill the dynamic sets: name → (IPv4 addresses, IPv6 addresses)."""
        for m in self.module.maps:
            if m.set is not None and m.set in contents:
                self.fill(m.name, _for_ever(contents[m.set][m.key == "lpm128"]))

    def know(self, endpoints: Endpoints) -> None:
        """Who has which address and interface, from now on."""
        count = len(self.module.selections)
        addresses = {address_key(a): r.pack(count) for a, r in endpoints.addresses.items()}
        interfaces = {i.to_bytes(4, "little"): r.pack(count) for i, r in endpoints.interfaces.items()}
        version = {bytes(4): endpoints.version.to_bytes(8, "little")}
        for name, contents in ((ADDRESSES, addresses), (INTERFACES, interfaces), (VERSION, version)):
            self._worker.request("write", self._number, name, contents)

    def flows(self) -> dict[Key, Flow]:
        """The flows that it knows."""
        found: dict[Key, Flow] = {}
        for table in (FLOWS, OPENINGS):
            held = self._worker.request("read", self._number, table)
            found |= dict(unpack(key, value, table == FLOWS) for key, value in held.items())
        return found

    def forget(self, roles: tuple[str, ...] = ("state", "flows", "expiry")) -> None:
        """Empty every map that it writes, or those of some roles."""
        for m in self.module.maps:
            if m.role in roles:
                self._worker.request("write", self._number, m.name, {})

    def fill(self, name: str, ranges: Sequence[Range]) -> None:
        """Fill the dynamic set's map `name` with sorted, disjoint ranges and their ends in ns."""
        self._worker.request("fill", self._number, name, tuple(ranges))

    def run(self, packets: Sequence[Packet]) -> list[Decision]:
        """Decide packets, in order."""
        return [decision for decision, _ in self.observe(packets)]

    def observe(self, packets: Sequence[Packet]) -> list[tuple[Decision, Outcome]]:
        """Decide packets, in order, and say what became of them."""
        answers: list[Answer] = []
        for function, batch in groupby(packets, self._function):
            answers += self._worker.request("run", self._number, function, [self._call(p) for p in batch])
        return [
            (self._decision(answer), self._outcome(packet, answer))
            for packet, answer in zip(packets, answers, strict=True)
        ]

    def counters(self) -> list[tuple[int, int]]:
        """(packets, bytes) of every slot since loading."""
        counted: list[tuple[int, int]] = self._worker.request("counters", self._number)
        return counted

    def _decision(self, answer: Answer) -> Decision:
        """Who decided, by what was counted, in order."""
        slots = self.module.slots
        *passed, last = [s for s in answer.slots if slots[s].kind in DECIDING]
        rule = decider(slots[last].kind, last)
        return Decision(slots[last].verdict or "", rule, tuple(s - counters.FIRST_RULE for s in passed))

    def _outcome(self, packet: Packet, answer: Answer) -> Outcome:
        if isinstance(packet, SocketCall):
            rejected = answer.value == self.hook.verdicts["reject"]
            number = (answer.errno or errno.EPERM) if rejected else 0
            return Outcome(answer.value, errno=number, proxy=_proxy(packet, answer.context))
        frame = packet.data if isinstance(packet, Frame) else packet
        sent = [self._sent(note) for note in answer.notes if note[0] != CLONE_REDIRECT]
        copies = tuple(self._sent(note) for note in answer.notes if note[0] == CLONE_REDIRECT)
        after = frame if answer.frame is None else answer.frame
        return Outcome(answer.value, after, answer.mark, sent[-1] if sent else None, copies)

    def _sent(self, note: Note) -> Sent:
        helper, number, flags = note
        way = {REDIRECT_PEER: "peer", REDIRECT_NEIGH: "neighbour"}.get(
            helper, "ingress" if flags & 1 and helper != REDIRECT_MAP else "egress"
        )
        place = number if helper == REDIRECT_MAP else number - SELF_IFINDEX - 1
        return SELF if place < 0 else self.module.devices[place], way

    def _numbered(self, section: DataSection) -> bytes:
        """An in-place table; what rules name has numbers behind SELF_IFINDEX and CGROUP."""
        match section.name:
            case devices.DEVICES:
                return devices.pack([SELF_IFINDEX + 1 + i for i in range(len(self.module.devices))])
            case cgroups.CGROUPS:
                return cgroups.pack([CGROUP + 1 + i for i in range(len(self.module.cgroups))])
        return section.data

    def _around(self, call: SocketCall) -> tuple[int, ...]:
        """Ids of the cgroups that the process of a call is in, the root's first."""
        named = (cgroups.ROOT, *self.module.cgroups)
        ids = {path: CGROUP + place for place, path in enumerate(named)}
        return tuple(ids.get(path, CGROUP) for path in cgroups.lineage(named[call.cgroup]))

    def _function(self, packet: Packet) -> str:
        if isinstance(packet, SocketCall):
            return self._functions[f"{packet.operation}{4 if packet.family == AF_INET else 6}"]
        point = packet.point if isinstance(packet, Frame) else ""
        return self._functions.get(point, self.module.functions[0].name)

    def _call(self, packet: Packet) -> Call:
        if isinstance(packet, SocketCall):
            clock_ns, around = packet.time_ns + EPOCH_NS, self._around(packet)
            return Call(socket_context(packet), clock_ns=clock_ns, uid=packet.uid, cgroups=around)
        frame = packet if isinstance(packet, Frame) else Frame(packet)
        if self.hook.context is hooks.ALL["tc"].context:
            return Call(packet_context(frame), frame.data, frame.linear, frame.time_ns + EPOCH_NS)
        context = self.hook.context.pack(ingress_ifindex=_arrival(frame))
        return Call(context, frame.data, frame.first_buffer, frame.time_ns + EPOCH_NS)


def _arrival(frame: Frame) -> int:
    """Number of the interface that a frame arrived on."""
    return 0 if frame.iif is None else SELF_IFINDEX + frame.iif


def packet_context(frame: Frame) -> bytes:
    """struct __sk_buff as the kernel shows it, but for where the packet lies."""
    return hooks.ALL["tc"].context.pack(
        len=len(frame.data),
        vlan_present=frame.vlan_tci is not None,
        vlan_tci=frame.vlan_tci or 0,
        mark=frame.mark,
        ifindex=frame.ifindex or SELF_IFINDEX,
        ingress_ifindex=_arrival(frame),
        gso_segs=0 if frame.segments == 1 else frame.segments,
    )


def socket_context(call: SocketCall) -> bytes:
    """struct bpf_sock_addr as the kernel fills it: addresses and port in network order, and a socket."""
    context = hooks.ALL["connect"].context
    port = int.from_bytes(call.port.to_bytes(2), "little")
    width = 4 if call.family == AF_INET else 16
    address = {"user_ip4" if width == 4 else "user_ip6": call.address.to_bytes(width)}
    return context.pack(
        user_family=call.family, family=call.family, user_port=port, protocol=call.protocol, sk=1, **address
    )


def _proxy(call: SocketCall, after: bytes) -> int:
    """The port of the local proxy that a call was sent to: 0 when it was left alone, -1 when it went
    anywhere else."""
    if after == socket_context(call):
        return 0
    port = struct.unpack_from(">H", after, hooks.ALL["connect"].context.offset("user_port"))[0]
    mapped = call.family != AF_INET and call.address >> 32 == 0xFFFF
    local = 0xFFFF_7F00_0001 if mapped else 0x7F00_0001 if call.family == AF_INET else 1
    sent = socket_context(replace(call, address=local, port=port))
    return port if after == sent else -1


def _key_offset(key: str) -> int:
    return 4 if key.startswith("lpm") else 0


def _ranges(image: MapImage | None, key: str) -> tuple[Range, ...]:
    """What a map holds, read back from its image: prefixes or single values as sorted ranges."""
    if image is None:
        return ()
    size, ranges = image.spec.key_size, []
    for at in range(0, size * image.count, size):
        entry = image.keys[at : at + size]
        if key.startswith("lpm"):
            host_bits = (size - 4) * 8 - int.from_bytes(entry[:4], "little")
            low = int.from_bytes(entry[4:])
            ranges.append((low, low + (1 << host_bits) - 1))
        else:
            value = int.from_bytes(entry)
            ranges.append((value, value))
    return _for_ever(IntervalSet.from_ranges(ranges))


def _for_ever(values: IntervalSet) -> tuple[Range, ...]:
    return tuple((low, high, NEVER) for low, high in values.ranges)
