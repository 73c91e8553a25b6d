"""What diagnostics look like: a few goldens, and the promises about terminals."""

import json
from pathlib import Path

import pytest

from lockgate.compiler.diagnostics import Diagnostic, Fix, Label, Severity
from lockgate.compiler.render import FORMS, render, wants_colour
from lockgate.compiler.source import Source, Span
from tests.unit import sarif
from tests.unit.front import findings, xdp

TWICE = "network office = 10.1.0.0/16\n\n\nnetwork office = 10.2.0.0/16\n" + xdp("drop from office")

HUMAN = """\
error[E0201]: `office` is declared twice
 --> p.gate:4:9
  |
1 | network office = 10.1.0.0/16
  |         ------ declared here
 ...
4 | network office = 10.2.0.0/16
  |         ^^^^^^ declared again
  = help: give one of them another name
"""


def test_human() -> None:
    assert render(findings(TWICE)) == HUMAN


def test_concise() -> None:
    assert render(findings(TWICE), "concise") == "p.gate:4:9: E0201 `office` is declared twice\n"


def test_json() -> None:
    (d,) = json.loads(render(findings(TWICE), "json"))
    assert (d["code"], d["severity"], d["labels"][0]["line"], d["labels"][0]["end_column"]) == (
        "E0201",
        "error",
        4,
        15,
    )


def test_two_files() -> None:
    text = 'network x = file "l.txt"\n' + xdp("drop from x")
    out = render(findings(text, {"l.txt": b"10.0.0.0/8\n10.0.0.0/99\n"}))
    assert " --> l.txt:2:1\n" in out and "2 | 10.0.0.0/99\n  | ^^^^^^^^^^^ one prefix a line\n" in out


def test_tabs_wide_characters_and_controls() -> None:
    out = render(findings(xdp("\tdrop tcp \x1b[31m")))
    assert "\x1b" not in out and "\t" not in out
    wide = render(findings(xdp('# x\nowner "网络" drop from nowhere')))
    line = next(text for text in wide.splitlines() if "^" in text)
    assert line.index("^") == len('  | owner "网络" drop from ') + 2


def test_colour_is_asked_for_and_never_the_only_sign() -> None:
    plain, coloured = render(findings(TWICE)), render(findings(TWICE), colour=True)
    assert "\x1b[" in coloured and "\x1b[" not in plain
    assert wants_colour(True, {}) and not wants_colour(False, {})
    assert not wants_colour(True, {"NO_COLOR": "1"}) and not wants_colour(True, {"TERM": "dumb"})


# ---- what a fix looks like ----

TYPO = 'policy edge at xdp on "eth0" {\n  default pass  fragments first-only\n  alow tcp\n}\n'
CHANGED = "  |\n3 -   alow tcp\n3 +   allow tcp\n"


def test_a_fix_is_shown_as_the_changed_line() -> None:
    assert CHANGED in render(findings(TYPO))


def test_a_fix_that_adds_a_line_shows_the_new_line_only() -> None:
    source = Source("p.gate", "a {\n}\n")
    fix = Fix(Span(source, 3, 3), "\n  default drop")
    shown = render([Diagnostic("E0301", "no-default", Severity.ERROR, "m", fixes=(fix,))])
    assert shown == "error[E0301]: m\n  |\n2 +   default drop\n"


# ---- sarif ----


def test_sarif_is_what_the_schema_demands() -> None:
    text = 'network x = file "l.txt"\n' + xdp("alow tcp from x\ndrop from 10.0.0.1/8 from any")
    found = findings(text, {"l.txt": b"10.0.0.0/8\n10.0.0.0/99\n"})
    log = json.loads(render(found, "sarif"))
    sarif.check(log)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == len(found) >= 4
    for d, result in zip(found, run["results"], strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == d.code
        assert d.message in result["message"]["text"]
        region = result["locations"][0]["physicalLocation"]["region"]
        source = d.labels[0].span.source
        assert source.text[region["charOffset"] :][: region["charLength"]] == d.labels[0].span.text
        assert len(result.get("relatedLocations", [])) == len(d.labels) - 1
        assert len(result.get("fixes", [])) == len(d.fixes)
    assert all("What it means" in rule["help"]["markdown"] for rule in rules)


def test_sarif_of_nothing_is_a_log_without_results() -> None:
    log = json.loads(render([], "sarif"))
    sarif.check(log)
    assert log["runs"][0]["results"] == []


def test_sarif_paths_are_uris() -> None:
    for shown, uri in (("a b/ü.gate", "a%20b/%C3%BC.gate"), ("/x/p.gate", "file:///x/p.gate")):
        source = Source("p.gate", "x", Path(shown))
        d = Diagnostic("E0101", "unknown-word", Severity.ERROR, "m", (Label(Span(source, 0, 1)),))
        log = json.loads(render([d], "sarif"))
        sarif.check(log)
        place = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == uri


def test_the_sarif_check_finds_what_is_wrong() -> None:
    log = json.loads(render(findings(TWICE), "sarif"))
    del log["runs"][0]["results"][0]["message"]
    with pytest.raises(AssertionError, match=r"log.runs\[0\].results\[0\] lacks message"):
        sarif.check(log)


# ---- github ----


def test_github() -> None:
    assert render(findings(TWICE), "github") == (
        "::error file=p.gate,line=4,endLine=4,col=9,endColumn=15,title=E0201 duplicate-name::"
        "`office` is declared twice: declared again%0Ahelp: give one of them another name\n"
    )


def test_github_escapes() -> None:
    source = Source("p.gate", "a\nb", Path("a,b:c%.gate"))
    d = Diagnostic("W0501", "x", Severity.WARNING, "100 %: a, b\x1b", (Label(Span(source, 0, 3)),))
    assert render([d], "github") == (
        "::warning file=a%2Cb%3Ac%25.gate,line=1,endLine=2,title=W0501 x::100 %25: a, b\ufffd\n"
    )


@pytest.mark.parametrize("form", FORMS)
def test_no_form_lets_a_control_character_through(form: str) -> None:
    text = render(findings(xdp("drop from \x1b[31m\x07")), form)
    assert text and "\x1b" not in text and "\x07" not in text
