"""One policy takes the place of another: nothing lost under a flood, all or nothing, and whole after a
crash."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.runtime import bundle as bundles
from lockgate.runtime import generation, pins, recover, running, swap
from lockgate.runtime.errors import HookOccupied, SystemRefused, VerifierRejected
from lockgate.runtime.sys import bpf

from .. import netns
from . import markers, policies
from .actions import counts, lockgate_json, udp_arrivals, up
from .policies import UDP, bundle, chain, rule

pytestmark = pytest.mark.kernel

FLOOD, DISPUTED = 5000, 6000

# sends bursts to FLOOD, with one packet to DISPUTED each, until told to stop; says how many of both
SENDER = """
import select, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bursts = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(20):
        s.sendto(b"x", (sys.argv[1], 5000))
    s.sendto(b"x", (sys.argv[1], 6000))
    bursts += 1
    time.sleep(0.001)
print(bursts * 20, bursts)
"""

# counts what arrives at both ports until its standard input is closed
RECEIVER = """
import select, socket, sys
ports = []
for port in (5000, 6000):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
    s.bind((sys.argv[1], port))
    s.setblocking(False)
    ports.append(s)
print("ready", flush=True)
counts, ending = [0, 0], False
while True:
    for i, s in enumerate(ports):
        try:
            while True:
                s.recv(64)
                counts[i] += 1
        except BlockingIOError:
            pass
    if ending:
        break
    ending = sys.stdin in select.select([*ports, sys.stdin], [], [])[0]
print(*counts)
"""


def _policy(target: str, hooks: tuple[str, ...], disputed: str) -> bytes:
    """Allows the flood; `disputed` is "drop" or not, for the other port."""
    chains = []
    for hook in hooks:
        rules = [rule("pass", "flood", proto=UDP, dport=FLOOD)]
        if disputed == "drop":
            rules.append(rule("drop", "disputed", proto=UDP, dport=DISPUTED))
        direction = "ingress" if hook == "tc" else ""
        chains.append(chain("edge", hook, target, "pass", *rules, direction=direction))
    return bundle("edge", *chains)


@pytest.mark.parametrize("hooks", [("xdp",), ("tc",), ("xdp", "tc")], ids=lambda h: "+".join(h))
def test_nothing_is_lost_while_policies_alternate(
    bpffs: Path, pair: netns.Pair, hooks: tuple[str, ...]
) -> None:
    old, new = (_policy(pair.target, hooks, verdict) for verdict in ("drop", "pass"))
    up(old, bpffs)
    receiver = netns.python(pair.inner, RECEIVER, pair.inner4)
    assert receiver.stdout is not None
    assert receiver.stdout.readline().strip() == "ready"
    sender = netns.python(pair.outer, SENDER, pair.inner4)
    try:
        for i in range(20):
            outcome = up(old if i % 2 else new, bpffs)
            assert (outcome.replaced, outcome.switched, outcome.added) == (True, len(hooks), 0)
        sent = [int(n) for n in sender.communicate("stop\n", timeout=20)[0].split()]
        arrived = [int(n) for n in receiver.communicate("stop\n", timeout=20)[0].split()]
    finally:
        for process in (sender, receiver):
            process.kill()
            process.wait()
    assert arrived[0] == sent[0] > 1000, "packets that both policies allow were lost"
    assert 0 < arrived[1] < sent[1], "the two policies disagree here, and both must have been in force"


def _links(bpffs: Path, name: str) -> dict[str, int]:
    """Pin → id of the program that the link runs."""
    out = {}
    for path in pins.listing(bpffs / pins.FOLDER / pins.quote(name) / "links"):
        with running.open_pin(path) as link:
            out[path.name] = bpf.link_info(link).prog_id
    return out


def test_a_refusal_by_the_verifier_leaves_the_old_policy(bpffs: Path, pair: netns.Pair) -> None:
    old = chain("edge", "xdp", pair.target, "pass", rule("drop", "disputed", proto=UDP, dport=DISPUTED))
    up(bundle("edge", old), bpffs)
    before = _links(bpffs, "edge")
    new = chain("edge", "xdp", pair.target, "pass", rule("drop", "other", proto=UDP, dport=7000))
    with pytest.raises(VerifierRejected) as caught:
        up(policies.refused_by_verifier("edge", new), bpffs)
    error = caught.value
    assert error.code == "E0801"
    assert "9999" in error.log
    assert any("invalid func" in note for note in error.notes), error.notes
    assert error.place is not None
    assert error.place.file.endswith("edge.gate")
    assert swap.STILL_ATTACHED in error.notes
    assert _links(bpffs, "edge") == before
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, DISPUTED) == 0
    assert counts(bpffs, "edge")["disputed"] == 3


def test_a_first_policy_that_is_refused_leaves_nothing(bpffs: Path, pair: netns.Pair) -> None:
    new = chain("edge", "xdp", pair.target, "pass", rule("drop", "other", proto=UDP, dport=7000))
    with pytest.raises(VerifierRejected) as caught:
        up(policies.refused_by_verifier("edge", new), bpffs)
    assert "nothing was changed" in caught.value.notes
    assert not (bpffs / pins.FOLDER).exists()


@pytest.fixture
def occupied(pair: netns.Pair, bpffs: Path) -> Iterator[str]:
    """An interface beside the protected one that has somebody else's XDP program."""
    netns.run("ip", "-n", pair.inner, "link", "add", "lan1", "type", "veth", "peer", "lan2")
    target = f"{pair.inner}/lan1"
    up(bundle("other", chain("other", "xdp", target, "pass")), bpffs)
    yield target
    swap.down("other", bpffs)


