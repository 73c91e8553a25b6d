"""The head of a rule list: malformed packets go, and each other packet goes to the list of its class.

What nft itself finds malformed (IP version, header and total length) it gives no transport protocol, so
`meta l4proto 0-255` asks whether it read the headers. The rest is asked here, by tables of lengths. Sources:
nft_set_pktinfo_ipv4_validate and _ipv6_validate (include/net/netfilter), `stdlib_bpf.decode.frame`, which
this must agree with but for the rows of `exceptions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from lockgate.stdlib_bpf.decode.frame import TRANSPORT_LENGTH
from lockgate.stdlib_bpf.fields import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP

from ..match.ir import MatchProgram

OWN4 = (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_ICMP)
OWN6 = (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP, IPPROTO_ICMPV6)
WORDS = range(5, 16)  # lengths of an IPv4 or TCP header, in words of 4 bytes
LINK_FIELDS = ("eth.src", "eth.dst", "vlan.", "meta.")  # what can be asked of a packet that is not read


@dataclass(frozen=True)
class Asked:
    """What a rule list asks of packets, so that no more is read than that. `fields`: all that are tested;
    `fragments`: the mode."""

    fields: Set[str]
    fragments: str

    @property
    def transport(self) -> bool:
        """Whether a rule asks what lies behind IPv6's extension headers."""
        return any(name.startswith(("ip.proto", "th.", "tcp.", "icmp")) for name in self.fields)

    @property
    def inside(self) -> bool:
        """Whether a rule asks what lies behind the link header."""
        return not all(name.startswith(LINK_FIELDS) for name in self.fields)


def asked(program: MatchProgram) -> Asked:
    """What a rule list asks."""
    names = {name.partition("@")[0] for match in program.matches for name, _ in match.tests}
    return Asked(names, program.fragments)


def tables() -> Iterator[str]:
    """Definitions that the lines below use: lengths of packets that end inside their transport header."""
    listed = {
        "short4": [
            f"{proto} . {words} . 0-{words * 4 + TRANSPORT_LENGTH[proto] - 1}"
            for proto in OWN4
            for words in WORDS
        ],
        "cut4": [f"{own} . {tcp} . 0-{(own + tcp) * 4 - 1}" for own in WORDS for tcp in WORDS],
        "short6": [f"{proto} . 0-{TRANSPORT_LENGTH[proto] - 1}" for proto in OWN6],
        "cut6": [f"{tcp} . 0-{tcp * 4 - 1}" for tcp in WORDS],
    }
    for name, elements in listed.items():
        yield f"define {name} = {{ {', '.join(elements)} }}"


def dispatch(chain: str, asked: Asked) -> Iterator[str]:
    """Lines of the base chain, which every packet enters."""
    if asked.inside:
        yield f'meta protocol {{ 8021q, 8021ad }} counter name "{chain}/unread" drop'
    yield f"meta protocol ip meta l4proto 0-255 goto {chain}.read4"
    yield f"meta protocol ip6 meta l4proto 0-255 goto {chain}.read6"
    yield f'meta protocol {{ ip, ip6 }} counter name "{chain}/malformed" drop'
    if any(name.startswith("arp.") for name in asked.fields):
        # ARP of Ethernet and IPv4 that is there to its end
        yield f"meta protocol arp @nh,0,48 0x000108000604 @nh,208,16 >= 0 goto {chain}.arp"
    yield f"goto {chain}.other"


def read4(chain: str, asked: Asked) -> Iterator[str]:
    """Lines for IPv4."""
    fragments = f'counter name "{chain}/fragments" drop'
    later = fragments if asked.fragments == "drop" else f"goto {chain}.ip4-later"
    yield f"ip frag-off & 0x1fff != 0 {later}"
    yield from malformed4(chain)
    if asked.fragments == "drop":
        yield f"ip frag-off & 0x2000 != 0 {fragments}"
    yield f"goto {chain}.ip4"


def read6(chain: str, asked: Asked) -> Iterator[str]:
    """Lines for IPv6."""
    fragments = f'counter name "{chain}/fragments" drop'
    yield from unread6(chain, asked)
    later = fragments if asked.fragments == "drop" else f"goto {chain}.ip6-later"
    yield f"frag frag-off != 0 {later}"
    yield from malformed6(chain)
    if asked.fragments == "drop":
        yield f"frag more-fragments 1 {fragments}"
    yield f"goto {chain}.ip6"


def malformed4(chain: str) -> Iterator[str]:
    """Lines that drop IPv4 whose transport header is not whole."""
    malformed = f'counter name "{chain}/malformed" drop'
    yield f"ip protocol . ip hdrlength . ip length $short4 {malformed}"
    yield f"ip protocol tcp tcp doff < 5 {malformed}"
    yield f"ip protocol tcp ip hdrlength . tcp doff . ip length $cut4 {malformed}"


def unread6(chain: str, asked: Asked) -> Iterator[str]:
    """Lines that drop IPv6 with mapped addresses, and what nft does not read to its end."""
    for side in ("saddr", "daddr"):
        yield f'ip6 {side} ::ffff:0.0.0.0/96 counter name "{chain}/malformed" drop'
    if asked.transport:
        yield f'meta l4proto {{ 51, 135 }} counter name "{chain}/unread" drop'


def malformed6(chain: str) -> Iterator[str]:
    """Lines that drop IPv6 whose transport header is not whole."""
    malformed = f'counter name "{chain}/malformed" drop'
    yield f"ip6 nexthdr . ip6 length $short6 {malformed}"
    yield f"ip6 nexthdr tcp tcp doff . ip6 length $cut6 {malformed}"
    yield f"meta l4proto tcp tcp doff < 5 {malformed}"
    listed = ", ".join(map(str, OWN6))
    yield f"ip6 nexthdr != {{ {listed} }} meta l4proto {{ {listed} }} jump {chain}.whole6"


def whole6(chain: str) -> Iterator[str]:
    """Lines for IPv6 with extension headers: returns where the transport header's last byte is there."""
    for words in WORDS:
        yield f"meta l4proto tcp tcp doff {words} @th,{words * 32 - 8},8 >= 0 return"
    for proto in OWN6[1:]:
        yield f"meta l4proto {proto} @th,{TRANSPORT_LENGTH[proto] * 8 - 8},8 >= 0 return"
    yield f'counter name "{chain}/malformed" drop'
