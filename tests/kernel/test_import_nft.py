"""The kernel's own judge of `import nft`: rule lists loaded by nft, what we make of the listing, the same
frames through both, and the counter of each rule compared. And a round trip: what our own back end writes,
loaded and listed by nft, means the same when it is imported.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from lockgate.compiler import targets
from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.driver import Session
from lockgate.compiler.importers import nft
from lockgate.compiler.policy.decide import decide
from lockgate.compiler.render import render
from lockgate.compiler.source import Source
from lockgate.stdlib_bpf.decode.frame import Malformed
from tests import engines, netns
from tests.conftest import tool
from tests.properties import rulesets
from tests.properties.packets import Maker

from .importing import OUT, Host, counted_by_us, host
from .test_nftables import Neutral, comparable, drawn, seen

pytestmark = pytest.mark.kernel

FRAMES = 200
# nft 1.0.6 lists two such conditions in a row as one range of the second field, and of a rule that asks for a
# family and its ICMP the protocol alone; it judges them as written.
MISLISTED = re.compile(r">=? \d+ [\w ]+ <=? |l4proto \{ (ipv6-)?icmp \} counter")
HEAD = """table inet lg {
  set known { type ipv4_addr; flags interval; elements = { 10.1.0.0/16, 192.0.2.7 } }
  map ways { type inet_service : verdict; elements = { 22 : jump user0, 53 : drop, 80 : accept } }
"""


def ruleset(rng: random.Random, hook: str) -> str:
    """A base chain with two chains below it, sets, a named and an anonymous verdict map."""
    lines = [HEAD]
    for name in ("user1", "user0"):
        lines.append(f"  chain {name} {{")
        lines += [
            f"    {rule(rng, ['user1'] if name == 'user0' else [])}" for _ in range(rng.randrange(1, 5))
        ]
        lines.append("  }")
    policy = rng.choice(("accept", "drop"))
    lines.append(f"  chain base {{ type filter hook {hook} priority 0; policy {policy};")
    lines += [f"    {rule(rng, ['user0', 'user1'])}" for _ in range(rng.randrange(3, 9))]
    return "\n".join([*lines, "  }", "}", ""])


def rule(rng: random.Random, users: list[str]) -> str:
    """One rule, with a counter."""
    chance = rng.random()
    if users and chance < 0.12:
        return "tcp dport vmap @ways" if "user0" in users else "udp dport vmap { 53 : drop, 99 : accept }"
    if chance < 0.2:
        return f"ip saddr {rng.choice(('', '!= '))}@known counter {rng.choice(('accept', 'drop'))}"
    if chance < 0.25:
        return f"iifname {rng.choice(('', '!= '))}{rng.choice(('lan0', 'lan*', 'eth9'))} counter drop"
    words = _asked(drawn(rng))
    way = rng.choice(("accept", "drop", "accept", "drop", "return"))
    if users and rng.random() < 0.3:
        way = f"{rng.choice(('jump', 'jump', 'goto'))} {rng.choice(users)}"
    return f"{words} counter {way}"


def _asked(one: Neutral) -> str:
    """Its conditions, but for those that this hook sees otherwise: of the link layer's header and length."""
    kept = tuple(c for c in one.conditions if not c.startswith(("meta.", "eth.", "ip4.options", "ip6.")))
    words = Neutral(
        one.verdict, one.family, one.protocols, one.addresses, one.ports, one.flags, one.types, kept
    )
    return words.nft().replace("ip6 length > 60", "ip6 hoplimit > 60")


def listed(place: Host) -> str:
    """What nft says is there."""
    return place.run("nft", "-j", "list", "ruleset")


def imported(text: str, device: str) -> str:
    sink = Sink()
    result = nft.imported([Source("rules", text)], nft.Settings((device,)), sink)
    assert result is not None and not sink.diagnostics, render(sink.diagnostics)
    return result


def refused(text: str, device: str) -> bool:
    sink = Sink()
    nft.imported([Source("rules", text)], nft.Settings((device,)), sink)
    assert {one.code for one in sink.diagnostics} <= {"E1002"}
    return sink.has_errors


def decided(text: str) -> Counter[int]:
    """Packets by the place of the rule that decided them. The policy's are not known to nft."""
    found: Counter[int] = Counter()
    for number, one in enumerate(json.loads(text)["nftables"], 1):
        for statement in one.get("rule", {}).get("expr", []):
            if "counter" in statement and {"accept", "drop"} & {k for s in one["rule"]["expr"] for k in s}:
                found[number] += statement["counter"]["packets"]
    return +found


@pytest.mark.parametrize("family", [4, 6])
def test_rule_lists_mean_what_the_kernel_makes_of_them(family: int, bpffs: Path, tmp_path: Path) -> None:
    hold(family, 0, 4, bpffs, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("family", [4, 6])
def test_two_hundred_rule_lists_mean_what_the_kernel_makes_of_them(
    family: int, bpffs: Path, tmp_path: Path
) -> None:
    hold(family, 1000, 100, bpffs, tmp_path)


def hold(family: int, first: int, wanted: int, bpffs: Path, tmp_path: Path) -> None:
    """Judge so many rule lists; those that the importer refuses, or nft lists wrongly, are drawn anew."""
    tool("nft")
    counts, judged, seed = 0, 0, first
    with host(family, False) as theirs, host(family, False) as ours:
        while judged < wanted:
            rng, seed = random.Random(seed), seed + 1
            written = ruleset(rng, "input")
            theirs.run("nft", "-f", "-", text=f"flush ruleset\n{written}")
            if MISLISTED.search(written) or refused(listed(theirs), theirs.pair.inner_if):
                assert seed - first <= 2 * wanted + 4, "too few can be said"
                continue
            judged += 1
            text = imported(listed(theirs), theirs.pair.inner_if)
            chain = engines.load(text, {}).chains[0]
            frames = rulesets.arriving(Maker(chain, {}, rng), family, False, FRAMES)
            theirs.send(frames)
            expected = _settled(theirs)
            placed = text.replace('on "lan0"', f'on "{ours.name}/lan0"')
            mine = counted_by_us(ours, placed, frames, bpffs, tmp_path)
            counted = {place for place, n in mine.items() if place in _with_counters(listed(theirs))}
            assert {p: n for p, n in mine.items() if p in counted} == dict(expected), (
                f"{listed(theirs)}\n{text}"
            )
            counts += sum(mine.values())
    assert counts >= FRAMES * wanted // 4, "too few frames met a rule that decides"


def _settled(place: Host) -> Counter[int]:
    before: Counter[int] = Counter()
    for _ in range(50):
        now = decided(listed(place))
        if now == before and now:
            break
        before = now
    return before


def _with_counters(text: str) -> set[int]:
    return {
        number
        for number, one in enumerate(json.loads(text)["nftables"], 1)
        if any("counter" in s for s in one.get("rule", {}).get("expr", []))
    }


@pytest.mark.parametrize("seed", range(6))
def test_what_our_back_end_writes_means_the_same_again(seed: int, pair: netns.Pair, tmp_path: Path) -> None:
    tool("nft")
    rng = random.Random(seed)
    path = tmp_path / "p.gate"
    written = ">= 1 x <= 2"
    while MISLISTED.search(written):
        rules = "\n".join(f"    r{i}: {drawn(rng).gate()}" for i in range(rng.randrange(3, 10)))
        default = rng.choice(("allow", "drop"))
        source = f'policy p at tc on "lan0" {{\n  default {default}\n  ingress {{\n{rules}\n  }}\n}}\n'
        path.write_text(source)
        with Session(path) as session:
            written = targets.ALL["nftables"].build(session).decode()
    place = Host(pair, 4)
    place.run("nft", "-f", "-", text=written)
    again = imported(listed(place), "lan0")
    first, second = (engines.load(text, {}).chains[0] for text in (source, again))
    maker, compared = Maker(first, {}, rng), 0
    while compared < 300:
        shape = maker.shape()
        facts = (
            engines.facts_of(seen(shape.frame()))
            if comparable(shape) or shape.later_fragment
            else Malformed("")
        )
        if isinstance(facts, Malformed):
            continue
        compared += 1
        assert decide(first, facts, {}).verdict == decide(second, facts, {}).verdict, (
            f"{facts}\n{source}\n{again}"
        )


def test_the_listing_of_a_forwarding_host(pair: netns.Pair) -> None:
    tool("nft")
    place = Host(pair, 4)
    chain = "type filter hook forward priority 0; policy drop; iifname eth1 oifname out0 accept;"
    text = f"table ip f {{ chain c {{ {chain}\n }}\n}}\n"
    place.run("nft", "-f", "-", text=text)
    result = imported(listed(place), OUT)
    assert "allow" not in result and 'pass if meta.iif == "eth1"' in " ".join(result.split())
