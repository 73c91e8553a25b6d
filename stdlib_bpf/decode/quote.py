"""What an ICMP error quotes of the packet that it is about: addresses, protocol, and eight bytes behind the
IP header (RFC 792; RFC 4443 §2.4 (c)).

Takes the bytes behind the error's own eight; gives `quote.*` facts, or none where the quote is cut short or
is a later fragment. An IPv6 quote with extension headers gives their number as its protocol, and no ports.
Generated code: `emit.flows`.
"""

from __future__ import annotations

from ..fields import IPPROTO_ICMP, IPPROTO_ICMPV6, WITH_PORTS

HEADER_BYTES = {4: 20, 6: 40}
BEHIND_BYTES = 8  # of the quoted packet's payload
# Errors that follow a flow, by family; a redirect never does.
ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
ICMP_OF = {4: IPPROTO_ICMP, 6: IPPROTO_ICMPV6}


def decode(family: int, data: bytes) -> dict[str, int]:
    """`quote.src`, `quote.dst`, `quote.proto`; `quote.sport` and `quote.dport` where the protocol has ports;
    `quote.type` and `quote.echo` (the identifier) of ICMP of that family. Empty when it cannot be read."""
    size = HEADER_BYTES[family]
    if len(data) < size or data[0] >> 4 != family:
        return {}
    if family == 4:
        size = (data[0] & 15) * 4
        if size < 20 or int.from_bytes(data[6:8]) & 0x1FFF:
            return {}
        found = {"src": data[12:16], "dst": data[16:20], "proto": data[9:10]}
    else:
        found = {"src": data[8:24], "dst": data[24:40], "proto": data[6:7]}
    behind = data[size : size + BEHIND_BYTES]
    if len(behind) < BEHIND_BYTES:
        return {}
    proto = found["proto"][0]
    if proto in WITH_PORTS:
        found |= {"sport": behind[:2], "dport": behind[2:4]}
    elif proto == ICMP_OF[family]:
        found |= {"type": behind[:1], "echo": behind[4:6]}
    return {f"quote.{name}": int.from_bytes(value) for name, value in found.items()}
