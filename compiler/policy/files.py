"""Files that a policy names, read once each and remembered with their digests.

Knows names and bytes; must never know what a file says. Reading goes through one function, so that tests and
editors can bring their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ..source import Source

ReadFile = Callable[[Path], bytes]


class UnreadableInput(Exception):  # noqa: N818 - reads as what happened
    """A file that cannot be read as text; the argument says why."""


class Inputs:
    """The files of one compilation. Names are relative to the directory of the policy's file."""

    def __init__(self, read_file: ReadFile = Path.read_bytes) -> None:
        self._read_file = read_file
        self._sources: dict[str, Source] = {}
        self._digests: list[tuple[str, str]] = []
        self._base = Path()

    @property
    def digests(self) -> tuple[tuple[str, str], ...]:
        """(name, SHA-256 of the bytes in hex) of every file, in the order of reading."""
        return tuple(self._digests)

    def policy(self, path: Path) -> Source:
        """The policy file itself. Raises UnreadableInput."""
        return self.given(self._load(path, path.name))

    def given(self, source: Source) -> Source:
        """A policy whose text is at hand."""
        if source.name not in dict(self._digests):
            self._digests.append((source.name, hashlib.sha256(source.text.encode()).hexdigest()))
        self._base = source.path.parent if source.path else Path()
        return source

    def read(self, name: str) -> Source:
        """A file that the policy names. Raises UnreadableInput."""
        if name not in self._sources:
            self._sources[name] = self._load(self._base / name, name)
        return self._sources[name]

    def _load(self, path: Path, name: str) -> Source:
        try:
            data = self._read_file(path)
        except OSError as reason:
            raise UnreadableInput((reason.strerror or str(reason)).lower()) from reason
        except ValueError as reason:  # a NUL in the name
            raise UnreadableInput("no file can have this name") from reason
        try:
            text = data.decode()
        except UnicodeDecodeError as reason:
            line = data.count(b"\n", 0, reason.start) + 1
            raise UnreadableInput(f"line {line} is not UTF-8 text") from reason
        self._digests.append((name, hashlib.sha256(data).hexdigest()))
        return Source(name, text.removeprefix("\ufeff"), path)
