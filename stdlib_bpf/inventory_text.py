"""An inventory as text: YAML or JSON (docs/endpoints.md). Every mistake is told with its place.

Knows the schema and what contradicts itself (two endpoints with one name, address or interface); must never
know whether an interface exists, nor a policy. PyYAML keeps the lines of what it reads; of JSON, which is
read ten times as fast, only the path is known.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from .inventory import Entry, Inventory, Port
from .labels import HOST, WORKLOAD
from .prefix_text import WIDTHS, BadPrefix, read_prefix
from .state.cgroups import normal
from .state.cgroups import problem as cgroup_problem
from .state.endpoints import MAX_ADDRESSES, MAX_INTERFACES, Address

TOP = ("endpoints", "namespaces")
KEYS = ("name", "kind", "namespace", "labels", "addresses", "interface", "interfaces", "ports", "cgroup")
KINDS = (WORKLOAD, HOST)
PROTOCOLS = ("tcp", "udp", "sctp")
MAX_PORT = 65535
MAX_TOLD = 20  # mistakes of one file that are told


@dataclass(frozen=True)
class Mistake:
    """What is wrong: `path` as in `endpoints[3].addresses[0]`, `line` from 1, 0 where it is not known;
    `reason` follows the path; `instead` is what to write, "" where there is no advice."""

    path: str
    line: int
    reason: str
    instead: str = ""


class BadInventory(ValueError):  # noqa: N818 - reads as what the text is
    """Text that is no inventory. `more`: how many further mistakes there are."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self.mistakes, self.more = tuple(mistakes[:MAX_TOLD]), max(0, len(mistakes) - MAX_TOLD)
        first = mistakes[0]
        super().__init__(f"{first.path or 'the file'} {first.reason}")


def read(text: str) -> Inventory:
    """The inventory. Raises BadInventory."""
    return _Reader().inventory(_parsed(text))


# ---- text to values ----


@dataclass(frozen=True)
class _Value:
    """A value with its line; of lists and mappings the values inside are of this kind, too. `keys`: of a
    mapping, with their lines."""

    line: int
    value: Any


def _parsed(text: str) -> _Value:
    if text.lstrip()[:1] in ("{", "["):
        try:
            return _without_lines(json.loads(text, object_pairs_hook=_unique))
        except json.JSONDecodeError as error:
            raise BadInventory([Mistake("", error.lineno, f"is not JSON: {error.msg}")]) from None
    try:
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise BadInventory([Mistake("", line, f"is not YAML: {error.problem}")]) from None
    except yaml.YAMLError as error:
        raise BadInventory([Mistake("", 0, f"is not YAML: {error}")]) from None
    return _Value(0, None) if root is None else _of_node(root, ())


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
        raise BadInventory([Mistake("", 0, f"has the key `{twice}` twice in one object")])
    return found


def _without_lines(value: Any) -> _Value:
    if isinstance(value, dict):
        return _Value(0, {key: _without_lines(each) for key, each in value.items()})
    if isinstance(value, list):
        return _Value(0, [_without_lines(each) for each in value])
    return _Value(0, value)


def _of_node(node: Any, outer: tuple[int, ...]) -> _Value:
    line = node.start_mark.line + 1
    if id(node) in outer:
        raise BadInventory([Mistake("", line, "refers to itself")])
    inner = (*outer, id(node))
    if isinstance(node, yaml.MappingNode):
        found: dict[str, _Value] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in found:
                reason = (
                    f"has the key `{key.value}` twice" if isinstance(key, yaml.ScalarNode) else "has a key"
                )
                raise BadInventory([Mistake("", key.start_mark.line + 1, reason)])
            found[key.value] = _of_node(value, inner)
        return _Value(line, found)
    if isinstance(node, yaml.SequenceNode):
        return _Value(line, [_of_node(each, inner) for each in node.value])
    if node.tag == "tag:yaml.org,2002:null":
        return _Value(line, None)
    if node.tag == "tag:yaml.org,2002:int" and node.value.isdecimal():
        return _Value(line, int(node.value))
    return _Value(line, node.value)


