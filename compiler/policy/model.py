"""A checked policy: what the author meant, every name resolved, every set a value.

The meaning of these types is `decide.py`. Knows rules and networks; knows neither text (beyond spans) nor
how a decision is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lockgate.stdlib_bpf.balance.services import Service
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.effects import NONE, Effects
from lockgate.stdlib_bpf.labels import Selection, Selector
from lockgate.stdlib_bpf.sets import EMPTY, IntervalSet
from lockgate.stdlib_bpf.state.flows import AGAIN, STACK
from lockgate.stdlib_bpf.state.fragments import DEFAULT_MODE
from lockgate.stdlib_bpf.state.limits import Limit

from ..source import Source, Span

# ---- networks: expressions kept as written, so that the reference meaning does not rest on set algebra ----


@dataclass(frozen=True)
class Prefixes:
    """Known addresses: 32-bit values in `v4`, 128-bit ones in `v6`. `any` is both full."""

    v4: IntervalSet = EMPTY
    v6: IntervalSet = EMPTY


@dataclass(frozen=True)
class Live:
    """A dynamic set, filled while the policy runs; holds prefixes of both families, `max_entries` of each."""

    name: str
    max_entries: int


@dataclass(frozen=True)
class Union:
    """Addresses in either."""

    left: Network
    right: Network


@dataclass(frozen=True)
class Minus:
    """Addresses in `left` and not in `right`."""

    left: Network
    right: Network


@dataclass(frozen=True)
class Not:
    """Addresses outside `operand`, within the families that `operand` speaks of."""

    operand: Network


@dataclass(frozen=True)
class Selected:
    """Addresses of the endpoints that selection `number` of the chain takes, of both families."""

    number: int


Network = Prefixes | Live | Union | Minus | Not | Selected


# ---- rules ----


@dataclass(frozen=True)
class Traffic:
    """One kind of traffic a rule speaks of; None means unrestricted. `eth_types`: EtherTypes (`ip4`, `arp`);
    `protocols`: IP protocols; `ports`: destination ports of a service; `icmp_types`: ICMP types for
    protocol 1, ICMPv6 types for protocol 58."""

    eth_types: IntervalSet | None = None
    protocols: IntervalSet | None = None
    ports: IntervalSet | None = None
    icmp_types: IntervalSet | None = None


@dataclass(frozen=True)
class Flags:
    """TCP flags. `mask` None: any bit of `value` is set (`flags syn, fin`); else
    (flags & mask) == value (`flags syn/syn,ack`)."""

    value: int
    mask: int | None = None

    def matches(self, flags: int) -> bool:
        """Whether a flags byte satisfies the test."""
        return bool(flags & self.value) if self.mask is None else flags & self.mask == self.value


@dataclass(frozen=True)
class Deadline:
    """The last day on which a rule holds, as `YYYY-MM-DD`."""

    day: str
    span: Span


@dataclass(frozen=True)
class FieldTest:
    """The field (a name of `stdlib_bpf.fields`) is there and its value one of `values`."""

    field: str
    values: IntervalSet


@dataclass(frozen=True)
class AllOf:
    """Every one of them holds."""

    items: tuple[Where, ...]


@dataclass(frozen=True)
class AnyOf:
    """One of them holds."""

    items: tuple[Where, ...]


# No negation: it is carried to the tests, so that a missing field satisfies neither a test nor its opposite.
Where = FieldTest | AllOf | AnyOf


@dataclass(frozen=True)
class Rule:
    """One sentence. `traffic`: alternatives, one must hold (`Traffic()` for every packet); all other parts
    that are not None must hold too. `limit`: the rule matches while its bucket has tokens, asked last.
    `count`: name of a shared counter; `sample`: of so many packets that the rule matches on a CPU, one sends
    an event, 0 for none; `effects`: what it does to the packet. A rule that a template
    brings stands where the template is used; `number` tells apart those without a name.
    `ticket` is for people. At an endpoint: `direction` in which it is asked, "" elsewhere; `lasts`: what it
    makes, of `flows.LASTS`; `resume`: index of the rule that is tried after it, where its verdict is none
    and that is not the next; `stands_for`: what reports call it where it is no sentence of a policy;
    `would`: the verdict that it would have, were its policy not in audit."""

    span: Span
    verdict: str
    name: str | None = None
    traffic: tuple[Traffic, ...] = (Traffic(),)
    src: Network | None = None
    sports: IntervalSet | None = None
    dst: Network | None = None
    dports: IntervalSet | None = None
    flags: Flags | None = None
    limit: Limit | None = None
    count: str | None = None
    sample: int = 0
    effects: Effects = NONE
    number: int = 0
    deadline: Deadline | None = None
    ticket: str | None = None
    where: Where | None = None
    direction: str = ""
    lasts: str = AGAIN
    resume: int | None = None
    stands_for: str | None = None
    would: str | None = None

    @property
    def label(self) -> str:
        """The rule's name, or `FILE:LINE` for an unnamed one, `FILE:LINE.NUMBER` of a template; what it
        stands for."""
        return self.stands_for or self.name or self.span.label + (f".{self.number}" if self.number else "")


@dataclass(frozen=True)
class Section:
    """Neighbouring rules of a chain for endpoints, from `first` up to `last`, without it: those of a `policy`
    in one `direction`, or those that a tier, or the whole list, ends with (`policy` ""). `selection`: number
    of the endpoints that they are about; `order`: of the policy, None where it has none; `audit`: they decide
    nothing; `span`: the head of the policy."""

    tier: str
    policy: str
    direction: str
    selection: int
    first: int
    last: int
    span: Span
    order: int | None = None
    audit: bool = False


@dataclass(frozen=True)
class Chain:
    """One rule list at one hook: the first rule that matches decides, else `default`. `direction`: "" where
    the hook has none. `owner` is for people. `targets`: interfaces (`eth0`, or `NETNS/eth0`) or cgroup paths
    below the cgroup2 root. `default_span`: where the default stands. `devices`: those that rules send packets
    to or ask about, in the namespace of the targets; a test of `meta.iif` counts them from 1. `cgroups`:
    those that rules ask about, sorted; a test of `sock.cgroup` counts them from 1
    (`stdlib_bpf.state.cgroups`). `fragments`: a mode of `stdlib_bpf.state.fragments`; `forward`: one
    of `stdlib_bpf.state.flows.FORWARD`. `selections`: of endpoints, that rules ask about by number, or, at
    connect, in whose cgroups calls are judged; `sections`: whose rules stand where, in a list for endpoints;
    `selectors`: those that are written in it, with their places."""

    policy: str
    hook: str
    direction: str
    targets: tuple[str, ...]
    default: str
    rules: tuple[Rule, ...]
    span: Span
    default_span: Span | None = None
    owner: str | None = None
    devices: tuple[str, ...] = ()
    cgroups: tuple[str, ...] = ()
    fragments: str = DEFAULT_MODE
    forward: str = STACK
    selections: tuple[Selection, ...] = ()
    sections: tuple[Section, ...] = ()
    selectors: tuple[tuple[Selector, Span], ...] = ()

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """What values of a field stand for that are places in a list, by the field's style."""
        return {"device": self.devices, "cgroup": self.cgroups}

    @property
    def name(self) -> str:
        """`policy` or `policy.direction`: unique in a unit."""
        return f"{self.policy}.{self.direction}" if self.direction else self.policy


