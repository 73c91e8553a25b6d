"""`lockgate.toml`: what a directory's files say about the policies in it and below.

Knows TOML and the keys; must never know what a policy does. TOML's reader gives no places, so the line of a
key is looked up in the text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockgate.stdlib_bpf.labels import Selector

from .. import errors, syntax
from ..diagnostics import Sink
from ..source import Source, Span
from ..syntax import tree as t
from .files import Inputs, UnreadableInput
from .selectors import selector

FILE = "lockgate.toml"


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


# key → (whether a value fits, what it has to be)
PROJECT: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "include-paths": (_texts, "a list of folders"),
    "delegate": (lambda value: isinstance(value, dict), "a table"),
}
DELEGATE: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "hooks": (_texts, "a list of hooks"),
    "interfaces": (_texts, "a list of patterns of devices"),
    "cgroups": (_texts, "a list of patterns of paths"),
    "actions": (_texts, "a list of actions"),
    "tiers": (_texts, "a list of tiers"),
    "imports": (_texts, "a list of patterns of files"),
    "owners": (_texts, "a list of patterns of owners"),
    "must-own": (_flag, "true or false"),
    "must-select": (lambda value: isinstance(value, str), 'a selector, such as "[ns.team=shop]"'),
}


@dataclass(frozen=True)
class Settings:
    """One file. `folder`: where it lies; `delegate`: keys of its table `[delegate]`, checked; `must_select`:
    what every policy for labels has to ask for, None for nothing."""

    source: Source
    folder: Path
    include: tuple[Path, ...]
    delegate: Mapping[str, Any]
    must_select: Selector | None = None

    def line(self, key: str) -> Span:
        """The line that sets a key."""
        return _line(self.source, key)


def read(policy: Source, inputs: Inputs, root: Path | None, sink: Sink) -> tuple[Settings, ...]:
    """The files that hold for a policy, the outermost first: that of its directory and those of the
    directories above it, up to `root`, or without one to the directory that holds `.git`; only that of its
    own directory when there is neither."""
    found = []
    for folder in _folders(policy, root):
        try:
            source = inputs.beside(policy, folder, FILE)
        except UnreadableInput as reason:
            empty = Source(FILE, "", folder / FILE)
            sink.add(errors.BadSettings(Span(empty, 0, 0), str(reason)).diagnostic())
            continue
        if source is not None:
            found.append(_parsed(source, folder, sink))
    return tuple(found)


def _folders(policy: Source, root: Path | None) -> list[Path]:
    """Directories to look in, the outermost first."""
    if policy.path is None:
        return []
    here = policy.path.absolute().parent
    above = [here, *here.parents]
    if root is not None:
        end = next((i for i, folder in enumerate(above) if folder == root.absolute()), 0)
    else:
        end = next((i for i, folder in enumerate(above) if (folder / ".git").exists()), 0)
    return above[end::-1]


def _parsed(source: Source, folder: Path, sink: Sink) -> Settings:
    try:
        raw = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as reason:
        place = re.search(r"\(at line (\d+), column (\d+)\)", str(reason))
        start = source.line_starts[int(place[1]) - 1] + int(place[2]) - 1 if place else len(source.text)
        start = max(min(start, len(source.text.rstrip()) - 1), 0)
        sink.add(errors.BadSettings(Span(source, start, start + 1), "this is not TOML").diagnostic())
        return Settings(source, folder, (), {})
    project = _sound(source, raw, PROJECT, sink)
    delegate = _sound(source, project.get("delegate", {}), DELEGATE, sink)
    include = tuple(folder / name for name in project.get("include-paths", ()))
    return Settings(source, folder, include, delegate, _selector(source, delegate, sink))


def _selector(source: Source, delegate: Mapping[str, Any], sink: Sink) -> Selector | None:
    """The selector of `must-select`, in brackets or without; None where there is none, or after a
    complaint."""
    text = delegate.get("must-select")
    if text is None:
        return None
    wanted = text if text.startswith(("[", "ns[")) else f"[{text}]"
    inner = Sink()
    parsed = syntax.parse(Source(FILE, f"policy p for {wanted} {{ }}"), inner)
    match parsed.decls if not inner.diagnostics else ():
        case (t.Policy(_, _, t.EndpointScope(_, False, node)),):
            return selector(node)
    key = _line(source, "must-select")
    sink.add(
        errors.BadSettings(key, "`must-select` has to be a selector, such as `[ns.team=shop]`").diagnostic()
    )
    return None


def _sound(
    source: Source,
    table: Mapping[str, Any],
    keys: Mapping[str, tuple[Callable[[Any], bool], str]],
    sink: Sink,
) -> dict[str, Any]:
    """The entries of a table that are known and fit; complains about the others."""
    sound = {}
    for key, value in table.items():
        if key not in keys:
            known = tuple((name, None) for name in keys)
            sink.add(errors.UnknownName("setting", key, _line(source, key), known).diagnostic())
        elif not keys[key][0](value):
            reason = f"`{key}` has to be {keys[key][1]}"
            sink.add(errors.BadSettings(_line(source, key), reason).diagnostic())
        else:
            sound[key] = value
    return sound


def _line(source: Source, key: str) -> Span:
    """Where a key or a table stands: the word itself; the file's beginning when it is written in some other
    way."""
    quoted = re.escape(key)
    found = re.search(rf'^\s*(?:\[\s*)?"?(?P<key>{quoted})"?\s*[=\].]', source.text, re.MULTILINE)
    return Span(source, *found.span("key")) if found else Span(source, 0, min(1, len(source.text)))
