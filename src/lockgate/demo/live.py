"""The demo as root: policies loaded by the ordinary runtime, judging real packets and real socket calls."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from lockgate.compiler import packet
from lockgate.runtime import cgroups, counters, pins, plan, prefixes, running, sets, show, swap, testrun
from lockgate.runtime import cli as runtime_cli
from lockgate.runtime.errors import LockgateError
from lockgate.runtime.sys import attrs, bpf
from lockgate.stdlib_bpf.decode.frame import Frame

from . import simulated
from .policies import Compiled, Policy
from .report import Report
from .stage import (
    BASTION,
    INNER,
    LISTED,
    OTHER,
    OUTER,
    SERVER4,
    SERVER6,
    SOMEBODY,
    SOMEBODY6,
    Stage,
    leftovers,
)

FLOOD_EACH = 50_000
REPLACEMENTS = 10
REPEAT = 200_000
PASS_ALL = bytes((0xB7, 0, 0, 0, 2, 0, 0, 0)) + bytes((0x95, 0, 0, 0, 0, 0, 0, 0))  # r0 = XDP_PASS; exit

Call = tuple[str, str, str, int]


def why_not() -> str | None:
    """None when policies can be loaded here, else the reason."""
    if os.geteuid() != 0:
        return "loading needs root, and you are an ordinary user"
    missing = [tool for tool in ("ip", "mount", "umount") if shutil.which(tool) is None]
    if missing:
        return f"the demo makes network namespaces with tools that are not installed: {', '.join(missing)}"
    try:
        bpf.map_create(attrs.MAP_TYPE_ARRAY, 4, 4, 1).close()
        cgroups.mount()
    except bpf.BpfError as error:
        return f"this machine does not let root use bpf(2): {error}"
    except LockgateError as error:
        return error.message
    return None


def run(report: Report, compiled: Compiled) -> None:
    """All of it."""
    policies = compiled.policies
    with Stage() as stage:
        _load(report, stage, policies)
        stage.actor(INNER, "serve", SERVER4, SERVER6)
        _requests(report, stage)
        _ban(report, stage)
        _flood(report, stage)
        _sockets(report, stage)
        _counters(report, stage)
        _replace(report, stage, compiled)
        _times(report, policies)
        simulated.capture(report, policies["edge"], "kernel")
    report.section("cleaned up")
    left = leftovers()
    report.check(
        "namespaces, cgroup, BPF file system, programs", not left, ", ".join(left) or "nothing left behind"
    )


def _up(stage: Stage, policy: Policy) -> swap.Outcome:
    return swap.up(plan.make(policy.bundle, netns=INNER), stage.bpffs)


def _load(report: Report, stage: Stage, policies: dict[str, Policy]) -> None:
    report.section("loaded: a server in its own network namespace, a cgroup of its own")
    for policy in policies.values():
        outcome = _up(stage, policy)
        places = sorted(
            {
                f"{a.point.name} of {a.point.place}" + f" ({a.mode})" * bool(a.mode)
                for a in outcome.state.attachments
            }
        )
        report.check(f"up {policy.name}", outcome.added > 0, ", ".join(places))


def _tried(
    report: Report, answers: list[str], wanted: list[tuple[str, Call, str]], shown: Callable[[str], str] = str
) -> None:
    for (what, _, expected), answer in zip(wanted, answers, strict=True):
        report.expect(what, answer, expected, shown(answer))


def _requests(report: Report, stage: Stage) -> None:
    report.section("real traffic through XDP and tc")
    ok, blocked = "HTTP/1.0 200 OK", "no answer"
    inbound: list[tuple[str, Call, str]] = [
        ("web request from somebody", ("http", SOMEBODY, SERVER4, 80), ok),
        ("the same over IPv6", ("http", SOMEBODY6, SERVER6, 80), ok),
        ("web request from a source on the list (XDP: listed)", ("http", LISTED, SERVER4, 80), blocked),
        ("ssh from somebody (XDP: ssh)", ("tcp", SOMEBODY, SERVER4, 22), blocked),
        (
            "ssh from a bastion: let through, and nobody listens",
            ("tcp", BASTION, SERVER4, 22),
            "ECONNREFUSED",
        ),
        ("database port from a bastion (XDP: database)", ("tcp", BASTION, SERVER4, 5432), blocked),
        ("port 8080 (tc ingress: default)", ("tcp", SOMEBODY, SERVER4, 8080), blocked),
    ]
    _tried(report, stage.ask(OUTER, [call for _, call, _ in inbound]), inbound)
    outbound: list[tuple[str, Call, str]] = [
        (
            "the server asks a web server: allowed, and nobody listens",
            ("tcp", "", SOMEBODY, 443),
            "ECONNREFUSED",
        ),
        ("the server sends mail (tc egress: mail)", ("tcp", "", SOMEBODY, 25), blocked),
    ]
    _tried(report, stage.ask(INNER, [call for _, call, _ in outbound]), outbound)


def _ban(report: Report, stage: Stage) -> None:
    report.section("a dynamic set changes while the policy runs: lockgate set add ban …")
    edge = running.find(stage.bpffs, "edge")
    call: Call = ("http", OTHER, SERVER4, 80)
    report.expect(f"web request from {OTHER}", stage.ask(OUTER, [call])[0], "HTTP/1.0 200 OK")
    other = [prefixes.parse(OTHER)]
    with pins.locked(stage.bpffs):
        sets.add(edge, "ban", other)
    report.expect("the same after `set add`", stage.ask(OUTER, [call])[0], "no answer")
    with pins.locked(stage.bpffs):
        sets.delete(edge, "ban", other)
    report.expect("the same after `set del`", stage.ask(OUTER, [call])[0], "HTTP/1.0 200 OK")


def _counts(stage: Stage) -> dict[tuple[str, str], int]:
    """(chain, rule) → packets, of edge and host."""
    loaded = [running.find(stage.bpffs, name) for name in ("edge", "host")]
    return {(c.chain, c.slot.label): c.packets for policy in loaded for c in counters.read(policy)}


def _flood(report: Report, stage: Stage) -> None:
    report.section(f"a flood: {2 * FLOOD_EACH:,} frames, half of them from the list")
    frames = [_frame(f"udp {source}:4000 > {SERVER4}:9") for source in (LISTED, SOMEBODY)]
    before = _counts(stage)
    seconds = stage.actor(
        OUTER, "flood", "wan0", str(FLOOD_EACH), *(f.hex() for f in frames), wait=False
    ).result()
    after = _counts(stage)
    listed, passed, dropped = (
        after[key] - before[key]
        for key in (("edge", "listed"), ("edge", "default"), ("host.ingress", "default"))
    )
    report.note(f"{2 * FLOOD_EACH / seconds:,.0f} frames a second from one sending process")
    report.check("frames from the list: dropped at XDP by `listed`", listed == FLOOD_EACH, f"{listed:,}")
    report.check("the others: passed at XDP by default", passed >= FLOOD_EACH, f"{passed:,}")
    report.check("… and dropped at tc by default", dropped >= FLOOD_EACH, f"{dropped:,}")


def _sockets(report: Report, stage: Stage) -> None:
    report.section("real sockets of a process in the cgroup: connect and sendmsg")
    wanted: list[tuple[str, Call, str]] = [
        ("web request to the server", ("http", "", SERVER4, 80), "HTTP/1.0 200 OK"),
        ("instance metadata (metadata)", ("tcp", "", "169.254.169.254", 80), "EPERM"),
        ("mail (mail)", ("tcp", "", SERVER4, 25), "EPERM"),
        ("a name server of ours (names)", ("udp", "", "192.0.2.53", 53), "sent"),
        ("another name server (leaks)", ("udp", "", "203.0.113.53", 53), "EPERM"),
        (
            "IPv4 through an IPv6 socket, ::ffff:10.1.2.3 (inside)",
            ("tcp", "", "::ffff:10.1.2.3", 22),
            "EPERM",
        ),
    ]
    calls = [call for _, call, _ in wanted]
    _tried(report, stage.ask(OUTER, calls, cgroup=True), wanted)
    outside = stage.ask(OUTER, [("udp", "", "203.0.113.53", 53)])[0]
    report.expect("that name server, from a process outside the cgroup", outside, "sent")


def _counters(report: Report, stage: Stage) -> None:
    for name in ("edge", "host", "connect"):
        report.section(f"lockgate counters {name}")
        command = runtime_cli.COMMANDS["counters"]
        command.main([name, "--bpffs", str(stage.bpffs)], standalone_mode=False)


def _replace(report: Report, stage: Stage, compiled: Compiled) -> None:
    report.section(f"edge is replaced {REPLACEMENTS} times under traffic")
    old = compiled.policies["edge"]
    other_rule = f"  moved: drop udp from {OTHER} to servers\n  spoofed:"
    new = compiled.compile("edge", compiled.text("edge").replace("  spoofed:", other_rule, 1))
    sink = stage.actor(INNER, "sink", SERVER4, "443")
    stream = stage.actor(OUTER, "stream", SERVER4, "443", SOMEBODY, OTHER)
    outcomes = [_up(stage, policy) for _ in range(REPLACEMENTS // 2) for policy in (new, old)]
    sent = stream.result()
    arrived = sink.result()
    report.check(
        "each time by switching the link, with no moment without a program",
        all(o.replaced and o.switched == 1 and not o.added for o in outcomes),
        f"{len(outcomes)} switches",
    )
    always, disputed = arrived.get(SOMEBODY, 0), arrived.get(OTHER, 0)
    report.check("datagrams that both policies pass: all arrive", always == sent, f"{always:,} of {sent:,}")
    report.check(
        "datagrams that only one passes: some arrive", 0 < disputed < sent, f"{disputed:,} of {sent:,}"
    )


def _frame(text: str) -> bytes:
    frame = packet.parse(text)
    assert isinstance(frame, Frame)
    return frame.data


def _times(report: Report, policies: dict[str, Policy]) -> None:
    report.section(f"time a packet takes in the kernel: BPF_PROG_TEST_RUN, mean of {REPEAT:,} runs")
    web = _frame(f"tcp {SOMEBODY}:40000 > {SERVER4}:443 syn")
    with bpf.prog_load(bpf.Program("lg_floor", 6, 37, PASS_ALL, "GPL"), None)[0] as empty:
        floor = bpf.test_run(empty, web, REPEAT).duration_ns
    rows: list[tuple[str, str, int]] = [("(an empty XDP program)", "pass", floor)]
    asked = (
        ("edge", "edge", "dropped: source on the list", f"tcp {LISTED}:40000 > {SERVER4}:443 syn"),
        ("edge", "edge", "passed: web request, no rule matches", f"tcp {SOMEBODY}:40000 > {SERVER4}:443 syn"),
        ("edge", "edge", "passed: the same over IPv6", f"tcp [{SOMEBODY6}]:40000 > [{SERVER6}]:443 syn"),
        ("host", "host.ingress", "allowed: web request", f"tcp {SOMEBODY}:40000 > {SERVER4}:443 syn"),
        ("host", "host.ingress", "dropped: no rule matches", f"udp {SOMEBODY}:40000 > {SERVER4}:9"),
    )
    for name, chain, what, text in asked:
        with testrun.load_chain(policies[name].bundle, chain) as loaded:
            rows.append((chain, what, loaded.time(_frame(text), REPEAT)))
    show.table(("program", "packet", "ns"), rows)