@dataclass(frozen=True)
class Balancer:
    """The services of a file that are for the same cgroups. `targets`: cgroup paths below the cgroup2 root;
    `cgroups`: those that services exempt, sorted; `selections`: of endpoints, that are backends or exempt;
    `selectors`: those that are written, with their places; `span`: of the first `balance`."""

    name: str
    targets: tuple[str, ...]
    services: tuple[Service, ...]
    span: Span
    cgroups: tuple[str, ...] = ()
    selections: tuple[Selection, ...] = ()
    selectors: tuple[tuple[Selector, Span], ...] = ()


# ---- tests ----


@dataclass(frozen=True)
class Party:
    """An endpoint of a test, with exactly these labels, those of its namespace, and an address of each
    family. `kind`: of `labels.KINDS`."""

    name: str
    kind: str
    labels: dict[str, str]
    namespace: dict[str, str]
    addresses: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class End:
    """Where a packet is judged: at an endpoint, by the name of its party, and at a point of
    `state.endpoints`."""

    party: str
    point: str


@dataclass(frozen=True)
class Expect:
    """One expectation: `packet` (a frame, or a socket call at connect) gets `verdict` in `chain`, `repeat`
    times in a row, `time_ns` after the test's begin; `by`: the deciding rule's name, "default", or None when
    not asked; `into`, `via` and `how`: device and proxy of a redirect and answer of a rejection, None when
    not asked. `ends`:
    of a packet between endpoints, those at which it is judged one after the other; `answers`: it belongs to
    the flow of the packet before it, any other one begins anew."""

    span: Span
    chain: str
    packet: Frame | SocketCall
    verdict: str
    by: str | None = None
    repeat: int = 1
    time_ns: int = 0
    into: str | None = None
    how: str | None = None
    via: str | None = None
    ends: tuple[End, ...] = ()
    answers: bool = False


@dataclass(frozen=True)
class Assert:
    """One assertion: every packet of `chain` that `rule` matches gets its verdict. At endpoints: in
    `directions`, of the endpoint that sends and of the one that receives; `policy`: it is about endpoints
    that this one selects, "" for all; `selections`: those of the chain, and behind them what the sentence
    names besides."""

    span: Span
    chain: str
    rule: Rule
    directions: tuple[str, ...] = ()
    policy: str = ""
    selections: tuple[Selection, ...] = ()


@dataclass(frozen=True)
class ExpectCall:
    """One expectation of a service's balancer: `call` gets `verdict`, and may be sent to `backend`, an
    address as Python's `ipaddress` writes it, None when not asked. `selections`: of the balancer, those that
    take the caller."""

    span: Span
    balancer: str
    service: str
    call: SocketCall
    verdict: str
    backend: str | None = None
    selections: frozenset[int] = frozenset()


@dataclass(frozen=True)
class AssertCalls:
    """One assertion: every call that `rule` matches gets its verdict from a balancer."""

    span: Span
    balancer: str
    service: str
    rule: Rule


@dataclass(frozen=True)
class Test:
    """A `test` block. `given`: contents of dynamic sets by name; `parties`: endpoints by name; `calls` and
    `claims`: of a service."""

    span: Span
    title: str
    given: dict[str, Prefixes]
    expects: tuple[Expect, ...]
    asserts: tuple[Assert, ...] = ()
    parties: dict[str, Party] = field(default_factory=dict)
    calls: tuple[ExpectCall, ...] = ()
    claims: tuple[AssertCalls, ...] = ()


@dataclass(frozen=True)
class Unit:
    """Everything one compilation is about. `live`: dynamic sets that some chain uses, by name. `inputs`:
    every file read, in the order of reading, with its bytes' SHA-256 in hex. `now`: the day for which
    expiring rules were judged, as `YYYY-MM-DD`."""

    source: Source
    chains: tuple[Chain, ...]
    tests: tuple[Test, ...] = ()
    balancers: tuple[Balancer, ...] = ()
    live: dict[str, Live] = field(default_factory=dict)
    inputs: tuple[tuple[str, str], ...] = ()
    now: str | None = None
