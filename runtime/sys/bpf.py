"""bpf(2), one function a command. ctypes for syscall(2) and for the memory that attributes point to.

Knows how a command's attribute is filled and which descriptor comes back. Must not know policies, hooks or
bundles. Every failure is a `BpfError` with errno, command and object; nothing is retried but an interrupted
load. Source: include/uapi/linux/bpf.h and kernel/bpf/syscall.c.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import attrs
from .attrs import Command
from .fd import Fd

# __NR_bpf. Run on x86_64; the others from the kernel's tables, unistd_64.h and asm-generic/unistd.h.
_NUMBERS = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
}
_NUMBER = _NUMBERS.get(platform.machine())
_LOG_BYTES = 16 << 20
NOEXIST = 1  # BPF_NOEXIST
_GROWTH = 256  # bytes that a program may add to a packet in a test run


class BpfError(OSError):
    """bpf(2) failed. `command` is the enum's name, `object` what it was about, `log` the kernel's words."""

    def __init__(self, number: int, command: str, object_: str, log: str = "") -> None:
        super().__init__(number, os.strerror(number))
        self.command = command
        self.object = object_
        self.log = log

    @property
    def name(self) -> str:
        """Symbolic errno, such as EPERM."""
        return errno.errorcode.get(self.errno or 0, str(self.errno))

    def __str__(self) -> str:
        return f"BPF_{self.command} of {self.object}: {self.name} ({self.strerror})"


@dataclass(frozen=True)
class TestRun:
    """What BPF_PROG_TEST_RUN says: the program's return value (u32), the mean time of a run in ns, and packet
    and context as the program left them."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    value: int
    duration_ns: int
    data: bytes = b""
    context: bytes = b""


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]


def _call(command: Command, attr: bytes, what: str) -> tuple[int, bytes]:
    """One system call; the attribute as the kernel left it comes back too."""
    buffer = ctypes.create_string_buffer(attr, len(attr))
    return _call_in(command, buffer, what), buffer.raw


def _call_in(command: Command, buffer: ctypes.Array[ctypes.c_char], what: str) -> int:
    """One system call whose attribute lies in `buffer`, where the kernel leaves what it says, errors too."""
    if _NUMBER is None:
        raise BpfError(errno.ENOSYS, command.name, f"{what} on {platform.machine()}")
    while True:
        result = _syscall(_NUMBER, command.value, ctypes.addressof(buffer), len(buffer))
        if result >= 0:
            return int(result)
        code = ctypes.get_errno()
        if code == errno.EINTR or (code == errno.EAGAIN and command is Command.PROG_LOAD):
            continue
        raise BpfError(code, command.name, what)


def _memory(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, max(len(data), 1))


def _at(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def _name(name: str) -> bytes:
    """The kernel takes letters, digits, `_` and `.`, 15 bytes at most."""
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)
    return clean.encode()[: attrs.OBJ_NAME_LEN - 1]


def map_create(
    map_type: int,
    key_size: int,
    value_size: int,
    max_entries: int,
    flags: int = 0,
    name: str = "",
    inner: Fd | None = None,
    types: tuple[Fd, int, int] | None = None,
) -> Fd:
    """A new map; sizes in bytes. `inner`: for a map of maps, one of the shape of its elements; `types`: type
    information, and the numbers of the key's and the value's type in it."""
    btf, key_type, value_type = (types[0].number, *types[1:]) if types is not None else (0, 0, 0)
    attr = attrs.MAP_CREATE.pack(
        map_type=map_type,
        key_size=key_size,
        value_size=value_size,
        max_entries=max_entries,
        map_flags=flags,
        map_name=_name(name),
        inner_map_fd=inner.number if inner is not None else 0,
        btf_fd=btf,
        btf_key_type_id=key_type,
        btf_value_type_id=value_type,
    )
    return Fd(_call(Command.MAP_CREATE, attr, f"map {name}")[0], f"map {name}")


def map_update(map_: Fd, key: bytes, value: bytes, flags: int = 0) -> None:
    """Write one element. E2BIG or ENOSPC when the map is full, EEXIST with NOEXIST when there is one."""
    k, v = _memory(key), _memory(value)
    attr = attrs.MAP_ELEM.pack(map_fd=map_.number, key=_at(k), value=_at(v), flags=flags)
    _call(Command.MAP_UPDATE_ELEM, attr, map_.what)


