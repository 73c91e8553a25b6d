from __future__ import annotations

import pytest

from lockgate.compiler.decision import MALFORMED, Decision
from lockgate.compiler.irtext import IrSyntaxError
from lockgate.compiler.match import text as match_text
from lockgate.compiler.match.verify import VerifyError
from lockgate.compiler.plan.choose import GOALS, LATENCY, STRUCTURES, Chooser, Goal, tightening
from lockgate.compiler.plan.cost import MAX_STEPS, cost, over_budget
from lockgate.compiler.plan.lower import lower
from lockgate.compiler.plan.run import run
from lockgate.compiler.plan.text import read, write
from lockgate.compiler.plan.verify import verify
from lockgate.stdlib_bpf.decode.frame import Malformed
from lockgate.stdlib_bpf.sets import IntervalSet

RULES = 'rule 0 "a" drop "edge.gate" 1 1\nrule 1 "b" pass "edge.gate" 2 1\n'
MATCHES = 'matches "edge" at xdp default pass\nlive "ban" 100\n' + RULES
PLAN = 'plan "edge" at xdp default pass\n' + RULES
IP4 = "0: eth.type in 0x0800 ? 1 : 2\n"


def planned(matches: str, structures: frozenset[str] | None = None) -> str:
    """Tables and nodes, as text."""
    plan = lower(match_text.read(MATCHES + matches), structures)
    verify(plan)
    text = write(plan)
    assert read(text) == plan
    return text.removeprefix(PLAN)


def test_a_chain_behind_the_split() -> None:
    assert planned(
        "match 0 from 0 when eth.type {0x0800} ip.proto {6} ip4.src {10.0.0.0/8} th.dport {443}\n"
        "match 1 from 1 when eth.type {0x86dd} ip6.src {2001:db8::/32}\n"
    ) == (
        "0: eth.type in 0x0800 ? 2 : 1\n"
        "1: eth.type in 0x86dd ? 5 : 8\n"
        "2: l4.proto in 6 ? 3 : 8 for 0\n"
        "3: th.dport in 443 ? 4 : 8 for 0\n"
        "4: ip4.src & 255.0.0.0 = 10.0.0.0 ? 6 : 8 for 0\n"
        "5: ip6.src & ffff:ffff:: = 2001:db8:: ? 7 : 8 for 1\n"
        "6: decide 0\n"
        "7: decide 1\n"
        "8: decide default\n"
    )


def test_families_share_what_they_agree_on() -> None:
    assert planned("match 0 from 0 when eth.type {0x0800, 0x86dd} ip.proto {6}\n") == (
        "0: eth.type in 0x0800 ? 2 : 1\n"
        "1: eth.type in 0x86dd ? 2 : 4\n"
        "2: ip.proto in 6 ? 3 : 4 for 0\n"
        "3: decide 0\n"
        "4: decide default\n"
    )


def test_presence_alone_needs_no_test() -> None:
    assert planned("match 0 from 0 when eth.type {0x0800} ip4.src {0.0.0.0/0} ip4.dst {0.0.0.0/0}\n") == (
        "0: eth.type in 0x0800 ? 1 : 2\n1: decide 0\n2: decide default\n"
    )
    assert planned("match 1 from 1\n") == "0: decide 1\n"


def test_other_ether_types_are_told_apart_in_the_rest() -> None:
    assert planned("match 0 from 0 when eth.type {0x0806}\n") == (
        "0: eth.type in 0x0800 ? 4 : 1\n"
        "1: eth.type in 0x86dd ? 4 : 2\n"
        "2: eth.type in 0x0806 ? 3 : 4 for 0\n"
        "3: decide 0\n"
        "4: decide default\n"
    )


def test_not_is_one_comparison_with_its_ways_swapped() -> None:
    text = planned("match 0 from 0 when eth.type {0x0800} ip.proto {6} th.dport {0-21, 23-65535}\n")
    assert "th.dport in 22 ? 4 : 3 for 0" in text


def test_flags_are_one_masked_comparison() -> None:
    syn = ", ".join(str(flags) for flags in range(256) if flags & 0x12 == 2)
    any_of = ", ".join(str(flags) for flags in range(256) if flags & 3)
    guards = "eth.type {0x0800} ip.proto {6}"
    assert "tcp.flags & 18 = 2 ? 3 : 4" in planned(f"match 0 from 0 when {guards} tcp.flags {{{syn}}}\n")
    assert "tcp.flags & 3 = 0 ? 4 : 3" in planned(f"match 0 from 0 when {guards} tcp.flags {{{any_of}}}\n")


def hosts(count: int, start: int = 0) -> str:
    return ", ".join(f"10.{i >> 8}.{i & 255}.{start}" for i in range(count))


