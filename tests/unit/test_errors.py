"""The catalogue: every page's example gives its code, every remedy is clean, and nothing is forgotten."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from lockgate.compiler import errors
from lockgate.compiler.diagnostics import Diagnostic, PolicyError, Severity, Sink
from lockgate.compiler.errors import pages
from lockgate.compiler.errors.base import SECTIONS, Finding
from lockgate.compiler.policy import load
from lockgate.compiler.source import Source

ROOT = Path(__file__).parents[2]
PAGES = pages.pages()
BY_STAGES_BEHIND = {"W0501"}  # the front end alone cannot give these


def diagnose(text: str) -> list[Diagnostic]:
    sink = Sink()
    try:
        load(Source("example.gate", text, ROOT / "tests" / "unit" / "example.gate"), sink)
    except PolicyError as error:
        return list(error.diagnostics)
    return sink.diagnostics


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


@pytest.mark.parametrize(
    "code", [c for c, p in PAGES.items() if "## Example\n" in p.text and c not in BY_STAGES_BEHIND]
)
def test_example_gives_exactly_its_code(code: str) -> None:
    found = diagnose(pages.example(PAGES[code].text, "Example"))
    assert code in {d.code for d in found}
    assert {d.code for d in found if d.severity is Severity.ERROR} <= {code}
    if code.startswith("E"):
        assert len([d for d in found if d.code == code]) == 1
    for diagnostic in found:
        assert not diagnostic.message.endswith(".") and "\n" not in diagnostic.message
        assert diagnostic.labels and diagnostic.labels[0].span.text.strip()


@pytest.mark.parametrize("code", [e.code for e in errors.ALL])
def test_remedy_is_clean(code: str) -> None:
    assert diagnose(pages.example(PAGES[code].text, "Instead")) == []


def test_written_pages_are_up_to_date() -> None:
    folder = ROOT / "docs" / "errors"
    written = {p.name: p.read_text(encoding="utf-8") for p in folder.glob("*.md")}
    wanted = {f"{code}.md": pages.markdown(page) for code, page in PAGES.items()}
    assert written == wanted | {"index.md": pages.index()}, "run python -m lockgate.compiler.errors.pages"
