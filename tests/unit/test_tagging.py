"""Which sets are looked up together, and where the look-up stands."""

from __future__ import annotations

from itertools import product

import pytest

from lockgate.compiler.irtext import print_set
from lockgate.compiler.match import run as match_run
from lockgate.compiler.match import text as match_text
from lockgate.compiler.match.verify import VerifyError
from lockgate.compiler.plan.choose import GOALS, STRUCTURES
from lockgate.compiler.plan.cost import asking, cost, price, rule_cost
from lockgate.compiler.plan.ir import Plan, Tag
from lockgate.compiler.plan.lower import lower
from lockgate.compiler.plan.predict import predict
from lockgate.compiler.plan.run import Runner
from lockgate.compiler.plan.text import read, write
from lockgate.compiler.plan.verify import verify
from lockgate.stdlib_bpf import tags
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.tags import MAX_MEMBERS

HEAD = 'matches "edge" at xdp default pass\n'
FORCED = frozenset(tags.ALL)


def networks(number: int, count: int = 1_000) -> str:
    """A set of /24s, another for each number."""
    return "{" + ", ".join(f"{11 + number}.{i >> 8}.{i & 255}.0/25" for i in range(count)) + "}"


def planned(
    *tests: str,
    rules: str = "",
    structures: frozenset[str] | None = None,
    goal: str = "latency",
    live: str = "",
) -> Plan:
    """The plan of a list: of each match the tests behind those for IPv4."""
    lines = "".join(f'rule {i} "r{i}" drop "f" {i + 1} 1{rules}\n' for i in range(len(tests)))
    matches = "".join(f"match {i} from {i} when eth.type {{0x0800}} {one}\n" for i, one in enumerate(tests))
    plan = lower(match_text.read(HEAD + live + lines + matches), structures, GOALS[goal])
    verify(plan)
    assert read(write(plan)) == plan
    return plan


def looks(plan: Plan) -> list[tuple[str, str]]:
    return [(node.field, node.tags) for node in plan.nodes if isinstance(node, Tag)]


def test_sets_that_every_packet_is_asked_about_are_looked_up_once() -> None:
    plan = planned(*(f"ip4.src {networks(i)}" for i in range(4)))
    assert [len(one.members) for one in plan.tags] == [4]
    assert plan.tables == () and looks(plan) == [("ip4.src", "tags0")]
    alone = planned(*(f"ip4.src {networks(i)}" for i in range(4)), structures=STRUCTURES - FORCED)
    assert alone.tags == () and len(alone.tables) == 4
    assert cost(plan).expected_ns < cost(alone).expected_ns
    assert cost(plan).table_bytes == price(plan.tags[0]).bytes


def test_one_set_is_a_table() -> None:
    assert planned(f"ip4.src {networks(0)}").tags == ()


def test_a_set_asked_again_and_again_is_looked_up_once() -> None:
    plan = planned(*(f"ip.proto {{17}} th.dport {{{i}}} ip4.src {networks(0)}" for i in range(9)))
    assert plan.tags == () and len(plan.tables) == 1  # the ports leave few packets
    plan = planned(*(f"ip.ttl {{{i}-255}} ip4.src {networks(0)}" for i in range(1, 9)))
    assert [len(one.members) for one in plan.tags] == [1] and plan.tables == ()


def test_sets_behind_selective_tests_stay_alone() -> None:
    guarded = (f"ip.proto {{6}} th.dport {{{i + 1}}} ip4.src {networks(i)}" for i in range(4))
    assert planned(*guarded).tags == ()


def test_small_sets_join_where_a_look_up_is_made_anyway() -> None:
    few = ", ".join(f"10.0.{i}.0/25" for i in range(6))
    tests = [f"ip4.src {networks(0)}", f"ip4.src {{{few}}}", f"ip4.src {networks(1)}"]
    assert [len(one.members) for one in planned(*tests).tags] == [3]


