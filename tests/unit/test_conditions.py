"""`if` and `vlan`: what they mean, what is refused, and packets that expectations describe by fields."""

import pytest

from lockgate.compiler.match.lower import conjunctions
from lockgate.compiler.match.networks import Cubes
from lockgate.compiler.policy.model import AllOf, AnyOf, FieldTest
from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.decode.frame import decode
from lockgate.stdlib_bpf.sets import IntervalSet
from tests.unit.front import connect, findings, said, tc, unit, xdp


def where(rules: str, wrap=xdp):
    return unit(wrap(rules)).chains[0].rules[0].where


def of(*values):
    return IntervalSet.of(*values)


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("ip.ttl == 5", "ip.ttl", of(5)),
        ("ip.ttl != 5", "ip.ttl", of((0, 4), (6, 255))),
        ("ip.ttl < 5", "ip.ttl", of((0, 4))),
        ("ip.ttl <= 5", "ip.ttl", of((0, 5))),
        ("ip.ttl > 0xfe", "ip.ttl", of(255)),
        ("ip.ttl >= 254", "ip.ttl", of((254, 255))),
        ("ip.ttl in { 1, 3-4, 9 }", "ip.ttl", of(1, (3, 4), 9)),
        ("ip.ttl in 3-4", "ip.ttl", of((3, 4))),
        ("not ip.ttl in 3-4", "ip.ttl", of((0, 2), (5, 255))),
        ("not not ip.ttl == 5", "ip.ttl", of(5)),
        ("ip.dscp in { ef, cs1 }", "ip.dscp", of(8, 46)),
        ("ip6.routing", "ip6.routing", of(1)),
        ("not ip6.routing", "ip6.routing", of(0)),
        ("eth.src == 02:00:00:00:00:ff", "eth.src", of(0x0200000000FF)),
        ("arp.spa == 10.0.0.0/8", "arp.spa", of((10 << 24, (11 << 24) - 1))),
        ("ip.length > 100", "ip.length", of((101, 65575))),
        ("ip.fragment != none", "ip.fragment", of((1, 2))),
        ("icmp.type == redirect", "icmp.type", of(5)),
        ("ip.ttl == 1 or ip.ttl > 250", "ip.ttl", of(1, (251, 255))),
        ("ip.ttl > 1 and ip.ttl < 5", "ip.ttl", of((2, 4))),
    ],
)
def test_one_field(text, field, values) -> None:
    assert where(f"drop if {text}") == FieldTest(field, values)


def test_and_binds_closer_than_or_and_negation_goes_to_the_tests() -> None:
    ttl, ecn = FieldTest("ip.ttl", of(1)), FieldTest("ip.ecn", of(3))
    length = FieldTest("ip.length", of((20, 99)))
    assert where("drop if ip.ttl == 1 and ip.ecn == ce or ip.length < 100") == AnyOf(
        (length, AllOf((ttl, ecn)))
    )
    not_ttl = FieldTest("ip.ttl", of(0, (2, 255)))
    not_ecn = FieldTest("ip.ecn", of((0, 2)))
    assert where("drop if not (ip.ttl == 1 and ip.ecn == ce)") == AnyOf((not_ttl, not_ecn))
    assert where("drop if not (ip.ttl == 1 or ip.ecn == ce)") == AllOf((not_ttl, not_ecn))


def test_vlan_is_a_test_of_the_outermost_tag() -> None:
    assert where("drop vlan 7") == where("drop if vlan.id == 7") == FieldTest("vlan.id", of(7))
    assert where("drop vlan { 7, 10-12 }") == FieldTest("vlan.id", of(7, (10, 12)))
    both = where("drop vlan 7 if ip.ttl == 1")
    assert both == AllOf((FieldTest("vlan.id", of(7)), FieldTest("ip.ttl", of(1))))


def test_guards_come_by_themselves_and_alternatives_multiply() -> None:
    (rule,) = unit(xdp("drop tcp, udp from 10.0.0.0/8 if tcp.window == 0 or ip.ttl == 1")).chains[0].rules
    matches = [dict(tests) for tests in conjunctions(rule, Cubes())]
    # UDP has no window, so of four alternatives three are left.
    found = [(m["ip.proto"].ranges[0][0], "tcp.window" in m) for m in matches]
    assert sorted(found) == [(6, False), (6, True), (17, False)]
    assert all(m["eth.type"] == fields.IP4 for m in matches)


