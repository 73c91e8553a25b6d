"""How importers of packet filters say that something cannot be imported, before they know where it stands."""

from __future__ import annotations

from .. import errors
from ..diagnostics import Sink
from ..source import Span


class NotSayableError(Exception):
    """An option has no exact words here: (what, why, what to write instead)."""

    def __init__(self, what: str, why: str, instead: str = "") -> None:
        self.what, self.why, self.instead = what, why, instead
        super().__init__(what)


class BadValueError(Exception):
    """A value is none, or out of range: (value, why)."""

    def __init__(self, value: str, why: str) -> None:
        self.value, self.why = value, why
        super().__init__(value)


class MissingError(Exception):
    """Something is named that no file has: (kind, name, what to do)."""

    def __init__(self, kind: str, name: str, instead: str = "") -> None:
        self.kind, self.name, self.instead = kind, name, instead
        super().__init__(name)


Refusal = NotSayableError | BadValueError | MissingError
REFUSALS = (NotSayableError, BadValueError, MissingError)


def tell(sink: Sink, span: Span, refusal: Refusal) -> None:
    """A refusal as a finding at its place."""
    match refusal:
        case NotSayableError():
            found = errors.NotSayable(span, refusal.what, refusal.why, refusal.instead).diagnostic()
        case BadValueError():
            found = errors.BadImportValue(span, refusal.value, refusal.why).diagnostic()
        case MissingError():
            found = errors.MissingReference(span, refusal.kind, refusal.name, refusal.instead).diagnostic()
    sink.add(found)
