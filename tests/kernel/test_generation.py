"""All hooks of a policy change at one instant: asked right before and right after the word is written, and
read from what a flood of packets met at two hooks."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockgate.runtime import events, generation, pins, running, swap
from lockgate.runtime.plan import WORD_KEY
from lockgate.runtime.sys import bpf
from lockgate.runtime.sys.ring import Ring
from lockgate.stdlib_bpf.state.events import RING_BYTES

from .. import netns
from . import markers
from .actions import udp_arrivals, up
from .policies import TCP, UDP, bundle, chain, rule

pytestmark = pytest.mark.kernel


@contextmanager
def _around_the_word(before: Callable[[], None], after: Callable[[], None]) -> Iterator[list[int]]:
    """Call one before, one after an `up` writes the word; gives the numbers written."""
    written: list[int] = []
    real = generation.write_word

    def write(word: generation.Fd, number: int) -> None:
        if number == generation.NONE:  # the word is being made
            real(word, number)
            return
        before()
        real(word, number)
        written.append(number)
        after()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "write_word", write)
        yield written


def _programs(bpffs: Path) -> dict[str, int]:
    out = {}
    for path in pins.listing(bpffs / pins.FOLDER / "edge" / "links"):
        with running.open_pin(path) as link:
            out[path.name] = bpf.link_info(link).prog_id
    return out


def test_all_hooks_change_when_the_word_is_written(bpffs: Path, pair: netns.Pair) -> None:
    up(markers.policy(pair, "old"), bpffs)
    at_first = _programs(bpffs)

    def before() -> None:
        switched = _programs(bpffs)
        assert all(switched[pin] != at_first[pin] for pin in at_first), "every link has its new program"
        assert markers.judges(pair) == markers.OLD

    with _around_the_word(before, lambda: _expect(markers.judges(pair), markers.NEW)) as written:
        up(markers.policy(pair, "new"), bpffs)
    assert written == [generation.FIRST + 1]
    assert markers.judges(pair) == markers.NEW
    state = running.find(bpffs, "edge")
    with state.open_map(WORD_KEY) as word:
        assert generation.read_word(word) == state.state.generation == generation.FIRST + 1


def _expect(found: object, wanted: object) -> None:
    assert found == wanted


def test_a_first_policy_comes_into_force_everywhere_at_once(bpffs: Path, pair: netns.Pair) -> None:
    with _around_the_word(
        lambda: _expect((len(_programs(bpffs)), markers.judges(pair)), (3, markers.NEITHER)),
        lambda: _expect(markers.judges(pair), markers.NEW),
    ) as written:
        up(markers.policy(pair, "new"), bpffs)
    assert written == [generation.FIRST]


def test_a_hook_that_is_added_does_nothing_before_the_others_change(bpffs: Path, pair: netns.Pair) -> None:
    """The program of XDP runs at an old and at a new interface, with a predecessor here and none there."""
    extra = f"{pair.outer}/{pair.outer_if}"
    up(markers.policy(pair, "old"), bpffs)

    def backwards() -> int:
        return udp_arrivals(pair.outer, pair.inner, pair.outer4, markers.HOOKS["xdp"][1])

    with _around_the_word(
        lambda: _expect((markers.judges(pair), backwards()), (markers.OLD, 3)),
        lambda: _expect((markers.judges(pair), backwards()), (markers.NEW, 0)),
    ):
        outcome = up(markers.policy(pair, "new", extra=(extra,)), bpffs)
    assert (outcome.switched, outcome.added) == (3, 1)
    assert {a.copy for a in outcome.state.attachments if a.point.name == "xdp"} == {0, 1}
    again = up(markers.policy(pair, "old", extra=(extra,)), bpffs)
    assert {a.copy for a in again.state.attachments} == {0}, "copies of one program are one predecessor"


def test_hooks_that_had_different_rule_lists_keep_each_its_own(bpffs: Path, pair: netns.Pair) -> None:
    """Two rule lists become one: its program needs a predecessor for each hook."""
    inner, outer = pair.target, f"{pair.outer}/{pair.outer_if}"
    one = chain("one", "xdp", inner, "pass", rule("drop", "a", proto=UDP, dport=6001))
    two = chain("two", "xdp", outer, "pass", rule("drop", "b", proto=UDP, dport=6002))
    both = chain("one", "xdp", (inner, outer), "pass", rule("drop", "c", proto=UDP, dport=6003))

    def arrivals() -> list[int]:
        there = [udp_arrivals(pair.inner, pair.outer, pair.inner4, 6001 + i, 1) for i in range(3)]
        return there + [udp_arrivals(pair.outer, pair.inner, pair.outer4, 6001 + i, 1) for i in range(3)]

    up(bundle("edge", one, two), bpffs)
    with _around_the_word(
        lambda: _expect(arrivals(), [0, 1, 1, 1, 0, 1]), lambda: _expect(arrivals(), [1, 1, 0, 1, 1, 0])
    ):
        up(bundle("edge", both), bpffs)


CONNECT = """
import pathlib, socket, sys
pathlib.Path(sys.argv[1], "cgroup.procs").write_text("0")
def refused(family, address, stream, port):
    with socket.socket(family, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as s:
        s.setblocking(False)
        try:
            if stream:
                s.connect((address, port))
            else:
                s.sendto(b"", (address, port))
        except PermissionError:
            return 1
        except OSError:
            pass
        return 0
for line in sys.stdin:
    families = (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")
    print(*(refused(*family, stream, int(line)) for family in families for stream in (1, 0)), flush=True)
"""


def test_the_four_programs_of_connect_change_together(bpffs: Path, pair: netns.Pair) -> None:
    with netns.cgroup() as (name, directory):

        def policy(port: int) -> bytes:
            rules = [rule("reject", f"{proto}", proto=proto, dport=port) for proto in (TCP, UDP)]
            return bundle("edge", chain("out", "connect", name, "allow", *rules))

        asked = netns.python(pair.inner, CONNECT, str(directory))
        assert asked.stdin is not None
        assert asked.stdout is not None

        def refused(port: int) -> str:
            assert asked.stdin is not None
            assert asked.stdout is not None
            print(port, file=asked.stdin, flush=True)
            return asked.stdout.readline().strip()

        try:
            up(policy(81), bpffs)
            with _around_the_word(
                lambda: _expect((refused(81), refused(82)), ("1 1 1 1", "0 0 0 0")),
                lambda: _expect((refused(81), refused(82)), ("0 0 0 0", "1 1 1 1")),
            ):
                assert up(policy(82), bpffs).switched == 4
        finally:
            swap.down("edge", bpffs)
            asked.kill()
            asked.communicate()


# alternates between two ports, each datagram with its number, on one processor: what one hook logs is then
# in the order of the numbers
NUMBERED = """
import os, select, socket, struct, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
number = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for port in (5000, 6000):
        number += 1
        s.sendto(struct.pack("<Q", number), (sys.argv[1], port))
    time.sleep(0.0002)
"""


class _Readers:
    """Gathers what every load of a policy logs, while it runs: (load, hook, packet's number, verdict)."""

    def __init__(self) -> None:
        self.met: list[tuple[int, str, int, str]] = []
        self._open: list[tuple[int, running.Running, generation.Fd, Ring]] = []
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def add(self, policy: running.Running) -> None:
        with self._lock:
            fd = policy.open_map("events")
            self._open.append((policy.state.generation, policy, fd, Ring(fd, RING_BYTES)))
            for _, _, old, ring in self._open[:-2]:  # nothing runs any more that writes to these
                ring.close()
                old.close()
            del self._open[:-2]

    def _run(self) -> None:
        while not self._end.wait(0.005):
            self.read()

    def read(self) -> None:
        with self._lock:
            for load, policy, _, ring in self._open:
                for record in ring.records():
                    event = events.decode(policy, record)
                    (number,) = struct.unpack_from("<Q", event.header, 42)
                    self.met.append((load, event.chain, number, event.slot.label))

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self.read()
        for _, _, fd, ring in self._open:
            ring.close()
            fd.close()


def test_no_packet_meets_the_new_policy_before_the_old_one(bpffs: Path, pair: netns.Pair) -> None:
    """Old and new disagree about both ports. Packets go out through one hook and in through another, and the
    first is switched first: hook by hook, some would meet the new policy there and the old one behind."""

    def policy(passed: int, dropped: int) -> bytes:
        rules = [rule("pass", "pass", proto=UDP, dport=passed, sample=1)]
        rules.append(rule("drop", "drop", proto=UDP, dport=dropped, sample=1))
        outer = f"{pair.outer}/{pair.outer_if}"
        return bundle(
            "edge",
            chain("first", "tc", outer, "allow", *rules, direction="egress"),
            chain("second", "xdp", pair.target, "pass", *rules),
        )

    policies = [policy(5000, 6000), policy(6000, 5000)]
    up(policies[0], bpffs)
    readers = _Readers()
    readers.add(running.find(bpffs, "edge"))
    sender = netns.python(pair.outer, NUMBERED, pair.inner4)
    try:
        for i in range(1, 25):
            up(policies[i % 2], bpffs)
            readers.add(running.find(bpffs, "edge"))
    finally:
        sender.communicate("stop\n", timeout=20)
        readers.close()
    loads: dict[str, dict[int, int]] = {"first.egress": {}, "second": {}}
    for load, hook, number, verdict in readers.met:
        odd_passes = load % 2 == generation.FIRST % 2  # the first policy passes port 5000, the odd numbers
        assert verdict == ("pass" if (number % 2 == 1) == odd_passes else "drop"), "half a policy"
        assert number not in loads[hook], "one hook, one verdict"
        loads[hook][number] = load
    for hook, by_number in loads.items():
        sequence = [by_number[number] for number in sorted(by_number)]
        assert sequence == sorted(sequence), f"{hook} went back to an older policy"
        assert len(set(sequence)) > 20, "each load judged something"
    crossed = loads["first.egress"].keys() & loads["second"].keys()
    assert len(crossed) > 500
    backwards = [n for n in crossed if loads["second"][n] < loads["first.egress"][n]]
    assert not backwards, f"{len(backwards)} packets met the new policy first and the old one behind it"
