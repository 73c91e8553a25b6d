"""Names that header fields have for their values: what a policy and packet text may write for a number.

Knows words and numbers (IANA registries; RFC 792, 4443, 4861, 9293, 826, 3168, 8200); must
never know how a policy uses them. A field with names is a code: its values have no order.
"""

from __future__ import annotations

from lockgate.stdlib_bpf import fields

TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}

PROTOCOLS = {
    "icmp": fields.IPPROTO_ICMP,
    "tcp": fields.IPPROTO_TCP,
    "udp": fields.IPPROTO_UDP,
    "gre": 47,
    "esp": 50,
    "icmp6": fields.IPPROTO_ICMPV6,
    "sctp": fields.IPPROTO_SCTP,
}

# ICMP types by protocol number, then by name.
ICMP_TYPES: dict[int, dict[str, int]] = {
    fields.IPPROTO_ICMP: {
        "echo-reply": 0,
        "destination-unreachable": 3,
        "redirect": 5,
        "echo-request": 8,
        "router-advert": 9,
        "router-solicit": 10,
        "time-exceeded": 11,
        "parameter-problem": 12,
        "timestamp-request": 13,
        "timestamp-reply": 14,
    },
    fields.IPPROTO_ICMPV6: {
        "destination-unreachable": 1,
        "packet-too-big": 2,
        "time-exceeded": 3,
        "parameter-problem": 4,
        "echo-request": 128,
        "echo-reply": 129,
        "listener-query": 130,
        "listener-report": 131,
        "listener-done": 132,
        "router-solicit": 133,
        "router-advert": 134,
        "neighbour-solicit": 135,
        "neighbour-advert": 136,
        "redirect": 137,
        "listener-report-v2": 143,
    },
}

# Code points of the DS field: RFC 2474, 2597, 3246, 5865, 8622.
DSCP = (
    {f"cs{n}": 8 * n for n in range(8)}
    | {f"af{c}{d}": 8 * c + 2 * d for c in range(1, 5) for d in range(1, 4)}
    | {"ef": 46, "va": 44, "le": 1}
)

# Names of values by field.
NAMES: dict[str, dict[str, int]] = {
    "eth.type": {"ip4": fields.ETH_P_IP, "arp": fields.ETH_P_ARP, "ip6": fields.ETH_P_IPV6},
    "arp.op": {"request": 1, "reply": 2},
    "ip.proto": PROTOCOLS,
    "ip.dscp": DSCP,
    "ip.ecn": {"not-ect": 0, "ect1": 1, "ect0": 2, "ce": 3},
    "ip.fragment": {"none": 0, "first": 1, "later": 2},
    "ip6.routing-type": {"source-route": 0, "mobility": 2, "rpl": 3, "segment-routing": 4},
    "tcp.flags": TCP_FLAGS,
    "icmp.type": ICMP_TYPES[fields.IPPROTO_ICMP],
    # Codes of `destination-unreachable`, the type whose codes rules speak of.
    "icmp.code": {
        "net-unreachable": 0,
        "host-unreachable": 1,
        "protocol-unreachable": 2,
        "port-unreachable": 3,
        "fragmentation-needed": 4,
        "source-route-failed": 5,
        "admin-prohibited": 13,
    },
    "icmp6.type": ICMP_TYPES[fields.IPPROTO_ICMPV6],
    "icmp6.code": {
        "no-route": 0,
        "admin-prohibited": 1,
        "beyond-scope": 2,
        "address-unreachable": 3,
        "port-unreachable": 4,
        "policy-failed": 5,
        "reject-route": 6,
    },
}


# What a name in a condition may have been declared as, by the style of the field.
DECLARED = {"ip4": "network", "ip6": "network", "device": "interface"}


def declared_kind(field: str) -> str | None:
    """The kind of declaration whose names are values of a field, None where there is none."""
    row = fields.BY_NAME.get(field)
    return None if row is None else DECLARED.get(row.style)


def has_order(row: fields.Field) -> bool:
    """Whether `<` makes sense between values of the field: quantities have an order, codes and addresses
    have none, and DSCP is a code."""
    return row.style == "int" and row.name not in NAMES


def read_mac(text: str) -> int:
    """A MAC address of six pairs of hexadecimal digits. ValueError for anything else."""
    pairs = text.split(":")
    if len(pairs) != 6 or any(len(pair) != 2 for pair in pairs):
        raise ValueError(text)
    return int("".join(pairs), 16)
