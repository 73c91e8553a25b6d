"""Dynamic sets in a running kernel: a list takes another one's place at one instant, or not at all."""

from __future__ import annotations

import errno
import ipaddress
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lockgate.compiler.codegen.simulate import EPOCH_NS
from lockgate.runtime import bundle as bundles
from lockgate.runtime import counters, expiry, pins, running, sets, tries
from lockgate.runtime.errors import LockgateError, SetError
from lockgate.runtime.plan import map_key
from lockgate.runtime.prefixes import Listing, key_of, parse, read, token_of
from lockgate.runtime.prefixes import Prefix as Net
from lockgate.runtime.sys import bpf
from lockgate.runtime.testrun import Given, LoadedChain, load_chain
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.manifest import Map

from .. import netns
from ..engines import Case, Opened
from .actions import lockgate, up
from .policies import UDP, Live, bundle, chain, nets, rule

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("no_leaked_descriptors")]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

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
    return [str(member.prefix) for member in sets.members(policy, "bans")]


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
@pytest.mark.parametrize("tidied_by", ["load", "up"])
def test_a_crash_leaves_one_list_and_the_next_load_tidies_up(
    edge: running.Running, bpffs: Path, call: int, after: str, tidied_by: str
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
    there = [f"192.0.2.{1 if after == 'old' else 2}/32"]
    assert _members(edge) == there
    if tidied_by == "up":
        up(_policy(netns_target(edge)), bpffs)
        assert _members(edge) == there
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
            kept.tokens[4] |= {t: 0 for f in _opened_tokens(edge) for t in f if len(t) == 5}
            sets.load(edge, "bans", kept)
    added.join()
    assert added.exitcode == 0
    assert len(_members(edge)) == 41


@pytest.mark.parametrize("words", [("add", "192.0.2.2"), ("del", "192.0.2.1"), ("flush",), ("list",)])
def test_commands_wait_for_each_other(edge: running.Running, bpffs: Path, words: tuple[str, ...]) -> None:
    sets.load(edge, "bans", read("192.0.2.1\n", "list"))
    verb, *prefixes = words
    code = "from lockgate.cli import main; main()"
    command = [sys.executable, "-c", code, "set", verb, "bans", *prefixes, "--bpffs", str(bpffs)]
    with pins.locked(bpffs):
        started = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            started.wait(1.5)  # more than the command takes by itself
    assert started.wait(30) == 0


def test_a_removal_that_was_cut_short_is_mended_by_the_next(
    edge: running.Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wide entry is gone, but the narrow one still has its end: for ever."""
    sets.add(edge, "bans", [parse("10.0.0.0/24")])
    sets.add(edge, "bans", [parse("10.0.0.7")], 10**9)
    with monkeypatch.context() as patch:
        patch.setattr(tries, "_follow", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sets.delete(edge, "bans", [parse("10.0.0.0/24")])
    assert sets.delete(edge, "bans", [parse("10.0.0.0/24")]) == 0
    maps = [m for c in edge.state.manifest.chains for m in c.maps]
    spec = next(m for m in maps if m.set == "bans" and m.key == "lpm32")
    slot, trie = edge.open_set(map_key("", spec))
    with slot, trie:
        ((_, until, own),) = tries.entries(trie, spec)
    assert until == own > 0


def _add_all(bpffs: Path) -> None:
    for number in range(40):
        with pins.locked(bpffs):
            sets.add(running.find(bpffs, "edge"), "bans", [parse(f"192.0.2.{number}")])
        time.sleep(0.005)


def _opened_tokens(policy: running.Running) -> Iterator[list[bytes]]:
    for spec in {m.key: m for c in policy.state.manifest.chains for m in c.maps if m.set == "bans"}.values():
        slot, trie = policy.open_set(map_key("", spec))
        with slot, trie:
            yield [entry.token for entry in tries.entries(trie, spec)]


def test_an_empty_list_and_flush(edge: running.Running) -> None:
    sets.load(edge, "bans", read("192.0.2.1\n2001:db8::/32\n", "list"))
    assert sets.flush(edge, "bans") == sets.size(edge, "bans") + 2 == 2
    assert sets.load(edge, "bans", Listing()) == 0


# ---- entries that end ----

NESTED = 7  # entries of the set, fewer than there are prefixes to draw
START = 1_000  # what the clock says first


@st.composite
def _nested(draw: st.DrawFn) -> Net:
    """Few prefixes of each family, which cover each other, so that the same ones come and go."""
    base, width = draw(st.sampled_from([(0x0A000000, 32), (0x20010DB8 << 96, 128)]))
    length = draw(st.sampled_from([0, 8, width - 4, width - 2, width]))
    value = (base | draw(st.sampled_from([0, 5, 15]))) >> (width - length) << (width - length)
    return ipaddress.ip_network((value, length) if width == 32 else (value.to_bytes(16), length))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), _nested(), st.one_of(st.just(0), st.integers(1, 40))),
        st.tuples(st.just("del"), _nested(), st.just(0)),
        st.tuples(st.just("wait"), st.none(), st.integers(1, 30)),
        st.tuples(st.just("sweep"), st.none(), st.just(0)),
        st.tuples(st.just("load"), st.none(), st.just(0)),
    ),
    min_size=6,
    max_size=25,
)


WIDE, NARROW = ipaddress.ip_network("10.0.0.0/28"), ipaddress.ip_network("10.0.0.5")


class _Model:
    """What a set with ends means: prefixes with their own ends, and nothing else."""

    def __init__(self) -> None:
        self.own: dict[Net, int] = {}
        self.now = START

    def has(self, address: Address, now: int) -> bool:
        return any(address in prefix and (not end or now < end) for prefix, end in self.own.items())

    def full(self, prefix: Net) -> bool:
        held = [p for p in self.own if p.version == prefix.version]
        return len(held) == NESTED and prefix not in held

    def ranges(self, version: int) -> list[tuple[int, int, int]]:
        """Every run of addresses in the same entries, and when the last of those ends."""
        entries = [
            (int(p.network_address), int(p.broadcast_address), end)
            for p, end in self.own.items()
            if p.version == version
        ]
        edges = sorted({low for low, _, _ in entries} | {high + 1 for _, high, _ in entries})
        found = []
        for low, beyond in pairwise(edges):
            ends = [end for first, last, end in entries if first <= low <= last]
            if ends:
                found.append((low, beyond - 1, 0 if 0 in ends else max(ends)))
        return found


def test_native_and_kernel_agree_with_a_model_of_ends() -> None:
    rules = "{ default pass fragments first-only drop from bans }"
    text = f'network bans = dynamic max {NESTED}\npolicy p at xdp on "lo" {rules}\n'
    with Opened(Case(text, ())) as opened, ExitStack() as stack:
        native = stack.enter_context(opened.session.native(opened.chain))
        chain_ = stack.enter_context(load_chain(bundles.parse(opened.session.bundle()), "p"))
        specs = {4 if m.key == "lpm32" else 6: m for m in chain_.chain.maps if m.set}

        @given(steps=STEPS)
        @example(steps=[("add", WIDE, 0), ("add", NARROW, 9), ("del", WIDE, 0)])
        @example(steps=[("add", WIDE, 9), ("add", NARROW, 0), ("add", NARROW, 5), ("wait", None, 7)])
        @example(steps=[("add", NARROW, 3), ("add", WIDE, 9), ("add", WIDE, 4)])
        @settings(deadline=None, max_examples=80)
        def agree(steps: list[tuple[str, Net | None, int]]) -> None:
            chain_.set_live("bans", [])
            model = _Model()
            for step in steps:
                _take(step, model, chain_, specs)
                for version, spec in specs.items():
                    native.fill(spec.name, model.ranges(version))
                    _stored(model, chain_.trie(spec), spec)
                ends = {model.now, *(end + by for end in model.own.values() if end for by in (-1, 0))}
                for now in sorted(t for t in ends if t >= model.now)[:3]:
                    frames = [(a, _udp(str(a), NEVER[a.version == 6])) for a in ASKED]
                    expected = [DROP if model.has(a, now) else PASS for a, _ in frames]
                    ran = chain_.run([Given(frame, clock_ns=now) for _, frame in frames])
                    assert [r.value for r in ran if r] == expected, f"kernel at {now}"
                    seen = native.run([Frame(frame, time_ns=now - EPOCH_NS) for _, frame in frames])
                    assert [DROP if d.rule == 0 else PASS for d in seen] == expected, f"native at {now}"

        agree()


ASKED: list[Address] = [
    *map(ipaddress.IPv4Address, ("10.0.0.0", "10.0.0.5", "10.0.0.15", "10.9.9.9", "99.0.0.0", "200.0.0.0")),
    *map(
        ipaddress.IPv6Address, ("2001:db8::", "2001:db8::5", "2001:db8::f", "2001:db9::", "2002::", "fe80::")
    ),
]


def _take(
    step: tuple[str, Net | None, int], model: _Model, chain_: LoadedChain, specs: dict[int, Map]
) -> None:
    """Do one step to the model and to the tries."""
    kind, prefix, span = step
    if kind == "wait":
        model.now += span
    elif kind == "sweep":
        model.own = {p: end for p, end in model.own.items() if not end or model.now < end}
        for spec in specs.values():
            tries.sweep(chain_.trie(spec), spec, model.now)
    elif kind == "load":
        for version, spec in specs.items():
            trie = chain_.trie(spec)
            for entry in list(tries.entries(trie, spec)):
                bpf.map_delete(trie, key_of(entry.token))
            tries.fill(trie, {token_of(p): end for p, end in model.own.items() if p.version == version})
    else:
        assert prefix is not None
        spec = specs[prefix.version]
        trie, token, end = chain_.trie(spec), token_of(prefix), model.now + span if span else 0
        if kind == "del":
            assert tries.delete(trie, spec, token) == (model.own.pop(prefix, None) is not None)
        elif model.full(prefix):
            with pytest.raises(bpf.BpfError) as caught:
                tries.add(trie, spec, token, end)
            assert caught.value.errno == errno.ENOSPC
        else:
            tries.add(trie, spec, token, end)
            model.own[prefix] = end


def _stored(model: _Model, trie: bpf.Fd, spec: Map) -> None:
    """The trie holds exactly the model's entries, with their own ends."""
    held = {token_of(p): end for p, end in model.own.items() if (p.version == 4) == (spec.key == "lpm32")}
    assert {entry.token: entry.own_ns for entry in tries.entries(trie, spec)} == held


def test_entries_with_a_timeout(edge: running.Running, bpffs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def at(seconds: int) -> None:
        monkeypatch.setattr(expiry, "now", lambda: real + seconds * 10**9)

    real = expiry.now()
    listed = [*("--bpffs", str(bpffs), "--output", "json")]
    add = lockgate("set", "add", "bans", "192.0.2.1", "2001:db8::/32", "--timeout", "1h", *listed)
    assert add.returncode == 0, add.stderr
    assert lockgate("set", "add", "bans", "10.0.0.0/8", *listed).returncode == 0
    shown = json.loads(lockgate("set", "list", "bans", *listed).stdout)
    assert [re.sub(r" 3[56]..s$", " left", line) for line in shown] == [
        "10.0.0.0/8",
        "192.0.2.1/32 left",
        "2001:db8::/32 left",
    ]
    again = read("\n".join(shown), "what was listed")
    sets.load(edge, "bans", again)
    assert sets.size(edge, "bans") == 3
    at(4000)
    assert _members(edge) == ["10.0.0.0/8"]
    up(_policy(edge.state.manifest.chains[0].targets[0]), bpffs)
    assert len([t for tokens in _opened_tokens(edge) for t in tokens]) == 3, "taken over as it is"
    bad = lockgate("set", "add", "bans", "192.0.2.1", "--timeout", "1 hour", *listed[:2])
    assert (bad.returncode, "for example 90s" in bad.stderr) == (2, True)


def test_room_is_made_of_what_has_ended(
    bpffs: Path, pair: netns.Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    banned = rule("drop", src=Live("bans", 2))
    up(bundle("edge", chain("edge", "xdp", pair.target, "pass", banned)), bpffs)
    policy = running.find(bpffs, "edge")
    sets.add(policy, "bans", [parse("192.0.2.1")], 10**9)
    sets.add(policy, "bans", [parse("192.0.2.2")])
    with pytest.raises(SetError, match="full"):
        sets.add(policy, "bans", [parse("192.0.2.3")])
    soon = expiry.now() + 2 * 10**9
    monkeypatch.setattr(expiry, "now", lambda: soon)
    assert sets.add(policy, "bans", [parse("192.0.2.3")]) == 1
    assert _members(policy) == ["192.0.2.2/32", "192.0.2.3/32"]


def test_real_time_passes(edge: running.Running) -> None:
    sets.add(edge, "bans", [parse("192.0.2.0/24")], 400 * 10**6)
    with _programs(edge) as programs:
        frame = _udp("192.0.2.1", NEVER[0])
        assert bpf.test_run(programs["either"], frame).value == DROP
        time.sleep(0.5)
        assert bpf.test_run(programs["either"], frame).value == PASS


def test_a_change_looks_only_at_what_it_covers(
    edge: running.Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a wide prefix: a set of a million must not be read for it."""
    sets.load(edge, "bans", read("".join(f"10.0.{n >> 8}.{n & 255}\n" for n in range(900)), "list"))
    reads = []
    real = bpf.map_batches

    def counting(*arguments: Any) -> Iterator[tuple[bytes, bytes]]:
        for keys, values in real(*arguments):
            reads.append(len(keys) // 8)
            yield keys, values

    monkeypatch.setattr(bpf, "map_batches", counting)
    sets.add(edge, "bans", [parse("10.0.1.7"), parse("10.9.0.1")], 10**9)
    sets.delete(edge, "bans", [parse("10.9.0.1")])
    assert reads == []
    sets.add(edge, "bans", [parse("10.0.0.0/28"), parse("192.0.2.0/24")], 10**9)
    assert sum(reads) <= 2 * 256