@pytest.mark.parametrize(
    ("rule", "code", "text"),
    [
        ("drop if ip.tll == 5", "E0202", "ip.tll"),
        ("drop if ip.dscp == fe", "E0202", "fe"),
        ("drop if ip.ttl == 256", "E0206", "256"),
        ("drop vlan 4096", "E0206", "4096"),
        ("drop if ip.ttl in { 5-3 }", "E0209", "5-3"),
        ("drop if ip.ttl == ten", "E0227", "ten"),
        ("drop if ip.ttl == 10.0.0.1", "E0227", "10.0.0.1"),
        ("drop if eth.src == 5", "E0227", "5"),
        ("drop if eth.src == 02:00:00:00:00", "E0227", "02:00:00:00:00"),
        ("drop if arp.spa == 2001:db8::1", "E0227", "2001:db8::1"),
        ("drop if arp.spa == 10.0.0.1/8", "E0204", "10.0.0.1/8"),
        ("drop if arp.spa == 10.0.0.300", "E0205", "10.0.0.300"),
        ("drop if eth.src < 02:00:00:00:00:01", "E0228", "eth.src < 02:00:00:00:00:01"),
        ("drop if ip.dscp > ef", "E0228", "ip.dscp > ef"),
        ("drop if ip.ttl", "E0228", "ip.ttl"),
        ("drop if ip.ttl == 3-4", "E0228", "ip.ttl == 3-4"),
        ("drop if ip.ttl < 3-4", "E0228", "ip.ttl < 3-4"),
        ("drop if ip.ttl < 0", "E0229", "ip.ttl < 0"),
        ("drop if ip.ttl >= 0", "E0229", "ip.ttl >= 0"),
        ("drop if not ip.ttl < 256", "E0206", "256"),
        ("drop if ip.fragment == 3", "E0229", "ip.fragment == 3"),
        ("drop if not vlan.id in 0-4095", "E0229", "vlan.id in 0-4095"),
        ("drop if tcp.window == 0 and icmp.type == 8", "E0229", "if tcp.window == 0 and icmp.type == 8"),
        ("drop if ip.ttl < 3 and ip.ttl > 5", "E0229", "if ip.ttl < 3 and ip.ttl > 5"),
        ("drop from 10.0.0.0/8 if ip6.routing", "E0213", "ip6.routing"),
        ("drop udp if tcp.window > 5", "E0213", "tcp.window > 5"),
        ("drop arp if ip.ttl == 1", "E0213", "ip.ttl == 1"),
        ("drop tcp to port 80 if th.dport == 81", "E0229", "if th.dport == 81"),
        ("drop if meta.mark == 1", "E0307", "meta.mark"),
        ("drop if ip.ttl == 1 if ip.ecn == ce", "E0302", "if ip.ecn == ce"),
        ("drop vlan 1 vlan 2", "E0302", "vlan 2"),
    ],
)
def test_what_is_refused(rule, code, text) -> None:
    assert said(xdp(rule)) == [(code, text)]


def test_fields_of_other_hooks() -> None:
    assert said(connect("reject if ip.ttl == 1")) == [("E0307", "ip.ttl")]
    assert said(connect("reject vlan 7")) == [("E0307", "vlan")]
    assert said(tc("drop if sock.uid == 1")) == [("E0307", "sock.uid")]
    (found,) = findings(tc("drop if sock.uid == 1"))
    assert found.help == ("a policy at connect sees it",)


def test_presence_of_what_is_optional_may_be_asked() -> None:
    assert where("drop vlan 0-4095") == FieldTest("vlan.id", of((0, 4095)))


def expected(sentence: str, wrap=xdp):
    policy = wrap("r: drop tcp") if wrap is not connect else wrap("r: reject tcp")
    name = "out" if wrap is connect else "edge"
    made = unit(f'{policy}\ntest "t" of {name} {{ {sentence} }}')
    return made.tests[0].expects[0].packet


def test_an_expectation_describes_a_packet_by_its_fields() -> None:
    conditions = "vlan 7 if ip.ttl == 1 and ip.fragment == first and tcp.window == 9"
    found = decode(expected(f"expect drop tcp {conditions}"))
    assert isinstance(found, dict)
    wanted = {"vlan.id": 7, "ip.ttl": 1, "ip.fragment": 1, "tcp.window": 9, "ip.proto": 6}
    assert wanted.items() <= found.items()
    found = decode(expected("expect drop if arp.op == reply and arp.spa == 10.0.0.1"))
    assert isinstance(found, dict) and found["arp.op"] == 2 and found["arp.spa"] == 10 << 24 | 1
    found = decode(expected("expect drop udp if ip6.routing and ip6.routing-type == 4"))
    assert isinstance(found, dict) and found["ip6.routing-type"] == 4 and found["ip.proto"] == 17
    assert expected("expect drop tcp if meta.mark == 9", tc).mark == 9
    assert expected("expect reject tcp if sock.uid == 1000", connect).uid == 1000


