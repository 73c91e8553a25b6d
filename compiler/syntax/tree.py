"""The syntax tree: what was written, every node with its span.

Knows words and their order; must never know what a name stands for or whether a number is in range.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..source import Source, Span


@dataclass(frozen=True)
class Name:
    """A name, dotted when it comes from an import."""

    span: Span
    text: str


@dataclass(frozen=True)
class Number:
    """An unsigned number, of any size."""

    span: Span
    value: int


@dataclass(frozen=True)
class Text:
    """A string literal; `text` is what lies between the quotes, `span` includes them."""

    span: Span
    text: str


@dataclass(frozen=True)
class Quantity:
    """A rate, duration or date as written: `200/s`, `10Mbps`, `3h`, `2026-03-31`."""

    span: Span
    text: str


@dataclass(frozen=True)
class NotYet:
    """A construct of the language that this version parses and does not compile; `what` names it."""

    span: Span
    what: str


# ---- networks ----


@dataclass(frozen=True)
class Address:
    """An address or prefix as written, right or wrong."""

    span: Span


@dataclass(frozen=True)
class AnyAddress:
    """`any`."""

    span: Span


@dataclass(frozen=True)
class NetSet:
    """`{ a, b }`."""

    span: Span
    items: tuple[Net, ...]


@dataclass(frozen=True)
class Sum:
    """`a + b - c`: `rest` pairs each further term with its sign; evaluated from the left."""

    span: Span
    first: Net
    rest: tuple[tuple[str, Net], ...]


@dataclass(frozen=True)
class Negation:
    """`not a`."""

    span: Span
    operand: Net


@dataclass(frozen=True)
class File:
    """`file "PATH" max N`."""

    span: Span
    path: Text
    max: Number | None


@dataclass(frozen=True)
class Dynamic:
    """`dynamic max N`."""

    span: Span
    max: Number | None


@dataclass(frozen=True)
class PortRange:
    """`80` (low is high) or `80-90`; as a network it is a mistake, as an argument it may be right."""

    span: Span
    low: Number
    high: Number


@dataclass(frozen=True)
class Label:
    """`key=value`, `key in { a, b }`, `has key` (no values); `negated`: `!=`, `not in`, `lacks`.
    `of_namespace`: it stood in `ns[…]`."""

    span: Span
    key: Name | Text
    values: tuple[Name | Text | Number, ...]
    negated: bool
    of_namespace: bool


@dataclass(frozen=True)
class Selector:
    """`[labels]`, `[labels]ns[labels]`: endpoints by their labels, and those of their namespaces."""

    span: Span
    labels: tuple[Label, ...]


# A text is a mistake as a network; as an argument it may be right.
Net = (
    Address
    | AnyAddress
    | Name
    | NetSet
    | Sum
    | Negation
    | File
    | Dynamic
    | PortRange
    | Text
    | Selector
    | NotYet
)


# ---- ports and traffic ----


@dataclass(frozen=True)
class AnyPort:
    """`any`, of ports."""

    span: Span


@dataclass(frozen=True)
class PortSum:
    """`a + b - c`: as `Sum`, of ports."""

    span: Span
    first: PortItem
    rest: tuple[tuple[str, PortItem], ...]


@dataclass(frozen=True)
class Ports:
    """The union of ports, ranges, names of ports, sums and sets."""

    span: Span
    items: tuple[PortItem, ...]


PortItem = PortRange | Name | AnyPort | PortSum | Ports


# ---- devices ----


@dataclass(frozen=True)
class DeviceSum:
    """`a + b - c`: as `Sum`, of devices."""

    span: Span
    first: DeviceItem
    rest: tuple[tuple[str, DeviceItem], ...]


@dataclass(frozen=True)
class Devices:
    """`{ a, b }`: the union of devices, names of interfaces, sums and sets."""

    span: Span
    items: tuple[DeviceItem, ...]


DeviceItem = Name | Text | DeviceSum | Devices


@dataclass(frozen=True)
class Types:
    """One or more ICMP types by name or number."""

    span: Span
    items: tuple[Name | Number, ...]


@dataclass(frozen=True)
class Kind:
    """One kind of traffic: a protocol or service by name, or `protocol N`; with the ports and ICMP types
    that only a `service` line attaches to it directly."""

    span: Span
    what: Name | Number
    ports: Ports | None = None
    types: Types | None = None


# ---- rules ----


@dataclass(frozen=True)
class Side:
    """`from …` (`side` is "from") or `to …`: addresses, ports or both."""

    span: Span
    side: str
    network: Net | None
    ports: Ports | None


@dataclass(frozen=True)
class TypeTest:
    """`type …`."""

    span: Span
    types: Types


@dataclass(frozen=True)
class FlagTest:
    """`flags a, b` or `flags a/a, b`; a name may begin with `!`."""

    span: Span
    value: tuple[Name, ...]
    mask: tuple[Name, ...] | None


@dataclass(frozen=True)
class Value:
    """A value of a field, or a range of numbers (`high` is None for a single value). `low`: a number, a name,
    a text in quotes, or an address of any kind as written; an argument, where a parameter stood."""

    span: Span
    low: Number | Net | DeviceItem
    high: Number | None = None


@dataclass(frozen=True)
class Compare:
    """`FIELD RELATION VALUE`, `FIELD in { … }` or a bare `FIELD`, whose relation is ""."""

    span: Span
    field: Name
    relation: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class AllOf:
    """`a and b`."""

    span: Span
    items: tuple[Condition, ...]


@dataclass(frozen=True)
class AnyOf:
    """`a or b`."""

    span: Span
    items: tuple[Condition, ...]


@dataclass(frozen=True)
class Inverse:
    """`not a`."""

    span: Span
    operand: Condition


Condition = Compare | AllOf | AnyOf | Inverse


@dataclass(frozen=True)
class Where:
    """`if CONDITION`, or `vlan VALUES`, which is short for a condition on `vlan.id`; `word` is "if" or
    "vlan"."""

    span: Span
    word: str
    condition: Condition


@dataclass(frozen=True)
class Count:
    """`count NAME`."""

    span: Span
    name: Name


@dataclass(frozen=True)
class Log:
    """`log` or `log sample N`."""

    span: Span
    sample: Number | None = None


@dataclass(frozen=True)
class Limit:
    """`limit RATE burst N per KEY/LENGTH,LENGTH`; a rate may be named by a template's parameter."""

    span: Span
    rate: Quantity | Name
    burst: Number | None
    per: Name | None
    lengths: tuple[Number, ...]


