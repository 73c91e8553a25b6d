"""From a failed system call to an error that helps: capabilities, missing features, occupied hooks.

Looks at the machine only after something failed.
"""

from __future__ import annotations

import errno
from pathlib import Path

from . import features
from .errors import FeatureMissing, LockgateError, NoPrivileges, SystemRefused
from .sys.bpf import BpfError

# include/uapi/linux/capability.h
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}


def missing_capabilities() -> tuple[str, ...]:
    """Names of the needed capabilities that this process lacks. CAP_SYS_ADMIN stands in for CAP_BPF and
    CAP_PERFMON, so it is named only beside them."""
    held = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
    has = {name for name, bit in _CAPABILITIES.items() if held >> bit & 1}
    if "CAP_SYS_ADMIN" in has:
        has |= {"CAP_BPF", "CAP_PERFMON"}
    return tuple(n for n in ("CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON") if n not in has)


def explain(error: BpfError, doing: str, feature: str | None = None) -> LockgateError:
    """The failure behind a BpfError. `doing` completes "not permitted: …"; `feature` names the row of the
    feature table that the call depends on."""
    if error.errno == errno.EPERM:
        missing = missing_capabilities()
        if missing:
            return NoPrivileges(doing, missing)
    if feature is not None and error.errno != errno.EPERM and not features.present(feature):
        row = features.ALL[feature]
        return FeatureMissing(row.title, row.min_kernel, features.running_kernel())
    help_: tuple[str, ...] = ()
    if error.errno == errno.ENOMEM:
        help_ = ("raise the memory limit: ulimit -l, or the cgroup's memory.max",)
    return SystemRefused(f"{doing} failed: {error.name}", (str(error),), help_, error.log)
