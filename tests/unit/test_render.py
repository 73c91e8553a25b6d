"""What diagnostics look like: a few goldens, and the promises about terminals."""

import json

from lockgate.compiler.render import render, wants_colour
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
