"""Makes `blocklist.txt`: 100,000 IPv4 and 2,000 IPv6 prefixes of the shape that public blocklists have.

    python examples/edge/make_blocklist.py > examples/edge/blocklist.txt

The same list every time, on every machine: numbers come from SHA-256 of a counter. Three in five IPv4 entries
are single hosts, most others /24, with a tail of wider ones; IPv6 entries are /32 to /64. Addresses that are
special (RFC 6890: private, loopback, documentation, multicast, …) are left out, so the list never names an
address of this project's examples. The one exception is 198.18.66.0/24 of the benchmarking range (RFC 2544),
from which the demo sends its listed traffic.
"""

from __future__ import annotations

import hashlib
import ipaddress
import sys
from collections.abc import Iterator

IPV4_ENTRIES, IPV6_ENTRIES = 100_000, 2_000
EXAMPLE = ipaddress.IPv4Network("198.18.66.0/24")
# (of a thousand entries how many, prefix length)
IPV4_LENGTHS = ((600, 32), (260, 24), (40, 23), (40, 22), (20, 21), (20, 20), (10, 19), (5, 18), (5, 16))
IPV6_LENGTHS = ((500, 48), (300, 64), (150, 40), (50, 32))
IPV6_ROOM = ipaddress.IPv6Network("2a00::/12")
SPECIAL = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    )
]  # fmt: skip


def numbers() -> Iterator[int]:
    """128-bit numbers without a pattern, always the same."""
    counter = 0
    while True:
        digest = hashlib.sha256(f"lockgate blocklist {counter}".encode()).digest()
        yield int.from_bytes(digest[:16])
        yield int.from_bytes(digest[16:])
        counter += 1


def length_for(number: int, lengths: tuple[tuple[int, int], ...]) -> int:
    """The prefix length that a number in 0 to 999 stands for."""
    for share, length in lengths:
        if number < share:
            return length
        number -= share
    raise AssertionError("the shares add up to a thousand")


def ipv4(source: Iterator[int]) -> list[ipaddress.IPv4Network]:
    """Distinct prefixes outside the special ranges, in order, with the documented example."""
    special = [(int(network[0]), int(network[-1])) for network in SPECIAL]
    found = {(int(EXAMPLE[0]), EXAMPLE.prefixlen)}
    while len(found) < IPV4_ENTRIES:
        number = next(source)
        length = length_for((number >> 32) % 1000, IPV4_LENGTHS)
        low = number & (2**32 - 2 ** (32 - length))
        high = low + 2 ** (32 - length) - 1
        if not any(low <= last and first <= high for first, last in special):
            found.add((low, length))
    return [ipaddress.IPv4Network(prefix) for prefix in sorted(found)]


def ipv6(source: Iterator[int]) -> list[ipaddress.IPv6Network]:
    """Distinct prefixes within one registry's room, in order."""
    found: set[ipaddress.IPv6Network] = set()
    while len(found) < IPV6_ENTRIES:
        number = next(source)
        length = length_for(number % 1000, IPV6_LENGTHS)
        below = (number >> 12) & (2**116 - 2 ** (128 - length))
        found.add(ipaddress.IPv6Network((int(IPV6_ROOM[0]) | below, length)))
    return sorted(found)


def text() -> str:
    """The whole file. A host is written without its length."""
    source = numbers()
    lines = ["# Made by make_blocklist.py; not a list of real offenders."]
    lines += [str(prefix).removesuffix("/32") for prefix in ipv4(source)]
    lines += [str(prefix) for prefix in ipv6(source)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
