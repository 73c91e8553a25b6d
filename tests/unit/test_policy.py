"""Names, types and structure: what is accepted and what it becomes; what is refused and where."""

import pytest

from lockgate.compiler.policy.model import Flags, Live, Minus, Not, Prefixes, Union
from lockgate.stdlib_bpf.sets import IntervalSet
from tests.unit.front import connect, findings, said, tc, unit, xdp

TEN = Prefixes(v4=IntervalSet.of((10 << 24, (11 << 24) - 1)))


def rule(text: str, head: str = ""):
    return unit(head + xdp(text)).chains[0].rules[0]


def test_networks_are_kept_as_written() -> None:
    head = "network a = 10.0.0.0/8\nnetwork d = dynamic max 5\n"
    assert rule("drop from a + d", head).src == Union(TEN, Live("d", 5))
    assert rule("drop from not a - d", head).src == Minus(Not(TEN), Live("d", 5))
    assert rule("drop from not (a + d)", head).src == Not(Union(TEN, Live("d", 5)))
    assert rule("drop from { 10.0.0.0/9, 10.128.0.0/9, d } to a", head).src == Union(TEN, Live("d", 5))
    assert set(unit(head + xdp("drop from a + d")).live) == {"d"}
    assert rule("drop from any").src == Prefixes(IntervalSet.full(32), IntervalSet.full(128))


def test_long_sums_stay_shallow() -> None:
    names = "".join(f"network n{i} = 10.{i // 256}.{i % 256}.0/24\n" for i in range(2000))
    text = names + xdp("drop from " + " + ".join(f"n{i}" for i in range(2000)))
    depth, level = 0, [unit(text).chains[0].rules[0].src]
    while level:
        depth, level = depth + 1, [c for n in level if isinstance(n, Union) for c in (n.left, n.right)]
    assert depth < 15


def test_traffic() -> None:
    kinds = rule("drop web", "service web = tcp port { 80, 443 }, udp port 443\n").traffic
    assert [(k.protocols, k.ports) for k in kinds] == [
        (IntervalSet.of(6), IntervalSet.of(80, 443)),
        (IntervalSet.of(17), IntervalSet.of(443)),
    ]
    assert len(rule("drop tcp, udp to port 53").traffic) == 2
    assert rule("drop protocol 47").traffic[0].protocols == IntervalSet.of(47)
    ping = rule("drop ping", "service ping = icmp type echo-request, icmp6 type echo-request\n").traffic
    assert [k.icmp_types for k in ping] == [IntervalSet.of(8), IntervalSet.of(128)]
    both = rule("drop icmp, icmp6 type { time-exceeded, packet-too-big }").traffic
    assert [k.icmp_types for k in both] == [IntervalSet.of(11), IntervalSet.of((2, 3))]


def test_flags() -> None:
    assert rule("drop tcp flags syn, fin").flags == Flags(3)
    assert rule("drop tcp flags syn/syn,ack").flags == Flags(2, 18)


def test_directions() -> None:
    text = 'policy t at tc on { "eth0", "ns/eth1" } { default drop egress { allow tcp } }'
    (chain,) = unit(text).chains
    assert (chain.name, chain.targets) == ("t.egress", ("eth0", "ns/eth1"))


def test_tests_become_packets() -> None:
    text = connect("a: reject udp to 10.0.0.0/8 port 53") + (
        'test "x" of out { expect reject udp to 10.0.0.1 port 53 by a  expect allow tcp to ::1 by default }'
    )
    first, second = unit(text).tests[0].expects
    assert (first.packet.protocol, first.packet.address, first.packet.port, first.by) == (
        17,
        0x0A000001,
        53,
        "a",
    )
    assert (second.packet.family, second.packet.port, second.by) == (10, 80, "default")


def test_given() -> None:
    text = "network ban = dynamic max 9\n" + xdp("drop from ban")
    given = (
        unit(text + 'test "x" of edge { given ban = 10.0.0.0/8 expect drop from 10.0.0.1 }').tests[0].given
    )
    assert given == {"ban": TEN}


def test_inputs_are_recorded_in_the_order_of_reading() -> None:
    text = 'network b = file "b.txt"\nnetwork a = file "a.txt"\n' + xdp("drop from a + b")
    inputs = unit(text, a_txt=b"10.0.0.0/8\n", b_txt=b"").inputs
    assert [name for name, _ in inputs] == ["p.gate", "b.txt", "a.txt"]
    assert inputs[1][1] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


