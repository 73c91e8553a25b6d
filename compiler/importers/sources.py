"""Files to import, as sources: text with places. Knows files; must never know what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ..source import Source

STDIN = "-"


class UnreadableError(Exception):
    """A file cannot be read, or is no text; the argument says why."""


def read(path: Path, stdin: BinaryIO) -> Source:
    """A file, or standard input for `-`."""
    try:
        data = stdin.read() if str(path) == STDIN else path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"cannot read `{path}`: {error.strerror or error}") from None
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableError(f"cannot read `{path}`: line {line} is not UTF-8 text") from None
    name = "standard input" if str(path) == STDIN else path.name
    return Source(name, text, None if str(path) == STDIN else path)
