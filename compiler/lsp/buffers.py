"""What is being edited, over what lies on disk.

Knows paths and text; must never know what a text says.
"""

from __future__ import annotations

import os
from pathlib import Path

from pygls import uris

from ..source import Source


class Buffers:
    """Open texts by the file they are of. `edition` rises with every change of any of them."""

    def __init__(self) -> None:
        self.edition = 0
        self._texts: dict[str, Source] = {}
        self._uris: dict[str, str] = {}

    def put(self, uri: str, text: str) -> None:
        """A file is open, and this is its text now."""
        path = path_of(uri)
        whole = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no character
        self._texts[os.path.realpath(path)] = Source(path.name, whole, path)
        self._uris[os.path.realpath(path)] = uri
        self.edition += 1

    def drop(self, uri: str) -> None:
        """A file is no longer open: what is on disk counts."""
        self._texts.pop(os.path.realpath(path_of(uri)), None)
        self.edition += 1

    def source(self, path: Path) -> Source | None:
        """The text of an open file."""
        return self._texts.get(os.path.realpath(path))

    def uri(self, source: Source) -> str:
        """The address of a source's file: the client's own if it has told us one."""
        assert source.path is not None
        known = self._uris.get(os.path.realpath(source.path))
        return known or uris.from_fs_path(str(source.path.absolute())) or str(source.path)

    @property
    def sources(self) -> tuple[Source, ...]:
        """All open texts."""
        return tuple(self._texts.values())

    def read(self, path: Path) -> bytes:
        """The bytes of a file as they would be if all were saved. OSError when there is none."""
        source = self.source(path)
        return path.read_bytes() if source is None else source.text.encode()


def path_of(uri: str) -> Path:
    """The file that an address means; one that is not saved yet has its address as name."""
    return Path(uris.to_fs_path(uri) or uri)
