"""Packets from text, judged by an independent library; and back to text."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.sctp import SCTP

from lockgate.compiler import packet
from lockgate.stdlib_bpf.decode import frame
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall

SOUND = [
    ("tcp 10.0.0.1:4000 > 10.0.0.2:80 syn", TCP, {"sport": 4000, "dport": 80}),
    ("tcp 10.0.0.1 > 10.0.0.2:80 syn,ack", TCP, {"sport": 40000, "flags": 18}),
    ("tcp", TCP, {"flags": 2}),
    ("udp [2001:db8::1]:53 > [2001:db8::2]:54", UDP, {"sport": 53, "dport": 54}),
    ("udp 10.0.0.1:1 > 10.0.0.2:2", UDP, {"len": 8}),
    ("icmp 10.0.0.1 > 10.0.0.2 type echo-reply", ICMP, {"type": 0}),
    ("icmp6", ICMPv6EchoRequest, {"type": 128}),
    ("sctp 10.0.0.1:1 > 10.0.0.2:2", SCTP, {"dport": 2}),
    ("arp", ARP, {"op": 1}),
]


@pytest.mark.parametrize(("text", "layer", "values"), SOUND, ids=[s[0] for s in SOUND])
def test_scapy_reads_the_frame_and_agrees_on_lengths_and_checksums(text, layer, values) -> None:
    made = packet.parse(text).data
    read = Ether(made)
    assert {name: int(getattr(read[layer], name)) for name in values} == values
    again = Ether(made)
    for header in (IP, IPv6, TCP, UDP, ICMP, ICMPv6EchoRequest, SCTP):
        if header in again:
            for name in ("chksum", "cksum", "len", "plen"):
                if name in again[header].fields:
                    delattr(again[header], name)
    assert bytes(again) == made


def test_other_protocols_and_hex() -> None:
    assert Ether(packet.parse("10.0.0.1 > 10.0.0.2 protocol 47").data)[IP].proto == 47
    assert packet.parse("hex 00 11 22").data == b"\x00\x11\x22"


def test_socket_calls() -> None:
    assert packet.parse("connect tcp 10.0.0.1:80") == SocketCall("connect", 2, 6, 0x0A000001, 80)
    mapped = packet.parse("sendmsg udp [::ffff:10.0.0.1]:53")
    assert mapped == SocketCall("sendmsg", 10, 17, 0xFFFF0A000001, 53)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no packet"),
        ("tcp 10.0.0.1", "SOURCE > DESTINATION"),
        ("tcp 10.0.0.1 > [::1]", "families"),
        ("tcp 10.0.0.300 > 10.0.0.1", "10.0.0.300"),
        ("tcp 10.0.0.1:99999 > 10.0.0.1", "65535"),
        ("tcp 10.0.0.1 > 10.0.0.2 sin", "sin"),
        ("udp 10.0.0.1 > 10.0.0.2 syn", "syn"),
        ("icmp type 300", "255"),
        ("hex 0", "even"),
        ("connect 10.0.0.1", "connect tcp"),
        ("nonsense", "nonsense"),
    ],
)
def test_bad_text_says_what_is_right(text: str, word: str) -> None:
    with pytest.raises(packet.PacketTextError, match=word):
        packet.parse(text)


@pytest.mark.parametrize("text", [s[0] for s in SOUND] + ["10.0.0.1 > 10.0.0.2 protocol 47"])
def test_description_reads_back_to_the_same_fields(text: str) -> None:
    facts = frame.decode(packet.parse(text))
    assert frame.decode(packet.parse(packet.describe(facts))) == facts


FIELDS = [
    "tcp ttl 1 dscp ef ecn ce window 9 tcp.header 40",
    "udp 10.0.0.1:1 > 10.0.0.2:2 vlan 7 priority 5 options 8 length 100",
    "udp [2001:db8::1] > [2001:db8::2] ip6.hop-by-hop 1 ip6.routing-type 4 ip6.segments-left 2 ip6.auth 1",
    "tcp [2001:db8::1] > [2001:db8::2] fragment first ip6.mobility 1 ip6.destination 1",
    "tcp fragment later",
    "icmp type 3 code 4",
    "arp op reply arp.spa 10.0.0.1 arp.tha 02:00:00:00:00:09 eth.src 02:00:00:00:00:03",
    "eth.type 0x88cc meta.length 64 mark 0x10",
]


def test_no_more_is_said_than_makes_the_packet() -> None:
    facts = frame.decode(packet.parse("tcp 10.0.0.1:1 > 10.0.0.2:2 syn vlan 7 ttl 1"))
    assert isinstance(facts, dict)
    assert packet.besides(facts) == [("vlan.id", 7), ("ip.ttl", 1)]


@pytest.mark.parametrize("text", FIELDS)
def test_fields_behind_the_addresses(text: str) -> None:
    made = packet.parse(text)
    facts = frame.decode(made)
    assert isinstance(facts, dict)
    assert frame.decode(packet.parse(packet.describe(facts))) == facts
    again = Ether(made.data)
    for header in (IP, IPv6, TCP, UDP):
        if header in again and "fragment" not in text:
            for name in ("chksum", "len", "plen", "ihl", "dataofs"):
                if name in again[header].fields:
                    delattr(again[header], name)
    assert bytes(again) == made.data


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("udp window 5", "tcp.window"),
        ("tcp options 3", "ip4.options"),
        ("tcp ttl", "needs a value"),
        ("tcp ttl 256", "255"),
        ("arp arp.spa nowhere", "address"),
        ("tcp length 30", "ip.length"),
    ],
)
def test_packets_that_do_not_exist(text: str, word: str) -> None:
    with pytest.raises(packet.PacketTextError, match=word):
        packet.parse(text)
