"""The files of one compilation, read once each and remembered with their digests.

Knows names, places and bytes; must never know what a file says. Reading goes through one function, so that
tests and editors can bring their own; the language's own library is read from this package.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..source import Source

ReadFile = Callable[[Path], bytes]

LIBRARY = "std/"  # what begins so, and is found nowhere else, is of the language's own library


class UnreadableInput(Exception):  # noqa: N818 - reads as what happened
    """A file that cannot be read as text; the argument says why. `looked`: places where no file was."""

    def __init__(self, reason: str, looked: Iterable[str] = ()) -> None:
        self.looked = tuple(looked)
        super().__init__(reason)


@dataclass(frozen=True)
class _Place:
    """Where a file lies: `folder` to open files from, `name` of that folder in all outputs, `read` opens."""

    folder: Path
    name: str
    read: ReadFile


class Inputs:
    """The files of one compilation. Names are relative to the directory of the policy's file, or to the
    directory of `include` where a file was found."""

    def __init__(self, read_file: ReadFile = Path.read_bytes, include: Iterable[Path] = ()) -> None:
        self._read_file = read_file
        self._include = tuple(_Place(folder, "", read_file) for folder in include)
        self._sources: dict[str, Source] = {}  # by where the file really is
        self._places: dict[Source, _Place] = {}
        self._digests: dict[str, str] = {}

    @property
    def digests(self) -> tuple[tuple[str, str], ...]:
        """(name, SHA-256 of the bytes in hex) of every file, in the order of reading."""
        return tuple(self._digests.items())

    def policy(self, path: Path) -> Source:
        """The policy file itself. Raises UnreadableInput."""
        return self.given(self._load(_Place(path.parent, "", self._read_file), path.name))

    def given(self, source: Source) -> Source:
        """A policy whose text is at hand."""
        self._digests.setdefault(source.name, hashlib.sha256(source.text.encode()).hexdigest())
        folder = source.path.parent if source.path else Path()
        self._places[source] = _Place(folder, "", self._read_file)
        self._sources[_real(source.path or Path(source.name))] = source
        return source

    def beside(self, policy: Source, folder: Path, name: str) -> Source | None:
        """A file of some folder that holds for a policy; None when there is none. Its name is relative to
        the policy's directory. Raises UnreadableInput."""
        here = self._places[policy].folder
        try:
            return self._load(self._places[policy], os.path.relpath(folder / name, here.absolute()))
        except UnreadableInput as reason:
            if isinstance(reason.__cause__, FileNotFoundError | NotADirectoryError):
                return None
            raise

    def include(self, folders: Iterable[Path]) -> None:
        """Look for imported files below these folders, too, after those that are known."""
        self._include += tuple(_Place(folder, "", self._read_file) for folder in folders)

    def read(self, name: str, beside: Source) -> Source:
        """A list that a file names, relative to that file. Raises UnreadableInput."""
        return self._load(self._places[beside], name)

    def find(self, name: str, beside: Source) -> Source:
        """A file that another one imports: relative to that file, then below each folder of `include`, then
        in the language's own library. Raises UnreadableInput."""
        looked = []
        for place, path in self._candidates(name, beside):
            try:
                return self._load(place, path)
            except UnreadableInput as reason:
                if not isinstance(reason.__cause__, FileNotFoundError | NotADirectoryError):
                    raise
                looked.append(str(_joined(place.folder, path)))
        raise UnreadableInput("no such file", looked)

    def _candidates(self, name: str, beside: Source) -> Iterator[tuple[_Place, str]]:
        yield self._places[beside], name
        for place in self._include:
            yield place, name
        if name.startswith(LIBRARY) and "/" not in name.removeprefix(LIBRARY):
            folder = Path(str(resources.files("lockgate.stdlib_bpf") / "prelude"))
            yield _Place(folder, LIBRARY, Path.read_bytes), name.removeprefix(LIBRARY)

    def _load(self, place: _Place, name: str) -> Source:
        path = _joined(place.folder, name)
        real = _real(path)
        if real not in self._sources:
            data = _bytes(place.read, path)
            source = Source(self._new_name(posixpath.join(place.name, name)), _text(data), path)
            self._digests[source.name] = hashlib.sha256(data).hexdigest()
            self._sources[real] = source
            self._places[source] = _Place(path.parent, posixpath.dirname(source.name), place.read)
        return self._sources[real]

    def _new_name(self, name: str) -> str:
        """The normal form of a name; files of one name in several folders are numbered."""
        plain = posixpath.normpath(name)
        number, unique = 1, plain
        while unique in self._digests:
            number += 1
            unique = f"{plain}#{number}"
        return unique


def _joined(folder: Path, name: str) -> Path:
    return Path(posixpath.normpath(posixpath.join(folder.as_posix(), name)))


def _real(path: Path) -> str:
    """What tells files apart, however they are called."""
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL in the name
        return str(path)


def _bytes(read: ReadFile, path: Path) -> bytes:
    try:
        return read(path)
    except OSError as reason:
        raise UnreadableInput((reason.strerror or str(reason)).lower()) from reason
    except ValueError as reason:  # a NUL in the name
        raise UnreadableInput("no file can have this name") from reason


def _text(data: bytes) -> str:
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as reason:
        line = data.count(b"\n", 0, reason.start) + 1
        raise UnreadableInput(f"line {line} is not UTF-8 text") from reason