def map_lookup(map_: Fd, key: bytes, value_bytes: int) -> bytes | None:
    """Read one element, or None when there is no such key. `value_bytes`: what the kernel will write, for
    per-CPU maps the size rounded up to 8 times the number of possible CPUs."""
    k, v = _memory(key), ctypes.create_string_buffer(value_bytes)
    try:
        _call(
            Command.MAP_LOOKUP_ELEM,
            attrs.MAP_ELEM.pack(map_fd=map_.number, key=_at(k), value=_at(v)),
            map_.what,
        )
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return v.raw


def map_delete(map_: Fd, key: bytes) -> bool:
    """Remove one element; False when it was not there."""
    k = _memory(key)
    try:
        _call(Command.MAP_DELETE_ELEM, attrs.MAP_ELEM.pack(map_fd=map_.number, key=_at(k)), map_.what)
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def map_update_batch(map_: Fd, keys: bytes, values: bytes, count: int) -> None:
    """Write `count` elements; keys and values lie end to end."""
    k, v = _memory(keys), _memory(values)
    attr = attrs.MAP_BATCH.pack(keys=_at(k), values=_at(v), count=count, map_fd=map_.number)
    _call(Command.MAP_UPDATE_BATCH, attr, map_.what)


def map_batches(
    map_: Fd, key_size: int, value_bytes: int, count: int, after: bytes | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """(keys, values) of all elements behind the key `after` (None: from the first), in the map's own order,
    end to end, at most `count` at a time. `after`: only for maps whose place in the order is a key (LPM
    tries; not hashes).
    """
    keys, values = (
        ctypes.create_string_buffer(key_size * count),
        ctypes.create_string_buffer(value_bytes * count),
    )
    place = ctypes.create_string_buffer(after, key_size) if after else ctypes.create_string_buffer(key_size)
    began, more = after is not None, True
    while more:
        attr = _memory(
            attrs.MAP_BATCH.pack(
                in_batch=_at(place) if began else 0,
                out_batch=_at(place),
                keys=_at(keys),
                values=_at(values),
                count=count,
                map_fd=map_.number,
            )
        )
        try:
            _call_in(Command.MAP_LOOKUP_BATCH, attr, map_.what)
        except BpfError as error:
            if error.errno != errno.ENOENT:  # ENOENT: the end was reached, and the last ones are there
                raise
            more = False
        found = attrs.MAP_BATCH.unpack(attr.raw)["count"]
        assert isinstance(found, int)
        yield keys.raw[: found * key_size], values.raw[: found * value_bytes]
        began = True


def map_items(map_: Fd, key_size: int, value_bytes: int, count: int = 4096) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each element, `count` at a time. Of a hash that changes meanwhile, an element that was
    there all the time is among them."""
    for keys, values in map_batches(map_, key_size, value_bytes, count):
        for i in range(len(keys) // key_size):
            yield keys[i * key_size : (i + 1) * key_size], values[i * value_bytes : (i + 1) * value_bytes]


class ArrayReader:
    """Reads all `count` values of an array at once, with memory and attribute made only once."""

    def __init__(self, map_: Fd, count: int, value_bytes: int) -> None:
        self._map = map_
        self._keys = ctypes.create_string_buffer(4 * count)
        self._values = ctypes.create_string_buffer(value_bytes * count)
        self._batch = ctypes.create_string_buffer(4)
        self._attr = attrs.MAP_BATCH.pack(
            out_batch=_at(self._batch),
            keys=_at(self._keys),
            values=_at(self._values),
            count=count,
            map_fd=map_.number,
        )

    def read(self) -> bytes:
        """The values, end to end in index order (`value_bytes` each)."""
        try:
            _call(Command.MAP_LOOKUP_BATCH, self._attr, self._map.what)
        except BpfError as error:
            if error.errno != errno.ENOENT:  # ENOENT: the end was reached, the values are there
                raise
        return self._values.raw


def map_freeze(map_: Fd) -> None:
    """From now on no system call changes the map."""
    _call(Command.MAP_FREEZE, attrs.FREEZE.pack(map_fd=map_.number), map_.what)


def wait_for_programs() -> None:
    """Return when every program run that was under way has ended. The kernel waits so on behalf of whoever
    changes a map of maps (maybe_wait_bpf_programs; Linux ≥ 4.20), so one is changed."""
    with map_create(attrs.MAP_TYPE_ARRAY, 4, 4, 1, 0, "inner") as inner:
        outer = map_create(attrs.MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1, 0, "wait", inner)
        with outer:
            map_update(outer, bytes(4), inner.number.to_bytes(4, "little"))


def btf_load(data: bytes, what: str) -> Fd:
    """Load type information. On failure `log` says what the kernel disliked."""
    d = _memory(data)
    try:
        number, _ = _call(Command.BTF_LOAD, attrs.BTF_LOAD.pack(btf=_at(d), btf_size=len(data)), what)
    except BpfError as error:
        if error.errno == errno.EPERM:
            raise
        log = ctypes.create_string_buffer(1 << 20)
        attr = attrs.BTF_LOAD.pack(
            btf=_at(d), btf_size=len(data), btf_log_buf=_at(log), btf_log_size=len(log), btf_log_level=1
        )
        try:
            number, _ = _call(Command.BTF_LOAD, attr, what)
        except BpfError as again:
            again.log = log.value.decode(errors="replace")
            raise again from None
    return Fd(number, what)


@dataclass(frozen=True)
class Program:
    """What BPF_PROG_LOAD takes. `func_info` and `line_info` are records of 8 and 16 bytes end to end."""

    name: str
    prog_type: int
    expected_attach_type: int
    insns: bytes
    license: str
    func_info: bytes = b""
    line_info: bytes = b""
    flags: int = 0


def prog_load(program: Program, btf: Fd | None, log_level: int = 0) -> tuple[Fd, str]:
    """Load and verify. First without a log, as loading is then faster; a refusal (other than EPERM) is
    repeated with one, and BpfError carries it."""
    what = f"program {program.name}"
    insns, license_ = _memory(program.insns), _memory(program.license.encode() + b"\0")
    functions, lines = _memory(program.func_info), _memory(program.line_info)
    values: dict[str, int | bytes | list[int]] = {
        "prog_type": program.prog_type,
        "insn_cnt": len(program.insns) // 8,
        "insns": _at(insns),
        "license": _at(license_),
        "prog_name": _name(program.name),
        "expected_attach_type": program.expected_attach_type,
        "prog_flags": program.flags,
    }
    if btf is not None and program.func_info:
        values |= {
            "prog_btf_fd": btf.number,
            "func_info_rec_size": 8,
            "func_info": _at(functions),
            "func_info_cnt": len(program.func_info) // 8,
        }
        if program.line_info:
            values |= {
                "line_info_rec_size": 16,
                "line_info": _at(lines),
                "line_info_cnt": len(program.line_info) // 16,
            }
    if not log_level:
        try:
            return Fd(_call(Command.PROG_LOAD, attrs.PROG_LOAD.pack(**values), what)[0], what), ""
        except BpfError as error:
            if error.errno == errno.EPERM:
                raise
    log = ctypes.create_string_buffer(_LOG_BYTES)
    values |= {"log_level": log_level or 1, "log_size": len(log), "log_buf": _at(log)}
    try:
        number, _ = _call(Command.PROG_LOAD, attrs.PROG_LOAD.pack(**values), what)
    except BpfError as error:
        error.log = log.value.decode(errors="replace")
        raise
    return Fd(number, what), log.value.decode(errors="replace")


def test_run(program: Fd, data: bytes, repeat: int = 1, context: bytes = b"", live: bool = False) -> TestRun:
    """Run an XDP or tc program over one frame. `context`: the program's argument, of which the kernel takes
    few members and wants the others zero (net/bpf/test_run.c, convert___skb_to_skb). `live`: an XDP program's
    verdict is done, too, and what it passes goes up the stack of the loopback device. EINVAL for frames under
    14 bytes or over a page."""
    d, c = _memory(data), _memory(context)
    data_out, context_out = _memory(bytes(len(data) + _GROWTH)), _memory(bytes(len(context)))
    attr = attrs.TEST_RUN.pack(
        prog_fd=program.number,
        data_size_in=len(data),
        data_in=_at(d),
        repeat=repeat,
        data_size_out=len(data_out),
        data_out=_at(data_out),
        ctx_size_in=len(context),
        ctx_in=_at(c) if context else 0,
        ctx_size_out=len(context),
        ctx_out=_at(context_out) if context else 0,
        flags=attrs.F_TEST_XDP_LIVE_FRAMES if live else 0,
    )
    _, raw = _call(Command.PROG_TEST_RUN, attr, program.what)
    out = attrs.TEST_RUN.unpack(raw)
    value, duration, size = (out[name] for name in ("retval", "duration", "data_size_out"))
    assert isinstance(value, int) and isinstance(duration, int) and isinstance(size, int)
    return TestRun(value, duration, data_out.raw[:size], context_out.raw[: len(context)])


test_run.__test__ = False  # type: ignore[attr-defined]


def pin(object_: Fd, path: str) -> None:
    """Give an object a name in a BPF file system; it lives as long as the name does."""
    p = _memory(os.fsencode(path) + b"\0")
    _call(
        Command.OBJ_PIN, attrs.OBJ.pack(pathname=_at(p), bpf_fd=object_.number), f"{object_.what} as {path}"
    )


def open_pin(path: str) -> Fd:
    """A descriptor of a pinned object. ENOENT when there is none."""
    p = _memory(os.fsencode(path) + b"\0")
    return Fd(_call(Command.OBJ_GET, attrs.OBJ.pack(pathname=_at(p)), path)[0], path)


def link_create(program: Fd, target: int, attach_type: int, flags: int, what: str) -> Fd:
    """Attach a program by a link. `target`: ifindex in the caller's network namespace, or a cgroup's
    descriptor; `what` names the place in messages."""
    attr = attrs.LINK_CREATE.pack(prog_fd=program.number, target=target, attach_type=attach_type, flags=flags)
    return Fd(_call(Command.LINK_CREATE, attr, what)[0], f"link at {what}")


def link_update(link: Fd, new: Fd, old: Fd) -> None:
    """Atomically replace a link's program, if it is still `old` (EPERM if not, ENOLINK when the device is
    gone)."""
    attr = attrs.LINK_UPDATE.pack(
        link_fd=link.number, new_prog_fd=new.number, flags=attrs.F_REPLACE, old_prog_fd=old.number
    )
    _call(Command.LINK_UPDATE, attr, link.what)


def link_detach(link: Fd) -> None:
    """Detach now, although descriptors or pins of the link remain."""
    _call(Command.LINK_DETACH, attrs.LINK_DETACH.pack(link_fd=link.number), link.what)


def _info(object_: Fd, size: int) -> bytes:
    out = ctypes.create_string_buffer(size)
    attr = attrs.GET_INFO.pack(bpf_fd=object_.number, info_len=size, info=_at(out))
    _call(Command.OBJ_GET_INFO_BY_FD, attr, object_.what)
    return out.raw


def stats_enable() -> Fd:
    """Let the kernel time every run of every program (BPF_STATS_RUN_TIME) until the descriptor is closed."""
    return Fd(_call(Command.ENABLE_STATS, attrs.ENABLE_STATS.pack(), "run-time statistics")[0], "statistics")


def prog_stats(program: Fd) -> tuple[int, int]:
    """(ns of all timed runs, how many runs) of a program."""
    told = attrs.PROG_STATS.unpack(_info(program, attrs.PROG_STATS.size))
    ns, runs = told["run_time_ns"], told["run_cnt"]
    assert isinstance(ns, int) and isinstance(runs, int)
    return ns, runs


@dataclass(frozen=True)
class LinkInfo:
    """`type` is enum bpf_link_type; `target`: ifindex (0 when the device is gone) or cgroup id."""

    type: int
    id: int
    prog_id: int
    target: int


def link_info(link: Fd) -> LinkInfo:
    """What a link joins."""
    raw = attrs.LINK_INFO.unpack(_info(link, attrs.LINK_INFO.size + 8))
    number = {k: v for k, v in raw.items() if isinstance(v, int)}
    target = number["target"]
    if number["type"] == attrs.LINK_TYPE_CGROUP:
        target |= number["target_high"] << 32
    return LinkInfo(number["type"], number["id"], number["prog_id"], target)


@dataclass(frozen=True)
class MapInfo:
    """The shape of a map; sizes in bytes."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


def map_info(map_: Fd) -> MapInfo:
    """The shape of a map."""
    raw = attrs.MAP_INFO.unpack(_info(map_, attrs.MAP_INFO.size))
    n = {k: v for k, v in raw.items() if isinstance(v, int)}
    return MapInfo(n["type"], n["id"], n["key_size"], n["value_size"], n["max_entries"], n["map_flags"])


def map_bytes(map_: Fd) -> int:
    """Memory that the kernel charges for a map."""
    told = Path(f"/proc/self/fdinfo/{map_.number}").read_text().splitlines()
    return next((int(line.split()[1]) for line in told if line.startswith("memlock:")), 0)


def prog_id(program: Fd) -> int:
    """The kernel's number of a program."""
    value = attrs.PROG_INFO.unpack(_info(program, attrs.PROG_INFO.size))["id"]
    assert isinstance(value, int)
    return value
