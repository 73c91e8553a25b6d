"""Fixes: what each is, which are sure, and that applying them ends and helps."""

from pathlib import Path

import pytest

from lockgate.compiler import errors, fixes
from lockgate.compiler.diagnostics import Diagnostic, Fix, PolicyError, Severity, Sink
from lockgate.compiler.errors import pages
from lockgate.compiler.policy import load
from lockgate.compiler.source import Source, Span
from tests.unit.front import connect, findings, reader, xdp

P = Path("p.gate")
BODY = "default pass  fragments first-only"


def diagnose(read: fixes.ReadFile) -> list[Diagnostic]:
    sink = Sink()
    try:
        load(P, sink, read_file=read)
    except PolicyError as error:
        return list(error.diagnostics)
    return sink.diagnostics


def mended(text: str, *, unsafe: bool) -> str:
    overlay = fixes.Overlay(reader({"p.gate": text.encode()}))
    fixes.mend(diagnose, overlay, unsafe=unsafe)
    return overlay.read(P).decode()


SURE = [
    ("alow tcp", "E0305", "pass tcp"),  # to `allow`, and on to what XDP has
    ("drop tcp form 10.0.0.1", "E0101", "drop tcp from 10.0.0.1"),
    ("Drop tcp", "E0101", "drop tcp"),
    ("drop tcp; drop udp", "E0104", "drop tcp drop udp"),
    ("drop tcp flags sny", "E0202", "drop tcp flags syn"),
    ("drop from ::ffff:10.0.0.0/104", "E0207", "drop from 10.0.0.0/8"),
    ("drop flags syn", "E0213", "drop tcp flags syn"),
    ("drop tcp flags syn, !ack", "E0214", "drop tcp flags syn/syn,ack"),
    ("drop tcp flags syn, !ack, !rst", "E0214", "drop tcp flags syn/syn,ack,rst"),
    ("drop tcp log log", "E0302", "drop tcp log "),
    ("allow tcp", "E0305", "pass tcp"),
    ("drop icmp type echo-requst", "E0202", "drop icmp type echo-request"),
    ("drop if ip.ttl =2&&!ip6.routing", "E0102", "drop if ip.ttl ==2 and not ip6.routing"),
    ("drop if (!ip6.routing||ip.ttl => 9)", "E0102", "drop if (not ip6.routing or ip.ttl >= 9)"),
    ("drop if nto ip6.routing adn ip.tll < 2", "E0101", "drop if not ip6.routing and ip.ttl < 2"),
]  # fmt: skip

OFFERED = [
    ("accept tcp", "E0101", "pass tcp"),
    ("drop tcp dport 22", "E0102", "drop tcp to port 22"),
    ("drop from 10.0.0.1/8", "E0204", "drop from 10.0.0.0/8"),
    ("drop from 10.0.0.010/31", "E0205", "drop from 10.0.0.10/31"),
    ("drop tcp to port 443-80", "E0209", "drop tcp to port 80-443"),
    ("drop to port 53", "E0211", "drop tcp to port 53"),
    ("drop tcp flags syn, fin, !ack", "E0214", "drop tcp flags syn,fin/syn,fin,ack"),
    ("drop tcp flags syn/ack", "E0214", "drop tcp flags syn/syn,ack"),
    ("drop tcp where tcp.window == 0", "E0102", "drop tcp if tcp.window == 0"),
    ("drop iff ip.ttl < 2", "E0101", "drop if ip.ttl < 2"),
    ("a: drop udp a: drop arp", "E0303", "a: drop udp a-2: drop arp"),
    ("reject tcp", "E0305", "drop tcp"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "code", "after"), SURE, ids=[f"{c} {b}" for b, c, _ in SURE])
def test_sure_fixes(before: str, code: str, after: str) -> None:
    assert mended(xdp(before), unsafe=False) == xdp(after)


@pytest.mark.parametrize(("before", "code", "after"), OFFERED, ids=[f"{c} {b}" for b, c, _ in OFFERED])
def test_fixes_that_only_the_author_can_choose(before: str, code: str, after: str) -> None:
    assert mended(xdp(before), unsafe=False) == xdp(before)
    assert mended(xdp(before), unsafe=True) == xdp(after)


def test_connect_rejects() -> None:
    assert mended(connect("drop tcp"), unsafe=False) == connect("reject tcp")


