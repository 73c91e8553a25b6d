"""The language's own library: sound, and what the registries and Python's own tables say."""

import ipaddress
import socket
from importlib import resources
from pathlib import Path

import pytest

from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.policy import load
from lockgate.compiler.policy.decide import contains
from lockgate.compiler.policy.model import Network, Traffic

from .front import findings, unit, xdp

PRELUDE = Path(str(resources.files("lockgate.stdlib_bpf") / "prelude"))
FILES = sorted(p.name for p in PRELUDE.glob("*.gate"))


@pytest.mark.parametrize("name", FILES)
def test_is_sound(name: str) -> None:
    sink = Sink()
    load(PRELUDE / name, sink)
    assert sink.diagnostics == []


def service(name: str) -> tuple[Traffic, ...]:
    return unit('import "std/services.gate" as std\n' + xdp(f"drop std.{name}")).chains[0].rules[0].traffic


def network(name: str) -> Network:
    text = 'import "std/addresses.gate" as std\n' + xdp(f"drop from std.{name}")
    found = unit(text).chains[0].rules[0].src
    assert found is not None
    return found


PORTS = [  # (name here, name in /etc/services, protocol)
    ("ssh", "ssh", "tcp"),
    ("http", "http", "tcp"),
    ("https", "https", "tcp"),
    ("dns", "domain", "udp"),
    ("ntp", "ntp", "udp"),
    ("smtp", "smtp", "tcp"),
    ("bgp", "bgp", "tcp"),
    ("ldap", "ldap", "tcp"),
    ("snmp", "snmp", "udp"),
    ("kerberos", "kerberos", "udp"),
    ("postgresql", "postgresql", "tcp"),
    ("mysql", "mysql", "tcp"),
    ("nfs", "nfs", "tcp"),
]


@pytest.mark.parametrize(("name", "known_as", "protocol"), PORTS)
def test_ports_are_those_of_the_systems_table(name: str, known_as: str, protocol: str) -> None:
    try:
        port = socket.getservbyname(known_as, protocol)
    except OSError:
        pytest.skip(f"/etc/services does not know {known_as}")
    number = socket.IPPROTO_TCP if protocol == "tcp" else socket.IPPROTO_UDP
    assert any(
        t.protocols is not None and number in t.protocols and t.ports is not None and port in t.ports
        for t in service(name)
    )


def holds(found: Network, address: str) -> bool:
    value = ipaddress.ip_address(address)
    return contains(found, value.version, int(value), {})


# First and last addresses of the registries' rows, and their neighbours.
BOGUS = """0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0 127.255.255.255
169.254.0.0 169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.8 192.0.0.11 192.0.0.255 192.0.2.0
192.0.2.255 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255
203.0.113.0 203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255
:: ::1 64:ff9b:1::1 100::1 100::ffff:ffff:ffff:ffff 2001:1::4 2001:2::1 2001:5::1 2001:10::1 2001:1ff::1
2001:db8::1
2001:db8:ffff::1 3fff::1 3fff:fff::1 5f00::1 fc00::1 fdff::1 fe80::1 febf::1 ff00::1 ff02::1"""
REACHABLE = """1.0.0.0 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0
169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.0.9 192.0.0.10 192.0.1.0 192.0.3.0 192.31.196.1
192.52.193.1 192.167.255.255 192.169.0.0 192.175.48.1 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0
203.0.112.255 203.0.114.0 223.255.255.255 64:ff9b::1 2001::1 2001:1::1 2001:1::2 2001:1::3 2001:3::1
2001:4:112::1 2001:20::1 2001:30::1 2001:200::1 2001:db7::1 2001:db9::1 2606:4700::1111 2620:4f:8000::1
3fff:1000::1"""


@pytest.mark.parametrize("address", [*BOGUS.split(), *REACHABLE.split()])
def test_bogons_are_the_registries_rows_that_are_not_reachable(address: str) -> None:
    assert holds(network("bogons"), address) == (address in BOGUS.split())
    assert holds(network("internet"), address) == (address in REACHABLE.split())


def test_private_addresses() -> None:
    for address in ("10.1.2.3", "172.16.0.1", "192.168.255.255", "fd00::1"):
        assert holds(network("private"), address)
    assert not holds(network("private"), "100.64.0.1") and holds(network("cgnat"), "100.64.0.1")
    assert holds(network("multicast"), "ff02::1") and holds(network("bogons"), "224.0.0.1")


def test_what_ipv6_cannot_do_without_is_in_icmp_needed() -> None:
    text = 'import "std/services.gate" as std\n' + xdp("pass std.icmp-needed")
    assert findings(text) == []
    found = [t.icmp_types for t in service("icmp-needed") if t.protocols is not None and 58 in t.protocols]
    types = {n for values in found if values for low, high in values for n in range(low, high + 1)}
    assert types >= {1, 2, 3, 4, 133, 134, 135, 136}
