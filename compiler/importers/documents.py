"""YAML and JSON documents as values that know their places.

YAML is read with its marks; JSON, which is read ten times as fast, is looked through again only where a
place is asked for. Lists of objects (`kubectl get -o json`) are taken apart. Knows documents; must never
know a kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from .. import errors
from ..diagnostics import Sink
from ..source import Source, Span

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT, _BOOL, _NULL = "tag:yaml.org,2002:int", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"
WANTED = "file of Kubernetes objects"
LARGE = 4_000_000  # characters of JSON in which no place is sought
Path = tuple[str | int, ...]


@dataclass(eq=False)
class Document:
    """One document. `root`: its node in YAML, None in JSON."""

    source: Source
    value: Any
    root: Any = None

    @cached_property
    def _nodes(self) -> Any:
        if self.root is not None or len(self.source.text) > LARGE:
            return self.root
        try:
            return yaml.compose(self.source.text.replace("\t", " "), Loader=_LOADER)
        except yaml.YAMLError:
            return None

    def span(self, path: Path) -> Span:
        """Where a value stands; of one in a mapping, from its key on, to the end of that line."""
        node, start = self._nodes, 0
        if node is not None:
            start = node.start_mark.index
        for step in path:
            found = _step(node, step)
            if found is None:
                break
            start, node = found
        end = self.source.text.find("\n", start)
        end = len(self.source.text) if end < 0 else end
        return Span(self.source, start, max(end, start))


def _step(node: Any, step: str | int) -> tuple[int, Any] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.index, node.value[step]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key.start_mark.index, value
    return None


class WrongShapeError(Exception):
    """A value is of another kind than it must be; `why` follows its text."""

    def __init__(self, node: Node, why: str) -> None:
        self.node, self.why = node, why
        super().__init__(f"{node.shown} {why}")


@dataclass(frozen=True, eq=False)
class Node:
    """A value with its place. WrongShapeError where it is not what is asked for."""

    document: Document
    path: Path
    value: Any

    @property
    def span(self) -> Span:
        """Where it stands."""
        return self.document.span(self.path)

    @property
    def shown(self) -> str:
        """The path, as in `spec.ingress[0].ports`."""
        out = ""
        for step in self.path:
            out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else step
        return out

    def get(self, key: str) -> Node | None:
        """The value of a key; None where it is missing or null."""
        value = self.mapping.get(key)
        return None if value is None else Node(self.document, (*self.path, key), value)

    def at(self, *keys: str) -> Node | None:
        """The value some keys further in."""
        node: Node | None = self
        for key in keys:
            node = node.get(key) if node is not None else None
        return node

    @property
    def mapping(self) -> dict[str, Any]:
        """It is a mapping."""
        if not isinstance(self.value, dict):
            raise WrongShapeError(self, "must be a mapping")
        return self.value

    @property
    def items(self) -> list[Node]:
        """It is a list; its values."""
        if not isinstance(self.value, list):
            raise WrongShapeError(self, "must be a list")
        return [Node(self.document, (*self.path, i), value) for i, value in enumerate(self.value)]

    @property
    def text(self) -> str:
        """It is a text."""
        if not isinstance(self.value, str):
            raise WrongShapeError(self, "must be a text")
        return self.value

    @property
    def number(self) -> int:
        """It is a number."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise WrongShapeError(self, "must be a number")
        return self.value

    def texts(self) -> dict[str, str]:
        """It is a mapping of texts."""
        return {
            key: Node(self.document, (*self.path, key), value).text for key, value in self.mapping.items()
        }

    def words(self) -> list[str]:
        """It is a list of texts."""
        return [item.text for item in self.items]


def listed(node: Node | None) -> list[Node]:
    """Values of a list that may be missing."""
    return [] if node is None else node.items


def read(source: Source, sink: Sink, reached: Callable[[int], None] = lambda line: None) -> list[Node]:
    """The objects of a file, those of lists one by one. A finding for what is neither YAML nor JSON."""
    found: list[Node] = []
    try:
        for document in _documents(source):
            found += _objects(Node(document, (), document.value))
            if document.root is not None:
                reached(document.root.start_mark.line + 1)
    except (yaml.MarkedYAMLError, json.JSONDecodeError) as error:
        if isinstance(error, json.JSONDecodeError):
            at, why = error.pos, f"not JSON: {error.msg}"
        else:
            mark = error.problem_mark or error.context_mark
            at, why = (0 if mark is None else mark.index), f"not YAML: {error.problem or error.context}"
        _wrong(source, at, why, sink)
        return []
    except (yaml.YAMLError, RecursionError) as error:
        _wrong(source, 0, f"not YAML: {str(error).splitlines()[0]}", sink)
        return []
    except _LoopError as error:
        _wrong(source, error.at, "not YAML: it refers to itself", sink)
        return []
    if not found:
        _wrong(source, 0, "it has no object", sink)
    return found


def _wrong(source: Source, at: int, why: str, sink: Sink) -> None:
    at = min(at, len(source.text))
    end = source.text.find("\n", at)
    span = Span(source, at, len(source.text) if end < 0 else max(end, at))
    sink.add(errors.NotThisFormat(span, WANTED, why).diagnostic())


def _documents(source: Source) -> Iterator[Document]:
    if source.text.lstrip()[:1] in ("{", "["):
        yield Document(source, json.loads(source.text))
        return
    for root in yaml.compose_all(source.text, Loader=_LOADER):
        if root is not None and root.tag != _NULL:
            yield Document(source, _value(root, {}), root)


class _LoopError(Exception):
    def __init__(self, at: int) -> None:
        self.at = at
        super().__init__(at)


_OPEN = object()


def _value(node: Any, known: dict[int, Any]) -> Any:
    """A node's value. Anchors are shared, as they are in the text, so they cannot multiply."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag == _INT:
            try:
                return int(node.value.replace("_", ""), 0)
            except ValueError:
                return node.value
        if node.tag == _BOOL:
            return node.value.lower() in ("true", "yes", "on")
        return None if node.tag == _NULL else node.value
    if id(node) in known:
        if known[id(node)] is _OPEN:
            raise _LoopError(node.start_mark.index)
        return known[id(node)]
    known[id(node)] = _OPEN
    made: Any
    if isinstance(node, yaml.MappingNode):
        made = {str(key.value): _value(value, known) for key, value in node.value}
    else:
        made = [_value(item, known) for item in node.value]
    known[id(node)] = made
    return made


def _objects(node: Node) -> list[Node]:
    """The objects that a document holds: those of a list, or itself."""
    if isinstance(node.value, list):
        return [found for item in node.items for found in _objects(item)]
    kind = node.value.get("kind") if isinstance(node.value, dict) else None
    if isinstance(kind, str) and kind.endswith("List") and isinstance(node.value.get("items"), list):
        items = node.get("items")
        assert items is not None
        single = kind.removesuffix("List")
        for item in items.items:  # of a typed list the objects may lack what the list says
            if single and isinstance(item.value, dict):
                item.value.setdefault("kind", single)
                item.value.setdefault("apiVersion", node.value.get("apiVersion"))
        return [found for item in items.items for found in _objects(item)]
    return [node]
