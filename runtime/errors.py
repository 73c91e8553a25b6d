"""What can go wrong between a bundle file and the kernel.

    LockgateError                 base: code, name, message, notes, help, full log
      VerifierRejected      E0801  the kernel's verifier refused a program
      NoPrivileges          E0901  capabilities are missing
      NoBpfFilesystem       E0902  no BPF file system where the pins should go
      InterfaceMissing      E0903  no such interface or network namespace
      BundleCorrupt         E0904  a part of the bundle is not what its digest says
      BundleTruncated       E0905  the end of the bundle is missing
      BundleForeign         E0906  not a bundle, or of another version
      CgroupMissing         E0907  no such cgroup
      FeatureMissing        E0908  the kernel is too old or built without something
      HookOccupied          E0909  another XDP program is attached
      NotLoaded             E0910  no policy of this name is loaded
      SetError              E0911  unknown set, full set, or bad prefix
      SystemRefused         E0912  the kernel refused something for a reason of its own
      BackendError          E0913  unknown service or backend, one that is there already, or no room
      InventoryError        E0914  an inventory that cannot be used, or none where one is needed

Errors are values with facts; `render` and `as_json` give them a form. Knows neither terminals nor exit codes,
apart from the class attribute `exit_code` (architecture §4: 3 = kernel or system refused, 2 = broken input).
"""

# The names say the condition (`NotLoaded`), the base class says that they are errors.
# ruff: noqa: N818

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

UNCHANGED = "nothing was changed"


