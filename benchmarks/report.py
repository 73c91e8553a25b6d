"""Results on disk: `results/NAME.json` with every figure, `results/NAME.md` for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import machine

RESULTS = Path(__file__).parent / "results"
QUICK = RESULTS / "quick"  # not kept


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def ns(value: float) -> str:
    """Nanoseconds with as many digits as mean something."""
    return f"{value:.1f}" if abs(value) < 100 else f"{value:,.0f}"


def times(value: float) -> str:
    """A ratio."""
    return f"{value:.2f}×" if value < 10 else f"{value:,.0f}×"


def publish(name: str, text: str, data: dict[str, Any], folder: Path | None = None) -> None:
    """Print a result and write both forms of it."""
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    whole = f"{text.rstrip()}\n\n{machine.markdown()}\n"
    (folder / f"{name}.md").write_text(whole)
    (folder / f"{name}.json").write_text(json.dumps({"machine": machine.facts(), **data}, indent=1) + "\n")
    print(whole, flush=True)