@pytest.mark.parametrize(
    "sentence",
    [
        "expect drop tcp if ip.ttl < 3",
        "expect drop tcp if ip.ttl == 3 or ip.ecn == ce",
        "expect drop tcp vlan 3-4",
        "expect drop tcp if ip4.options == 3",
        "expect drop tcp if ip.length == 30",
    ],
)
def test_an_expectation_is_of_one_packet_that_exists(sentence) -> None:
    text = f'{xdp("r: drop tcp")}\ntest "t" of edge {{ {sentence} }}'
    assert [d.code for d in findings(text)] == ["E0603"]


@pytest.mark.parametrize("slip", ["ip.ttl <", "ip.ttl in", "ip.ttl = 5", "ip.ttl 5", "", "(ip.ttl < 5"])
def test_a_slip_in_a_condition_gives_one_message(slip) -> None:
    assert [code for code, _ in said(xdp(f"drop if {slip}"))] == ["E0102"]


HEAD = """network printer = { 192.0.2.7, 2001:db8::7 }
network office  = { 192.0.2.0/24, 2001:db8:1::/48 } - { 192.0.2.0/25, 2001:db8:1::/49 }
network outside = not (office - 2001:db8::/32)
network ban     = dynamic max 5
"""
V4 = of((0xC0000280, 0xC00002FF))


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("ip4.src == office", "ip4.src", V4),
        ("ip4.dst in { office, printer }", "ip4.dst", V4 | of(0xC0000207)),
        ("ip4.dst != office", "ip4.dst", V4.complement(32)),
        ("arp.spa in { printer }", "arp.spa", of(0xC0000207)),
        ("ip6.src == printer", "ip6.src", of(0x20010DB8000000000000000000000007)),
        ("not ip4.src in outside", "ip4.src", V4),
    ],
)
def test_names_of_networks_are_values(text, field, values) -> None:
    assert where(f"drop if {text}", lambda rules: HEAD + xdp(rules)) == FieldTest(field, values)
    template = f"template t(n: network, m: network) {{ drop if {text} }}\n"
    for name, parameter in (("office", "n"), ("printer", "m"), ("outside", "n")):
        template = template.replace(name, parameter)
    argument = "outside" if "outside" in text else "office"
    used = unit(HEAD + template + xdp(f"use t({argument} + office - office + {argument}, printer)"))
    assert used.chains[0].rules[0].where == FieldTest(field, values)


def test_a_name_in_a_condition_is_used() -> None:
    for text in ("drop if ip4.src in a.n", "pass if ip4.src == n drop if meta.iif == lan"):
        head = 'import "a.gate" as a\n' if "a.n" in text else 'interface lan = "eth1"\nnetwork n = 10.0.0.1\n'
        assert said(head + xdp(text), {"a.gate": b"network n = 10.0.0.1\n"}) == []


def test_sentences_of_tests_may_name_networks() -> None:
    text = HEAD.replace("network ban", "network one = 10.0.0.1\nnetwork ban") + xdp(
        "drop if ip4.src in office"
    )
    steps = "expect pass if ip4.src == one assert drop if ip4.src in office assert pass if ip4.src in one"
    (test,) = unit(f'{text}test "t" {{ {steps} }}\n').tests
    assert len(test.asserts) == 2 and decode(test.expects[0].packet)["ip4.src"] == 0x0A000001
    assert said(text + 'test "t" { expect pass if ip4.src == office }\n')[0][0] == "E0603"


@pytest.mark.parametrize(
    ("condition", "instead"),
    [
        ("ip4.src in ban", "write `from ban`"),
        ("ip6.dst != ban", "write `to ban`"),
        ("arp.spa in ban", "only `from` and `to` can ask dynamic sets"),
    ],
)
def test_dynamic_sets_are_asked_elsewhere(condition, instead) -> None:
    found = [d for d in findings(HEAD + xdp(f"drop if {condition}")) if d.code == "E0227"]
    assert [d.help for d in found] == [(instead,)]


@pytest.mark.parametrize(
    "body",
    [
        "drop if ip4.src in n",
        "drop if not ip4.src in n",
        "drop if ip4.src in n and not ip4.dst in n",
        "drop if ip4.src in 192.168.0.0/16 and ip4.src != n",
        'drop if meta.iif == "eth1" and ip6.src == n and ip6.src == 2001:db8::1',
    ],
)
def test_what_a_template_asks_is_settled_by_its_arguments(body) -> None:
    template = f"template t(n: network) {{ {body} }}\n"
    assert said(template) == []
    assert {code for code, _ in said(template + xdp("use t(any)"))} == {"E0229"}
    assert said("template t(n: network) { drop if ip.ttl >= 0 and ip4.src in n }\n")[0][0] == "E0229"
