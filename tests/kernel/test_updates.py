"""Policies, tiers and labels change while flows run and while whoever changes them is killed: what is allowed
before and after is never lost, nobody is judged by a policy that has gone or by half of one.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import pytest

from lockgate.runtime import acquaint, pins, recover
from lockgate.runtime.sys import attrs, bpf

from .actions import lockgate, lockgate_json
from .test_endpoints import known
from .updating import (
    BOTH_PORT,
    BY_LABEL,
    NEITHER,
    NEW,
    NEW_PORT,
    OLD,
    OLD_PORT,
    Pair,
    between_pods,
    tiered,
)

pytestmark = [pytest.mark.kernel, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

NAME = "policy"  # of what is loaded
CHANGES = {  # commands of bpf(2) that change what others may see
    getattr(attrs.Command, name)
    for name in (
        "MAP_UPDATE_ELEM",
        "MAP_DELETE_ELEM",
        "MAP_UPDATE_BATCH",
        "OBJ_PIN",
        "LINK_CREATE",
        "LINK_UPDATE",
        "LINK_DETACH",
    )
}
FILES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")


def killed_at(step: int, then: Callable[[], object]) -> bool:
    """Do it in a process that is killed before the change of that number; whether it got so far."""
    pid = os.fork()
    if pid == 0:
        done, real = 0, bpf._syscall

        def stepping() -> None:
            nonlocal done
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

        def counting(number: int, command: int, *rest: object) -> object:
            if command in CHANGES:
                stepping()
            return real(number, command, *rest)

        try:
            bpf._syscall = counting
            sys.addaudithook(lambda event, _: stepping() if event in FILES else None)
            then()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def each_step(then: Callable[[], object], every: int) -> Iterator[int]:
    """Steps at which `then` has been killed, one after the other, each time from the start."""
    step = 0
    while killed_at(step, then):
        yield step
        step += every


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Pair]:
    with between_pods(4, 1, tmp_path) as pair:
        yield pair


def test_counters_by_policy_and_by_endpoint(running: Pair, bpffs: Path) -> None:
    running.up(tiered("old", "new"), bpffs)
    assert running.judged() == OLD
    counted = ("counters", "--bpffs", str(bpffs), NAME, "--by")
    rows = lockgate_json(*counted, "policy")
    sums = {(row["policy"], row["verdict"]): row["packets"] for row in rows}
    # Two turns of three datagrams each: one is dropped where it is sent, two are let out and in.
    assert (sums["old", "allow"], sums["old", "drop"]) == (8, 2)
    assert (sums["new", "allow"], sums["new", "drop"]) == (0, 0)
    assert sums["(known flow)", "allow"] == 8, "answers, at both ends"
    api, db = lockgate_json(*counted, "endpoint")
    assert (api["endpoint"], api["flows"], api["sent"], api["received"]) == ("default/p0", 4, 4, 4)
    assert (db["endpoint"], db["flows"], db["sent"], db["received"]) == ("default/p1", 4, 4, 4)
    shown = lockgate(*counted, "policy").stdout.splitlines()
    assert shown[0].split() == ["loaded", "policy", "verdict", "packets", "bytes"]


@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_whoever_is_killed_leaves_one_policy(running: Pair, bpffs: Path, every: int) -> None:
    old, new = tiered("old", "new"), tiered("new", "old")
    running.up(old, bpffs)
    seen = []
    for step in each_step(lambda: running.up(new, bpffs), every):
        seen.append(running.judged())
        with pins.locked(bpffs):
            recover.recover(bpffs / pins.FOLDER / NAME)
        assert running.judged() == seen[-1], f"what is in force at step {step} is what is kept"
        if seen[-1] == NEW:
            running.up(old, bpffs)
    assert set(seen) == {OLD, NEW}
    assert seen == sorted(seen, reverse=True), "there is one step at which the policy changes"


def test_whoever_is_killed_leaves_the_old_labels_or_the_new_ones(running: Pair, bpffs: Path) -> None:
    """But for one step: records of interfaces change behind those of addresses, and in between the caller
    sends by its old label and is met by its new one: what either forbids does not get through."""
    running.up(BY_LABEL, bpffs)

    def know(app: str) -> acquaint.Outcome:
        running.cluster.pods[0].labels["app"] = app
        return acquaint.know(NAME, known(running.cluster), None, bpffs)

    seen = []
    for _ in each_step(lambda: know("web"), 1):
        fresh, _ = running.ask("turn", ports=[OLD_PORT, NEW_PORT])
        seen.append(tuple(fresh))
        know("api")
        assert running.judged() == OLD
    assert [one for one, _ in groupby(seen)] == [OLD, NEITHER, NEW]
    assert seen.count(NEITHER) == 1


@pytest.mark.parametrize(
    ("family", "sockets", "ports", "rounds"),
    [(4, 25, 20, 1), (6, 25, 20, 1), pytest.param(6, 200, 50, 4, marks=pytest.mark.exhaustive)],
)
def test_nothing_allowed_is_lost_and_nothing_forbidden_passes(
    tmp_path: Path, bpffs: Path, family: int, sockets: int, ports: int, rounds: int
) -> None:
    """`sockets * ports` flows that all policies allow, beside two ports of which each policy allows one."""
    with between_pods(family, ports, tmp_path) as running:

        def load(text: str) -> None:
            running.up(text, bpffs)

        def label(app: str) -> None:
            running.cluster.pods[0].labels["app"] = app
            acquaint.know(NAME, known(running.cluster), None, bpffs)

        changes: list[tuple[Callable[[str], None], str, tuple[bool, bool]]] = [
            (load, tiered("old", "new"), OLD),
            (load, tiered("new", "old"), NEW),
            (load, BY_LABEL, OLD),
            (label, "web", NEW),
            (label, "api", OLD),
        ] * rounds
        load(changes[0][1])
        allowed = [*range(BOTH_PORT, BOTH_PORT + ports)]
        assert running.ask("open", count=sockets, allowed=allowed) == sockets
        running.tell("run", ports=[OLD_PORT, NEW_PORT], allowed=allowed)
        running.enter(0, seen=True)
        for i, (act, what, _) in enumerate(changes[1:]):
            running.enter(2 * i + 1)
            act(what)
            running.enter(2 * i + 2, seen=True)
        running.enter(255)
        said = running.answer()
    assert said["lost"] == 0
    assert said["sent"] >= sockets * ports, "each flow goes on after it was opened"
    _generations(said["seen"], [result for *_, result in changes], [act is load for act, *_ in changes])


def _generations(
    seen: list[tuple[int, int, list[bool]]], results: list[tuple[bool, bool]], policies: list[bool]
) -> None:
    """Judge what the caller met. Stage 2i is change i in force, 2i-1 the way there. While a stage lasts, its
    policy judges alone; on the way from one to the next, a packet that two policies judge is of none; and
    once the new policy has let something through, the old one lets nothing through again. (Records of an
    inventory are no policy: an open flow goes by the old ones until their count is raised.)"""
    settled = set()
    passed_new: set[int] = set()
    for before, after, (fresh_old, fresh_new, held_old, held_new) in seen:
        turns = [(fresh_old, fresh_new), (held_old, held_new)]
        if after == 255:
            continue
        if before == after and before % 2 == 0:
            settled.add(before)
            assert turns == [results[before // 2]] * 2, f"stage {before} is judged by itself alone"
            continue
        way = before | 1
        assert after <= way + 1, "the caller has seen each stage"
        if not policies[way // 2 + 1]:
            continue
        new = results[way // 2 + 1].index(True)
        for port in (port for turn in turns for port, passes in enumerate(turn) if passes):
            assert port == new or way not in passed_new, f"stage {way}: the old policy is back"
            if port == new:
                passed_new.add(way)
    assert settled == {2 * i for i in range(len(results))}, "every change is seen in force"
