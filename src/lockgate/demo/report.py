"""What the demo prints: sections, remarks, expectations that hold or do not. Colour on a terminal only."""

from __future__ import annotations

import time

from rich.console import Console
from rich.text import Text


class Report:
    """Prints, and counts expectations. `failed`: how many do not hold."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.held = self.failed = 0
        self._started = time.monotonic()

    def title(self, text: str) -> None:
        """The headline."""
        self.console.print(Text(text, style="bold"))

    def section(self, text: str) -> None:
        """A heading."""
        self.console.print()
        self.console.print(Text(f"── {text} ", style="bold cyan"))

    def note(self, text: str) -> None:
        """A remark."""
        self.console.print(Text(f"   {text}"))

    def check(self, what: str, good: bool, got: str) -> None:
        """One expectation: `what` was tried, `got` is what came of it."""
        self.held, self.failed = self.held + good, self.failed + (not good)
        mark = Text("ok " if good else "BAD", style="green" if good else "bold red")
        self.console.print(Text(" ").join((mark, Text(f"{what:<62} {got}"))))

    def expect(self, what: str, got: object, expected: object, shown: str = "") -> None:
        """One expectation of a value."""
        good = got == expected
        self.check(what, good, (shown or str(got)) + ("" if good else f"   (expected {expected})"))

    def end(self) -> None:
        """The closing line."""
        seconds = time.monotonic() - self._started
        self.console.print()
        bad = f", {self.failed} NOT AS EXPECTED" if self.failed else ""
        style = "bold red" if self.failed else "bold green"
        self.console.print(Text(f"{self.held} as expected{bad}; {seconds:.1f} s", style=style))
