"""Rules with a last day: what leaves, what stays, what is said. The day is given; no clock is read."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from lockgate.compiler import driver
from lockgate.compiler.diagnostics import PolicyError, Sink
from lockgate.compiler.driver import Options, Session
from lockgate.compiler.policy import load
from lockgate.compiler.source import Source
from lockgate.runtime import bundle

from .front import said, tc, xdp

RULE = 'vendor: {} tcp to port 9443 expires 2026-03-31 ticket "NET-4711"'
DROP_ALL = "rest: drop ip"


def outcome(text: str, now: str | None) -> tuple[list[str], list[str]]:
    """Names of the rules that hold, and codes of what is said."""
    sink = Sink()
    try:
        unit = load(Source("p.gate", text), sink, now=None if now is None else date.fromisoformat(now))
    except PolicyError as error:
        return [], [d.code for d in error.diagnostics]
    return [r.label for r in unit.chains[0].rules], [d.code for d in sink.diagnostics]


DAYS = [  # (action, day, holds, said)
    ("allow", None, True, ["W0523"]),
    ("allow", "2026-03-16", True, []),
    ("allow", "2026-03-17", True, ["W0520"]),
    ("allow", "2026-03-31", True, ["W0520"]),
    ("allow", "2026-04-01", False, ["W0522"]),
    ("pass", "2026-04-01", False, ["W0522"]),
    ("continue", "2026-04-01", False, ["W0522"]),
    ("drop", "2026-03-16", True, []),
    ("drop", "2026-03-31", True, ["W0520"]),
    ("drop", "2026-04-01", None, ["E0521"]),
    ("drop", None, True, ["W0523"]),
]


@pytest.mark.parametrize(("action", "day", "holds", "codes"), DAYS)
def test_the_last_day(action: str, day: str | None, holds: bool | None, codes: list[str]) -> None:
    rules, found = outcome(tc(f"{RULE.format(action)}\n{DROP_ALL}"), day)
    assert found == codes
    assert rules == ([] if holds is None else ["vendor", "rest"] if holds else ["rest"])


def test_an_expired_reject_stays_too() -> None:
    text = 'policy out at connect for cgroup "/a" { default allow reject tcp expires 2026-03-31 }'
    assert outcome(text, "2026-05-01")[1] == ["E0521"]


def test_messages_name_the_ticket_and_the_days() -> None:
    sink = Sink()
    load(Source("p.gate", tc(RULE.format("allow"))), sink, now=date(2026, 3, 19))
    assert sink.diagnostics[0].message == "`allow … expires 2026-03-31` ends in 12 days (ticket NET-4711)"
    assert outcome(tc(RULE.format("allow")), "2026-03-31")[1] == ["W0520"]


def test_no_date_is_said_once() -> None:
    assert outcome(tc("allow tcp expires 2026-03-31 allow udp expires 2026-03-31"), None)[1] == ["W0523"]
    assert said(xdp("pass tcp expires 2026-02-30")) == [("E0225", "2026-02-30")]
    assert said(xdp("pass tcp expires 2026-03-31 expires 2026-03-31")) == [("E0302", "expires 2026-03-31")]
    assert said(xdp('pass tcp ticket "a" ticket "b"')) == [("E0302", 'ticket "b"')]


def test_a_rule_of_a_template_expires_at_its_use() -> None:
    text = "template t() { gone: pass tcp expires 2026-03-31 pass udp }\n" + xdp("x: use t()")
    sink = Sink()
    unit = load(Source("p.gate", text), sink, now=date(2026, 4, 1))
    assert [r.label for r in unit.chains[0].rules] == ["x.2"]
    (d,) = sink.diagnostics
    assert (d.code, d.labels[0].span.text, d.labels[1].span.text) == (
        "W0522",
        "expires 2026-03-31",
        "x: use t()",
    )


def compiled(folder: Path, now: date | None) -> bundle.Bundle:
    path = folder / "p.gate"
    path.write_text('policy edge at tc on "eth0" { owner "net@example.org" default drop ingress {\n'
                    f"{RULE.format('allow')}\n{DROP_ALL} ticket \"T-1\" }} }}")  # fmt: skip
    return bundle.parse(driver.build_bundle(path, Options(now=now)))


def test_the_bundle_says_for_which_day_it_is(tmp_path: Path) -> None:
    early = compiled(tmp_path, date(2026, 3, 1)).manifest
    late = compiled(tmp_path, date(2026, 4, 1)).manifest
    never = compiled(tmp_path, None).manifest
    assert (early.now, late.now, never.now) == ("2026-03-01", "2026-04-01", None)
    slots = {s.label: (s.ticket, s.expires) for s in early.chains[0].slots}
    assert slots["vendor"] == ("NET-4711", "2026-03-31") and slots["rest"] == ("T-1", None)
    assert "vendor" not in {s.label for s in late.chains[0].slots}, "what has left has no counter"
    assert early.chains[0].owner == "net@example.org"


def test_no_clock_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.gate"
    path.write_text(tc(RULE.format("allow")))
    with Session(path) as session:
        now = session.description()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10 * 365 * 86400)
    with Session(path) as session:
        assert session.description() == now


def test_up_says_what_has_left(tmp_path: Path) -> None:
    (tmp_path / "p.gate").write_text(tc(RULE.format("allow")))
    command = [sys.executable, "-m", "lockgate", "up", "--dry-run", "p.gate", "--now", "2026-04-01"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning[W0522]" in done.stderr and "(ticket NET-4711)" in done.stderr
