"""Dynamic sets in a running kernel: a list takes another one's place at one instant, or not at all."""

from __future__ import annotations

import errno
import ipaddress
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from lockgate.runtime import counters, pins, running, sets, tries
from lockgate.runtime.errors import LockgateError, SetError
from lockgate.runtime.plan import map_key
from lockgate.runtime.prefixes import Listing, parse, read
from lockgate.runtime.sys import bpf

from .. import netns
from .actions import lockgate, up
from .policies import UDP, Live, bundle, chain, nets, rule

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("no_leaked_descriptors")]

DROP, PASS = 1, 2
ROUNDS, REPEAT = 500, 2_000  # of questions; of packets without a system call between them


def _udp(source: str, destination: str) -> bytes:
    src, dst = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    ports = (40000).to_bytes(2) + (53).to_bytes(2) + b"\x00\x08\x00\x00"
    if src.version == 4:
        head = bytes((0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0))
        return bytes(12) + b"\x08\x00" + head + src.packed + dst.packed + ports
    return bytes(12) + b"\x86\xdd" + bytes((0x60, 0, 0, 0, 0, 8, 17, 64)) + src.packed + dst.packed + ports


def _policy(target: str, entries: int = 1000) -> bytes:
    """Two chains that share a set: one drops packets with either side in it, one passes those with both.
    Between their two questions about it they ask other sets, so that a switch is likely to come in between.
    """
    bans, between = Live("bans", entries), [rule("drop", src=Live(name, 200)) for name in SLOW]
    return bundle(
        "edge",
        chain(
            "either", "xdp", target, "pass",
            rule("drop", src=bans), *between, rule("drop", dst=bans),
            rule("pass", "neither", proto=UDP, dport=53),
        ),
        chain("both", "tc", target, "drop", rule("allow", "both", src=bans, dst=bans), direction="ingress"),
    )  # fmt: skip


@pytest.fixture
def edge(bpffs: Path, pair: netns.Pair) -> running.Running:
    up(_policy(pair.target), bpffs)
    return running.find(bpffs, "edge")


@contextmanager
def _programs(policy: running.Running) -> Iterator[dict[str, bpf.Fd]]:
    folder = policy.directory / "current" / "progs"
    opened = {path.name: running.open_pin(path) for path in pins.listing(folder)}
    try:
        yield {key.partition(":")[0].partition("%")[0]: fd for key, fd in opened.items()}
    finally:
        for fd in opened.values():
            fd.close()


# Two lists that disagree about every address but those in KEPT and NEVER.
OLD, NEW = ("192.0.2.1", "198.51.100.0/24", "2001:db8::1"), ("172.16.0.2", "203.0.113.0/24", "2001:db8:2::2")
KEPT, NEVER = ("10.9.9.9", "2001:db8:9::9"), ("10.8.8.8", "2001:db8:8::8")
SLOW = ("slow0", "slow1", "slow2", "slow3", "slow4", "slow5")
PAIRS = [("192.0.2.1", "172.16.0.2"), ("203.0.113.7", "198.51.100.7"), ("2001:db8::1", "2001:db8:2::2")]


def _beside(address: str) -> Iterator[str]:
    """Prefixes that do not cover an address, and send a search for it down many levels of the trie."""
    value = ipaddress.ip_address(address)
    width = value.max_prefixlen
    for length in range(width - 22, width + 1):
        near = type(value)(int(value) ^ 1 << width - length)
        yield str(ipaddress.ip_network((near, length), strict=False))