class LockgateError(Exception):
    """Base of all. `message` stands alone on one line; `notes` say why it matters, `help` what to do."""

    code = "E0900"
    name = "runtime"
    exit_code = 3

    def __init__(
        self, message: str, notes: Iterable[str] = (), help: Iterable[str] = (), log: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.notes = tuple(notes)
        self.help = tuple(help)
        self.log = log

    def with_notes(self, *notes: str) -> LockgateError:
        """The same error, knowing more (what is still attached, say)."""
        self.notes = (*self.notes, *(n for n in notes if n not in self.notes))
        return self


@dataclass(frozen=True)
class PolicyLine:
    """Where the refused instruction comes from: `rule` is the rule's name or FILE:LINE, None for code that
    belongs to no rule; `text` the line itself when the object carries it."""

    file: str
    line: int
    text: str = ""
    rule: str | None = None


class VerifierRejected(LockgateError):
    """The kernel's verifier refused a program. `place` is the policy line of the refused instruction."""

    code, name = "E0801", "verifier-refused"

    def __init__(self, chain: str, function: str, log: str, place: PolicyLine | None, telling: str) -> None:
        self.chain, self.function, self.place = chain, function, place
        where = ""
        if place is not None:
            where = f" at rule `{place.rule}`" if place.rule else f" at {place.file}:{place.line}"
        notes = []
        if place is not None:
            shown = f": `{place.text}`" if place.text else ""
            notes.append(f"the refused instruction comes from {place.file}:{place.line}{shown}")
        notes.append(f"the verifier says: {telling}")
        dropped = max(0, len(log.splitlines()) - 1)
        if dropped:
            notes.append(f"{dropped} more lines of its log: `--full-log FILE`")
        super().__init__(
            f"the kernel's verifier refused `{function}` of `{chain}`{where}",
            notes,
            ("this is a bug in lockgate or a limit of this kernel: please report it with the full log",),
            log,
        )


class NoPrivileges(LockgateError):
    """Capabilities are missing; `missing` names them."""

    code, name = "E0901", "no-privileges"

    def __init__(self, doing: str, missing: Iterable[str]) -> None:
        self.missing = tuple(missing)
        names = ", ".join(self.missing) or "CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"
        super().__init__(
            f"not permitted: {doing}",
            (f"missing capabilities: {names}",),
            (
                "run as root, or grant CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (all of them are part of "
                "CAP_SYS_ADMIN); entering another network namespace needs CAP_SYS_ADMIN",
            ),
        )


class NoBpfFilesystem(LockgateError):
    """No BPF file system at `path`."""

    code, name = "E0902", "no-bpf-filesystem"

    def __init__(self, path: str, mounted: Iterable[str]) -> None:
        others = tuple(mounted)
        help_ = [f"mount one: mount -t bpf bpf {path}"]
        if others:
            help_.append(f"or use the one that is mounted: --bpffs {others[0]}")
        super().__init__(
            f"no BPF file system is mounted at `{path}`",
            ("a policy outlives the command by names in that file system",),
            help_,
        )


class InterfaceMissing(LockgateError):
    """No such interface, or no such network namespace."""

    code, name = "E0903", "no-such-interface"

    def __init__(self, interface: str, netns: str | None, existing: Iterable[str]) -> None:
        self.interface, self.netns = interface, netns
        where = f" in network namespace `{netns}`" if netns else ""
        super().__init__(
            f"there is no interface `{interface}`{where}",
            (),
            _alternatives(interface, existing, "interfaces"),
        )

    @staticmethod
    def namespace(netns: str, existing: Iterable[str]) -> InterfaceMissing:
        """The namespace itself is missing."""
        error = InterfaceMissing("", netns, ())
        error.message = f"there is no network namespace `{netns}`"
        error.args = (error.message,)
        error.help = _alternatives(netns, existing, "network namespaces")
        return error

    @staticmethod
    def none_fits(pattern: str, netns: str | None, existing: Iterable[str]) -> InterfaceMissing:
        """No interface fits a pattern."""
        error = InterfaceMissing(pattern, netns, existing)
        error.message = error.message.replace("there is no interface", "no interface fits")
        error.args = (error.message,)
        return error


class BundleCorrupt(LockgateError):
    """A member is missing or differs from its digest."""

    code, name, exit_code = "E0904", "corrupt-bundle", 2

    def __init__(self, file: str, what: str) -> None:
        super().__init__(
            f"`{file}` is damaged: {what}",
            (),
            ("build the bundle again, or copy it again from where it was built",),
        )


class BundleTruncated(LockgateError):
    """The file ends too early."""

    code, name, exit_code = "E0905", "truncated-bundle", 2

    def __init__(self, file: str, size: int) -> None:
        super().__init__(
            f"`{file}` ends too early",
            (f"it has {size} bytes and no directory of its members at the end",),
            ("copy it again from where it was built: a transfer was cut off",),
        )


class BundleForeign(LockgateError):
    """Not a bundle, or of a version this lockgate does not read."""

    code, name, exit_code = "E0906", "not-a-bundle", 2

    def __init__(self, file: str, what: str) -> None:
        super().__init__(
            f"`{file}` cannot be used: {what}", (), ("`lockgate build POLICY.gate` makes a bundle",)
        )


class CgroupMissing(LockgateError):
    """No such cgroup, or no cgroup2 hierarchy at all."""

    code, name = "E0907", "no-such-cgroup"

    def __init__(self, path: str, mount: str | None, existing: Iterable[str]) -> None:
        if mount is None:
            super().__init__(
                "no cgroup2 hierarchy is mounted",
                ("policies at connect attach to cgroups of version 2",),
                ("mount one: mount -t cgroup2 cgroup2 /sys/fs/cgroup",),
            )
        else:
            super().__init__(
                f"there is no cgroup `{path}` below `{mount}`", (), _alternatives(path, existing, "cgroups")
            )


class FeatureMissing(LockgateError):
    """The kernel lacks something that came with version `min_kernel`."""

    code, name = "E0908", "kernel-feature-missing"

    def __init__(self, feature: str, min_kernel: str, running: str) -> None:
        self.feature = feature
        super().__init__(
            f"this kernel has no {feature}: it came with Linux {min_kernel}, this is {running}",
            (),
            (f"use Linux {min_kernel} or newer, or one built with it",),
        )


class HookOccupied(LockgateError):
    """An interface has room for one XDP program, and it is taken."""

    code, name = "E0909", "hook-occupied"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"another XDP program is attached to `{place}`",
            ("an interface takes one XDP program; lockgate does not evict what it has not attached",),
            (
                "see what it is with `bpftool net show`, and detach it: "
                f"ip link set dev {place.rpartition('/')[2]} xdp off, or remove its link",
            ),
        )


class NotLoaded(LockgateError):
    """No policy of that name is loaded."""

    code, name = "E0910", "not-loaded"

    def __init__(self, policy: str, loaded: Iterable[str]) -> None:
        super().__init__(
            f"no policy `{policy}` is loaded", (), _alternatives(policy, loaded, "loaded policies")
        )