@dataclass(frozen=True)
class Into:
    """`into DEVICES as HOW`."""

    span: Span
    devices: tuple[DeviceItem, ...]
    how: Name | None


@dataclass(frozen=True)
class Mark:
    """`mark VALUE/MASK`."""

    span: Span
    value: Number
    mask: Number | None


@dataclass(frozen=True)
class Dscp:
    """`dscp NAME` or `dscp N`."""

    span: Span
    value: Name | Number


@dataclass(frozen=True)
class With:
    """`with HOW`, of a reject."""

    span: Span
    how: Name


@dataclass(frozen=True)
class Via:
    """`via PROXY`, of a redirect."""

    span: Span
    proxy: Name


@dataclass(frozen=True)
class Expires:
    """`expires YYYY-MM-DD`."""

    span: Span
    date: Quantity


@dataclass(frozen=True)
class Ticket:
    """`ticket "…"`."""

    span: Span
    text: Text


Part = (
    Side
    | TypeTest
    | FlagTest
    | Where
    | Count
    | Log
    | Limit
    | Into
    | Mark
    | Dscp
    | With
    | Via
    | Expires
    | Ticket
    | NotYet
)


@dataclass(frozen=True)
class Rule:
    """`[label:] action [kinds] [parts]`."""

    span: Span
    label: Name | None
    action: Name
    kinds: tuple[Kind, ...]
    parts: tuple[Part, ...]


# ---- policies ----


@dataclass(frozen=True)
class Attribute:
    """`default drop`, `owner "…"`, `fragments first-only`: a key and its one value."""

    span: Span
    key: str
    value: Name | Text | Number


# Ports and devices only where a parameter of another template stood.
Argument = Quantity | Net | Ports | DeviceSum | Devices


@dataclass(frozen=True)
class Use:
    """`[label:] use TEMPLATE(arguments)`."""

    span: Span
    label: Name | None
    template: Name
    arguments: tuple[Argument, ...]


Statement = Rule | Use | Attribute | NotYet


@dataclass(frozen=True)
class Block:
    """`ingress { … }` or `egress { … }`."""

    span: Span
    direction: Name
    items: tuple[Statement, ...]


@dataclass(frozen=True)
class Scope:
    """`at HOOK on INTERFACES`, `at HOOK for cgroup PATHS` or `at HOOK for [labels]`; `kind` is "interface",
    "cgroup" or "labels", which have a `selector` and no targets."""

    span: Span
    hook: Name
    kind: str
    targets: tuple[DeviceItem, ...]
    selector: Selector | None = None


@dataclass(frozen=True)
class EndpointScope:
    """`for [labels]`, or `for hosts [labels]`."""

    span: Span
    hosts: bool
    selector: Selector


@dataclass(frozen=True)
class Failsafe:
    """`failsafe for hosts [labels] { … }`."""

    span: Span
    selector: Selector
    items: tuple[Statement | Block, ...]


@dataclass(frozen=True)
class Policy:
    """`policy NAME SCOPE { … }`."""

    span: Span
    name: Name
    scope: Scope | EndpointScope | NotYet
    items: tuple[Statement | Block, ...]


# ---- tests ----


@dataclass(frozen=True)
class Given:
    """`given NAME = NETWORK`; `given NAME = [labels]` and `given NAME = hosts [labels]` name an endpoint."""

    span: Span
    name: Name
    value: Net
    hosts: bool = False