def test_one_table_for_one_set() -> None:
    both = f"eth.type {{0x0800}} ip4.src {{{hosts(300)}}} ip4.dst {{{hosts(300)}}}"
    text = planned(f"match 0 from 0 when {both}\n")
    assert text.count("\ntable ") + text.startswith("table ") == 1
    assert "ip4.src in set0" in text and "ip4.dst in set0" in text


def test_dynamic_sets_are_one_table_a_family() -> None:
    text = planned(
        "match 0 from 0 when eth.type {0x0800} ip4.src {0.0.0.0/0} ip4.src@ban {1}\n"
        "match 1 from 1 when eth.type {0x0800} ip4.dst {0.0.0.0/0} ip4.dst@ban {0}\n"
        "match 1 from 1 when eth.type {0x86dd} ip6.src {::/0} ip6.src@ban {1}\n"
    )
    assert text.startswith(
        'table set_ban_v4 lpm_trie 32 max 100 live "ban"\ntable set_ban_v6 lpm_trie 128 max 100 live "ban"\n'
    )
    assert "ip4.dst in set_ban_v4 ? 7 : 6 for 1" in text


def chosen(values: IntervalSet, width: int = 32, goal: Goal = LATENCY) -> str:
    """Kind of structure for a set of source addresses."""
    name = "ip4.src" if width == 32 else "ip6.src"
    chooser = Chooser(STRUCTURES, {}, goal)
    chooser.choose(name, values, True)
    return chooser.tables[0].kind if chooser.tables else "inline"


def scattered(count: int, host_bits: int, width: int = 32) -> IntervalSet:
    """That many ranges of 2**host_bits values, far apart, not beginning at 0."""
    step = (1 << width) // (count + 2) >> host_bits << host_bits
    starts = (step * (i + 1) for i in range(count))
    return IntervalSet.from_ranges((low, low + (1 << host_bits) - 1) for low in starts)


@pytest.mark.parametrize(
    ("values", "width", "kind"),
    [
        (scattered(3, 0), 32, "inline"),
        (scattered(1_000, 0), 32, "cuckoo"),
        (scattered(200_000, 0), 32, "cuckoo"),
        (scattered(1_000, 10), 32, "range_index"),
        (scattered(10_000, 7), 32, "range_index"),
        (scattered(100_000, 7), 32, "prefix_index"),
        (
            IntervalSet.from_ranges((low + 1, high - 1) for low, high in scattered(100_000, 7)),
            32,
            "range_index",
        ),
        (scattered(400_000, 0) | scattered(150_001, 8), 32, "prefix_index"),
        (scattered(1_000, 80, 128), 128, "range_tree"),
        (scattered(100_000, 80, 128), 128, "range_tree"),
        (scattered(1_000, 0, 128), 128, "perfect6"),
        (scattered(100_000, 0, 128), 128, "perfect6"),
    ],
    ids=lambda value: f"{len(value)} ranges" if isinstance(value, IntervalSet) else str(value),
)
def test_structures_are_chosen_by_cost(values: IntervalSet, width: int, kind: str) -> None:
    assert chosen(values, width) == kind


def test_the_goal_decides_what_cost_is() -> None:
    values = scattered(40, 12)
    assert chosen(values, goal=GOALS["latency"]) == "range_index"
    assert chosen(values, goal=GOALS["memory"]) == "lpm_trie"
    assert chosen(scattered(20, 4), goal=GOALS["memory"]) == "inline"
    assert chosen(values, goal=GOALS["update"]) == "lpm_trie"
    assert chosen(scattered(1_000, 0), goal=GOALS["update"]) == "hash"
    assert [goal.memory for goal in tightening(GOALS["latency"])][-1] == GOALS["memory"].memory


def test_a_set_and_its_complement_share_a_table() -> None:
    values = scattered(1_000, 0) | IntervalSet.of(0)
    chooser = Chooser(STRUCTURES, {})
    forms = [chooser.choose("ip4.src", one, True) for one in (values, values.complement(32))]
    assert [table.kind for table in chooser.tables] == ["cuckoo"]
    assert [form.inverted for form in forms] == [False, True]


@pytest.mark.parametrize("kind", ["hash", "lpm_trie", "range_index"])
def test_structures_can_be_forced(kind: str) -> None:
    text = planned(f"match 0 from 0 when eth.type {{0x0800}} ip4.src {{{hosts(3)}}}\n", frozenset({kind}))
    assert text.startswith(f"table set0 {kind} 32 max 3 {{")


