"""Says on a terminal what a compilation is doing, as soon as it takes longer than a moment.

Knows how a line of status looks; must never know a stage. Nothing is shown, and nothing imported, where
standard error is no terminal or the work is done before anybody could ask.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING

from .driver import Session
from .source import Source

if TYPE_CHECKING:
    from rich.status import Status
    from rich.text import Text

SOON_S = 1.0


@contextmanager
def progress(session: Session) -> Iterator[None]:
    """Show what `session` is doing, while the `with` block runs."""
    with _shown(f"compiling {session.path}") as line:
        if line is not None:
            session.begun = line.stage
            session.sink.reached = line.reading
        try:
            yield
        finally:
            session.begun = session.sink.reached = None


@contextmanager
def saying(what: str) -> Iterator[Callable[[str], None]]:
    """A line about work that is no compilation; what the block gets is told what it is at."""
    with _shown(what) as line:
        yield (lambda text: None) if line is None else line.stage


@contextmanager
def _shown(what: str) -> Iterator[_Line | None]:
    """A line that shows itself after a moment; None where there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    line = _Line(what)
    timer = Timer(SOON_S, line.show)
    timer.daemon = True
    timer.start()
    try:
        yield line
    finally:
        timer.cancel()
        line.hide()


class _Line:
    """One line at the bottom of the terminal. Told by the compilation, shown by a timer: two threads."""

    def __init__(self, what: str) -> None:
        self.what = self.text = self._stage = what
        self._lock = Lock()
        self._status: Status | None = None
        self._over = False
        self._source: Source | None = None
        self._offset = self._line = self._lines = 0

    def stage(self, name: str) -> None:
        """A stage is at work."""
        self._stage = f"{self.what}: {name}"
        self._say(self._stage)

    def reading(self, source: Source, offset: int) -> None:
        """Reading has come to a character of a file; at its end, the stage that read goes on."""
        if offset >= len(source.text):
            self._say(self._stage)
            return
        if source is not self._source:
            self._source, self._offset, self._line = source, 0, 1
            self._lines = source.text.count("\n") + 1
        self._line += source.text.count("\n", self._offset, offset)
        self._offset = max(offset, self._offset)
        self._say(f"reading {source.shown}: line {self._line:,} of {self._lines:,}")

    def _say(self, text: str) -> None:
        with self._lock:
            self.text = text
            if self._status is not None:
                self._status.update(_plain(text))

    def show(self) -> None:
        """Begin to show."""
        from rich.console import Console

        with self._lock:
            if not self._over:
                self._status = Console(stderr=True).status(_plain(self.text))
                self._status.start()

    def hide(self) -> None:
        """Take the line away, for good."""
        with self._lock:
            self._over = True
            if self._status is not None:
                self._status.stop()


def _plain(text: str) -> Text:
    """Text in which brackets are brackets."""
    from rich.text import Text

    return Text(text)