def test_a_set_and_its_complement_are_one_member() -> None:
    held = IntervalSet.from_ranges((n << 12, (n << 12) + 9) for n in range(1, 300))
    written = [print_set(values, "ip4") for values in (held, held.complement(32))]
    plan = planned(*(f"ip4.src {values}" for values in written), f"ip4.src {networks(0)}", structures=FORCED)
    assert [len(one.members) for one in plan.tags] == [2] and held in plan.tags[0].members


def test_both_ends_share_one_structure() -> None:
    tests = [f"ip4.{end} {networks(i)}" for i in range(3) for end in ("src", "dst")]
    plan = planned(*tests)
    assert len(plan.tags) == 1 and looks(plan) == [("ip4.src", "tags0"), ("ip4.dst", "tags0")]


def test_ipv6_addresses_have_a_tree() -> None:
    sets = ["{" + ", ".join(f"2001:{n:x}:{i:x}::/48" for i in range(1, 9_000, 2)) + "}" for n in range(8)]
    text = "".join(f'rule {i} "r{i}" drop "f" {i + 1} 1\n' for i in range(8))
    text += "".join(
        f"match {i} from {i} when eth.type {{0x86dd}} ip6.src {one}\n" for i, one in enumerate(sets)
    )
    plan = lower(match_text.read(HEAD + text))
    verify(plan)
    assert [(one.kind, len(one.members)) for one in plan.tags] == [("tag_tree", 8)]


def test_dynamic_sets_are_no_members() -> None:
    tests = ["ip4.src {0.0.0.0/0} ip4.src@ban {1}", *(f"ip4.src {networks(i)}" for i in range(3))]
    plan = planned(*tests, live='live "ban" 100\n', structures=FORCED)
    assert [table.live for table in plan.tables] == ["ban"]
    assert [len(one.members) for one in plan.tags] == [3]


def test_more_sets_than_a_tag_has_bits_take_two_look_ups() -> None:
    plan = planned(*(f"ip4.src {networks(i, 50)}" for i in range(MAX_MEMBERS + 3)), structures=FORCED)
    assert [len(one.members) for one in plan.tags] == [MAX_MEMBERS, 3]
    assert [name for _, name in looks(plan)] == ["tags0", "tags1"]


def test_sets_that_change_stay_in_kernel_maps() -> None:
    assert planned(*(f"ip4.src {networks(i)}" for i in range(4)), goal="update").tags == ()


LEAPS = """matches "leap" at xdp default pass
rule 0 "leap" continue "f" 1 1 passing resume 3
rule 1 "from-a" drop "f" 2 1
rule 2 "seen" continue "f" 3 1 passing
rule 3 "from-b" drop "f" 4 1
rule 4 "from-a-too" drop "f" 5 1
match 0 from 0 when eth.type {0x0800} ip.proto {17}
match 1 from 1 when eth.type {0x0800} ip.proto {6} ip4.src {10.0.0.0/8}
match 2 from 2 when eth.type {0x0800} ip.ttl {1}
match 2 from 2 when eth.type {0x0800} ip4.src {10.1.0.0/16}
match 3 from 3 when eth.type {0x0800} ip4.src {10.2.0.0/16}
match 4 from 4 when eth.type {0x0800} ip4.src {10.0.0.0/8}
"""


@pytest.mark.parametrize("without", [(), (0,), (1,), (0, 1)])
def test_no_way_leads_past_a_look_up(without: tuple[int, ...]) -> None:
    """A rule that leads to a later one, and one that lets go on whose first match does not ask."""
    program = match_text.read("".join(
        line for line in LEAPS.splitlines(True) if not line.startswith(tuple(f"match {n} " for n in without))
    ))  # fmt: skip
    plan = lower(program, FORCED)
    verify(plan)
    runner = Runner(plan)
    for protocol, source, ttl in product((6, 17), (0x0A000001, 0x0A010001, 0x0A020001, 0x0B000001), (1, 2)):
        seen = {"eth.type": 0x0800, "ip.proto": protocol, "l4.proto": protocol, "ip.ttl": ttl}
        seen |= {"ip4.src": source, "ip4.dst": 1, "th.sport": 1, "th.dport": 2}
        assert runner.run(seen, {}) == match_run.run(program, seen, {})


