"""The kernel's own judge of `import iptables-save`: a rule set loaded by iptables in one namespace, what we
make of it in another, the same frames through both, and the counter of each rule compared.

Rules are random (`properties/rulesets.py`), with user chains, gotos and returns. INPUT is met by frames for
addresses that are all local, FORWARD by frames that are routed to another device. The classic iptables is
asked, whose rules look where ours do: the one over nftables reads ports of later fragments out of their
payload, as `test_nftables.py` shows.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.importers import iptables
from lockgate.compiler.render import render
from lockgate.compiler.source import Source
from tests import engines
from tests.conftest import tool
from tests.properties import rulesets
from tests.properties.packets import Maker

from .importing import BEHIND, OUT, Host, counted_by_us, host, settled

pytestmark = pytest.mark.kernel

FRAMES = 200
_COUNTED = re.compile(r"\[(\d+):\d+\] -A (\S+)")
_POLICY = re.compile(r":(\S+) (?:ACCEPT|DROP) \[(\d+):")
DECIDES = ("ACCEPT", "DROP", "REJECT")


class Judge:
    """One host for iptables and one for us."""

    def __init__(self, theirs: Host, ours: Host, chain: str, bpffs: Path, tmp_path: Path) -> None:
        self.theirs, self.ours, self.chain, self.bpffs, self.folder = theirs, ours, chain, bpffs, tmp_path
        self.family = theirs.family
        self.restore = "iptables-legacy-restore" if self.family == 4 else "ip6tables-legacy-restore"
        self.save = self.restore.replace("restore", "save")
        theirs.run("ipset", "restore", text=rulesets.SET_TEXT[self.family])

    def imported(self, dump: str) -> str:
        """What we make of a dump."""
        device = self.theirs.pair.inner_if if self.chain == "INPUT" else OUT
        sink = Sink()
        sources = [Source("rules", dump), Source("sets", rulesets.SET_TEXT[self.family])]
        text = iptables.imported(sources, iptables.settings([device], [], False), sink)
        assert text is not None and not sink.diagnostics, render(sink.diagnostics)
        return text.replace(f'on "{device}"', f'on "{self.ours.name}/{device}"')

    def counted_by_kernel(self, dump: str, frames: Sequence[bytes]) -> Counter[int]:
        """Packets by the line of the rule that decided them, or of the policy."""
        self.theirs.run(self.restore, text=dump)
        self.theirs.send(frames)
        saved = settled(lambda: self.theirs.run(self.save, "-c", "-t", "filter"))
        lines = dump.split("\n")
        found: Counter[int] = Counter()
        number: Counter[str] = Counter()
        places: dict[tuple[str, int], int] = {}
        for at, line in enumerate(lines, 1):
            if line.startswith("-A "):
                chain = line.split()[1]
                places[chain, number[chain]] = at
                number[chain] += 1
        number.clear()
        for line in saved.split("\n"):
            if (policy := _POLICY.match(line)) is not None and policy[1] == self.chain:
                found[next(i for i, text in enumerate(lines, 1) if text.startswith(f":{self.chain} "))] += (
                    int(policy[2])
                )
            if (rule := _COUNTED.match(line)) is None:
                continue
            at = places[rule[2], number[rule[2]]]
            number[rule[2]] += 1
            if any(f"-j {word}" in line for word in DECIDES):
                found[at] += int(rule[1])
        return +found

    def ours_count(self, text: str, frames: Sequence[bytes]) -> Counter[int]:
        """The same of our program."""
        return counted_by_us(self.ours, text, frames, self.bpffs, self.folder)


@contextmanager
def judge(family: int, chain: str, bpffs: Path, tmp_path: Path) -> Iterator[Judge]:
    for name in ("iptables-legacy-restore", "ipset"):
        tool(name)
    forwards = chain == "FORWARD"
    with host(family, forwards) as theirs, host(family, forwards) as ours:
        yield Judge(theirs, ours, chain, bpffs, tmp_path)


def compared(family: int, chain: str, seeds: Sequence[int], bpffs: Path, tmp_path: Path) -> None:
    sent = decided = 0
    with judge(family, chain, bpffs, tmp_path) as both:
        for seed in seeds:
            rng = random.Random(seed)
            devices = (both.theirs.pair.inner_if, OUT, BEHIND)
            dump = rulesets.Rulesets(rng, family, chain, devices).dump()
            text = both.imported(dump)
            parsed = engines.load(text, {}).chains[0]
            maker = Maker(parsed, {}, rng)
            frames = rulesets.arriving(maker, family, chain == "FORWARD", FRAMES)
            theirs, ours = both.counted_by_kernel(dump, frames), both.ours_count(text, frames)
            if theirs != ours:
                raise AssertionError(_told(both, dump, text, frames))
            sent, decided = sent + len(frames), decided + sum(theirs.values())
    assert decided >= sent * 9 // 10, f"of {sent} frames {decided} came to a rule"


def _told(both: Judge, dump: str, text: str, frames: Sequence[bytes]) -> str:
    """A frame that they do not agree about, found by halves."""
    counted = both.counted_by_kernel(dump, frames), both.ours_count(text, frames)
    while len(frames) > 1:
        for half in (frames[: len(frames) // 2], frames[len(frames) // 2 :]):
            found = both.counted_by_kernel(dump, half), both.ours_count(text, half)
            if found[0] != found[1]:
                frames, counted = half, found
                break
        else:
            break
    numbered = "\n".join(f"{i:3} {line}" for i, line in enumerate(dump.split("\n"), 1))
    facts = engines.facts_of(engines.Frame(frames[0]))
    return f"{frames[0].hex()}\n{facts}\niptables {counted[0]}\nours     {counted[1]}\n{numbered}\n{text}"


@pytest.mark.parametrize("chain", ["INPUT", "FORWARD"])
@pytest.mark.parametrize("family", [4, 6])
def test_rule_sets_mean_what_the_kernel_makes_of_them(
    family: int, chain: str, bpffs: Path, tmp_path: Path
) -> None:
    compared(family, chain, range(2), bpffs, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("chain", ["INPUT", "FORWARD"])
@pytest.mark.parametrize("family", [4, 6])
def test_many_rule_sets_mean_what_the_kernel_makes_of_them(
    family: int, chain: str, bpffs: Path, tmp_path: Path
) -> None:
    compared(family, chain, range(1000, 1050), bpffs, tmp_path)
