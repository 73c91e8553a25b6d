"""What a policy for endpoints makes of packets that come one after the other: whom it judges, which flow a
packet belongs to, and what is asked of the rules. The reference around every judge of facts.

Order, for each packet: decode; ARP and neighbour discovery pass; a host judges what is its own; fragments; a
flow that is known and judged under the present epoch decides; else who is it, and the rules
(docs/internals/endpoints.md). The clock is the packets' own. Knows facts, records and flows; must never know
how rules are judged. Generated code: `codegen.around`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lockgate.stdlib_bpf.decode.frame import WHOLE, Facts, Frame, Malformed, decode
from lockgate.stdlib_bpf.fields import (
    DIRECTIONS,
    ETH_P_ARP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    PEER,
    SUBJECT,
    selected_field,
)
from lockgate.stdlib_bpf.labels import HOST, WORKLOAD
from lockgate.stdlib_bpf.state import flows
from lockgate.stdlib_bpf.state.endpoints import (
    POINTS,
    THIS_HOST,
    Address,
    Endpoints,
    Record,
    is_group,
    stays_on_link,
)
from lockgate.stdlib_bpf.state.flows import Flow, Key
from lockgate.stdlib_bpf.state.fragments import Datagrams, Fragment

from .decision import FOLLOWS, INVALID, SPOOFED, UNJUDGED, Decision, before_rules
from .policy.model import Chain

HOOK = "endpoint"
ALLOW, DROP = "allow", "drop"
NEIGHBOURS = range(133, 137)  # ICMPv6 types (RFC 4861 §4)
ON_LINK_TTL = 255
Ask = Callable[[Facts], Decision]


@dataclass
class Stateful:
    """One run over packets. `fragments`: mode of the chain; `selections`: how many it has; `lasts`: what
    its rules make, of `flows.LASTS`; `endpoints` and `generation` may be changed between packets, and
    `flows` are kept then."""

    fragments: str
    selections: int
    lasts: tuple[str, ...]
    endpoints: Endpoints = field(default_factory=Endpoints)
    generation: int = 0
    flows: dict[Key, Flow] = field(default_factory=dict)
    _datagrams: Datagrams = field(default_factory=Datagrams)

    @classmethod
    def of(cls, chain: Chain, endpoints: Endpoints, generation: int = 0) -> Stateful:
        """A run of a chain at the hook `endpoint`."""
        lasts = tuple(rule.lasts for rule in chain.rules)
        return cls(chain.fragments, len(chain.selections), lasts, endpoints, generation)

    @property
    def epoch(self) -> int:
        """Under which a judgement is made: it holds until the rules or the records change."""
        return self.generation << 32 | self.endpoints.version & 0xFFFFFFFF

    def holds(self, flow: Flow) -> bool:
        """Whether the judgement of a flow is still good."""
        return flow.epoch in (self.epoch, flows.FOR_GOOD)

    def decide(self, frame: Frame, ask: Ask) -> Decision:
        """Decide one packet. `ask`: the rules' decision about facts; it is asked once at most."""
        seen = decode(frame)
        if isinstance(seen, Malformed):
            return before_rules(seen, HOOK)
        way, kind = POINTS[frame.point]
        facts = seen | {"flow.direction": DIRECTIONS.index(way)}
        if _keeps_the_link(facts) or (kind == HOST and not self._is_the_hosts(facts)):
            return Decision(ALLOW, UNJUDGED)
        resolved = self._datagrams.resolve(self.fragments, facts)
        if isinstance(resolved, Fragment):
            return before_rules(resolved, HOOK)
        facts = resolved | {"flow.opens": flows.opens(resolved)}
        ifindex = frame.ifindex if kind == WORKLOAD else THIS_HOST
        return _Packet(self, facts, ifindex, kind, ask).decide()

    def _is_the_hosts(self, facts: Facts) -> bool:
        """Whether a packet at the host's own interfaces is to or from the host itself."""
        own, address = self.endpoints.interfaces.get(THIS_HOST), address_of(facts, SUBJECT)
        if own is None or address is None:
            return False
        return stays_on_link(*address) or is_group(*address) or _is(self.endpoints, address, own)


def _keeps_the_link(facts: Facts) -> bool:
    """ARP, and neighbour discovery that no router has forwarded (RFC 4861 §7.1)."""
    return facts["eth.type"] == ETH_P_ARP or (
        facts.get("l4.proto") == IPPROTO_ICMPV6
        and facts.get("icmp6.type") in NEIGHBOURS
        and facts["ip.ttl"] == ON_LINK_TTL
        and facts["ip.fragment"] == WHOLE
    )


def address_of(facts: Facts, end: str) -> Address | None:
    """The address that the subject or the peer has in a packet."""
    sends = facts["flow.direction"] == DIRECTIONS.index("egress")
    side = "src" if (end == SUBJECT) == sends else "dst"
    return next(((f, facts[f"ip{f}.{side}"]) for f in (4, 6) if f"ip{f}.{side}" in facts), None)


