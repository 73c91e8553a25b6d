"""No text, however broken, ends in a traceback or hangs; everything said about it can be shown in every form.

A failure names its seed. A text that once failed is kept in `corpus/` and tried first:
`python -m tests.fuzz.test_policies SEED` prints one, `… SEED FIRST LAST` looks for more.
"""

from __future__ import annotations

import faulthandler
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lockgate import junit
from lockgate.compiler import fixes
from lockgate.compiler.diagnostics import Diagnostic, PolicyError, Sink
from lockgate.compiler.driver import Session
from lockgate.compiler.render import FORMS, render
from lockgate.compiler.source import Source
from lockgate.compiler.syntax.format import format_source
from tests.fuzz import mutate

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.gate"))
LIMIT_S = 10  # far beyond what any of these texts needs
SHORT, LONG, BATCH = 300, 10_000, 250
P = Path("fuzz.gate")
OTHERS = {
    ".txt": b"10.0.0.0/8\n2001:db8::/32\n",
    ".gate": b"network office = 192.0.2.0/24\nservice web = tcp port 80\nports p = 1-9\n",
}
FOREIGN = ("Traceback", "lark", "Token(", "RULE_NAME", "LBRACE", "object at 0x", "NoneType", "<class")


class TooSlow(Exception):  # noqa: N818 - reads as what happened
    """A text took longer than any should."""


@contextmanager
def time_limit() -> Iterator[None]:
    """TooSlow after LIMIT_S; when that is not heard either, the stack is printed and the process ends."""

    def late(*_: object) -> None:
        raise TooSlow(f"more than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, late)
    faulthandler.dump_traceback_later(3 * LIMIT_S, exit=True, file=sys.__stderr__)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def read(path: Path, text: str) -> bytes:
    """Contents of the policy, and of all that it may name."""
    if path == P:
        return text.encode("utf-8", "surrogatepass")
    if path.suffix not in OTHERS:
        raise FileNotFoundError(2, "No such file or directory")
    return OTHERS[path.suffix]


def diagnose(text: str) -> list[Diagnostic]:
    """What `check` finds. Lists and imported policies exist, whatever they are called."""

    with Session(P, read_file=lambda path: read(path, text)) as session:
        try:
            session.analyse()
        except PolicyError as error:
            assert error.diagnostics
        return session.sink.diagnostics


def try_text(text: str) -> None:
    """Everything that must hold for any text."""
    with time_limit():
        found = diagnose(text)
        for d in found:
            assert "\n" not in d.message and d.message, d
            for span in [*(label.span for label in d.labels), *(fix.span for fix in d.fixes)]:
                assert 0 <= span.start <= span.end <= len(span.source.text), d
        for form in FORMS:
            shown = render(found, form)
            assert "\x1b" not in shown
        for d in found:
            told = " ".join([d.message, *d.notes, *d.help, *(label.text for label in d.labels)])
            own = " ".join(label.span.source.text for label in d.labels)
            assert not [word for word in FOREIGN if word in told and word not in own], told
        json.loads(render(found, "json"))
        json.loads(render(found, "sarif"))
        ElementTree.fromstring(junit.document([junit.Suite("p", [junit.Case(text, found, 0.0)], found)]))
        try_format(text)
        if any(fix.sure for d in found for fix in d.fixes):
            try_mending(text)


def try_mending(text: str) -> None:
    """Sure fixes are applied until none is left, and come to an end."""
    overlay = fixes.Overlay(lambda path: read(path, text))
    applied = fixes.mend(lambda reader: diagnose(reader(P).decode()), overlay, unsafe=False)
    assert applied and len(applied) < 500
    left = diagnose(overlay.read(P).decode())
    assert not fixes.choose(left, unsafe=False), "a sure fix remains"


def try_format(text: str) -> None:
    """The formatter takes it or says why not, and leaves its own style alone."""
    sink = Sink()
    once = format_source(Source("fuzz.gate", text), sink)
    assert (once is None) == sink.has_errors
    if once is not None:
        assert format_source(Source("fuzz.gate", once), Sink()) == once


def try_seeds(first: int, last: int) -> None:
    """Try the texts of some seeds; a failure says which."""
    for seed in range(first, last):
        try:
            try_text(mutate.mutant(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}: python -m tests.fuzz.test_policies {seed}")
            raise


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_texts_that_once_failed(path: Path) -> None:
    try_text(path.read_bytes().decode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("first", range(0, SHORT, 50))
def test_mutants(first: int) -> None:
    try_seeds(first, first + 50)


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(SHORT, LONG, BATCH))
def test_many_mutants(first: int) -> None:
    try_seeds(first, min(first + BATCH, LONG))


if __name__ == "__main__":
    if len(sys.argv) > 3:
        try_seeds(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.stdout.write(mutate.mutant(int(sys.argv[1])))
