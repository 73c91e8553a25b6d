"""The grammar is sound, the whole language parses, and each slip gives one message."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler import syntax
from lockgate.compiler.diagnostics import PolicyError, Severity, Sink
from lockgate.compiler.policy import load
from lockgate.compiler.source import Source
from lockgate.compiler.syntax import grammars, tables
from lockgate.compiler.syntax import tree as t
from tests.unit.front import findings, said, tc, unit, xdp

WHOLE = (Path(__file__).parent / "data" / "whole_language.gate").read_text(encoding="utf-8")

COMMON = b"""network bastions = 192.0.2.10
network internet = any - 10.0.0.0/8
template admin(from-where: network, on: ports) { }
"""

LATER = "expect-reply"


def test_grammar_has_no_conflict_and_no_colliding_terminals() -> None:
    grammars.build("policy", strict=True)


@pytest.mark.parametrize("name", tables.KEPT)
def test_kept_tables_are_of_this_grammar(name: str) -> None:
    from lockgate.grammar import policy_tables

    lark_version, digest = grammars.identity(name).split()
    kept_version, kept_digest = policy_tables.IDENTITY.split()
    assert digest == kept_digest, "run python -m lockgate.compiler.syntax.tables"
    if lark_version == kept_version:
        kept = {t.name for t in grammars.load(name).terminals}
        assert kept == {t.name for t in grammars.build(name).terminals}


def test_whole_language_parses() -> None:
    sink = Sink()
    module = syntax.parse(Source("w.gate", WHOLE), sink)
    assert sink.diagnostics == [] and module.skipped == ()
    assert len(module.decls) == 20


def test_what_is_not_there_yet_says_so() -> None:
    found = findings(WHOLE, {"list.txt": b"10.0.0.0/8\n", "common.gate": COMMON})
    assert {d.code for d in found if d.severity is Severity.ERROR} == {"E0390"}
    named = " ".join(d.message for d in found)
    for word in LATER.split():
        assert word.replace("-", " ") in named, word


def test_keywords_are_names_where_nothing_else_fits() -> None:
    text = (
        "network state = 10.0.0.0/8\nnetwork from = 10.1.0.0/16\n"
        "ports order = 80\nnetwork web-in = state - from\n"
    )
    rule = unit(text + xdp("test: drop tcp from web-in to state port order count count")).chains[0].rules[0]
    assert (rule.name, rule.count) == ("test", "count")


def test_words_are_not_cut() -> None:
    assert said(xdp("drop tcp fromage 10.0.0.1"))[0] == ("E0101", "fromage")


def test_spans_cover_whole_sentences() -> None:
    module = syntax.parse(
        Source("s.gate", xdp("a: drop tcp from 10.0.0.0/8 port { 1, 2 } log # end")), Sink()
    )
    policy = module.decls[0]
    assert isinstance(policy, t.Policy)
    assert policy.items[2].span.text == "a: drop tcp from 10.0.0.0/8 port { 1, 2 } log"


SLIPS = [
    ("alow tcp", [("E0101", "alow")]),
    ("drop tcp form 10.0.0.1", [("E0101", "form")]),
    ("drop form 10.0.0.1", [("E0101", "form")]),
    ("drop tcp from to 10.0.0.1", [("E0102", "to")]),
    ("drop tcp from\ndrop udp", [("E0102", "drop")]),
    ("drop tcp to port\ndrop udp", [("E0102", "drop")]),
    ("drop tcp port 80\ndrop udp", [("E0102", "port")]),
    ("drop from { 10.0.0.0/8 192.0.2.1 }\ndrop udp", [("E0102", "192.0.2.1")]),
    ("drop from { 10.0.0.0/8, } }", [("E0102", "}")]),
    ("drop from 10.0.0.0/8 - \ndrop udp", [("E0102", "drop")]),
    ("drop tcp; drop udp", [("E0104", ";")]),
    ("drop tcp $$$ drop udp", [("E0104", "$")]),
    ("drop tcp \0\0 drop udp", [("E0104", "\0")]),
    ('owner "x\ndrop udp', [("E0104", '"')]),
    ("accept tcp\ndeny udp", [("E0101", "accept"), ("E0101", "deny")]),
    ("alow tcp\ndrp udp\npas arp", [("E0101", "alow"), ("E0101", "drp"), ("E0101", "pas")]),
    ("fooo bar baz\ndrop udp", [("E0101", "fooo")]),
    ("drop udp count", [("E0102", "}")]),
    ("drop tcp flags", [("E0102", "}")]),
    ("drop protocol x\ndrop udp", [("E0102", "x")]),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "expected"), SLIPS, ids=[s[0][:20] for s in SLIPS])
def test_one_message_a_slip(rules: str, expected: list[tuple[str, str]]) -> None:
    assert said(xdp(rules)) == expected


def test_slips_of_all_stages_in_one_run() -> None:
    rules = "default pass\n fragments drop\n drp udp\n drop from b\n drop to port 99"
    text = f'network a = 10.0.0.1/8\npolcy p at xdp on "e" {{\n {rules}\n}}\n'
    assert said(text) == [
        ("E0204", "10.0.0.1/8"),
        ("E0101", "polcy"),
        ("E0101", "drp"),
        ("E0202", "b"),
        ("E0211", "99"),
    ]


@pytest.mark.parametrize(
    ("text", "code", "underlined"),
    [
        ('policy p at xdp on "e" { default pass', "E0103", "s"),
        ('policy p at xdp on "e"', "E0103", '"'),
        ("network x", "E0103", "x"),
        ("network x =", "E0103", "="),
        ('policy p at xdp "e" { default pass }', "E0102", '"e"'),
        ('policy p at xdp on "e" { default pass frgments first-only }', "E0101", "frgments"),
        ('policy p at xpd on "e" { default pass }', "E0202", "xpd"),
        ("network 5 = 10.0.0.0/8", "E0102", "5"),
        ("}", "E0102", "}"),
        ("network x = " + "(" * 5000 + "10.0.0.0/8" + ")" * 5000, "E0106", "("),
        ("network x = " + "{" * 500 + "}" * 500, "E0106", "{"),
        ("network x = " + "not " * 5000 + "10.0.0.0/8", "E0106", "not"),
    ],
)  # fmt: skip
def test_broken_declarations(text: str, code: str, underlined: str) -> None:
    assert said(text) == [(code, underlined)]


def test_messages_are_in_the_words_of_users() -> None:
    for text, _ in SLIPS:
        for d in findings(xdp(text)):
            said_text = " ".join([d.message, *d.help, *d.notes, *(label.text for label in d.labels)])
            for ours in ("Token", "RULE_NAME", "LBRACE", "NAME", "Unexpected", "terminal"):
                assert ours not in said_text


def test_unknown_word_says_what_was_meant_and_how_to_mend_it() -> None:
    (d,) = findings(xdp("alow tcp"))
    assert d.message == "unknown word `alow`"
    assert d.labels[0].text == "did you mean `allow`?"
    assert d.fixes[0].replacement == "allow"


CONDITIONS = [
    (
        "drop if\ndrop udp",
        "a condition: `ip.ttl < 2`, `arp.op in { request }`, `not …`",
        ("if", "unfinished here"),
    ),
    ("drop if ip.ttl < 2 and\ndrop udp", "a condition: ", ("and", "unfinished here")),
    ("drop if ip.ttl <\npass udp", "a value: a number, a name or an address", ("<", "unfinished here")),
    ("drop if (ip.ttl < 2\ndrop udp", "`)`", ("(", "opened here")),
    ("drop if ip.ttl in { 1,\n2\ndrop udp", "`,` or `}`", ("{", "opened here")),
    ("drop if (ip.ttl < 2 log", "`)`", None),
    ("drop if ip.ttl 2", "a comparison (`== 2`, `in { 1, 2 }`), `and` or `or`", None),
    ("drop if ip.ttl < 2 ip.dscp == ef", "`and`, `or`, the rest of the rule or the next one", None),
]


@pytest.mark.parametrize(("rules", "expected", "unfinished"), CONDITIONS, ids=[c[0] for c in CONDITIONS])
def test_unfinished_conditions_are_shown(
    rules: str, expected: str, unfinished: tuple[str, str] | None
) -> None:
    (d,) = findings(xdp(rules))
    assert d.code == "E0102"
    assert d.labels[0].text.startswith(f"expected {expected}")
    assert [(label.span.text, label.text) for label in d.labels[1:]] == ([unfinished] if unfinished else [])


@pytest.mark.parametrize(
    ("rule", "help_"),
    [
        ("drop if ip.ttl = 2", "write `==`"),
        ("drop if ip.ttl < 2 && ip6.routing", "write `and`"),
        ("drop if ip.ttl not in { 1, 2 }", "`not` stands before the field: `not ip.ttl in { 1, 2 }`"),
        ("drop if ip.ttl < 2, ip6.routing", "conditions are joined by `and` or `or`"),
        ("drop ip.ttl < 2", "fields are compared behind `if`: `if ip.ttl < 2`"),
        ("drop udp when ip.ttl < 2", "conditions on fields begin with `if`"),
    ],
)
def test_slips_in_conditions_say_what_to_write(rule: str, help_: str) -> None:
    (d,) = findings(xdp(rule))
    assert (d.code, d.help) == ("E0102", (help_,))


def test_an_action_that_is_a_type_may_begin_a_line() -> None:
    for value in ("== redirect", "in { echo-request,\nredirect }"):
        text = xdp(f"drop if icmp.type {value}\npass udp".replace("== ", "==\n"))
        assert findings(text) == [], text


@pytest.mark.parametrize("text", ["", "\n", "# nothing", "\ufeff"])
def test_empty_files_are_empty_units(text: str) -> None:
    assert unit(text.lstrip("\ufeff")).chains == ()


def test_many_slips_end() -> None:
    assert 40 <= len(findings(xdp("drop tcp port 1\n" * 5000))) <= 60


WORDS = """drop allow policy p at xdp on { } ( ) default from to port 80 10.0.0.0/8 ::1 , - + not any test
expect by [ ] = : x: network service tcp flags syn / ! if in < ns[ 0x1f é limit 1/s"""
PIECES = st.sampled_from([*WORDS.split(), '"e"', "\0", '"', "#", "\n"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(PIECES, max_size=40).map(" ".join), st.text(max_size=80)))
def test_no_text_ends_in_a_traceback(text: str) -> None:
    for wrapped in (text, xdp(text)):
        try:
            load(Source("f.gate", wrapped), Sink())
        except PolicyError as error:
            assert error.diagnostics


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 30), PIECES)
def test_no_damage_to_a_sound_file_ends_in_a_traceback(at: int, length: int, piece: str) -> None:
    sink = Sink()
    syntax.parse(Source("f.gate", WHOLE[:at] + piece + WHOLE[at + length :]), sink)
    assert len(sink.diagnostics) < 12


def test_rules_after_a_slip_are_still_read() -> None:
    sink = Sink()
    module = syntax.parse(Source("s.gate", tc("drop tcp port 80\ndrop udp\npass arp")), sink)
    policy = module.decls[0]
    assert isinstance(policy, t.Policy)
    block = policy.items[1]
    assert isinstance(block, t.Block) and len(block.items) == 3