def test_a_hook_that_is_taken_switches_everything_back(bpffs: Path, pair: netns.Pair, occupied: str) -> None:
    old = chain("edge", "xdp", pair.target, "pass", rule("drop", "disputed", proto=UDP, dport=DISPUTED))
    up(bundle("edge", old), bpffs)
    before = _links(bpffs, "edge")
    new = chain("edge", "xdp", (pair.target, occupied), "pass")
    with pytest.raises(HookOccupied) as caught:
        up(bundle("edge", new), bpffs)
    assert occupied in caught.value.message
    assert swap.STILL_ATTACHED in caught.value.notes
    assert _links(bpffs, "edge") == before, "the link that had been switched is back at the old program"
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, DISPUTED) == 0
    assert sorted(p.name for p in (bpffs / pins.FOLDER / "edge").iterdir()) == ["current", "links"]


def test_targets_come_and_go(bpffs: Path, pair: netns.Pair) -> None:
    netns.run("ip", "-n", pair.inner, "link", "add", "lan1", "type", "veth", "peer", "lan2")
    one, two = pair.target, f"{pair.inner}/lan1"
    drop = rule("drop", "d", proto=UDP, dport=DISPUTED)
    up(bundle("edge", chain("edge", "xdp", one, "pass", drop)), bpffs)
    outcome = up(bundle("edge", chain("edge", "xdp", (one, two), "pass", drop)), bpffs)
    assert (outcome.switched, outcome.added, outcome.removed) == (1, 1, 0)
    outcome = up(bundle("edge", chain("edge", "xdp", two, "pass", drop)), bpffs)
    assert (outcome.switched, outcome.added, outcome.removed) == (1, 0, 1)
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, DISPUTED) == 3
    assert len(_links(bpffs, "edge")) == 1


def test_an_interface_that_was_made_anew_gets_a_link_of_its_own(bpffs: Path, pair: netns.Pair) -> None:
    data = bundle("edge", chain("edge", "xdp", f"{pair.inner}/lan1", "pass"))
    make = ("ip", "-n", pair.inner, "link", "add", "lan1", "index", "77", "type", "veth", "peer", "lan2")
    netns.run(*make)
    up(data, bpffs)
    netns.run("ip", "-n", pair.inner, "link", "del", "lan1")
    netns.run(*make)  # even the number is the same
    outcome = up(data, bpffs)
    assert (outcome.replaced, outcome.added, outcome.switched) == (True, 1, 0)