def _hammer(bpffs: Path, ready: Event, answers: Any) -> None:
    """Ask ROUNDS times: what was wrong, and which lists were seen to be in force."""
    policy = running.find(bpffs, "edge")
    wrong, seen = set(), set()
    with _programs(policy) as programs:
        either, both = (programs[name] for name in ("either", "both"))

        def run(program: bpf.Fd, source: str, destination: str, repeat: int = 1) -> int:
            return bpf.test_run(program, _udp(source, destination), repeat).value

        def unlike() -> list[int]:
            """How many packets had neither side in the set, and how many had both. By rules of their own, as
            the kernel sends packets of its own to these devices."""
            return [c.packets for c in counters.read(policy) if c.slot.label in ("neither", "both")]

        ready.set()
        for _ in range(ROUNDS):
            for source, destination in PAIRS:
                for a, b in ((source, destination), (destination, source)):
                    # exactly one of the two is in each list: a packet judged by a mix sees none, or both
                    before = unlike()
                    for program in (either, both):
                        run(program, a, b, REPEAT)
                    if before != unlike():
                        wrong.add(f"{before} → {unlike()} for {a} and {b}")
            for kept, never in zip(KEPT, NEVER, strict=True):
                if run(either, kept, never) != DROP or run(either, never, kept) != DROP:
                    wrong.add(f"{kept} is in both lists and was not there")
                if run(either, never, never) != PASS:
                    wrong.add(f"{never} is in no list and was there")
            first, second = PAIRS[0]
            seen.add((run(either, first, NEVER[0]), run(either, second, NEVER[0])))
    answers.put((wrong, seen))


def test_no_packet_sees_a_mix_of_two_lists(edge: running.Running, bpffs: Path) -> None:
    lists = [read("\n".join((*listed, *KEPT)), "list") for listed in (OLD, NEW)]
    sets.load(edge, "bans", lists[0])
    for name in SLOW:
        sets.load(edge, name, read("\n".join(b for pair in PAIRS for a in pair for b in _beside(a)), "list"))
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Event(), context.Queue()
    asking = context.Process(target=_hammer, args=(bpffs, ready, answers))
    asking.start()
    try:
        assert ready.wait(60)
        number = 0
        while answers.empty():
            number += 1
            time.sleep(random.uniform(0, 0.004))  # the last load has just waited for programs to end
            with pins.locked(bpffs):
                assert sets.load(edge, "bans", lists[number % 2]) == 5
        wrong, seen = answers.get(timeout=60)
    finally:
        asking.join(60)
    assert not wrong
    assert number > 20
    assert {(DROP, PASS), (PASS, DROP)} <= seen, "both lists must have been in force"


def test_each_family_is_found_by_its_own_trie(edge: running.Running, bpffs: Path) -> None:
    with pins.locked(bpffs):
        sets.load(edge, "bans", read("192.0.2.0/24\n2001:db8:1::/48\n", "list"))
    with _programs(edge) as programs:
        for source, value in {
            "192.0.2.9": DROP,
            "192.0.3.9": PASS,
            "2001:db8:1::9": DROP,
            "2001:db9::": PASS,
        }.items():
            other = NEVER["." not in source]
            assert bpf.test_run(programs["either"], _udp(source, other)).value == value


def _members(policy: running.Running) -> list[str]:
    return [str(prefix) for prefix in sets.members(policy, "bans")]


def _tries(policy: running.Running) -> list[str]:
    """Pins of the set's tries."""
    folder = policy.directory / "current" / "maps"
    return [p.name for p in pins.listing(folder) if p.name.startswith("set:bans:") and "@" in p.name]