def _is(endpoints: Endpoints, address: Address | None, record: Record | None) -> bool:
    """Whether an address is one of the endpoint's that a record is about."""
    found = endpoints.addresses.get(address) if address is not None else None
    return found is not None and record is not None and found.endpoint == record.endpoint


@dataclass
class _Packet:
    """One packet on its way through the flows."""

    run: Stateful
    facts: Facts
    ifindex: int
    kind: str
    ask: Ask

    def decide(self) -> Decision:
        facts, sends, now = self.facts, bool(self.facts["flow.direction"]), self.facts["meta.time"]
        if address_of(facts, SUBJECT) is None:
            return self._ask(None, None, None)
        table = self.run.flows
        quoted = flows.quoted_key(facts, self.ifindex, sends)
        about = table.get(quoted) if quoted is not None else None
        if about is not None and about.lives(now) and self.run.holds(about):
            return Decision(ALLOW, FOLLOWS)
        key = flows.key_of(facts, self.ifindex, sends)
        found = table.get(key) if key is not None else None
        if found is None or not found.lives(now):
            return self._ask(key, None, flows.BEGINNINGS[flows.flag_bits(facts)])
        following = flows.step(found.state, found.side(facts["flow.direction"]), flows.flag_bits(facts))
        if not self.run.holds(found):
            return self._ask(key, found, following)
        if following == flows.INVALID:
            return Decision(DROP, INVALID)
        if following == flows.ASK:
            return self._ask(key, found, following)
        self._touch(found, following)
        return Decision(ALLOW, FOLLOWS)

    def _touch(self, flow: Flow, following: int) -> None:
        facts = self.facts
        flow.touch(following, facts["flow.direction"], facts["meta.length"], facts["meta.time"])

    def _ask(self, key: Key | None, found: Flow | None, following: int | None) -> Decision:
        """Who is it; then the rules. `found`: a flow that lives, whose epoch is over or whose next state is
        ASK; `following`: its next state, or that of a flow to begin."""
        endpoints, facts = self.run.endpoints, self.facts
        record = endpoints.interfaces.get(self.ifindex)
        subject, peer = address_of(facts, SUBJECT), address_of(facts, PEER)
        if record is None:
            return Decision(DROP, SPOOFED)
        if self.kind == WORKLOAD and self._is_foreign(record, subject):
            return Decision(DROP, SPOOFED)
        if _is(endpoints, subject, record) and _is(endpoints, peer, record):
            return Decision(ALLOW, UNJUDGED)
        if found is not None and following == flows.INVALID:
            return Decision(DROP, INVALID)
        if found is not None and following == flows.ASK:
            key, found, following = (key if flows.closed(found.state) else None), None, 0
        if found is not None:
            facts = flows.as_opened(facts, found.opener != facts["flow.direction"])
        decision = (
            Decision(ALLOW, UNJUDGED)
            if self._between_host_and_workload(facts, peer)
            else self.ask(facts | self._bits(record, peer))
        )
        self._settle(key, found, following, decision)
        return decision

    def _is_foreign(self, record: Record, subject: Address | None) -> bool:
        """Whether a workload sends from an address that is not its own."""
        if subject is None or not self.facts["flow.direction"]:
            return False
        return not stays_on_link(*subject) and not _is(self.run.endpoints, subject, record)

    def _between_host_and_workload(self, opening: Facts, peer: Address | None) -> bool:
        """What this host begins with a workload of its own."""
        endpoints, sends = self.run.endpoints, bool(opening["flow.direction"])
        if self.kind == WORKLOAD:
            return not sends and _is(endpoints, peer, endpoints.interfaces.get(THIS_HOST))
        other = endpoints.addresses.get(peer) if peer is not None else None
        return sends and other is not None and other.kind == WORKLOAD and other.ifindex != 0

    def _bits(self, record: Record, peer: Address | None) -> Facts:
        """Which selections take the ends."""
        other = self.run.endpoints.addresses.get(peer) if peer is not None else None
        bits = {}
        for number in range(self.run.selections):
            bits[selected_field(SUBJECT, number)] = int(number in record.selected)
            if peer is not None:
                bits[selected_field(PEER, number)] = int(other is not None and number in other.selected)
        return bits

    def _settle(self, key: Key | None, found: Flow | None, following: int | None, said: Decision) -> None:
        """Begin, renew or end the flow."""
        table, lasts = self.run.flows, self.run.lasts[said.rule] if said.rule >= 0 else flows.AGAIN
        keeps = said.verdict == ALLOW and lasts != flows.STATELESS
        epoch = flows.FOR_GOOD if lasts == flows.KEPT else self.run.epoch
        if key is None or following is None:
            return
        if found is not None and not keeps:
            del table[key]
        elif found is not None:
            found.epoch = epoch
            self._touch(found, following)
        elif keeps and following != flows.INVALID and self._begins():
            table[key] = flows.begin(self.facts, following, epoch)

    def _begins(self) -> bool:
        """Whether the packet can be the first of a flow: an answer to an echo cannot."""
        return self.facts["ip.proto"] == IPPROTO_TCP or bool(self.facts["flow.opens"])
