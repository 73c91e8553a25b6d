"""Network namespaces by name: setns(2) and unshare(2).

Knows /run/netns as ip-netns(8) keeps it. Entering changes only the network namespace of the calling thread,
so /sys/fs/bpf stays what it was (unlike `ip netns exec`, which mounts a fresh /sys).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NetnsError(OSError):
    """A namespace could not be entered; errno, and its name in `filename`."""


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise NetnsError(number, os.strerror(number), what)


@contextmanager
def inside(name: str | None) -> Iterator[None]:
    """Run the block in the namespace `name` (None: where the caller is). NetnsError when it does not exist
    (ENOENT) or may not be entered (EPERM)."""
    if name is None:
        yield
        return
    if "/" in name or name in ("", ".", ".."):
        raise NetnsError(errno.ENOENT, "no such network namespace", name)
    try:
        target = os.open(DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NetnsError(error.errno, error.strerror, name) from None
    try:
        with _entered(target, name):
            yield
    finally:
        os.close(target)


@contextmanager
def _entered(target: int, what: str) -> Iterator[None]:
    own = _current()
    try:
        _check(_libc.setns(target, _CLONE_NEWNET), what)
        try:
            yield
        finally:
            _check(_libc.setns(own, _CLONE_NEWNET), "the namespace left before")
    finally:
        os.close(own)


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Nameless:
    """A new network namespace to go into more than once. It lives until `close`, or as long as something that
    was made in it."""

    def __init__(self) -> None:
        with fresh():
            self._fd = _current()

    def inside(self) -> AbstractContextManager[None]:
        """Run the block in the namespace."""
        return _entered(self._fd, "a namespace without a name")

    def close(self) -> None:
        """Let it go."""
        os.close(self._fd)

    def __enter__(self) -> Nameless:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def fresh() -> Iterator[None]:
    """Run the block in a new network namespace, which ends when nothing made in it is left."""
    own = _current()
    try:
        unshare_network()
        try:
            yield
        finally:
            _check(_libc.setns(own, _CLONE_NEWNET), "the namespace left before")
    finally:
        os.close(own)


def unshare_network() -> None:
    """Put the calling process into a fresh network namespace that ends with it."""
    _check(_libc.unshare(_CLONE_NEWNET), "a fresh network namespace")


def inode(name: str | None) -> int:
    """The number that tells namespaces apart while they live. NetnsError when there is no such name."""
    try:
        return (DIRECTORY / name if name else Path("/proc/thread-self/ns/net")).stat().st_ino
    except OSError as error:
        raise NetnsError(error.errno, error.strerror, name) from None


def everywhere() -> Iterator[None]:
    """Go into each namespace that has a process or a name, one after the other; between two steps of the loop
    the caller is in one of them. Those that end meanwhile, or may not be entered, are passed over."""
    seen: set[int] = set()
    for path in (*Path("/proc").glob("[0-9]*/ns/net"), *DIRECTORY.glob("*")):
        try:
            target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            number = os.fstat(target).st_ino
            if number in seen:
                continue
            seen.add(number)
            with _entered(target, str(path)):
                yield
        except NetnsError as error:
            if error.filename != str(path):
                raise
        finally:
            os.close(target)
