"""Descriptors that have an owner. Knows close(2) and nothing of what a descriptor stands for."""

from __future__ import annotations

import os
import warnings
from types import TracebackType


class Fd:
    """An owned file descriptor: closed once, by `close`, the end of a `with` block, or (with a
    ResourceWarning) when it is forgotten. `what` names the object in messages."""

    __slots__ = ("_number", "what")

    def __init__(self, number: int, what: str) -> None:
        self._number = number
        self.what = what

    @property
    def number(self) -> int:
        """The descriptor's number. ValueError when it is closed."""
        if self._number < 0:
            raise ValueError(f"the descriptor of {self.what} is closed")
        return self._number

    def fileno(self) -> int:
        """For select, mmap and the like."""
        return self.number

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_number", -1) >= 0:
            warnings.warn(f"descriptor of {self.what} was never closed", ResourceWarning, stacklevel=1)
            self.close()

    def __repr__(self) -> str:
        return f"Fd({self._number}, {self.what!r})"
