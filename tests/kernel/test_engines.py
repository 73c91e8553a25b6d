"""Chains run without being attached: what the program answers and which slot decides."""

from __future__ import annotations

import errno
import ipaddress
from pathlib import Path

import pytest

from lockgate.runtime import bundle as bundles
from lockgate.runtime import cgroups
from lockgate.runtime.connectrun import ConnectRunner
from lockgate.runtime.errors import SystemRefused
from lockgate.runtime.sys.ring import Ring
from lockgate.runtime.testrun import LoadedChain, Ran, load_chain
from lockgate.stdlib_bpf.decode.sock_addr import AF_INET, AF_INET6, SocketCall

from ..netns import run
from .policies import ICMP, TCP, UDP, Live, bundle, chain, nets, rule

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("no_leaked_descriptors")]

MALFORMED, DEFAULT, FIRST = 0, 1, 2


def _udp4(source: str, port: int) -> bytes:
    addresses = ipaddress.ip_address(source).packed + bytes((192, 0, 2, 1))
    ip = bytes((0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0)) + addresses
    return bytes(12) + b"\x08\x00" + ip + (40000).to_bytes(2) + port.to_bytes(2) + b"\x00\x08\x00\x00"


@pytest.mark.parametrize(("hook", "drop", "default"), [("xdp", 1, 2), ("tc", 2, -1)])
def test_frames_one_at_a_time(hook: str, drop: int, default: int) -> None:
    data = bundle(
        "run",
        chain(
            "run", hook, "nowhere", "pass",
            rule("drop", "syslog", proto=UDP, dport=514, count="log"),
            rule("drop", "banned", src=Live("bans", 10)),
            direction="ingress" if hook == "tc" else "",
        ),
    )  # fmt: skip
    frames = [_udp4("10.0.0.1", 514), _udp4("10.0.0.1", 53), _udp4("10.0.0.1", 53)[:20], b"short"]
    name = "run.ingress" if hook == "tc" else "run"
    with load_chain(bundles.parse(data), name) as loaded:
        assert decided(loaded, frames) == [
            Ran(drop, FIRST),
            Ran(default, DEFAULT),
            Ran(drop, MALFORMED),
            None,
        ]
        loaded.set_live("bans", [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")])
        assert decided(loaded, frames[1:2]) == [Ran(drop, FIRST + 1)]
        loaded.set_live("bans", [ipaddress.ip_network("11.0.0.0/8")])
        assert decided(loaded, frames[1:2]) == [Ran(default, DEFAULT)]
        assert loaded.counters()[FIRST] == (1, len(frames[0]))
        assert 0 < loaded.time(frames[0], 10_000) < 100_000
        with pytest.raises(SystemRefused):
            loaded.time(b"short", 1)
    with pytest.raises(KeyError):
        load_chain(bundles.parse(data), "nothing")


@pytest.mark.parametrize(("hook", "passed"), [("xdp", 2), ("tc", -1)])
def test_frames_of_several_pages(hook: str, passed: int) -> None:
    direction = "ingress" if hook == "tc" else ""
    data = bundles.parse(bundle("jumbo", chain("jumbo", hook, "nowhere", "pass", direction=direction)))
    with load_chain(data, data.manifest.chains[0].name) as loaded:
        assert decided(loaded, [_udp4("10.0.0.1", 53) + bytes(9000)]) == [Ran(passed, DEFAULT)]


def decided(loaded: LoadedChain, frames: list[bytes]) -> list[Ran | None]:
    """What became of the frames, their bytes aside."""
    return [None if ran is None else ran._replace(frame=None, mark=None) for ran in loaded.run(frames)]


def _address(text: str) -> int:
    return int(ipaddress.ip_address(text))


@pytest.fixture
def outgoing() -> bundles.Bundle:
    return bundles.parse(
        bundle(
            "out",
            chain(
                "out", "connect", "nowhere", "reject",
                rule("allow", "web", proto=TCP, dport=80, dst=nets("192.0.2.0/24", "2001:db8::/32")),
                rule("allow", "dns", proto=UDP, dport=53),
                rule("allow", "ping", proto=ICMP),
            ),
        )
    )  # fmt: skip


def test_socket_calls(outgoing: bundles.Bundle) -> None:
    web, dns, ping = FIRST, FIRST + 1, FIRST + 2
    cases = [
        (SocketCall("connect", AF_INET, TCP, _address("192.0.2.1"), 80), web),
        (SocketCall("connect", AF_INET, TCP, _address("192.0.3.1"), 80), DEFAULT),
        (SocketCall("connect", AF_INET6, TCP, _address("2001:db8::1"), 80), web),
        (SocketCall("connect", AF_INET6, TCP, _address("2001:db9::1"), 80), DEFAULT),
        (SocketCall("connect", AF_INET6, TCP, _address("::ffff:192.0.2.1"), 80), web),
        (SocketCall("connect", AF_INET6, TCP, _address("::ffff:192.0.3.1"), 80), DEFAULT),
        (SocketCall("connect", AF_INET, UDP, _address("192.0.2.1"), 53), dns),
        (SocketCall("sendmsg", AF_INET, UDP, _address("192.0.2.1"), 53), dns),
        (SocketCall("sendmsg", AF_INET, UDP, _address("192.0.2.1"), 54), DEFAULT),
        (SocketCall("sendmsg", AF_INET6, UDP, _address("2001:db8::1"), 53), dns),
        (SocketCall("sendmsg", AF_INET6, UDP, _address("2001:db8::1"), 54), DEFAULT),
        (SocketCall("sendmsg", AF_INET6, UDP, _address("::ffff:192.0.2.1"), 54), DEFAULT),
        (SocketCall("connect", AF_INET, ICMP, _address("192.0.2.1"), 0), ping),
    ]
    with ConnectRunner(outgoing, "out") as runner:
        called = runner.run([call for call, _ in cases])
    for (call, slot), answer in zip(cases, called, strict=True):
        assert answer.slot == slot, call
        assert answer.allowed == (slot != DEFAULT), call
        assert (answer.errno == errno.EPERM) == (slot == DEFAULT), call


def test_a_call_that_the_kernel_refuses_before_any_program_has_no_slot(outgoing: bundles.Bundle) -> None:
    with ConnectRunner(outgoing, "out") as runner:
        (called,) = runner.run([SocketCall("sendmsg", AF_INET, UDP, _address("192.0.2.1"), 0)])
    assert (called.slot, called.errno_name) == (None, "EINVAL")


def _own_cgroups() -> list[Path]:
    import os

    return list(cgroups.mount().glob(f"lg-{os.getpid()}-*"))


def _own_namespaces() -> list[str]:
    """Those of this process: other tests may run beside it."""
    import os

    listed = run("ip", "netns", "list").stdout.splitlines()
    return [line for line in listed if f"-{os.getpid()}-" in line]


def test_the_runner_leaves_nothing(outgoing: bundles.Bundle) -> None:
    spaces = _own_namespaces()
    with pytest.raises(RuntimeError, match="on purpose"), ConnectRunner(outgoing, "out"):
        assert len(_own_cgroups()) == 1
        raise RuntimeError("on purpose")
    assert _own_cgroups() == []
    assert _own_namespaces() == spaces


def _udp6(source: str) -> bytes:
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address("2001:db8::1").packed
    ip = bytes((0x60, 0, 0, 0, 0, 8, 17, 64)) + addresses
    return bytes(12) + b"\x86\xdd" + ip + bytes((0, 1, 0, 53, 0, 8, 0, 0))


@pytest.mark.parametrize("six_in", ["lpm_trie", "range_tree"])
def test_tables_are_filled_from_their_images(six_in: str) -> None:
    """Prefixes go into an LPM trie in one batch; what is read in place lies in frozen arrays."""
    six = [f"2001:db8:{i:x}::/48" for i in range(1, 600, 2)]
    four = [f"10.{i // 128}.{i % 128 * 2}.0/24" for i in range(3000)]
    listed = chain("big", "xdp", "nowhere", "pass", rule("drop", "in", src=nets(*four, *six)))
    data = bundles.parse(bundle("big", listed, structures=frozenset({"range_index", six_in})))
    chain_ = data.manifest.chains[0]
    assert any(m.image_count == len(six) for m in chain_.maps) == (six_in == "lpm_trie")
    assert len(chain_.data) >= 2
    with load_chain(data, "big") as loaded:
        frames = [_udp6(f"2001:db8:{i:x}::9") for i in range(600)]
        frames += [_udp4(f"10.{i // 256}.{i % 256}.7", 53) for i in range(6000)]
        slots = [r.slot for r in loaded.run(frames) if r is not None]
    assert slots == [FIRST if i % 2 else DEFAULT for i in range(600)] + [
        DEFAULT if i % 2 else FIRST for i in range(6000)
    ]


def test_the_ring_goes_round_many_times() -> None:
    logged = chain("log", "xdp", "nowhere", "pass", rule("drop", "all", proto=UDP, sample=1))
    data = bundles.parse(bundle("log", logged))
    events = next(m for m in data.manifest.chains[0].maps if m.role == "events")
    with load_chain(data, "log") as loaded:
        ring = Ring(loaded.map("events"), events.max_entries)
        try:
            for round_ in range(12):
                loaded.run([_udp4("10.0.0.1", 53)] * 700)
                assert len(list(ring.records())) == 700, round_
            loaded.run([_udp4("10.0.0.1", 53)] * 4000)
            kept = len(list(ring.records()))
        finally:
            ring.close()
        lost = next(i for i, s in enumerate(data.manifest.chains[0].slots) if s.kind == "lost")
        assert kept + loaded.counters()[lost][0] == 4000, "what found no room is counted"
        assert kept < 4000


def test_cut_short_frames_reach_tc(no_leaked_descriptors: None) -> None:
    data = bundles.parse(bundle("cut", chain("cut", "tc", "nowhere", "allow", direction="ingress")))
    whole = [_udp4("10.0.0.1", 53), _udp6("2001:db8::9")]
    with load_chain(data, "cut.ingress") as loaded:
        for frame in whole:
            ran = loaded.run([frame[:n] for n in range(14, len(frame) + 1)])
            assert [r.slot for r in ran if r][-1] == DEFAULT
            assert {(r.slot, r.value) for r in ran[:-1] if r} == {(MALFORMED, 2)}
