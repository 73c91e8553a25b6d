"""The bundle manifest: all that the runtime knows of a compiled policy, beside objects and images.

Plain data and its JSON form. The format version rises when an old runtime would misread a new bundle.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from .balance.services import Backend, Front, Service
from .labels import LabelTest, Selection, Selector

FORMAT = "lockgate-bundle"
VERSION = 2


class ManifestError(ValueError):
    """Not a manifest of this format and version; the message says why."""


@dataclass(frozen=True)
class Slot:
    """One counter slot: `kind` is malformed, default, rule, named or lost. `line` is None unless a rule;
    `sample`: of so many packets one sends an event, 0 for none. `ticket` and `expires` (`YYYY-MM-DD`) are for
    people; so is `policy`, whose rule it is, where the rules of several are one list. `would`: the verdict
    that a rule of a policy in audit would have."""

    kind: str
    label: str
    verdict: str | None = None
    file: str | None = None
    line: int | None = None
    sample: int = 0
    ticket: str | None = None
    expires: str | None = None
    policy: str | None = None
    would: str | None = None

    @property
    def said(self) -> str:
        """The verdict for people: what a rule in audit would do."""
        return f"would {self.would}" if self.would else self.verdict or ""


@dataclass(frozen=True)
class Function:
    """One BPF program in the object. Numbers as in `hooks.AttachPoint`. `targets`: where it is attached;
    empty: where its chain is."""

    name: str
    point: str
    section: str
    prog_type: int
    load_attach_type: int
    link_attach_type: int
    load_flags: int = 0
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Map:
    """One map of the object. `role`: counters, events, set (dynamic), table, state (what programs keep of
    traffic), devices (`state.devices`), previous (whom a program replaces, `state.generation`), or of a
    balancer (`state.balance`) services, tables, sockets or clients. `key` says
    how keys are written: index, lpm32, lpm128, exact (big-endian integer), none. `image`: member with the
    initial contents. `set`: name of the dynamic set; then `name` is the array of maps that holds it
    (`state.live`), and the rest describes the trie in there. Maps of one set and family are one in all
    objects of the bundle."""

    name: str
    role: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    key: str = "none"
    image: str | None = None
    image_count: int = 0
    set: str | None = None


@dataclass(frozen=True)
class Chain:
    """One rule list: an ELF object with one or more programs. `data`: names of the sections of its in-place
    tables; `devices`: interfaces that rules speak of, in the namespace of the targets; `cgroups`: paths
    that rules ask about; `selections`: of endpoints, by their numbers; `services`: of a balancer, which has
    no rules. `owner`: of the policy, for people."""

    name: str
    policy: str
    hook: str
    direction: str
    default: str
    targets: tuple[str, ...]
    object: str
    functions: tuple[Function, ...]
    maps: tuple[Map, ...]
    slots: tuple[Slot, ...]
    data: tuple[str, ...] = ()
    owner: str | None = None
    devices: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    selections: tuple[Selection, ...] = ()
    services: tuple[Service, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """`name`: of the bundle, from the source file's. `inputs`: (name, SHA-256) of every file read.
    `members`: (name, SHA-256) of every other member of the bundle. `features`: names the runtime's feature
    table knows (`xdp-link`, `tcx-link`, `cgroup-sock-addr`, `ringbuf`). `now`: the day for which rules that
    expire were judged, `YYYY-MM-DD`."""

    name: str
    compiler: str
    inputs: tuple[tuple[str, str], ...]
    members: tuple[tuple[str, str], ...]
    chains: tuple[Chain, ...]
    features: tuple[str, ...]
    now: str | None = None


def to_json(manifest: Manifest) -> str:
    """The manifest as indented JSON with sorted keys: same manifest, same text."""
    return json.dumps(to_raw(manifest), indent=1, sort_keys=True) + "\n"


def to_raw(manifest: Manifest) -> dict[str, Any]:
    """The manifest as values of JSON."""
    return {"format": FORMAT, "version": VERSION, **asdict(manifest)}


def from_json(text: str) -> Manifest:
    """Read a manifest back. ManifestError when it is not one, or of another version."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ManifestError(f"the manifest is not JSON: {error}") from None
    return from_raw(raw)


