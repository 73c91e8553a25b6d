"""Diagnostics are values with facts; how they look is the renderer's affair (`render/`).

Knows codes, severities, labels and fixes; knows neither terminals nor exit codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum

from .source import Source, Span


class Severity(Enum):
    """How much a diagnostic weighs; an error stops the build before its next stage."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Label:
    """A place and what is there. The first label of a diagnostic is the primary one."""

    span: Span
    text: str = ""


@dataclass(frozen=True)
class Fix:
    """A replacement that makes the complaint go away; `sure` when it may be applied unseen."""

    span: Span
    replacement: str
    sure: bool = False


@dataclass(frozen=True)
class Diagnostic:
    """One message. `code` is stable (E0202, W0501); `message` stands alone on one line, lower case, no full
    stop, user text in backticks; `labels` say what is where, `notes` why it matters, `help` what to do;
    `witness` is a packet that shows it, as text."""

    code: str
    name: str
    severity: Severity
    message: str
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    witness: str | None = None
    fixes: tuple[Fix, ...] = ()

    @property
    def sort_key(self) -> tuple[str, int, str, str]:
        """By place, then code, then message: the order does not depend on how it was found."""
        first = self.labels[0].span if self.labels else None
        return (first.source.shown if first else "", first.start if first else -1, self.code, self.message)


class PolicyError(Exception):
    """Raised at the end of a stage that found errors; carries every diagnostic of the stage, sorted."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(diagnostics, key=lambda d: d.sort_key))
        super().__init__("; ".join(f"{d.code} {d.message}" for d in self.diagnostics))


@dataclass
class Sink:
    """Collects the diagnostics of one compilation. `reached`: hears now and then how far reading has come, as
    a file and a character of it."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    errors: int = 0  # how many of them are errors
    reached: Callable[[Source, int], None] | None = None

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a diagnostic."""
        self.diagnostics.append(diagnostic)
        self.errors += diagnostic.severity is Severity.ERROR

    def take(self, since: int) -> list[Diagnostic]:
        """Take back all but the first `since` diagnostics."""
        taken = self.diagnostics[since:]
        del self.diagnostics[since:]
        self.errors -= sum(d.severity is Severity.ERROR for d in taken)
        return taken

    @property
    def has_errors(self) -> bool:
        """Whether any error was kept."""
        return self.errors > 0

    def stop_on_errors(self) -> None:
        """End the stage: raise PolicyError when it kept an error."""
        if self.has_errors:
            raise PolicyError(self.diagnostics)