# ---- values to an inventory ----


@dataclass
class _Reader:
    mistakes: list[Mistake] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)  # title, address, interface → who has it
    addresses: dict[Address, str] = field(default_factory=dict)
    interfaces: dict[str, str] = field(default_factory=dict)
    this_host: str = ""

    def inventory(self, root: _Value) -> Inventory:
        top = self._mapping(root, "", TOP)
        spaces = self._mapping(top.get("namespaces", _Value(0, {})), "namespaces")
        namespaces = {name: self._labels(value, f"namespaces.{name}") for name, value in spaces.items()}
        listed = self._list(top.get("endpoints", _Value(root.line, None)), "endpoints")
        entries = [
            entry
            for i, value in enumerate(listed)
            if (entry := self._entry(value, f"endpoints[{i}]")) is not None
        ]
        self._limits(len(self.addresses), MAX_ADDRESSES, "addresses")
        self._limits(len(self.interfaces), MAX_INTERFACES, "interfaces")
        if self.mistakes:
            raise BadInventory(self.mistakes)
        return Inventory(tuple(entries), namespaces)

    def _limits(self, count: int, most: int, what: str) -> None:
        if count > most:
            self._wrong("endpoints", _Value(0, None), f"has {count:,} {what}, and the table holds {most:,}")

    def _entry(self, value: _Value, path: str) -> Entry | None:
        before = len(self.mistakes)
        parts = self._mapping(value, path, KEYS)
        name = self._text(parts.get("name", _Value(value.line, None)), f"{path}.name")
        kind = self._word(parts.get("kind", _Value(0, WORKLOAD)), f"{path}.kind", KINDS)
        namespace = self._optional(parts, "namespace", path)
        if namespace and kind == HOST:
            self._wrong(f"{path}.namespace", parts["namespace"], "cannot be: hosts are in no namespace")
        labels = self._labels(parts["labels"], f"{path}.labels") if "labels" in parts else {}
        entry = Entry(
            name,
            kind,
            namespace,
            labels,
            tuple(self._addresses(parts, path)),
            tuple(self._interfaces(parts, path, kind)),
            tuple(self._ports(parts, path)),
            self._cgroup(parts, path),
        )
        if len(self.mistakes) > before:
            return None
        self._once(self.titles, entry.title, entry.title, value, path, "is called like another endpoint")
        for address, where in zip(entry.addresses, self._items(parts, "addresses"), strict=True):
            other = self.addresses.setdefault(address, entry.title)
            if other != entry.title:
                self._wrong(f"{path}.addresses", where, f"`{where.value}` is an address of `{other}`, too")
        for interface in entry.interfaces:
            self._once(
                self.interfaces, interface, entry.title, value, path, f"has the interface `{interface}` of"
            )
        if kind == HOST and entry.interfaces:
            if self.this_host:
                self._wrong(
                    path, value, f"has interfaces, and so has `{self.this_host}`: one host is this one"
                )
            self.this_host = self.this_host or entry.title
        return entry

    def _once(
        self, known: dict[str, str], key: str, title: str, value: _Value, path: str, reason: str
    ) -> None:
        if key in known:
            self._wrong(path, value, f"{reason} `{known[key]}`")
        known.setdefault(key, title)

    # ---- parts of an endpoint ----

    def _addresses(self, parts: Mapping[str, _Value], path: str) -> list[Address]:
        found = []
        for i, item in enumerate(self._items(parts, "addresses", path)):
            try:
                family, value, length = read_prefix(str(item.value))
            except BadPrefix as reason:
                self._wrong(f"{path}.addresses[{i}]", item, f"`{item.value}` {reason}")
                continue
            if length != WIDTHS[family]:
                self._wrong(f"{path}.addresses[{i}]", item, f"`{item.value}` is a network, not one address")
            found.append((family, value))
        if len(set(found)) < len(found):
            self._wrong(f"{path}.addresses", parts["addresses"], "names an address twice")
        return found

    def _interfaces(self, parts: Mapping[str, _Value], path: str, kind: str) -> list[str]:
        if "interface" in parts and "interfaces" in parts:
            self._wrong(path, parts["interface"], "has both `interface` and `interfaces`")
        single = [parts["interface"]] if "interface" in parts else []
        items = [*single, *self._items(parts, "interfaces", path)]
        if kind == WORKLOAD and len(items) > 1:
            self._wrong(path, items[1], "has several interfaces: a workload is judged at one")
        return [self._text(item, f"{path}.interface") for item in items]

    def _ports(self, parts: Mapping[str, _Value], path: str) -> list[Port]:
        found = []
        for name, item in self._mapping(parts.get("ports", _Value(0, {})), f"{path}.ports").items():
            where = f"{path}.ports.{name}"
            protocol, number = "tcp", item
            if isinstance(item.value, dict) and len(item.value) == 1:
                protocol, number = next(iter(item.value.items()))
            if protocol not in PROTOCOLS or not _is_port(number.value):
                instead = "write `http: 8080` or `dns: { udp: 53 }`"
                self._wrong(where, item, "is no port of TCP, UDP or SCTP", instead)
                continue
            found.append(Port(name, protocol, number.value))
        return found

    def _cgroup(self, parts: Mapping[str, _Value], path: str) -> str:
        text = self._optional(parts, "cgroup", path)
        if text and (reason := cgroup_problem(text)) is not None:
            self._wrong(f"{path}.cgroup", parts["cgroup"], f"`{text}` is no cgroup: {reason}")
            return ""
        return normal(text) if text else ""

    # ---- kinds of values ----

    def _mapping(self, value: _Value, path: str, keys: tuple[str, ...] = ()) -> dict[str, _Value]:
        if not isinstance(value.value, dict):
            self._wrong(path, value, "must be a mapping of keys to values")
            return {}
        for key, inner in value.value.items():
            if keys and key not in keys:
                close = difflib.get_close_matches(key, keys, 1)
                instead = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(keys)}"
                self._wrong(path, inner, f"has no key `{key}`", instead)
        return value.value

    def _list(self, value: _Value, path: str) -> list[_Value]:
        if isinstance(value.value, list):
            return value.value
        self._wrong(path, value, "must be a list")
        return []

    def _items(self, parts: Mapping[str, _Value], key: str, path: str = "") -> list[_Value]:
        return self._list(parts[key], f"{path}.{key}") if key in parts else []

    def _labels(self, value: _Value, path: str) -> dict[str, str]:
        found = {}
        for key, item in self._mapping(value, path).items():
            if isinstance(item.value, bool):
                found[key] = str(item.value).lower()
            elif isinstance(item.value, str | int):
                found[key] = str(item.value)
            else:
                self._wrong(f"{path}.{key}", item, "must be a text")
        return found

    def _text(self, value: _Value, path: str) -> str:
        if isinstance(value.value, str) and value.value:
            return value.value
        self._wrong(path, value, "must be a text" if value.value is not None else "must be there")
        return ""

    def _optional(self, parts: Mapping[str, _Value], key: str, path: str) -> str:
        return self._text(parts[key], f"{path}.{key}") if key in parts else ""

    def _word(self, value: _Value, path: str, words: tuple[str, ...]) -> str:
        if value.value in words:
            return str(value.value)
        self._wrong(path, value, f"must be {' or '.join(f'`{word}`' for word in words)}")
        return words[0]

    def _wrong(self, path: str, value: _Value, reason: str, instead: str = "") -> None:
        self.mistakes.append(Mistake(path, value.line, reason, instead))


def _is_port(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_PORT
