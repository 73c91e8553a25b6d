"""Runs a connect chain on real socket calls: the kernel cannot test-run programs of this kind.

A throw-away cgroup gets the chain's programs by links, and below it one for each cgroup that the chain asks
about; a forked child enters it, and a network namespace of its own, and makes the calls, each from the cgroup
that it is to come from. Whether a call was let pass is what the deciding rule's counter says; its errno
is for the caller to judge, since the network has its own answers (EINPROGRESS, ENETUNREACH, …). Protocols
that have no hook (raw sockets) cannot be asked; ICMP is asked by an unprivileged ping socket. Nothing is left
behind, whatever happens.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lockgate.stdlib_bpf.decode.sock_addr import AF_INET, SocketCall
from lockgate.stdlib_bpf.manifest import Function

from . import attach, cgroups
from .bundle import Bundle
from .errors import NoPrivileges, SystemRefused
from .plan import ATTACH_TYPES, HookPoint
from .refusal import missing_capabilities
from .sys import netns
from .sys.fd import Fd
from .sys.link import loopback_up
from .testrun import LoadedChain, load_chain

REQUEST = struct.Struct("<BBHHIH16s")  # sendmsg?, family, protocol, port, user id, cgroup, address
ANSWER = struct.Struct("<i")
_KINDS = {socket.IPPROTO_TCP: socket.SOCK_STREAM}
_sequence = itertools.count()


@dataclass(frozen=True)
class Called:
    """What became of a call. `verdict`: "allow" when no program ran, and then `slot` is None (the kernel
    refused the call before, and that is not the policy's doing); `passed` as in `testrun.Ran`."""

    verdict: str
    errno: int
    slot: int | None
    passed: tuple[int, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the policy let the call go on, wherever it went."""
        return self.verdict != "reject"

    @property
    def errno_name(self) -> str:
        """Symbolic errno, "" for success."""
        return errno.errorcode.get(self.errno, str(self.errno)) if self.errno else ""


class ConnectRunner:
    """Context manager over one connect chain of a bundle. `chain` is the loaded chain, for `set_live` and
    `counters`."""

    def __init__(self, bundle: Bundle, chain: str) -> None:
        self._bundle, self._name = bundle, chain
        self._stack = ExitStack()

    def __enter__(self) -> ConnectRunner:
        with ExitStack() as stack:
            self._cgroup = f"lg-{os.getpid()}-{next(_sequence)}"
            home = _make_cgroup(cgroups.mount() / self._cgroup, stack)
            asked = next((c.cgroups for c in self._bundle.manifest.chains if c.name == self._name), ())
            # By their places; a path sorts behind those above it.
            directories = [home, *(_make_cgroup(home / path.lstrip("/"), stack) for path in asked)]
            ids = tuple(directory.stat().st_ino for directory in directories[1:])
            self.chain: LoadedChain = stack.enter_context(load_chain(self._bundle, self._name, ids))
            for i, function in enumerate(self.chain.chain.functions):
                stack.enter_context(self._attach(function, self.chain.program(i)))
            self._socket = _start_child(directories, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, calls: Sequence[SocketCall], epoch_ns: int = 0) -> list[Called]:
        """Make the calls one after the other. `epoch_ns`: what the programs' clock says at time 0; 0 leaves
        them the kernel's."""
        out = []
        for call in calls:
            self.chain.set_clock(call.time_ns + epoch_ns if epoch_ns else 0)
            before = self.chain.counters_raw()
            number = self.call(call)
            after = self.chain.counters_raw()
            slot, passed = self.chain.decided(before, after) if before != after else (None, ())
            verdict = "allow" if slot is None else self.chain.chain.slots[slot].verdict or ""
            out.append(Called(verdict, number, slot, passed))
        return out

    def call(self, call: SocketCall) -> int:
        """Make one call; 0 or its errno."""
        address = call.address.to_bytes(4 if call.family == AF_INET else 16).ljust(16, b"\0")
        sendmsg = call.operation == "sendmsg"
        self._socket.sendall(
            REQUEST.pack(sendmsg, call.family, call.protocol, call.port, call.uid, call.cgroup, address)
        )
        answer = self._socket.recv(ANSWER.size)
        if len(answer) != ANSWER.size:
            raise SystemRefused("the process that makes the socket calls has died")
        return int(ANSWER.unpack(answer)[0])

    @contextmanager
    def beside(self, programs: Sequence[Fd]) -> Iterator[None]:
        """Other programs behind the chain's, one for each of its functions."""
        with ExitStack() as stack:
            for function, program in zip(self.chain.chain.functions, programs, strict=True):
                stack.enter_context(self._attach(function, program))
            yield

    def _attach(self, function: Function, program: Fd) -> Fd:
        kind, name = ATTACH_TYPES[function.link_attach_type]
        point = HookPoint(kind, name, function.link_attach_type, self._cgroup)
        return attach.KINDS[kind].attach(point, program, "")[0]


def _make_cgroup(directory: Path, stack: ExitStack) -> Path:
    """Make a cgroup, and those around it that are not there yet, for as long as the stack lives."""
    if not directory.parent.is_dir():
        _make_cgroup(directory.parent, stack)
    try:
        directory.mkdir()
    except PermissionError:
        raise NoPrivileges("making a cgroup", missing_capabilities()) from None
    except OSError as error:
        raise SystemRefused(f"making cgroup `{directory}` failed: {error.strerror}") from error
    stack.callback(_remove_cgroup, directory)
    return directory


def _remove_cgroup(directory: Path) -> None:
    """The kernel may need a moment to notice that the last process is gone."""
    for _ in range(100):
        try:
            directory.rmdir()
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.01)
    directory.rmdir()


def _start_child(directories: Sequence[Path], stack: ExitStack) -> socket.socket:
    """Fork; the parent gets its end of a socket pair. The child says 0 when it is ready, an errno if not."""
    ours, theirs = socket.socketpair()
    stack.enter_context(ours)
    pid = os.fork()
    if pid == 0:  # never returns into the caller's stack
        status = 1
        try:
            ours.close()
            _child(directories, theirs)
            status = 0
        except BaseException:
            pass
        finally:
            os._exit(status)
    theirs.close()
    stack.callback(_reap, pid)
    answer = ours.recv(ANSWER.size)
    number = ANSWER.unpack(answer)[0] if len(answer) == ANSWER.size else errno.ECHILD
    if number in (errno.EPERM, errno.EACCES):
        raise NoPrivileges("making a network namespace", (*missing_capabilities(), "CAP_SYS_ADMIN"))
    if number:
        raise SystemRefused(
            f"the process for socket calls did not start: {errno.errorcode.get(number, number)}"
        )
    return ours


def _reap(pid: int) -> None:
    """End the child and wait until its cgroup is empty."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _child(directories: Sequence[Path], channel: socket.socket) -> None:
    """Enter cgroup and namespace, then answer requests until the parent closes its end. `directories`: of the
    cgroups by their places."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _enter(directories[0])
        netns.unshare_network()
        loopback_up()
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
    except OSError as error:
        channel.sendall(ANSWER.pack(error.errno or errno.EIO))
        return
    channel.sendall(ANSWER.pack(0))
    here = 0
    while len(request := channel.recv(REQUEST.size)) == REQUEST.size:
        sendmsg, family, protocol, port, uid, cgroup, address = REQUEST.unpack(request)
        if cgroup != here:  # entering one takes the kernel milliseconds
            _enter(directories[cgroup])
            here = cgroup
        channel.sendall(ANSWER.pack(_call(sendmsg, family, protocol, port, uid, address)))


def _enter(cgroup: Path) -> None:
    (cgroup / "cgroup.procs").write_text("0")


def _call(sendmsg: int, family: int, protocol: int, port: int, uid: int, raw: bytes) -> int:
    """Make one call; 0 or its errno. Only the real user id changes, which is the one that programs see."""
    address = str(ipaddress.IPv4Address(raw[:4])) if family == AF_INET else str(ipaddress.IPv6Address(raw))
    kind = _KINDS.get(protocol, socket.SOCK_DGRAM)
    try:
        os.setresuid(uid, -1, -1)
        with socket.socket(family, kind, protocol) as s:
            s.setblocking(False)
            if protocol == socket.IPPROTO_UDP:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            operation: Callable[[tuple[str, int]], object] = (
                (lambda where: s.sendto(b"x", where)) if sendmsg else s.connect
            )
            operation((address, port))
    except OSError as error:
        return error.errno or errno.EIO
    return 0