def test_the_mode_of_a_link_cannot_change(bpffs: Path, pair: netns.Pair) -> None:
    data = bundle("edge", chain("edge", "xdp", pair.target, "pass"))
    up(data, bpffs, xdp_mode="generic")
    with pytest.raises(SystemRefused, match="runs XDP in generic mode"):
        up(data, bpffs, xdp_mode="native")
    assert up(data, bpffs).state.attachments[0].mode == "generic"


def test_two_commands_at_once_wait_for_each_other(bpffs: Path, pair: netns.Pair, tmp_path: Path) -> None:
    files = []
    for verdict in ("drop", "pass"):
        files.append(tmp_path / f"{verdict}.bundle")
        files[-1].write_bytes(_policy(pair.target, ("xdp", "tc"), verdict))
    command = [sys.executable, "-c", "from lockgate.cli import main; main()", "up", "--bpffs", str(bpffs)]
    racing = [subprocess.Popen([*command, str(file)], stdout=subprocess.DEVNULL) for file in files * 3]
    assert [process.wait(30) for process in racing] == [0] * 6
    assert len(_links(bpffs, "edge")) == 2
    assert sorted(p.name for p in (bpffs / pins.FOLDER / "edge").iterdir()) == ["current", "links"]


def test_a_long_policy_keeps_its_manifest(bpffs: Path, pair: netns.Pair) -> None:
    rules = [rule("drop", f"rule-{i}", proto=UDP, dport=i + 1) for i in range(2000)]
    up(bundle("long", chain("long", "xdp", pair.target, "pass", *rules)), bpffs)
    assert udp_arrivals(pair.inner, pair.outer, pair.inner4, 1999) == 0
    assert counts(bpffs, "long")["rule-1998"] == 3


