"""What each word of the language means, in one sentence, for hovers and lists.

Knows words; where a table of the compiler describes them already (fields, hooks), it is asked. A test sees
that no keyword is left out.
"""

from __future__ import annotations

from lockgate.stdlib_bpf import fields, hooks

from .. import codes

DECLARATIONS = {
    "network": "`network NAME = NETWORK`: a set of IPv4 and IPv6 addresses.",
    "ports": "`ports NAME = PORTS`: a set of ports.",
    "service": "`service NAME = TRAFFIC, …`: alternatives of traffic; a port is a destination port.",
    "interface": '`interface NAME = { "eth0", … }`: devices, quoted; with `+` and `-`, too.',
    "policy": "`policy NAME at HOOK on INTERFACES { … }`: rules; the first that matches decides.",
    "test": '`test "TITLE" of POLICY { … }`: packets and what is expected of them.',
    "import": '`import "FILE" as NAME`: the names of another file, as `NAME.x`.',
    "template": "`template NAME(parameter: KIND, …) { … }`: rules with parameters.",
    "tiers": "`tiers A > B`: the order in which policies are asked.",
    "forward": "`forward fast`: packets of known flows between endpoints get around the host's stack.",
    "proxy": "`proxy NAME = port N`: a local proxy that traffic can be redirected to.",
    "failsafe": "`failsafe for hosts [LABELS] { … }`: what is allowed whatever policies say.",
    "balance": "`balance NAME { … }`: a service address and the backends behind it.",
}
ACTIONS = {
    "allow": "End the judging here: the packet goes on. At connect: the call goes on.",
    "drop": "The packet ends here, without a word to anybody.",
    "reject": "Refuse, and say so to the sender. At connect: the call fails.",
    "pass": "No objection here: what comes behind this policy decides.",
    "continue": "Do what the options say, and try the next rule.",
    "redirect": "Send the packet elsewhere.",
    "mirror": "Send a copy elsewhere, and try the next rule.",
}
ATTRIBUTES = {
    "default": "`default ACTION`: decides what no rule matches.",
    "owner": '`owner "TEXT"`: whom to ask.',
    "fragments": "`fragments drop`, `first-only` or `track`: what becomes of later fragments, which have no "
    "ports.",
    "tier": "`tier NAME`: the tier of a policy.",
    "mode": "`mode NAME`: enforce, or only report.",
    "state": "`state strict`, `loose` or `off`: what opens a flow.",
    "reload": "`reload judge` or `keep`: whether open flows are judged again when policies or labels change.",
    "order": "`order N`: the place of a policy in its tier.",
}
PARTS = {
    "from": "`from NETWORK port PORTS`: the source; either part may be missing.",
    "to": "`to NETWORK port PORTS`: the destination; either part may be missing.",
    "port": "Ports behind `from`, `to` or, in a service, a protocol: `80`, `1024-65535`, a name, `{ … }`.",
    "type": "`type T`: ICMP types by name or number, behind `icmp` or `icmp6`.",
    "flags": "`flags syn, fin`: any of them is set. `flags syn/syn,ack`: of those behind `/`, exactly those "
    "before it are set.",
    "protocol": "`protocol N`: an IP protocol by number.",
    "vlan": "`vlan N`: the identifier of the outermost VLAN tag.",
    "if": "`if FIELD = VALUE and …`: conditions on fields, with `and`, `or`, `not`.",
    "and": "Both conditions hold.",
    "or": "One of the conditions holds.",
    "not": "Of a network: every other address of its families. Of a condition: it does not hold.",
    "in": "`FIELD in { … }`: the field has one of these values.",
}
OPTIONS = {
    "count": "`count NAME`: also add to a counter that rules of one rule list can share.",
    "log": "`log`, `log sample N`: send an event for each packet, or for one of N.",
    "sample": "`log sample N`: an event for one packet of N.",
    "limit": "`limit RATE burst N per KEY`: the rule matches only as long as there are tokens.",
    "burst": "`burst N`: how many may come at once.",
    "per": "`per source/24,56`, `per destination`, `per flow`: a bucket for each.",
    "via": "`via NAME`: the proxy that traffic goes through.",
    "into": '`into "eth2"`: the interface that packets are sent into.',
    "as": "`as NAME`: what something is called here, or how it is sent.",
    "mark": "`mark VALUE/MASK`: set the packet's mark.",
    "dscp": "`dscp NAME`: set the packet's DSCP.",
    "with": "`with HOW`: what a rejected sender is told.",
    "expires": "`expires YYYY-MM-DD`: the last day of the rule.",
    "ticket": '`ticket "TEXT"`: why the rule is there.',
    "use": "`use TEMPLATE(arguments)`: the rules of a template, with these arguments.",
}
NETWORKS = {
    "any": "Every address of both families; of ports, every port.",
    "file": '`file "PATH" max N`: one prefix a line, read when the policy is compiled.',
    "dynamic": "`dynamic max N`: filled while the policy runs, up to N prefixes of each family.",
    "max": "`max N`: the most entries that it may have.",
}
STEPS = {
    "expect": "`expect ACTION PACKET by RULE`: one packet, and what becomes of it.",
    "given": "`given NAME = NETWORK`: what a dynamic set holds in this test.",
    "assert": "`assert ACTION PACKETS`: of every packet that the sentence describes.",
    "repeat": "`repeat N expect …`: the same packet N times.",
    "after": "`after DURATION`: time that passes between two expectations.",
    "by": "`by RULE`: the deciding rule, or `default`, or `malformed`.",
    "of": "`of POLICY`: the policy that is tested.",
    "reply": "`expect reply …`: of the answer in the same flow.",
    "backend": "`expect backend ADDRESS …`: the backend that is chosen.",
}
PLACES = {
    "at": "`at HOOK`: where packets are judged: " + ", ".join(hooks.NAMED) + ".",
    "on": "`on INTERFACES`: the devices of a policy.",
    "for": "`for cgroup PATH`: whose calls are judged.",
    "cgroup": "`cgroup PATH`: below the cgroup2 mount.",
    "ingress": "What the device receives.",
    "egress": "What the device sends.",
    "hosts": "`for hosts [LABELS]`: nodes rather than workloads.",
    "has": "`has KEY`: the label is there.",
    "lacks": "`lacks KEY`: the label is not there.",
}
BALANCE = {
    "vip": "`vip ADDRESS`: the address that clients connect to.",
    "backends": "`backends { … }`: the addresses behind it.",
    "spread": "`spread maglev`: how clients are spread over backends.",
    "affinity": "`affinity client DURATION`: a client keeps its backend that long.",
    "client": "`affinity client DURATION`: by the address of the client.",
    "empty": "`empty ACTION`: what happens when no backend is left.",
    "exempt": "`exempt [LABELS]`: who sees the address untouched.",
    "weight": "`weight N`: shares of a backend.",
    "draining": "`draining`: keeps its clients, gets no new ones.",
}
FLOWS = {
    "new": "A packet that opens a flow.",
    "established": "A packet of a known flow.",
    "related": "An ICMP error about a known flow.",
    "invalid": "A packet that belongs to no flow and cannot open one.",
    "untracked": "A packet whose flow is not followed.",
}
KEYWORDS = {
    **(DECLARATIONS | ACTIONS | ATTRIBUTES | PARTS | OPTIONS),
    **(NETWORKS | STEPS | PLACES | BALANCE | FLOWS),
}
PROTOCOLS = {
    "arp": "ARP, by EtherType.",
    "icmp": "ICMP over IPv4.",
    "icmp6": "ICMPv6 over IPv6.",
    "ip": "IPv4 and IPv6, by EtherType.",
    "ip4": "IPv4, by EtherType.",
    "ip6": "IPv6, by EtherType.",
    "sctp": "SCTP over both families.",
    "tcp": "TCP over both families.",
    "udp": "UDP over both families.",
}
FLAGS = {
    "fin": "FIN: the sender has no more data.",
    "syn": "SYN: opens a connection.",
    "rst": "RST: the connection ends at once.",
    "psh": "PSH: hand the data on.",
    "ack": "ACK: acknowledges what came.",
    "urg": "URG: the urgent pointer counts.",
    "ece": "ECE: congestion was met on the way (RFC 3168).",
    "cwr": "CWR: the sender slowed down (RFC 3168).",
}


def word(text: str) -> str | None:
    """What a word of the language means, None for one that it does not have."""
    if text in hooks.NAMED:
        hook = hooks.ALL[text]
        return f"{hook.doc}. Decides by " + ", ".join(f"`{verdict}`" for verdict in hook.verdicts) + "."
    if text in fields.BY_NAME:
        field = fields.BY_NAME[text]
        return f"{field.doc}: {field.width_bits} bits; {field.source}."
    found = KEYWORDS.get(text) or PROTOCOLS.get(text) or FLAGS.get(text)
    return found or icmp_type(text)


def icmp_type(text: str) -> str | None:
    """The numbers of an ICMP type by name."""
    numbers = [
        f"{protocol} type {types[text]}"
        for protocol, types in (
            ("ICMP", codes.ICMP_TYPES[fields.IPPROTO_ICMP]),
            ("ICMPv6", codes.ICMP_TYPES[fields.IPPROTO_ICMPV6]),
        )
        if text in types
    ]
    return f"{', '.join(numbers)}." if numbers else None
