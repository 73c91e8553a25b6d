"""Templates: what a use brings, what it is called, and who is told of a mistake."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler.diagnostics import Diagnostic
from lockgate.compiler.match.lower import lower
from lockgate.compiler.match.text import write
from lockgate.compiler.policy.model import Rule
from lockgate.stdlib_bpf.effects import NONE

from .front import connect, findings, said, tc, unit, xdp

MORE = "policy more at tc on ids { default pass ingress { } }\n"
ADMIN = """template admin(from-where: network, on: ports) {
  allowed: pass tcp from from-where to port on log
  drop tcp to port on
}
"""


def rules(text: str, **files: bytes) -> tuple[Rule, ...]:
    return unit(text, **files).chains[0].rules


def matches(text: str, **files: bytes) -> list[str]:
    """What the match IR decides by, without what the rules are called."""
    lines = write(lower(unit(text, **files).chains[0])).splitlines()
    return [line for line in lines if line.startswith("match ")]


def test_a_use_means_its_rules_with_the_arguments() -> None:
    text = "network office = 10.0.0.0/8\nports ssh = 22\n"
    used = text + ADMIN + xdp("use admin(office - 10.1.0.0/16, { ssh, 2222 })")
    written = text + xdp(
        "pass tcp from office - 10.1.0.0/16 to port { ssh, 2222 } log\ndrop tcp to port { ssh, 2222 }"
    )
    assert matches(used) == matches(written) != []
    assert [(r.verdict, r.sample) for r in rules(used)] == [("pass", 1), ("drop", 0)]


ARGUMENTS = [
    ("ports", "80", "80"),
    ("ports", "80-90", "80-90"),
    ("ports", "{ 80, 90-99 }", "{ 80, 90-99 }"),
    ("ports", "{ web, 80 }", "{ web, 80 }"),
    ("ports", "any - 1-1023", "any - 1-1023"),
    ("ports", "{ 1-9 } + web - 80", "{ 1-9 } + web - 80"),
    ("ports", "web", "web"),
]


@pytest.mark.parametrize(("kind", "argument", "value"), ARGUMENTS)
def test_ports_as_arguments(kind: str, argument: str, value: str) -> None:
    head = "ports web = { 80, 443, 8000-8080 }\n"
    used = f"{head}template t(p: {kind}) {{ drop udp to port p - 81 }}\n" + xdp(f"use t({argument})")
    assert matches(used) == matches(
        head + xdp(f"drop udp to port ({value}) - 81".replace("(", "{").replace(")", "}"))
    )


@pytest.mark.parametrize(
    "argument", ["ids", '"ids1"', '{ ids, "ids2" }', 'ids + "ids2" - "ids0"', '({ "ids0" } + ids)']
)
def test_interfaces_as_arguments(argument: str) -> None:
    head = 'interface ids = { "ids0", "ids1" }\n'
    inner = 'template inner(d: interface) { mirror arp into d - "ids9" }\n'
    outer = 'template t(d: interface) { use inner(d + "ids3") }\n'
    (rule,) = rules(head + inner + outer + tc(f"use t({argument})\npass tcp") + MORE)[:1]
    plain = argument.replace("(", "").replace(")", "")
    (same,) = rules(head + tc(f'mirror arp into {{ {plain} }} + "ids3"') + MORE)
    assert rule.effects == same.effects != NONE


@pytest.mark.parametrize("argument", ["80", "{ 80, 90-99 }", "web - 80", "{ web }"])
def test_arguments_of_arguments(argument: str) -> None:
    head = "ports web = { 80, 443 }\n"
    inner = "template inner(p: ports, n: network) { drop udp from n to port p }\n"
    outer = "template t(p: ports, n: network) { use inner({ p, 7 } + p - 91, not { n, 10.0.0.2 } - n) }\n"
    written = f"drop udp from not {{ 10.0.0.1, 10.0.0.2 }} - 10.0.0.1 to port {{ {argument}, 7 }} - 91"
    assert matches(
        head + inner + outer + xdp(f"use t({argument}, 10.0.0.1)\npass tcp to port web")
    ) == matches(head + xdp(f"{written}\npass tcp to port web"))
    for wrong in ("{ p }", "n + p", "not p"):
        crossed = f"template t(p: ports, n: network) {{ use inner(p, {wrong}) drop from n }}\n"
        assert said(inner + crossed + xdp("use t(80, 10.0.0.1)"))[0][0] in ("E0243", "E0203")


def test_texts_are_arguments_of_their_kind_only() -> None:
    text = "template t(n: network, p: ports) { drop udp from n to port p }\n"
    assert said(text + xdp('use t("eth0", 80)')) == [("E0243", '"eth0"')]
    assert said(text + xdp('use t(10.0.0.1 + "eth0", 80)')) == [("E0205", '"eth0"')]
    assert said(text + xdp('use t(any, { 80, "http" })')) == [("E0243", '{ 80, "http" }')]
    assert said(xdp('drop from "10.0.0.0/8"')) == [("E0205", '"10.0.0.0/8"')]


def test_services_as_arguments() -> None:
    text = "service web = tcp port 80\n"
    text += "template t(what: service, to-where: network) { drop what, icmp to to-where }\n"
    for argument in ("web", "udp", "icmp"):
        expected = matches(
            "service web = tcp port 80\n" + xdp(f"drop {argument}, icmp to 10.0.0.1\npass web")
        )
        got = matches(text + xdp(f"use t({argument}, 10.0.0.1)\npass web"))
        assert got == expected


def test_an_argument_is_looked_up_where_it_is_written() -> None:
    """`office` is one thing here and another thing there."""
    other = b"network office = 10.9.0.0/16\n" + b"template t(n: network) { drop from n to office }\n"
    text = 'import "common.gate" as common\nnetwork office = 10.1.0.0/16\n' + xdp("use common.t(office)")
    (rule,) = rules(text, common_gate=other)
    (same,) = rules(xdp("drop from 10.1.0.0/16 to 10.9.0.0/16"))
    assert (rule.src, rule.dst) == (same.src, same.dst)


def test_rates_as_arguments() -> None:
    text = "template t(r: rate) { drop udp limit r per source }\n"
    (rule,) = rules(text + xdp("use t(5k/s)"))
    (same,) = rules(xdp("drop udp limit 5k/s per source"))
    assert rule.limit == same.limit is not None
    assert ("E0243", "5s") in said(text + xdp("use t(5s)"))


def test_a_duration_is_no_kind() -> None:
    (d,) = findings("template t(per: duration) { drop udp }")
    assert (d.code, d.message) == ("E0202", "parameter kind `duration` is not defined")
    assert d.help == ("known here: `network`, `ports`, `service`, `interface`, `rate`",)


NAMES = [
    ("use admin(10.0.0.1, 22)", ["allowed", "p.gate:6.2"]),
    ("ssh: use admin(10.0.0.1, 22)", ["ssh.allowed", "ssh.2"]),
    ("use twice(22)", ["a.allowed", "a.2", "allowed", "p.gate:6.4"]),
    ("x: use twice(22)", ["x.a.allowed", "x.a.2", "x.allowed", "x.4"]),
]
TWICE = "template twice(on: ports) { a: use admin(10.0.0.1, on) use admin(10.0.0.2, on) }"


@pytest.mark.parametrize(("use", "expected"), NAMES)
def test_names_of_the_rules(use: str, expected: list[str]) -> None:
    text = ADMIN + TWICE + f'policy edge at xdp on "eth0" {{ default pass  fragments first-only\n{use} }}\n'
    assert [r.label for r in rules(text)] == expected
    assert len({r.label for r in rules(text)}) == len(expected)


def test_tests_name_the_rules_of_a_use() -> None:
    text = ADMIN + xdp("ssh: use admin(10.0.0.1, 22)")
    text += """test "t" of edge {
      expect pass tcp from 10.0.0.1 to port 22 by ssh.allowed
      expect drop tcp to port 22 by ssh.2
    }"""
    assert said(text) == []
    assert said(text.replace("by ssh.2", "by ssh.3")) == [("E0202", "ssh.3")]


def test_a_rule_stands_where_its_use_stands() -> None:
    (first, second) = rules(
        'import "c.gate" as c\n' + xdp("use c.admin(10.0.0.1, 22)"), c_gate=ADMIN.encode()
    )
    assert {first.span.label, second.span.label} == {"p.gate:3"}


REFUSED = [
    ("use admin(10.0.0.1)", ("E0243", "10.0.0.1")),
    ("use admin()", ("E0243", "admin")),
    ("use admin(10.0.0.1, 22, 23)", ("E0243", "10.0.0.1, 22, 23")),
    ("use admin(22, 10.0.0.1)", ("E0243", "22")),
    ("use admin(10.0.0.1, 5/s)", ("E0243", "5/s")),
    ('use admin(10.0.0.1, "eth0")', ("E0243", '"eth0"')),
    ("use admin(10.0.0.1, { 22, 10.0.0.1 })", ("E0243", "{ 22, 10.0.0.1 }")),
    ("use admin(10.0.0.1/8, 22)", ("E0204", "10.0.0.1/8")),
    ("use admin(nobody, 22)", ("E0202", "nobody")),
    ("use admin(10.0.0.1, 70000)", ("E0206", "70000")),
    ("use admn(10.0.0.1, 22)", ("E0202", "admn")),
    ("use lan(10.0.0.1, 22)", ("E0203", "lan")),
]  # fmt: skip


@pytest.mark.parametrize(("use", "expected"), REFUSED)
def test_refused_uses(use: str, expected: tuple[str, str]) -> None:
    text = "network lan = 10.0.0.0/8\n" + ADMIN + xdp(f"{use}\npass from lan")
    assert expected in said(text)
    assert [d for d in findings(text) if d.code.startswith("E") and d.code != expected[0]] == []


BROKEN = [
    ("template t() { drop from nobody }", ("E0202", "nobody")),
    ("template t() { drop udp mark 7 }", ("E0305", "mark 7")),
    ("template t(p: ports) { drop tcp from p }", ("E0203", "p")),
    ("template t(n: network) { drop tcp to port n }", ("E0203", "n")),
    ("template t(n: netwrk) { drop from n }", ("E0202", "netwrk")),
    ("template t(n: network, n: ports) { drop from n }", ("E0201", "n")),
    ("template t(tcp: network) { drop from tcp }", ("E0208", "tcp")),
    ("network n = 10.0.0.1\ntemplate t(n: network) { drop from n }", ("E0201", "n")),
    ("template t() { drop to port 22 }", ("E0211", "22")),
    ("template t() { use t() }", ("E0212", "t")),
    ("template t() { use u() }\ntemplate u() { use t() }", ("E0212", "t")),
    ("template t(n: network, p: ports) { drop tcp from n }", ("W0230", "p")),
    ("template t(p: ports) { use u(p) }\ntemplate u(n: network) { drop from n }", ("E0243", "p")),
]


@pytest.mark.parametrize(("template", "expected"), BROKEN, ids=[b[0][:50] for b in BROKEN])
def test_a_template_that_cannot_be_right_is_wrong_even_unused(
    template: str, expected: tuple[str, str]
) -> None:
    assert said(template) == [expected]
    if expected[0][0] == "E" and "t()" in template:
        again = template + "\n" + xdp("use t()\nuse t()")
        assert said(again) == [expected], "and once, however often it is used"


SOUND = [
    "template t(r: rate) { drop udp limit r burst 1000000 }",
    "template t(s: service) { drop s type echo-request }",
    "template t(s: service, n: network) { drop s to n port 80 }",
    "template t(s: service) { drop s flags syn drop s from 10.0.0.1 }",
    "template t() { reject tcp }",
    "template t(p: ports) { drop udp to port p - 443 drop udp to port 80 - p }",
    "template t(n: network) { allow from n - 10.0.0.0/8 }",
    "template t() { }",
]


@pytest.mark.parametrize("template", SOUND)
def test_a_template_that_can_be_right_somewhere_is_sound(template: str) -> None:
    assert said(template) == []


def test_a_template_is_for_any_hook_that_has_its_words() -> None:
    template = "template t() { drop tcp to port 22 }\n"
    assert said(template + xdp("use t()")) == said(template + tc("use t()")) == []
    (d,) = findings(template + connect("use t()"))
    assert (d.code, [label.text for label in d.labels][-1]) == ("E0305", "used here")
    assert d.labels[0].span.text == "drop" and d.labels[-1].span.text == "use t()"


def test_a_finding_in_a_body_shows_each_use() -> None:
    text = "template inner(n: network) { drop ip6 from n }\ntemplate outer(n: network) { use inner(n) }\n"
    (d,) = findings(text + xdp("use outer(10.0.0.1)"))
    assert d.code == "E0215"
    assert [label.span.text for label in d.labels if label.text == "used here"] == [
        "use inner(n)",
        "use outer(10.0.0.1)",
    ]


def doubling(levels: int) -> str:
    text = "template t0() { drop udp }\n"
    return text + "".join(f"template t{i}() {{ use t{i - 1}() use t{i - 1}() }}\n" for i in range(1, levels))


def test_what_a_use_brings_is_bounded() -> None:
    assert len(rules(doubling(8) + xdp("use t7()"))) == 128
    found: list[Diagnostic] = findings(doubling(40) + xdp("use t39()"))
    assert [d.code for d in found] == ["E0106"]


def test_two_uses_of_one_name_collide() -> None:
    found = said(ADMIN + xdp("use admin(10.0.0.1, 22)\nuse admin(10.0.0.2, 23)"))
    assert [code for code, _ in found] == ["E0303"]


NETWORKS = st.sampled_from(
    ["any", "office", "10.0.0.0/8", "{ 192.0.2.1, 2001:db8::/32 }", "office - 10.1.0.0/16", "not office"]
)
PORTS = st.sampled_from(["80", "any", "web", "{ 1-9, web }", "web + 8080 - 81", "80-90"])
BODIES = st.lists(
    st.sampled_from([
        "drop tcp from N to port P", "pass udp from not N port P", "pass ip to N + office",
        "drop tcp to port { P, 7 } flags syn", "drop tcp, udp to N port P - 85",
        "pass ip from office + N", "drop sctp to port 7 + P", "drop ip from { office, N } to not N",
    ]), min_size=1, max_size=4)  # fmt: skip


@given(NETWORKS, PORTS, BODIES)
@settings(max_examples=60, deadline=None)
def test_a_use_and_its_rules_written_out_are_one_policy(network: str, ports: str, body: list[str]) -> None:
    head = "network office = { 10.0.0.0/8, 2001:db8::/32 }\nports web = { 80, 443 }\n"
    text = " ".join(body)
    template = f"template t(N: network, P: ports) {{ {text} pass udp from N to port P }}\n"
    written = re.sub(r"\bN\b", f"({network})", f"{text} pass udp from N to port P")
    written = re.sub(r"\bP\b", f"{{ {ports} }}", written)
    extra = "pass ip from office\npass tcp to port web"
    assert matches(head + template + xdp(f"use t({network}, {ports})\n{extra}")) == matches(
        head + xdp(f"{written}\n{extra}")
    )
