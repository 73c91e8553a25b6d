"""Prefixes of dynamic sets: as people write them, as a trie takes them, and as they are sorted.

A *token* is an address in network order (4 or 16 bytes) and a byte with the prefix length: tokens of one
family sort by address, wider prefixes first. Lists may have a million lines, so addresses as most people
write them are read by `inet_pton`; whatever that does not take, `parse` judges, and says what is wrong.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6, inet_pton

from lockgate.stdlib_bpf.lpm_key import entry
from lockgate.stdlib_bpf.prefix_text import WIDTHS, BadPrefix, HostBitsSet, Mapped, read_prefix

from .errors import SetError
from .expiry import duration

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass
class Listing:
    """What a list says, by IP version: token → how long it stays in ns, 0 for no end."""

    tokens: dict[int, dict[bytes, int]] = field(default_factory=lambda: {4: {}, 6: {}})


def parse(text: str) -> Prefix:
    """A prefix or address, in the notation of policies. SetError for anything else, host bits included."""
    try:
        family, low, length = read_prefix(text)
    except HostBitsSet as reason:
        remedy = f"write {reason.network} for the network, {reason.host} for the host"
        raise SetError(f"`{text}` {reason}", (), (remedy,)) from None
    except Mapped as reason:
        remedy = f"write it as an IPv4 prefix: {reason.v4}"
        raise SetError(f"`{text}` {reason}", ("such addresses are judged as IPv4",), (remedy,)) from None
    except BadPrefix as reason:
        examples = "for example 192.0.2.0/24 or 2001:db8::1"
        raise SetError(f"`{text}` is no address or prefix", (f"it {reason}",), (examples,)) from None
    return (ipaddress.IPv4Network if family == 4 else ipaddress.IPv6Network)((low, length))


def read(text: str, name: str) -> Listing:
    """A list, one prefix a line, and behind it for how long, if not for ever; `#` begins a comment. Of equal
    prefixes the last counts. SetError with `name` and the line of what is wrong."""
    found = Listing()
    four, six = found.tokens[4], found.tokens[6]
    for number, line in enumerate(text.split("\n"), 1):
        words = (line.partition("#")[0] if "#" in line else line).split()
        if not words:
            continue
        try:
            token = _quick(words[0]) or token_of(parse(words[0]))
            (four if len(token) == 5 else six)[token] = 0 if len(words) == 1 else _span(words[1:])
        except SetError as error:
            raise error.with_notes(f"in {name}:{number}") from None
    return found


def _span(words: list[str]) -> int:
    if len(words) > 1:
        raise SetError(
            f"`{words[1]}` stands behind a prefix and a time span", (), ("write one prefix a line",)
        )
    return duration(words[0])


_LENGTHS = {version: {str(n): n for n in range(bits + 1)} for version, bits in WIDTHS.items()}
_BELOW = {version: [(1 << bits - n) - 1 for n in range(bits + 1)] for version, bits in WIDTHS.items()}
_MAPPED = bytes(10) + b"\xff\xff"


def _quick(word: str) -> bytes | None:
    """The token of a prefix in its usual spelling; None when `parse` must judge."""
    address, slash, length = word.partition("/")
    version, family = (6, AF_INET6) if ":" in address else (4, AF_INET)
    try:
        packed = inet_pton(family, address)
    except (OSError, ValueError):
        return None
    bits = _LENGTHS[version].get(length) if slash else WIDTHS[version]
    if bits is None or (slash and int.from_bytes(packed) & _BELOW[version][bits]):
        return None
    return None if version == 6 and packed.startswith(_MAPPED) else packed + bytes((bits,))


def token_of(prefix: Prefix) -> bytes:
    """The token of a prefix."""
    return prefix.network_address.packed + bytes((prefix.prefixlen,))


def prefix_of(token: bytes) -> Prefix:
    """The prefix that a token stands for."""
    address, length = int.from_bytes(token[:-1]), token[-1]
    if len(token) == 5:
        return ipaddress.IPv4Network((address, length))
    return ipaddress.IPv6Network((address, length))


def key_of(token: bytes) -> bytes:
    """The trie's key of a token."""
    return _HEADS[token[-1]] + token[:-1]


def keys_of(tokens: Sequence[bytes]) -> bytes:
    """The keys of tokens of one family, end to end."""
    if not tokens:
        return b""
    joined, size = b"".join(tokens), len(tokens[0])
    step = len(key_of(tokens[0]))
    keys = bytearray(step * len(tokens))
    keys[::step] = joined[size - 1 :: size]  # the prefix length is a byte of the four
    for at in range(size - 1):
        keys[step - size + 1 + at :: step] = joined[at::size]
    return bytes(keys)


def is_host(token: bytes) -> bool:
    """Whether a token is a single address."""
    return token[-1] == 8 * (len(token) - 1)


def token_of_key(key: bytes) -> bytes:
    """The token of a trie's key."""
    return key[4:] + key[:1]


_HEADS = [entry(0, length, 0) for length in range(129)]