class _Crash:
    """Stages of `up` at which the process may die: a function of a module, and at which call of it."""

    def __init__(self, owner: Any, name: str, call: int) -> None:
        self.owner, self.name, self.call = owner, name, call

    def arm(self) -> None:
        real: Callable[..., Any] = getattr(self.owner, self.name)
        calls = 0

        def dying(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.call:
                os._exit(9)
            return real(*arguments, **options)

        setattr(self.owner, self.name, dying)


# up to the word, the old policy is in force; the last stages come behind it
CRASHES = {
    "pinning": _Crash(bpf, "pin", 2),
    "naming-predecessors": _Crash(generation, "hand_over", 2),
    "before-the-first-switch": _Crash(bpf, "link_update", 1),
    "after-the-first-switch": _Crash(bpf, "link_update", 2),
    "before-the-last-switch": _Crash(bpf, "link_update", 3),
    "before-the-state": _Crash(running, "store", 1),
    "before-the-word": _Crash(generation, "write_word", 1),
    "before-the-renames": _Crash(Path, "rename", 1),
    "between-the-renames": _Crash(Path, "rename", 2),
    "before-forgetting": _Crash(generation, "forget", 2),
}
BEHIND_THE_WORD = ("before-the-renames", "between-the-renames", "before-forgetting")


def _crashing(*crashes: _Crash, then: Callable[[], object]) -> None:
    """Do it in a child that dies on the way."""
    pid = os.fork()
    if pid == 0:
        try:
            for crash in crashes:
                crash.arm()
            then()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9, "the crash did not happen"


@pytest.mark.parametrize("stage", CRASHES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_crash_leaves_one_policy_in_force_at_all_hooks(bpffs: Path, pair: netns.Pair, stage: str) -> None:
    old, new = markers.policy(pair, "old"), markers.policy(pair, "new")
    up(old, bpffs)
    _crashing(CRASHES[stage], then=lambda: up(new, bpffs))
    in_force = markers.NEW if stage in BEHIND_THE_WORD else markers.OLD
    assert markers.judges(pair) == in_force, "before anybody has repaired anything"
    directory = bpffs / pins.FOLDER / "edge"
    with pins.locked(bpffs):
        state = recover.recover(directory)
    assert state is not None
    assert state.digest == bundles.parse(new if in_force is markers.NEW else old).digest
    assert markers.judges(pair) == in_force
    assert sorted(p.name for p in directory.iterdir()) == ["current", "links"]
    assert sorted(p.name for p in (directory / "current").iterdir()) == ["maps", "progs", "state"]
    outcome = up(old if in_force is markers.NEW else new, bpffs)
    assert (outcome.switched, outcome.added) == (3, 0)
    assert markers.judges(pair) == (markers.OLD if in_force is markers.NEW else markers.NEW)


@pytest.mark.parametrize("stage", ["before-the-word", "between-the-renames"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_next_command_repairs(bpffs: Path, pair: netns.Pair, stage: str) -> None:
    up(markers.policy(pair, "old"), bpffs)
    _crashing(CRASHES[stage], then=lambda: up(markers.policy(pair, "new"), bpffs))
    (shown,) = lockgate_json("status", "--bpffs", str(bpffs))  # type: ignore[misc]
    which = "new" if stage in BEHIND_THE_WORD else "old"
    assert shown["digest"] == bundles.parse(markers.policy(pair, which)).digest  # type: ignore[index]
    assert sorted(p.name for p in (bpffs / pins.FOLDER / "edge").iterdir()) == ["current", "links"]
    assert markers.judges(pair) == dict.fromkeys(markers.HOOKS, which)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_crash_on_the_way_back_leaves_the_old_policy(
    bpffs: Path, pair: netns.Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(markers.policy(pair, "old"), bpffs)

    def up_that_fails() -> None:
        _failing_at_switch(3, monkeypatch)
        up(markers.policy(pair, "new"), bpffs)

    _crashing(_Crash(bpf, "wait_for_programs", 1), then=up_that_fails)
    assert markers.judges(pair) == markers.OLD
    with pins.locked(bpffs):
        assert recover.recover(bpffs / pins.FOLDER / "edge") is not None
    assert markers.judges(pair) == markers.OLD


@pytest.mark.parametrize("stage", ["before-the-word", "before-the-renames", "before-forgetting"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_crash_of_the_first_up(bpffs: Path, pair: netns.Pair, stage: str) -> None:
    owner, name, call = CRASHES[stage].owner, CRASHES[stage].name, CRASHES[stage].call
    # the first up makes the word, too
    crash = _Crash(owner, name, call + (name == "write_word"))
    _crashing(crash, then=lambda: up(markers.policy(pair, "new"), bpffs))
    in_force = stage in BEHIND_THE_WORD
    assert markers.judges(pair) == (markers.NEW if in_force else markers.NEITHER)
    recover.settle(bpffs)
    assert len(running.everything(bpffs)) == in_force
    assert markers.judges(pair) == (markers.NEW if in_force else markers.NEITHER)
    outcome = up(markers.policy(pair, "old"), bpffs)
    assert (outcome.replaced, outcome.added) == (in_force, 0 if in_force else 3)
    assert markers.judges(pair) == markers.OLD


def _failing_at_switch(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses one LINK_UPDATE."""
    real, calls = bpf.link_update, 0

    def refusing(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise bpf.BpfError(errno.ENOLINK, "LINK_UPDATE", "link")
        real(*arguments)

    monkeypatch.setattr(bpf, "link_update", refusing)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_refusal_at_any_link_leaves_the_old_policy_at_all(
    bpffs: Path, pair: netns.Pair, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    up(markers.policy(pair, "old"), bpffs)
    before = _links(bpffs, "edge")
    _failing_at_switch(number, monkeypatch)
    with pytest.raises(SystemRefused) as caught:
        up(markers.policy(pair, "new"), bpffs)
    assert swap.STILL_ATTACHED in caught.value.notes
    assert _links(bpffs, "edge") == before
    assert markers.judges(pair) == markers.OLD
    assert sorted(p.name for p in (bpffs / pins.FOLDER / "edge").iterdir()) == ["current", "links"]
