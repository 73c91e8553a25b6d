"""Manual pages of the runtime's errors: what `lockgate explain E0904` prints.

A page is made of the error class's one-sentence docstring and its row here: what it means, what to do. A test
checks that every class has a row. Knows text only.
"""

from __future__ import annotations

import textwrap

from . import errors

# code → (what it means, what to do)
ROWS: dict[str, tuple[str, str]] = {
    "E0801": (
        "Before a program runs, the kernel's verifier proves that it ends and touches only what it may. "
        "It refused one that lockgate generated. The message names the policy rule that the refused "
        "instruction belongs to and the verifier's own sentence. Nothing was attached; a policy that ran "
        "before still runs.",
        "Keep the whole log with `lockgate up --full-log FILE POLICY` and report it: generated code "
        "should always pass. Splitting a very long policy, or naming its networks as one set, often "
        "avoids the limit meanwhile.",
    ),
    "E0901": (
        "Loading programs needs CAP_BPF and CAP_PERFMON, attaching them CAP_NET_ADMIN. Another network "
        "namespace can be entered only with CAP_SYS_ADMIN.",
        "Run as root, or give the capabilities to the service: AmbientCapabilities=CAP_BPF CAP_NET_ADMIN "
        "CAP_PERFMON in a systemd unit. Compiling and testing policies needs none of them.",
    ),
    "E0902": (
        "A policy outlives the command that loaded it because its programs and links have names in a BPF "
        "file system. None is mounted at the path in question.",
        "mount -t bpf bpf /sys/fs/bpf (most distributions do so at boot), or name another one with --bpffs.",
    ),
    "E0903": (
        "The policy names an interface, or a network namespace, that does not exist now. Interfaces are "
        "looked up when the policy is loaded.",
        "Check the spelling with `ip link`. Write NETNS/eth0 for an interface in a named namespace, or "
        "use --netns for all of them.",
    ),
    "E0904": (
        "Every part of a bundle has a SHA-256 digest, and one does not fit, or a part is missing. A "
        "bundle is used wholly or not at all.",
        "Build it again or copy it again.",
    ),
    "E0905": (
        "The file begins like a bundle, but the directory at its end is missing: it was cut off.",
        "Copy it again from where it was built.",
    ),
    "E0906": (
        "The file is no bundle, cannot be read, or has a format version that this lockgate does not know.",
        "Give a file made by `lockgate build`, of a version not newer than this lockgate.",
    ),
    "E0907": (
        "Policies at connect attach to a cgroup, named by its path below the cgroup2 mount in "
        "/proc/mounts. That directory does not exist, or no such hierarchy is mounted.",
        "Check with `systemd-cgls`; a service's cgroup exists only while it runs.",
    ),
    "E0908": (
        "The running kernel lacks something that the policy needs. It was asked only after a call had "
        "failed.",
        "Use a newer kernel: XDP links came with 5.9, TCX links with 6.6, cgroup links with 5.7, ring "
        "buffers 5.8.",
    ),
    "E0909": (
        "An interface has room for one XDP program, and another tool's (or another policy's) is there. "
        "lockgate does not evict what it has not attached.",
        "Find it with `bpftool net show` and detach it, or give the policy another hook: tc takes several.",
    ),
    "E0910": (
        "No policy of that name has been loaded, or it has been taken down. The name is that of the "
        "policy file without its suffix.",
        "See what is loaded with `lockgate status`; a policy loaded with another --bpffs is found only "
        "there.",
    ),
    "E0911": (
        "A dynamic set cannot do what was asked: there is none of this name, it is full, or what was "
        "given is no prefix that could be a member. Host bits below a mask are refused, not cleared.",
        "See sets and how full they are with `lockgate set list`.",
    ),
    "E0912": (
        "A system call failed for a reason that lockgate does not know better than the kernel's error "
        "number. Nothing was changed; a policy that ran before still runs.",
        "The message names the call, its object and the error; `dmesg` may say more.",
    ),
}


def page(code: str) -> str | None:
    """The page of a code, or None when it is none of the runtime's."""
    found = next((kind for kind in errors.ALL if kind.code == code), None)
    if found is None:
        return None
    means, instead = ROWS[code]
    headline = (found.__doc__ or "").strip().splitlines()[0]
    parts = [
        f"{code} {found.name}",
        headline,
        f"What it means\n{_paragraph(means)}",
        f"Instead\n{_paragraph(instead)}",
    ]
    return "\n\n".join(parts)


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 80, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