REFUSED = [
    ("drop from 10.0.0.1/8", [("E0204", "10.0.0.1/8")]),
    ("drop from 2001:db8::1/32", [("E0204", "2001:db8::1/32")]),
    ("drop from 10.0.0.0/33", [("E0205", "10.0.0.0/33")]),
    ("drop from ::/129", [("E0205", "::/129")]),
    ("drop from 10.0.0.256", [("E0205", "10.0.0.256")]),
    ("drop from 10.0.0.0/", [("E0205", "10.0.0.0/")]),
    ("drop from 10.0.0.01", [("E0205", "10.0.0.01")]),
    ("drop from 1::2::3", [("E0205", "1::2::3")]),
    ("drop from ::ffff:10.0.0.0/104", [("E0207", "::ffff:10.0.0.0/104")]),
    ("drop tcp to port 65536", [("E0206", "65536")]),
    ("drop tcp to port 999999999999999999999999999999999999", [("E0206", "9" * 36)]),
    ("drop protocol 256", [("E0206", "256")]),
    ("drop icmp type 256", [("E0206", "256")]),
    ("drop tcp to port 9-2", [("E0209", "9-2")]),
    ("drop to port 80", [("E0211", "80")]),
    ("drop ip to port 80", [("E0211", "80")]),
    ("drop icmp to port 80", [("E0213", "80")]),
    ("drop protocol 47 to port 80", [("E0213", "80")]),
    ("drop arp from any", [("E0213", "from any")]),
    ("drop udp flags syn", [("E0213", "flags syn")]),
    ("drop flags syn", [("E0213", "flags syn")]),
    ("drop tcp type 8", [("E0213", "8")]),
    ("drop icmp type echo-requst", [("E0202", "echo-requst")]),
    ("drop tcp flags sin", [("E0202", "sin")]),
    ("drop tcp flags syn, !ack", [("E0214", "!ack")]),
    ("drop tcp flags syn,fin/syn", [("E0214", "flags syn,fin/syn")]),
    ("drop ip4 from ::1", [("E0215", "from ::1")]),
    ("drop icmp6 to 10.0.0.1", [("E0215", "to 10.0.0.1")]),
    ("drop from 10.0.0.1 to ::1", [("E0215", "to ::1")]),
    ("drop from nowhere", [("E0202", "nowhere")]),
    ("drop nothing", [("E0202", "nothing")]),
    ("drop from tcp", [("E0203", "tcp")]),
    ("drop from world", [("E0307", "world")]),
    ("drop from dynamic max 5", [("E0219", "dynamic max 5")]),
    ("drop from 10.0.0.1 from 10.0.0.2", [("E0302", "from 10.0.0.2")]),
    ("drop udp to port 1 to port 2", [("E0302", "to port 2")]),
    ("drop udp log log", [("E0302", "log")]),
    ("drop udp count a count b", [("E0302", "count b")]),
    ("default drop", [("E0302", "default drop")]),
    ("a: drop udp\na: drop tcp", [("E0303", "a")]),
    ("default: drop udp", [("E0208", "default")]),
    ("allow tcp", [("E0305", "allow")]),
    ("reject tcp", [("E0305", "reject")]),
    ("redirect tcp", [("E0321", "redirect")]),
    ("egress { drop tcp }", [("E0306", "egress")]),
    ("drop from 10.0.0.0/8 - 10.0.0.0/8", [("W0231", "10.0.0.0/8 - 10.0.0.0/8")]),
    ("drop from {}", [("W0231", "{}")]),
    ("drop ip from not (10.0.0.0/8 - 10.0.0.0/8)", []),
]


@pytest.mark.parametrize(("rules", "expected"), REFUSED, ids=[r[0][:30] for r in REFUSED])
def test_refused_in_a_rule(rules: str, expected: list[tuple[str, str]]) -> None:
    assert said(xdp(rules)) == expected


