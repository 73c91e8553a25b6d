"""The catalogue: every page's example gives its code, every remedy is clean, and nothing is forgotten."""

import difflib
import importlib
import pkgutil
import re
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest

from lockgate import cli
from lockgate.compiler import errors, targets
from lockgate.compiler.diagnostics import Diagnostic, PolicyError, Severity
from lockgate.compiler.driver import Options, Session
from lockgate.compiler.errors import pages
from lockgate.compiler.errors.base import SECTIONS, Finding
from lockgate.compiler.render import render

ROOT = Path(__file__).parents[2]
PAGES = pages.pages()


def diagnose(text: str) -> list[Diagnostic]:
    """What `check` says of a policy beside this file."""
    path = ROOT / "tests" / "unit" / "example.gate"
    day = re.search(r"with --now (\S+)", text)
    target = re.search(r"with --target (\S+)", text)
    options = Options(now=date.fromisoformat(day[1]) if day else None)
    with Session(
        path, options, read_file=lambda p: text.encode() if p == path else p.read_bytes()
    ) as session:
        with suppress(PolicyError):
            session.analyse(targets.ALL[target[1] if target else targets.DEFAULT].check)
        return sorted(session.sink.diagnostics, key=lambda d: d.sort_key)


def test_all_is_sorted_and_complete() -> None:
    modules = [m.name for m in pkgutil.iter_modules(errors.__path__) if re.match(r"[ew]\d{4}_", m.name)]
    assert len(modules) == len(errors.ALL)
    assert list(errors.ALL) == sorted(errors.ALL, key=lambda e: (e.code[1:], e.code))
    assert len({e.code for e in errors.ALL}) == len(errors.ALL)
    for error in errors.ALL:
        assert issubclass(error, Finding)
        module = importlib.import_module(error.__module__)
        assert module.__name__.endswith(f"{error.code.lower()}_{error.slug.replace('-', '_')}")


@pytest.mark.parametrize("code", PAGES)
def test_page_has_its_sections(code: str) -> None:
    found = list(pages.sections(PAGES[code].text))
    assert found[0] == "" and [f.removesuffix(" (shell)") for f in found[1:]] == list(SECTIONS)


@pytest.mark.parametrize("code", [c for c, p in PAGES.items() if "## Example\n" in p.text])
def test_example_gives_exactly_its_code(code: str) -> None:
    found = diagnose(pages.example(PAGES[code].text, "Example"))
    assert code in {d.code for d in found}
    assert {d.code for d in found if d.severity is Severity.ERROR} <= {code}
    if code.startswith("E"):
        assert len([d for d in found if d.code == code]) == 1
    for diagnostic in found:
        assert not diagnostic.message.endswith(".") and "\n" not in diagnostic.message
        assert diagnostic.labels and diagnostic.labels[0].span.text.strip()


@pytest.mark.parametrize("code", [e.code for e in errors.ALL if "## Instead\n" in PAGES[e.code].text])
def test_remedy_is_clean(code: str) -> None:
    assert diagnose(pages.example(PAGES[code].text, "Instead")) == []


def test_written_pages_are_up_to_date() -> None:
    folder = ROOT / "docs" / "errors"
    written = {p.name: p.read_text(encoding="utf-8") for p in folder.glob("*.md")}
    wanted = {f"{code}.md": pages.markdown(page) for code, page in PAGES.items()}
    assert written == wanted | {"index.md": pages.index()}, "run python -m lockgate.compiler.errors.pages"


GOLDEN = Path(__file__).parent / "data" / "messages.txt"


def test_what_every_example_is_told(request: pytest.FixtureRequest) -> None:
    """Code, message, underlined text, notes and help of every class, as people read them."""
    shown = ""
    for code, page in PAGES.items():
        if "## Example\n" in page.text:
            found = [d for d in diagnose(pages.example(page.text, "Example")) if d.code == code]
            shown += render(found[:1]) + "\n"
    for folder in (ROOT / "tests" / "unit", ROOT):
        shown = shown.replace(str(folder), "…")
    if request.config.getoption("--bless"):
        GOLDEN.write_text(shown)
    wanted = GOLDEN.read_text()
    diff = "".join(difflib.unified_diff(wanted.splitlines(True), shown.splitlines(True), "expected", "got"))
    assert not diff, f"{diff}\nif this is what it should say now: pytest --bless tests/unit/test_errors.py"


@pytest.mark.parametrize("code", PAGES)
def test_explain_prints_every_page(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["explain", code.lower()])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == pages.markdown(PAGES[code])