def from_raw(raw: Any) -> Manifest:
    """As `from_json`, from values of JSON."""
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ManifestError("the file is no lockgate bundle")
    if raw.get("version") != VERSION:
        raise ManifestError(
            f"the bundle has format version {raw.get('version')}, this lockgate reads {VERSION}"
        )
    try:
        made = Manifest(
            name=raw["name"],
            compiler=raw["compiler"],
            inputs=_pairs(raw["inputs"]),
            members=_pairs(raw["members"]),
            chains=tuple(_chain(c) for c in raw["chains"]),
            features=tuple(raw["features"]),
            now=raw.get("now"),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestError(f"the manifest lacks a part or has one too many: {error}") from None
    _check_types(made, "the manifest")
    return made


def _check_types(value: Any, where: str) -> None:
    """ManifestError for the first part that is not what its annotation says: JSON has no types of ours."""
    for name, wanted in _hints(value.__class__).items():
        if not _is(getattr(value, name), wanted):
            raise ManifestError(f"`{name}` of {where} is not what it should be")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _is(value: Any, wanted: Any) -> bool:
    if wanted is int:
        return type(value) is int and _fits(value)
    if isinstance(wanted, UnionType):
        return any(_is(value, kind) for kind in get_args(wanted))
    if get_origin(wanted) is tuple:
        kinds = get_args(wanted)
        kinds = (kinds[0],) * len(value) if kinds[-1] is ... else kinds
        return all(_is(item, kind) for item, kind in zip(value, kinds, strict=True))
    if is_dataclass(wanted):
        _check_types(value, f"a {type(value).__name__.lower()}")
        return True
    return type(value) is wanted


def _fits(number: int) -> bool:
    """Whether a number fits 32 bits, signed or not, as all of the kernel's here do."""
    return -(1 << 31) <= number < 1 << 32


def _pairs(items: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((a, b) for a, b in items)


def _chain(raw: dict[str, Any]) -> Chain:
    lists = ("functions", "maps", "slots", "targets", "data", "devices", "cgroups", "selections", "services")
    plain = {k: v for k, v in raw.items() if k not in lists}
    return Chain(
        **plain,
        functions=tuple(Function(**{**f, "targets": tuple(f.get("targets", ()))}) for f in raw["functions"]),
        maps=tuple(Map(**m) for m in raw["maps"]),
        slots=tuple(Slot(**s) for s in raw["slots"]),
        targets=tuple(raw["targets"]),
        data=tuple(raw["data"]),
        devices=tuple(raw.get("devices", ())),
        cgroups=tuple(raw.get("cgroups", ())),
        selections=tuple(_selection(s) for s in raw.get("selections", ())),
        services=tuple(_service(s) for s in raw.get("services", ())),
    )


def _service(raw: dict[str, Any]) -> Service:
    lists = ("vips", "fronts", "backends", "exempt", "selected")
    return Service(
        **{k: v for k, v in raw.items() if k not in lists},
        vips=tuple(raw["vips"]),
        fronts=tuple(Front(**f) for f in raw["fronts"]),
        backends=tuple(Backend(**b) for b in raw["backends"]),
        exempt=tuple(raw["exempt"]),
        selected=tuple(raw.get("selected", ())),
    )


def _selection(raw: dict[str, Any]) -> Selection:
    return Selection(tuple(_selector(s) for s in raw["selectors"]))


def _selector(raw: dict[str, Any]) -> Selector:
    tests = tuple(LabelTest(**{**test, "values": tuple(test["values"])}) for test in raw["tests"])
    return Selector(raw["kind"], tests)
