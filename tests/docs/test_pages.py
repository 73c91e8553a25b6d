"""Every command that a page shows runs and prints what the page says; generated pages are up to
date; links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import _why_no_kernel
from tests.docs import console

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/tutorial.md", "docs/messages.md")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES)
def test_commands_print_what_the_page_says(page: str) -> None:
    text = (ROOT / page).read_text()
    steps = console.steps_of(text)
    assert steps
    root = os.geteuid() == 0 and _why_no_kernel() is None
    wrong: list[str] = []
    with console.sandbox(console.files_of(text), root) as box:
        for step in steps:
            if step.needs_root and not root:
                continue
            ran = box.run(step)
            if step.command.startswith("make "):
                wrong += [f"`{step.command}` ends with {ran.code}"] * (ran.code != 0)
            else:
                wrong += console.differences(ran)
    assert not wrong, "\n\n".join([*wrong, f"to rewrite the page: python -m tests.docs.console {page}"])
    if not root and any(step.needs_root for step in steps):
        pytest.skip("the page's commands that begin with `sudo` need root; the others passed")


@pytest.mark.parametrize("page", ["cli.md", "fields.md", "hooks.md", "targets.md"])
def test_generated_pages_are_up_to_date(page: str) -> None:
    """By a process of its own: click keeps what other tests made of the commands."""
    script = "import runpy, sys; sys.stdout.write(runpy.run_path(sys.argv[1])['PAGES'][sys.argv[2]]())"
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT / "docs" / "generate.py"), page],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ROOT / "docs" / page).read_text() == done.stdout, "run: make docs"


def test_links_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target, _ in LINK.findall(page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not dead


def test_the_index_leads_to_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    missing = [
        str(page.relative_to(ROOT / "docs"))
        for page in (ROOT / "docs").rglob("*.md")
        if page.parent.name != "errors" and page.name != "index.md"
        if f"({page.relative_to(ROOT / 'docs')})" not in index
    ]
    assert not missing


def test_language_reference_names_every_word_that_is_not_there_yet() -> None:
    from lockgate.compiler.syntax.build import NOT_YET

    text = (ROOT / "docs" / "language.md").read_text().partition("## Understood, not compiled yet")[2]
    words = {name: re.search(r"`(\w+)`", what) for name, what in NOT_YET.items()}
    missing = [found[1] for found in words.values() if found and f"`{found[1]}" not in text]
    assert not missing
