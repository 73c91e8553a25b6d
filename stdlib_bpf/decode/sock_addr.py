"""What a socket call says, field by field, at connect(2) and at sendmsg(2) of an unconnected socket."""

from __future__ import annotations

from dataclasses import dataclass

from ..fields import ETH_P_IP, ETH_P_IPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP
from .frame import V4_MAPPED, Facts

AF_INET, AF_INET6 = 2, 10
LOOPBACK4, LOOPBACK6 = 0x7F000001, 1


@dataclass(frozen=True)
class SocketCall:
    """`operation`: "connect" or "sendmsg"; `family`: AF_INET or AF_INET6 of the socket; `protocol`: IP
    protocol number; `address`: destination as an integer of 32 or 128 bits; `port` in host order; `uid`: user
    id of the process; `cgroup`: its place in the chain's list of cgroups (`state.cgroups`); `time_ns`: when
    it is made."""

    operation: str
    family: int
    protocol: int
    address: int
    port: int
    uid: int = 0
    cgroup: int = 0
    time_ns: int = 0


def decode(call: SocketCall) -> Facts:
    """Fields of a socket call. An IPv4-mapped destination of an AF_INET6 socket is judged as IPv4, never as
    IPv6: that is what goes on the wire. An unspecified destination (0.0.0.0, ::) is judged as the loopback
    address, because that is where Linux takes it after the hook (ip_route_output_key_hash_rcu in
    net/ipv4/route.c, tcp_v6_connect in net/ipv6/tcp_ipv6.c)."""
    facts = {"ip.proto": call.protocol & 0xFF, "l4.proto": call.protocol & 0xFF}
    facts |= {"sock.uid": call.uid, "sock.cgroup": call.cgroup, "meta.time": call.time_ns}
    if call.family == AF_INET or call.address >> 32 == V4_MAPPED:
        facts["eth.type"], facts["ip4.dst"] = ETH_P_IP, call.address & 0xFFFFFFFF or LOOPBACK4
    else:
        facts["eth.type"], facts["ip6.dst"] = ETH_P_IPV6, call.address or LOOPBACK6
    if call.protocol in (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP):
        facts["th.dport"] = call.port
    return facts