def test_inline_is_the_last_resort() -> None:
    match = "match 0 from 0 when eth.type {0x0800} ip.proto {6} th.dport {80}\n"
    assert "th.dport in 80" in planned(match, frozenset({"range_index"}))
    with pytest.raises(ValueError, match="no such structure: bloom"):
        planned(match, frozenset({"bloom"}))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ("0: ip4.src in 10.0.0.1 ? 1 : 2\n1: decide 0\n2: decide 1", "eth.type may have a value without it"),
        (IP4 + "1: ip6.src in ::1 ? 2 : 3\n2: decide 0\n3: decide 1", "ip6.src is read, but eth.type may"),
        (IP4 + "1: th.dport in 80 ? 2 : 3\n2: decide 0\n3: decide 1", "but l4.proto may have a value"),
        (IP4 + "1: ip.proto in 6 ? 2 : 3\n2: th.dport in 1 ? 3 : 4\n3: decide 0\n4: decide 1",
         "node 2: th.dport is read, but eth.type may"),
        ("0: decide 2", "node 0: there is no rule 2"),
        ("0: decide default\n1: decide 0", "node 1: nothing leads here"),
        ("0: eth.type in 7 ? 1 : 0\n1: decide 0", "an edge must lead to a later node"),
        ("0: eth.type in 7 ? 1 : 2\n1: decide 0", "an edge must lead to a later node"),
        ("0: eth.type in 0x10000 ? 1 : 2\n1: decide 0\n2: decide 1", "not a range of 16 bits"),
        ("0: eth.type & 0 = 0 ? 1 : 2\n1: decide 0\n2: decide 1", "not a mask of 16 bits"),
        ("table t hash 32 max 1 {10.0.0.1}\n0: decide 0", "the table t is not used"),
        ("table t heap 16 max 1 {1}\n0: eth.type in t ? 1 : 2\n1: decide 0\n2: decide 1",
         "unknown kind `heap`"),
        ("table t hash 32 max 1 {10.0.0.1}\n0: eth.type in t ? 1 : 2\n1: decide 0\n2: decide 1",
         "the keys of t are not as wide as eth.type"),
        ('table t range_index 32 max 1 live "ban"\n0: eth.type in t ? 1 : 2\n1: decide 0\n2: decide 1',
         "a range_index cannot hold the dynamic set `ban`"),
        ("table t-1 hash 16 max 1 {1}\n0: eth.type in t-1 ? 1 : 2\n1: decide 0\n2: decide 1",
         "not an identifier"),
    ],
)  # fmt: skip
def test_the_verifier_says_what_is_wrong(nodes: str, message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify(read(PLAN + nodes))


def test_ways_that_join_must_agree() -> None:
    """Ports are read behind UDP on one way and behind ICMP on the other."""
    text = (
        "0: eth.type in 0x0800 ? 1 : 5\n1: l4.proto in 17 ? 3 : 2\n2: l4.proto in %d ? 3 : 5\n"
        "3: th.dport in 53 ? 4 : 5\n4: decide 0\n5: decide default"
    )
    verify(read(PLAN + text % 6))
    with pytest.raises(VerifyError, match=r"node 3: th\.dport is read, but l4\.proto may"):
        verify(read(PLAN + text % 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no line begins with `plan`"),
        (
            PLAN + "1: decide 0",
            "expected plan, device, cgroup, selection, rule, hot, table, tags, member, classifier, box, part "
            "or `0:`, found `1:`",
        ),
        (PLAN + "0: eth.type in 7 1 : 2", "expected `\\?`, found `1`"),
        (PLAN + "0: decide 0 now", "unexpected `now`"),
    ],
)
def test_bad_text_names_the_line(text: str, message: str) -> None:
    with pytest.raises(IrSyntaxError, match=message):
        read(text)


def test_running() -> None:
    text = (
        "table set0 range_index 32 max 1 {10.0.0.0/8}\n"
        "0: eth.type in 0x0800 ? 1 : 3\n1: ip4.src in set0 ? 2 : 3 for 0\n2: decide 0\n3: decide default"
    )
    plan = read(PLAN + text)
    verify(plan)
    assert run(plan, {"eth.type": 0x0800, "ip4.src": 10 << 24}, {}) == Decision("drop", 0)
    assert run(plan, {"eth.type": 0x0800, "ip4.src": 11 << 24}, {}) == Decision("pass", -1)
    assert run(plan, Malformed("cut"), {}) == Decision("drop", MALFORMED)
    assert cost(plan).nodes == 4
    assert cost(plan).worst_ns > cost(plan).expected_ns > 0
    assert cost(plan).table_bytes > 2**18
    assert over_budget(plan) is None


def test_a_plan_too_large_names_its_largest_rules() -> None:
    count = MAX_STEPS // 10 + 5
    nodes = "".join(f"{i}: eth.type in {i % 9} ? {count} : {i + 1} for {int(i > 3)}\n" for i in range(count))
    refused = over_budget(read(f"{PLAN}{nodes}{count}: decide 0"))
    assert refused is not None
    assert [rule for rule, _ in refused.rules] == [1, 0]
    assert sum(share for _, share in refused.rules) == pytest.approx(1)
    assert refused.needs > refused.limit