PLAN = (
    'plan "edge" at xdp default pass\nrule 0 "a" drop "f" 1 1\n'
    "tags t tag_index 32\nmember t {10.0.0.0/8}\nmember t {10.1.0.0/16, 192.0.2.1}\n"
)
SPLIT = "0: eth.type in 0x0800 ? 1 : %d\n"
LOOKED = SPLIT % 4 + (
    "1: tag ip4.src by t then 2\n2: ip4.src in t.1 ? 3 : 4 for 0\n3: decide 0\n4: decide default\n"
)


def test_running() -> None:
    plan = read(PLAN + LOOKED)
    verify(plan)
    assert write(plan) == PLAN + LOOKED
    met: list[int] = []
    found = Runner(plan).run({"eth.type": 0x0800, "ip4.src": 0x0A010203}, {}, met=met)
    assert (found.verdict, met) == ("drop", [0, 1, 2, 3])
    assert Runner(plan).run({"eth.type": 0x0800, "ip4.src": 0x0A020203}, {}).verdict == "pass"
    assert asking(plan, "t") == [0] and rule_cost(plan, 0).tables == ("t",)
    told = predict(plan, [met])
    assert told.shared["t"] >= price(plan.tags[0]).latency_ns and told.rules[0] > 0


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (SPLIT % 4 + "1: ip4.src in t.1 ? 3 : 2\n2: tag ip4.src by t then 3\n3: decide 0\n4: decide default",
         "node 1: ip4.src may not have been looked up in t"),
        (SPLIT % 5 + "1: ip4.src in 10.0.0.1 ? 2 : 3\n2: tag ip4.src by t then 3\n3: ip4.src in t.0 ? 4 : 5\n"
         "4: decide 0\n5: decide default", "node 3: ip4.src may not have been looked up in t"),
        (LOOKED.replace("in t.1", "in t.2"), "node 2: t has no member 2"),
        (LOOKED.replace("ip4.src in t.1", "ip4.dst in t.1"), "ip4.dst may not have been looked up"),
        ("0: tag ip4.src by t then 1\n1: decide 0", "ip4.src is read, but eth.type may"),
        (LOOKED.replace("tag ip4.src by t", "tag ip4.src by u"), "tags and the nodes"),
        (LOOKED.replace("ip4.src", "ip.ttl"), "the keys of t are not as wide as ip.ttl"),
        (LOOKED.replace("tag ip4.src", "tag vlan.id"), "vlan.id may be missing"),
        (LOOKED.replace("tag ip4.src", "tag sock.uid"), "there is no field `sock.uid` at xdp"),
    ],
)  # fmt: skip
def test_the_verifier_says_what_is_wrong(nodes: str, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify(read(PLAN + nodes))


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("tags t tag_index 32", "tags t bloom 32", "unknown kind `bloom`"),
        ("tags t tag_index 32", "tags t tag_index 16", "cannot hold keys of 16 bits"),
    ],
)
def test_tags_must_be_what_they_say(was: str, becomes: str, message: str) -> None:
    text = (PLAN + LOOKED).replace(was, becomes)
    if "16" in becomes:
        text = text.replace("{10.0.0.0/8}", "{1}").replace("{10.1.0.0/16, 192.0.2.1}", "{2}")
    plan = read(text)
    with pytest.raises(VerifyError, match=message):
        verify(plan)


def test_there_are_no_more_members_than_bits() -> None:
    members = "".join(f"member t {{10.0.0.{i}}}\n" for i in range(MAX_MEMBERS - 1))
    with pytest.raises(VerifyError, match="17 members, not 1 to 16"):
        verify(read(PLAN + members + LOOKED))