@dataclass(frozen=True)
class Expect:
    """`[repeat N] expect [direction] action [via PROXY] [into DEVICE] [with HOW] [kinds] [parts]
    [by NAME]`. `backend`:
    of `expect backend ADDRESS …`, whose action is `allow`."""

    span: Span
    direction: Name | None
    action: Name
    kinds: tuple[Kind, ...]
    parts: tuple[Part, ...]
    by: Name | None
    into: Name | Text | None = None
    how: Name | None = None
    repeat: Number | None = None
    backend: Address | None = None
    via: Name | None = None


@dataclass(frozen=True)
class ExpectReply:
    """`expect reply allowed` or `expect reply dropped`: what becomes of the answer to the last packet. The
    rest, which `expect` takes elsewhere, must be missing."""

    span: Span
    outcome: Name
    misplaced: tuple[Name | Number, ...] = ()


@dataclass(frozen=True)
class Assert:
    """`assert [direction] action [kinds] [parts]`: of every packet that the sentence describes."""

    span: Span
    direction: Name | None
    action: Name
    kinds: tuple[Kind, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class After:
    """`after DURATION`: time that passes between two expectations."""

    span: Span
    duration: Quantity


@dataclass(frozen=True)
class Test:
    """`test "TITLE" of POLICY { … }`."""

    span: Span
    title: Text
    policy: Name | None
    steps: tuple[Given | Expect | ExpectReply | Assert | After | NotYet, ...]


# ---- declarations ----


@dataclass(frozen=True)
class NetworkDecl:
    """`network NAME = …`."""

    span: Span
    name: Name
    value: Net


@dataclass(frozen=True)
class PortsDecl:
    """`ports NAME = …`."""

    span: Span
    name: Name
    value: Ports


@dataclass(frozen=True)
class ServiceDecl:
    """`service NAME = …, …`."""

    span: Span
    name: Name
    items: tuple[Kind, ...]


@dataclass(frozen=True)
class InterfaceDecl:
    """`interface NAME = …`."""

    span: Span
    name: Name
    items: tuple[DeviceItem, ...]


@dataclass(frozen=True)
class Import:
    """`import "PATH" as NAME`."""

    span: Span
    path: Text
    name: Name


@dataclass(frozen=True)
class Parameter:
    """`NAME: KIND` of a template."""

    span: Span
    name: Name
    kind: Name


@dataclass(frozen=True)
class Template:
    """`template NAME(parameters) { … }`."""

    span: Span
    name: Name
    parameters: tuple[Parameter, ...]
    items: tuple[Statement, ...]


@dataclass(frozen=True)
class Tiers:
    """`tiers A > B > C`, the first is asked first."""

    span: Span
    names: tuple[Name, ...]
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True)
class Forward:
    """`forward fast`: how packets of known flows get from one interface to another."""

    span: Span
    mode: Name


@dataclass(frozen=True)
class ProxyDecl:
    """`proxy NAME = port N [in cgroup PATH]`."""

    span: Span
    name: Name
    port: Number
    cgroup: Text | None


# ---- balancing ----


@dataclass(frozen=True)
class Vip:
    """`vip ADDRESS, …`."""

    span: Span
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class Front:
    """`port PROTOCOL PORT [-> PORT]`."""

    span: Span
    protocol: Name
    port: Number
    target: Number | None


@dataclass(frozen=True)
class Backend:
    """`ADDRESS [port PORT] [weight N] [draining]`. `weights`: as often as it is said."""

    span: Span
    address: Address
    port: Number | None
    weights: tuple[Number, ...]
    draining: bool


@dataclass(frozen=True)
class Backends:
    """`backends { … }`, or `backends [labels]`."""

    span: Span
    items: tuple[Backend | Selector, ...]


@dataclass(frozen=True)
class Affinity:
    """`affinity client DURATION`."""

    span: Span
    duration: Quantity


@dataclass(frozen=True)
class Exempt:
    """`exempt cgroup PATHS`, or `exempt [labels]`."""

    span: Span
    cgroups: tuple[Text | Selector, ...]


Setting = Vip | Front | Backends | Affinity | Exempt | Attribute


@dataclass(frozen=True)
class Balance:
    """`balance NAME [for cgroup PATHS] { … }`. `home`: the paths; `spread`, `empty` and `owner` are
    attributes."""

    span: Span
    name: Name
    home: tuple[Text, ...]
    items: tuple[Setting, ...]


Decl = (
    Import
    | NetworkDecl
    | PortsDecl
    | ServiceDecl
    | InterfaceDecl
    | Template
    | Tiers
    | Forward
    | Failsafe
    | ProxyDecl
    | Policy
    | Balance
    | Test
    | NotYet
)


@dataclass(frozen=True)
class Module:
    """One file. `skipped`: pieces that were left out after a syntax error, so that later stages do not
    complain about what may stand there."""

    source: Source
    decls: tuple[Decl, ...]
    skipped: tuple[Span, ...] = ()