class SetError(LockgateError):
    """Unknown set, full set, or a prefix that cannot be a member."""

    code, name = "E0911", "set"
    exit_code = 2

    @classmethod
    def not_one(cls, name: str, having: Sequence[str], existing: Sequence[str]) -> SetError:
        """No policy has a set of that name, or several (`having`); `existing`: names of all sets."""
        if having:
            remedy = f"add --policy, one of: {', '.join(having)}"
            return cls(f"several policies have a set `{name}`", (), (remedy,))
        known = f"dynamic sets: {', '.join(existing)}" if existing else "no dynamic set is loaded"
        return cls(f"no loaded policy has a dynamic set `{name}`", (), (known,))


class SystemRefused(LockgateError):
    """The kernel refused a call and we know no more than it says."""

    code, name = "E0912", "system-refused"


class BackendError(LockgateError):
    """Unknown service or backend, one that is there already, or no room for another one."""

    code, name = "E0913", "backend"
    exit_code = 2


class InventoryError(LockgateError):
    """An inventory with mistakes, none where labels are asked about, or one that does not fit the machine."""

    code, name = "E0914", "inventory"
    exit_code = 2


def _alternatives(wanted: str, existing: Iterable[str], what: str) -> tuple[str, ...]:
    names = sorted(existing)
    close = difflib.get_close_matches(wanted, names, 1, 0.6)
    if close:
        return (f"did you mean `{close[0]}`?",)
    if not names:
        return (f"there are no {what}",)
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (f"{what}: {', '.join(names[:8])}{more}",)


_NOISE = re.compile(
    r"^(processed \d+ insns|verification time|stack depth|max_states|peak_states|mark_read|Validating |Func#|"
    r"from \d+ to |\d+: |; |R\d+|math between|arg#|live regs|$)"
)
# endings of the verifier that deserve a sentence in the reader's words (libbpf's fixup_verifier_log does the
# same)
_KNOWN = (
    ("BPF program is too large", "the policy is too long: the verifier gave up after a million instructions"),
    ("The sequence of 8193 jumps is too complex", "too many rules in a row for the verifier"),
    ("invalid access to packet", "a read of packet bytes is not guarded by a length check"),
    ("unknown func", "the kernel is too old for a helper function that the policy needs"),
    ("math between", "pointer arithmetic that the verifier cannot follow"),
)


def telling_line(log: str) -> str:
    """The line of a verifier log that says what is wrong: the last that is neither state nor statistics."""
    lines = [line.strip() for line in log.splitlines()]
    telling = next((line for line in reversed(lines) if not _NOISE.match(line)), "")
    if not telling:
        spoken = (line for line in reversed(lines) if line and not line.startswith("processed"))
        telling = next(spoken, "no reason given")
    for ending, sentence in _KNOWN:
        if ending in telling:
            return f"{telling} ({sentence})"
    return telling


def render(error: LockgateError) -> str:
    """The human form: headline, notes, help."""
    out = [f"error[{error.code}] {error.name}: {error.message}"]
    out += [f"  = note: {note}" for note in error.notes]
    out += [f"  = help: {text}" for text in error.help]
    out.append(f"  = more: lockgate explain {error.code}")
    return "\n".join(out)


def as_json(error: LockgateError) -> dict[str, object]:
    """The facts, for `--output json`."""
    out: dict[str, object] = {
        "code": error.code,
        "name": error.name,
        "severity": "error",
        "message": error.message,
        "notes": list(error.notes),
        "help": list(error.help),
    }
    if isinstance(error, VerifierRejected) and error.place is not None:
        out |= {"file": error.place.file, "line": error.place.line, "rule": error.place.rule}
    return out


ALL: tuple[type[LockgateError], ...] = (
    VerifierRejected,
    NoPrivileges,
    NoBpfFilesystem,
    InterfaceMissing,
    BundleCorrupt,
    BundleTruncated,
    BundleForeign,
    CgroupMissing,
    FeatureMissing,
    HookOccupied,
    NotLoaded,
    SetError,
    SystemRefused,
    BackendError,
    InventoryError,
)