@pytest.mark.parametrize(
    ("before", "after", "unsafe"),
    [
        (f"policy p at xdp on eth0 {{ {BODY} }}", f'policy p at xdp on "eth0" {{ {BODY} }}', False),
        (f"policy p at xdp on “eth0” {{ {BODY} }}", f'policy p at xdp on "eth0" {{ {BODY} }}', False),
        (f'policy p at xpd on "e" {{ {BODY} }}', f'policy p at xdp on "e" {{ {BODY} }}', False),
        (f'polcy p at xdp on "e" {{ {BODY} }}', f'policy p at xdp on "e" {{ {BODY} }}', False),
        (
            'policy p at xdp on { "a" } # {\n{\n  fragments drop\n  drop udp\n}\n',
            'policy p at xdp on { "a" } # {\n{\n  default drop\n  fragments drop\n  drop udp\n}\n',
            True,
        ),
        (
            'policy p at xdp on "e" {\n  default pass\n}\n',
            'policy p at xdp on "e" {\n  fragments first-only\n  default pass\n}\n',
            False,
        ),
        (
            'policy p at xdp on "e" { default pass }',
            'policy p at xdp on "e" { fragments first-only default pass }',
            False,
        ),
        (
            'policy p at xdp on "e" { fragments drop }',
            'policy p at xdp on "e" { default drop fragments drop }',
            True,
        ),
        (f'policy p at xdp on "e" {{ {BODY}', f'policy p at xdp on "e" {{ {BODY}\n}}', True),
        ("network a = any\n" + xdp("drop udp"), xdp("drop udp"), True),
        (
            'policy p at connect for cgroup "app" { default allow }',
            'policy p at connect for cgroup "/app" { default allow }',
            True,
        ),
        (
            'policy p at xdp on "e" { default continue  fragments drop }',
            'policy p at xdp on "e" { default drop  fragments drop }',
            True,
        ),
        (
            "network a = dynamic\n" + xdp("drop from a"),
            "network a = dynamic max 1000\n" + xdp("drop from a"),
            True,
        ),
        (
            "network web = any\n" + xdp("drop from wep"),
            "network web = any\n" + xdp("drop from web"),
            True,
        ),
    ],
)
def test_fixes_outside_rules(before: str, after: str, unsafe: bool) -> None:
    if unsafe:
        assert mended(before, unsafe=False) == before
    assert mended(before, unsafe=unsafe) == after


@pytest.mark.parametrize(
    ("word", "name", "others", "sure"),
    [
        ("alow", "allow", ["drop"], True),
        ("ALLOW", "allow", ["drop"], True),
        ("fyn", "fin", ["syn"], False),  # as near to `syn`
        ("alw", "allow", [], False),
        ("ak", "ack", [], True),
        ("dr", "drop", [], False),
        ("i4", "ip", ["ip4"], False),
    ],
)
def test_surely(word: str, name: str, others: list[str], sure: bool) -> None:
    from lockgate.compiler.errors.base import surely

    assert surely(word, name, [(n, None) for n in (name, *others)]) == sure


def _diagnosed_page(code: str) -> tuple[str, list[Diagnostic]]:
    text = pages.example(pages.pages()[code].text, "Example")
    return text, diagnose(reader({"p.gate": text.encode()}))


WITH_EXAMPLE = [e.code for e in errors.ALL if "## Example\n" in pages.pages()[e.code].text]


@pytest.mark.parametrize("code", WITH_EXAMPLE)
def test_every_fix_of_a_page_removes_its_finding(code: str) -> None:
    text, found = _diagnosed_page(code)
    for d in found:
        for fix in d.fixes:
            after = fixes.edited(text, [fix])
            left = [x for x in diagnose(reader({"p.gate": after.encode()})) if x.code == d.code]
            assert len(left) < sum(x.code == d.code for x in found), (fix.replacement, after)


def _finding(source: Source, start: int, end: int, replacement: str, *, sure: bool = True) -> Diagnostic:
    fix = Fix(Span(source, start, end), replacement, sure)
    return Diagnostic("E0101", "x", Severity.ERROR, "m", fixes=(fix,))


def test_fixes_that_touch_wait_for_the_next_round() -> None:
    source = Source("p.gate", "abcdef", P)
    found = [_finding(source, *args) for args in ((2, 3, "X"), (0, 2, "Y"), (4, 6, "Z"), (5, 6, "W"))]
    assert [f.replacement for _, f in fixes.choose(found, unsafe=False)] == ["Y", "Z"]


def test_fixes_that_undo_each_other_end() -> None:
    def swap(read: fixes.ReadFile) -> list[Diagnostic]:
        text = read(P).decode()
        return [_finding(Source("p.gate", text, P), 0, 1, "b" if text == "a" else "a")]

    overlay = fixes.Overlay(reader({"p.gate": b"a"}))
    assert len(fixes.mend(swap, overlay, unsafe=False)) == 3


def test_fixes_that_never_end_are_stopped() -> None:
    def grow(read: fixes.ReadFile) -> list[Diagnostic]:
        return [_finding(Source("p.gate", read(P).decode(), P), 0, 0, "x")]

    overlay = fixes.Overlay(reader({"p.gate": b""}))
    assert len(fixes.mend(grow, overlay, unsafe=False)) == fixes.MAX_ROUNDS


def test_text_without_a_file_is_left_alone() -> None:
    assert fixes.choose([_finding(Source("p.gate", "a"), 0, 1, "b")], unsafe=True) == []


def test_a_word_glued_to_a_number_is_not_mended_unseen() -> None:
    """`0x0scp` with `dscp` in its place reads as `0x0d` and `scp` again."""
    found = findings('policy p at tc on "eth0" { default pass ingress { allow mark 0x0scp } }')
    (slip,) = [d for d in found if d.code == "E0101"]
    assert [fix.sure for fix in slip.fixes] == [False]