REFUSED_FILES = [
    (tc("allow tcp limit 0/s"), [("E0206", "0/s")]),
    (tc("allow tcp limit 1/s burst 0"), [("E0206", "0")]),
    (tc("allow tcp limit 1/h burst 4294967296"), [("E0206", "4294967296")]),
    (tc("allow tcp limit 1/s per sauce"), [("E0202", "sauce")]),
    (tc("allow tcp limit 1/s per source/33"), [("E0206", "33")]),
    (tc("allow tcp limit 1/s per source/32,129"), [("E0206", "129")]),
    (tc("allow arp limit 1/s per source"), [("E0213", "limit 1/s per source")]),
    (tc("allow tcp limit 1/s limit 2/s"), [("E0302", "limit 2/s")]),
    (tc("allow tcp log sample 0"), [("E0206", "0")]),
    (connect("allow tcp limit 1/s per source"), [("E0307", "source")]),
    (connect("allow tcp limit 1kbps"), [("E0307", "1kbps")]),
    (connect("drop tcp"), [("E0305", "drop")]),
    (connect("reject tcp from 10.0.0.1"), [("E0307", "from 10.0.0.1")]),
    (connect("reject tcp flags syn"), [("E0307", "flags syn")]),
    (connect("reject arp"), [("E0307", "arp")]),
    (connect("fragments first-only"), [("E0307", "fragments first-only")]),
    ('policy p at tc on "e" { default drop }', [("E0304", "p")]),
    ('policy p at tc on "e" { default drop allow tcp }', [("E0304", "allow tcp")]),
    ('policy p at tc on "e" { ingress { } }', [("E0301", "p")]),
    ('policy p at xdp on "e" { default drop }', [("E0314", "p")]),
    ('policy p at xdp on "e" { default drop  fragments maybe }', [("E0202", "maybe")]),
    ('policy p at xdp on "e" { default drop  fragments ?? }', [("E0104", "?")]),
    ("network n = not 10.0.0.0/8\n" + xdp("drop if ip6.src in n"), [("E0227", "n")]),
    (
        'interface lan = { "eth0", "bad:x" }\npolicy p at tc on lan - "eth0" { default drop ingress { } }',
        [("E0218", '"bad:x"')],
    ),
    ('policy p at tc on "e" { default drop ingress { default drop } }', [("E0309", "default drop")]),
    ('policy p at tc on "e" { default drop ingress { } ingress { } }', [("E0302", "ingress")]),
    ('policy p at xdp for cgroup "/a" { default drop }', [("E0308", 'at xdp for cgroup "/a"')]),
    ('policy p at connect on "e" { default allow }', [("E0308", 'at connect on "e"')]),
    ("policy p at xdp on eth0 { default drop  fragments first-only }", [("E0217", "eth0")]),
    ('policy p at xdp on "eth*" { default drop  fragments first-only }', []),
    ('policy p at xdp on "lab/eth[0-3]" { default drop  fragments first-only }', []),
    ('policy p at xdp on "l*/eth0" { default drop  fragments first-only }', [("E0218", '"l*/eth0"')]),
    (tc('mirror arp into "ids*"'), [("E0218", 'into "ids*"')]),
    ('policy p at xdp on "a/b/c" { default drop  fragments first-only }', [("E0218", '"a/b/c"')]),
    ('policy p at connect for cgroup "app" { default allow }', [("E0218", '"app"')]),
    ('policy p at connect for cgroup "/../app" { default allow }', [("E0218", '"/../app"')]),
    ("policy p at connect for [a=b] { default allow }", []),
    ("network a = 10.0.0.0/8\n" + xdp(""), [("W0230", "a")]),
    ("network a = 10.0.0.0/8", []),
    ("ports a = 80 - 90", [("E0224", "80 - 90")]),
    ("ports a = { 80, 90 } - 80-90", [("E0224", "{ 80, 90 } - 80-90")]),
    ("ports a = any - 0-65535", [("E0224", "any - 0-65535")]),
    (xdp("drop tcp to port {}"), [("E0224", "{}")]),
    (xdp("drop from 80"), [("E0205", "80")]),
    ("tiers a > b > a", [("E0201", "a")]),
    ("tiers a > b\ntiers c > d", [("E0302", "tiers c > d")]),
    ('tiers a > b default drop owner "x"', []),
    ("tiers a > b default drop default pass", [("E0302", "default pass")]),
    ("tiers a > b order 5", [("E0309", "order 5")]),
    (xdp("tier a"), [("E0309", "tier a")]),
    ("network a = 10.0.0.0/8\nports a = 1", [("E0201", "a")]),
    ("network a = b\nnetwork b = c\nnetwork c = a", [("E0212", "a")]),
    ("ports a = a", [("E0212", "a")]),
    ("service a = a", [("E0212", "a")]),
    ("interface a = a", [("E0212", "a")]),
    ("ports a = 80\n" + xdp("drop from a"), [("E0203", "a")]),
    ("service a = tcp port 80\n" + xdp("drop tcp to port a"), [("E0203", "a")]),
    ("network a = dynamic\n" + xdp("drop from a"), [("E0219", "dynamic")]),
    ("network a = dynamic max 0\n" + xdp("drop from a"), [("E0206", "0")]),
    ('test "x" of nobody { }', [("E0202", "nobody")]),
    (xdp("") + 'test "x" of edge { expect drop by a }', [("E0202", "a")]),
    (xdp("") + 'test "x" of edge { expect allow udp }', [("E0305", "allow")]),
    (xdp("") + 'test "x" of edge { expect egress drop udp }', [("E0604", "egress")]),
    (xdp("") + 'test "x" of edge { expect drop from 10.0.0.0/8 }', [("E0603", "10.0.0.0/8")]),
    (xdp("") + 'test "x" of edge { expect drop tcp to port 1-2 }', [("E0603", "1-2")]),
    (xdp("") + 'test "x" of edge { expect drop tcp flags syn/ack }', [("E0603", "flags syn/ack")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), REFUSED_FILES, ids=[r[0][:40] for r in REFUSED_FILES])
def test_refused_in_a_file(text: str, expected: list[tuple[str, str]]) -> None:
    assert said(text) == expected


def test_did_you_mean_shows_where() -> None:
    (d,) = [
        d for d in findings("network bastions = 10.0.0.1\n" + xdp("drop from bastoins")) if d.code == "E0202"
    ]
    assert d.message == "network `bastoins` is not defined"
    assert d.labels[0].text == "did you mean `bastions`?"
    assert d.labels[1].span.text == "bastions"


def test_host_bits_say_both_readings() -> None:
    (d,) = findings(xdp("drop from 10.0.0.1/8"))
    assert d.message == "`10.0.0.1/8` has bits set below its mask"
    assert d.help == ("write `10.0.0.0/8` for the network, `10.0.0.1` for the host",)


def test_a_refused_action_says_why() -> None:
    (d,) = findings(xdp("allow tcp"))
    assert d.message == "XDP cannot allow a packet, it can only not drop it"
    assert d.help == ("write `pass`; tc and the stack decide after it",)


# ---- prefix files ----

LISTED = 'network x = file "list.txt" max 200000\n' + xdp("drop from x")


def test_bad_line_in_the_middle_of_a_long_file() -> None:
    lines = [f"10.{i // 65536}.{i // 256 % 256}.{i % 256}" for i in range(100_000)]
    lines[50_000] = "  10.0.0.1/8  # oops"
    (d,) = findings(LISTED, {"list.txt": "\n".join(lines).encode()})
    place = d.labels[0].span
    assert (d.code, place.source.name, place.line, place.column, place.text) == (
        "E0220", "list.txt", 50_001, 3, "10.0.0.1/8",
    )  # fmt: skip
    assert d.help == ("write `10.0.0.0/8` for the network, `10.0.0.1` for the host",)


def test_many_bad_lines_are_counted() -> None:
    found = findings(LISTED, {"list.txt": b"no\n" * 25})
    assert [d.code for d in found] == ["E0220"] * 10
    assert [n for d in found for n in d.notes] == ["15 more lines of this file are wrong"]


def test_comments_blank_lines_and_both_families() -> None:
    text = "# head\n\n10.0.0.0/8 # ten\r\n  2001:db8::/32\n10.0.0.0/8\n"
    src = unit(LISTED, list_txt=text.encode()).chains[0].rules[0].src
    assert isinstance(src, Prefixes)
    assert (src.v4, len(src.v6)) == (TEN.v4, 1)


@pytest.mark.parametrize(
    ("content", "code", "label"),
    [
        (FileNotFoundError(2, "No such file or directory"), "E0221", "no such file or directory"),
        (PermissionError(13, "Permission denied"), "E0221", "permission denied"),
        (IsADirectoryError(21, "Is a directory"), "E0221", "is a directory"),
        (b"10.0.0.0/8\n\xff\n", "E0221", "line 2 is not UTF-8 text"),
    ],
)
def test_unreadable_file(content: bytes | OSError, code: str, label: str) -> None:
    (d,) = findings(LISTED, {"list.txt": content})
    assert (d.code, d.labels[0].text, d.labels[0].span.text) == (code, label, '"list.txt"')


def test_too_many_entries() -> None:
    text = 'network x = file "list.txt" max 2\n' + xdp("drop from x")
    (d,) = findings(text, {"list.txt": b"1.1.1.1\n2.2.2.2\n3.3.3.3\n"})
    assert (d.code, d.message) == ("E0222", "`list.txt` has 3 entries")


def test_deep_chains_of_names_end_in_a_message() -> None:
    names = "network n0 = 10.0.0.0/8\n" + "".join(f"network n{i} = n{i - 1} + ::1\n" for i in range(1, 3000))
    assert {d.code for d in findings(names + xdp("drop from n2999"))} == {"E0106"}
    doubling = "network n0 = 10.0.0.0/8\n" + "".join(
        f"network n{i} = n{i - 1} + n{i - 1}\n" for i in range(1, 40)
    )
    assert {d.code for d in findings(doubling + xdp("drop from n39"))} == {"E0106"}
    backwards = (
        "".join(f"network n{i} = n{i + 1} + ::1\n" for i in range(3000)) + "network n3000 = 10.0.0.0/8\n"
    )
    assert {d.code for d in findings(backwards + xdp("drop from n0"))} == {"E0106"}


PORT_SETS = [
    ("80", ((80, 80),)),
    ("{ 80, 443 } + b - 81", ((80, 80), (90, 99), (443, 443))),
    ("any - 1-65535", ((0, 0),)),
    ("any - { 0-79, 81-65535 }", ((80, 80),)),
    ("b - 90 - 99 + 7", ((7, 7), (81, 81), (91, 98))),
    ("{ b - 81, { 1, { 2 } } }", ((1, 2), (90, 99))),
    ("80 - b", ((80, 80),)),
]


@pytest.mark.parametrize(("written", "ranges"), PORT_SETS)
def test_ports_are_summed_from_the_left(written: str, ranges: tuple[tuple[int, int], ...]) -> None:
    head = "ports b = { 81, 90-99 }\n"
    for text in (
        f"{head}ports a = {written}\n" + xdp("drop tcp to port a"),
        head + xdp(f"drop tcp to port {written}\npass"),
    ):
        found = unit(text).chains[0].rules[0].dports
        assert found is not None and found.ranges == ranges


DEVICE_SETS = [
    ('lan + "tap0" - "eth1"', ("eth0", "tap0")),
    ('lan - "eth0" + "eth0"', ("eth1", "eth0")),
    ('{ "br0", lan - "eth1", { "tap*" } }', ("br0", "eth0", "tap*")),
    ('{ "tap*", "lab/tap*" } - "tap*"', ("lab/tap*",)),
    ('"tap*" - "veth*" - "lab/tap0" - "eth0"', ("tap*",)),
    ('"eth[0-3]" + lan - { "eth[0-3]", "veth0" } - rest', None),
    ('"lab/eth0" + "eth0" - "eth0"', ("lab/eth0",)),
    ('"lab/eth0" - "*"', ("lab/eth0",)),
    ("lan + rest - lan - rest + lan", ("eth0", "eth1")),
]


@pytest.mark.parametrize(("written", "devices"), DEVICE_SETS)
def test_interfaces_are_summed_from_the_left(written: str, devices: tuple[str, ...] | None) -> None:
    head = 'interface lan = { "eth0", "eth1" }\ninterface rest = "eth1"\n'
    body = "{ default pass ingress { drop arp } }\n"
    for text in (
        f"{head}interface a = {written}\npolicy p at tc on a {body}",
        f"{head}policy p at tc on {written} {body}",
    ):
        if devices is None:
            assert {d.code for d in findings(text)} == {"E0223"}
        else:
            assert unit(text + f"policy q at tc on rest {body}").chains[0].targets == devices


def test_copies_go_to_sums_of_interfaces() -> None:
    head = 'interface ids = { "ids0", "ids1" }\n'
    (rule,) = unit(head + tc('mirror arp into ids + "ids2" - "ids0"')).chains[0].rules
    assert rule.effects.into == ("ids1", "ids2")


def test_a_range_that_was_meant_can_be_put_right() -> None:
    (d,) = findings(xdp("drop tcp to port 80 - 90"))
    assert [(f.span.text, f.replacement) for f in d.fixes] == [("80 - 90", "80-90")]