@pytest.mark.parametrize("stage", ["making", "filling", "pinning", "switching", "switching the second"])
def test_a_load_that_fails_changes_nothing(
    edge: running.Running, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    sets.load(edge, "bans", read("192.0.2.1\n2001:db8::1\n", "list"))
    before = _tries(edge)
    owner, name, call = {
        "making": (bpf, "map_create", 2),
        "filling": (bpf, "map_update_batch", 2),
        "pinning": (bpf, "pin", 2),
        "switching": (tries, "switch", 1),
        "switching the second": (tries, "switch", 2),
    }[stage]
    real, calls = getattr(owner, name), 0

    def failing(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise bpf.BpfError(errno.ENOMEM, "MAP_CREATE", "a trie")
        return real(*arguments)

    monkeypatch.setattr(owner, name, failing)
    with pytest.raises(LockgateError) as caught:
        sets.load(edge, "bans", read("192.0.2.2\n2001:db8::2\n", "list"))
    assert "nothing was changed" in caught.value.notes
    assert _members(edge) == ["192.0.2.1/32", "2001:db8::1/128"]
    assert _tries(edge) == before


@pytest.mark.parametrize(("call", "after"), [(1, "old"), (2, "old"), (3, "new")])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_crash_leaves_one_list_and_the_next_load_tidies_up(
    edge: running.Running, bpffs: Path, call: int, after: str
) -> None:
    """Dies before pinning, before the first switch, and before unpinning what has been replaced."""
    sets.load(edge, "bans", read("192.0.2.1\n", "list"))
    pid = os.fork()
    if pid == 0:
        dying: Callable[..., Any] = lambda *_: os._exit(9)  # noqa: E731
        for owner, name, number in ((bpf, "pin", 1), (tries, "switch", 2), (pins, "listing", 3)):
            if number == call:
                setattr(owner, name, dying)
        try:
            sets.load(edge, "bans", read("192.0.2.2\n", "list"))
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert _members(edge) == [f"192.0.2.{1 if after == 'old' else 2}/32"]
    up(_policy(netns_target(edge)), bpffs)
    assert _members(edge) == [f"192.0.2.{1 if after == 'old' else 2}/32"]
    sets.load(edge, "bans", read("192.0.2.3\n", "list"))
    assert _members(edge) == ["192.0.2.3/32"]
    assert len(_tries(edge)) == 2


def netns_target(policy: running.Running) -> str:
    return policy.state.manifest.chains[0].targets[0]


def test_what_a_list_cannot_be(edge: running.Running, bpffs: Path, pair: netns.Pair, tmp_path: Path) -> None:
    sets.load(edge, "bans", read("192.0.2.1\n", "list"))
    with pytest.raises(SetError, match="full") as caught:
        sets.load(edge, "bans", read("".join(f"10.0.{n >> 8}.{n & 255}\n" for n in range(1001)), "list"))
    assert "nothing was changed" in caught.value.notes
    assert _members(edge) == ["192.0.2.1/32"]
    only4 = rule("drop", proto=UDP, src=Live("bans", 9), dst=nets("10.0.0.0/8"))
    up(bundle("edge", chain("edge", "xdp", pair.target, "pass", only4)), bpffs)
    policy = running.find(bpffs, "edge")
    with pytest.raises(SetError, match="IPv4 only"):
        sets.load(policy, "bans", read("192.0.2.2\n2001:db8::1\n", "list"))
    assert _members(policy) == ["192.0.2.1/32"]
    listed = tmp_path / "bans.txt"
    listed.write_text("192.0.2.2\n192.0.2.300\n")
    done = lockgate("set", "load", "bans", str(listed), "--bpffs", str(bpffs))
    assert (done.returncode, "bans.txt:2" in done.stderr, "nothing was changed" in done.stderr) == (
        2,
        True,
        True,
    )


def test_an_addition_beside_a_load_is_not_lost(edge: running.Running, bpffs: Path) -> None:
    """Additions of another process wait for the lock, so none goes into a trie that is on its way out."""
    added = multiprocessing.get_context("fork").Process(target=_add_all, args=(bpffs,))
    added.start()
    kept = read("10.0.0.0/8\n", "list")
    while added.is_alive():
        with pins.locked(bpffs):
            kept.tokens[4] |= {t for f in _opened_tokens(edge) for t in f if len(t) == 5}
            sets.load(edge, "bans", kept)
    added.join()
    assert added.exitcode == 0
    assert len(_members(edge)) == 41


def _add_all(bpffs: Path) -> None:
    for number in range(40):
        with pins.locked(bpffs):
            sets.add(running.find(bpffs, "edge"), "bans", [parse(f"192.0.2.{number}")])
        time.sleep(0.005)


def _opened_tokens(policy: running.Running) -> Iterator[list[bytes]]:
    for spec in {m.key: m for c in policy.state.manifest.chains for m in c.maps if m.set == "bans"}.values():
        slot, trie = policy.open_set(map_key("", spec))
        with slot, trie:
            yield list(tries.tokens(trie, spec))


def test_an_empty_list_and_flush(edge: running.Running) -> None:
    sets.load(edge, "bans", read("192.0.2.1\n2001:db8::/32\n", "list"))
    assert sets.flush(edge, "bans") == sets.size(edge, "bans") + 2 == 2
    assert sets.load(edge, "bans", Listing()) == 0
