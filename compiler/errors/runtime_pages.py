"""Manual pages of what the kernel or the system refuses: families 08 and 09.

The runtime raises these under the same codes and cannot import the compiler; here are their pages only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A manual page: `code`, `slug` in kebab-case, and its text in the sections of every page."""

    code: str
    slug: str
    text: str


RUNTIME_PAGES: tuple[Page, ...] = (
    Page(
        "E0801",
        "verifier-refused",
        """\
The kernel's verifier refused a program.

## What it means

The verifier walks every path of a program before it is loaded, and found one that it cannot prove safe or
that is too long. The message names the rule; the full log is written to a file.

## Why it matters

Nothing was changed: what was attached before still is.

## Example (shell)

    lockgate up edge.bundle

## Instead

Make the policy smaller (sets instead of many rules) or load it on a newer kernel; if the program is
small, report a bug.
""",
    ),
    Page(
        "E0901",
        "no-privileges",
        """\
Loading a policy needs privileges.

## What it means

The call was refused with EPERM. Loading programs needs CAP_BPF and CAP_NET_ADMIN, attaching to a cgroup
CAP_NET_ADMIN too; some systems also restrict BPF by a sysctl or in containers.

## Why it matters

Nothing was changed.

## Example (shell)

    lockgate up edge.bundle        # as an ordinary user

## Instead

Run it as root, or grant the capabilities: `setcap cap_bpf,cap_net_admin,cap_perfmon+ep`.
""",
    ),
    Page(
        "E0902",
        "no-bpffs",
        """\
No BPF file system is mounted.

## What it means

Pins keep a policy in force when the process that loaded it ends. They live in a file system of type bpf,
usually at `/sys/fs/bpf`.

## Why it matters

Without pins the policy would end with the command.

## Example (shell)

    umount /sys/fs/bpf; lockgate up edge.bundle

## Instead

mount -t bpf bpf /sys/fs/bpf
""",
    ),
    Page(
        "E0903",
        "interface-missing",
        """\
The interface does not exist.

## What it means

The policy names a device that this network namespace does not have.

## Why it matters

A policy that is attached to nothing protects nothing.

## Example (shell)

    lockgate up edge.bundle        # edge is for "eth7"

## Instead

Create the interface first, correct its name, or write `"NAMESPACE/DEVICE"` for one in another namespace.
""",
    ),
    Page(
        "E0904",
        "corrupt-bundle",
        """\
The bundle's contents do not match its digest.

## What it means

Bytes were changed after the bundle was built.

## Why it matters

A changed program is another program.

## Example (shell)

    printf x >> edge.bundle; lockgate up edge.bundle

## Instead

Build it again, or copy it again.
""",
    ),
    Page(
        "E0905",
        "truncated-bundle",
        """\
The bundle is shorter than it says.

## What it means

The file ends before the parts that its header announces.

## Why it matters

Part of a policy is not the policy.

## Example (shell)

    head -c 100 edge.bundle > cut.bundle; lockgate up cut.bundle

## Instead

Copy it again.
""",
    ),
    Page(
        "E0906",
        "foreign-bundle",
        """\
The file is no bundle of this version.

## What it means

It does not begin like a bundle, or was built for another version of the format.

## Why it matters

Guessing at a format loads something that nobody wrote.

## Example (shell)

    lockgate up /bin/true

## Instead

Build the bundle with a version of lockgate that matches the runtime's.
""",
    ),
    Page(
        "E0907",
        "cgroup-missing",
        """\
The cgroup does not exist.

## What it means

The policy is for a path below the root of cgroup2, and that directory is not there.

## Why it matters

A policy that is attached to nothing protects nothing.

## Example (shell)

    lockgate up out.bundle         # out is for "/no-such-group"

## Instead

Create the cgroup first, or correct the path; `/proc/mounts` says where cgroup2 is mounted.
""",
    ),
    Page(
        "E0908",
        "kernel-feature-missing",
        """\
The kernel lacks something that the policy needs.

## What it means

The message names the feature and the first version of Linux that has it.

## Why it matters

Nothing was changed.

## Example (shell)

    lockgate up edge.bundle        # on a kernel without TCX

## Instead

Load it on a newer kernel, or leave out what needs the feature.
""",
    ),
    Page(
        "E0909",
        "hook-occupied",
        """\
Another XDP program is attached to the interface.

## What it means

An interface has room for one XDP program, and another tool's, or another policy's, is there.

## Why it matters

lockgate does not evict what it has not attached. Nothing was changed.

## Example (shell)

    lockgate up edge.bundle

## Instead

Find it with `bpftool net show` and detach it, or give the policy to tc, which takes several.
""",
    ),
    Page(
        "E0910",
        "not-loaded",
        """\
No policy of that name is loaded.

## What it means

`down`, `status`, `counters` and `set` speak of a policy that `up` has loaded and pinned.

## Why it matters

A command for the wrong name must not seem to succeed.

## Example (shell)

    lockgate down no-such-policy

## Instead

Look at `lockgate status` for the names.
""",
    ),
    Page(
        "E0911",
        "set",
        """\
A dynamic set cannot do what was asked.

## What it means

There is none of this name, it is full, or what was given is no prefix that could be a member. Bits below a
mask are refused, not cleared.

## Why it matters

A ban that was not entered must not look as if it was.

## Example (shell)

    lockgate set add ban 10.0.0.1/8

## Instead

See sets and how full they are with `lockgate set list`.
""",
    ),
    Page(
        "E0912",
        "system-refused",
        """\
A system call failed for a reason of the kernel's own.

## What it means

lockgate knows no better than the kernel's error number. The message names the call, its object and the
error.

## Why it matters

Nothing was changed; a policy that ran before still runs.

## Example (shell)

    lockgate up edge.bundle

## Instead

Look at `dmesg`, which may say more.
""",
    ),
    Page(
        "E0913",
        "backend",
        """\
A backend cannot be added, changed or removed as asked.

## What it means

There is no such service or backend, the backend is there already, its family has no address of the service,
or there is no room for another one.

## Why it matters

Traffic must not be thought to have moved when it has not.

## Example (shell)

    lockgate backend del shop 10.244.9.9

## Instead

See services and who answers for them with `lockgate backend list`.
""",
    ),
    Page(
        "E0914",
        "inventory",
        """\
An inventory of endpoints cannot be used, or is missing.

## What it means

Policies for labels need to know who carries which labels, at which addresses and interfaces. The file has
mistakes, each told with its line; or it does not fit this machine; or none was given.

## Why it matters

An endpoint that the policy does not know would be judged as nobody's.

## Example (shell)

    lockgate up pods.gate

## Instead

    lockgate up pods.gate --endpoints pods.yaml
""",
    ),
)
