"""Packet filters of the kernel's stack as a benchmark loads them: a set of addresses, or a rule list, in
their own words, in a chain at prerouting, table `raw` (nft(8), iptables-extensions(8), ipset(8)).

Every rule drops, whatever it does in the policy: what is compared is the finding of the rule that decides,
and no packet goes on into a stack that costs more than all rules.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.compiler.packet import address_text
from lockgate.stdlib_bpf.classifiers import Box
from lockgate.stdlib_bpf.sets import IntervalSet

from .rule_sets import ANY_ADDRESS, ANY_PORT, ANY_PROTOCOL

Entries = Sequence[tuple[int, int]]
Scripts = tuple[tuple[tuple[str, ...], str], ...]  # (command, standard input)
Rules = Callable[[Sequence[Box]], Scripts]
NFT = ("nft", "-f", "-")
FAMILY = {4: "ip", 6: "ip6"}
TABLES = ("legacy", "nft")  # of iptables, the first that there is
AT_ONCE = 65_536  # elements of a command; intervals come in one


@dataclass(frozen=True)
class Filter:
    """`tools`: commands it needs. `holds`: the scripts for a set (addresses, IP version), or for rules;
    `closes`: those that make an otherwise empty or loaded chain drop what no rule matched."""

    name: str
    tools: tuple[str, ...]
    closes: Callable[[int], Scripts]
    set: Callable[[Entries, int], Scripts] | None = None
    rules: Rules | None = None
    most_rules: int = 100_000

    def missing(self) -> str | None:
        """A tool that is not installed."""
        return next((tool for tool in self.tools if shutil.which(tool) is None), None)


# ---- nftables ----


def _nft_chain(version: int, policy: str) -> str:
    family = FAMILY[version]
    head = f"type filter hook prerouting priority -300; policy {policy};"
    return f"add table {family} t\nadd chain {family} t c {{ {head} }}\n"


def _nft_closes(version: int) -> Scripts:
    return ((NFT, _nft_chain(version, "drop")),)


def _nft_set(entries: Entries, version: int) -> Scripts:
    family, width = FAMILY[version], 32 if version == 4 else 128
    hosts = all(length == width for _, length in entries)
    spans = IntervalSet.from_ranges((v, v + (1 << width - length) - 1) for v, length in entries)
    elements = [_span(version, *span) for span in ([(v, v) for v, _ in entries] if hosts else spans)]
    step = AT_ONCE if hosts else len(elements)
    flags = "" if hosts else " flags interval;"
    text = _nft_chain(version, "accept") + f"add set {family} t s {{ type ipv{version}_addr;{flags} }}\n"
    for at in range(0, len(elements), step):
        text += f"add element {family} t s {{ {', '.join(elements[at : at + step])} }}\n"
    return ((NFT, f"{text}add rule {family} t c {family} saddr @s drop\n"),)


def _span(version: int, low: int, high: int) -> str:
    first = address_text(version, low)
    return first if low == high else f"{first}-{address_text(version, high)}"


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


NFT_WORDS = (
    ("ip saddr", ANY_ADDRESS, lambda ends: _span(4, *ends)),
    ("ip daddr", ANY_ADDRESS, lambda ends: _span(4, *ends)),
    ("meta l4proto", ANY_PROTOCOL, lambda ends: _range(*ends)),
    ("th sport", ANY_PORT, lambda ends: _range(*ends)),
    ("th dport", ANY_PORT, lambda ends: _range(*ends)),
)


def _nft_rules(boxes: Sequence[Box]) -> Scripts:
    def said(box: Box) -> Iterator[str]:
        for (word, every, text), ends in zip(NFT_WORDS, box.ranges, strict=True):
            if ends != every:
                yield f"{word} {text(ends)} "

    rules = "".join(f"add rule ip t c {''.join(said(box))}drop\n" for box in boxes)
    return ((NFT, _nft_chain(4, "accept") + rules),)


def layers(boxes: Sequence[Box]) -> list[list[Box]]:
    """The rules in layers without overlap, so that the first layer that has a packet has its rule: a rule
    lies in the layer behind the last of those that have an earlier rule it overlaps with."""
    ends = np.array([box.ranges for box in boxes], np.uint64)
    low, high = ends[:, :, 0], ends[:, :, 1]
    layer = np.zeros(len(boxes), np.int64)
    for i in range(1, len(boxes)):
        overlaps = ((low[:i] <= high[i]) & (high[:i] >= low[i])).all(axis=1)
        if overlaps.any():
            layer[i] = layer[:i][overlaps].max() + 1
    found: list[list[Box]] = [[] for _ in range(layer.max() + 1)]
    for box, number in zip(boxes, layer, strict=True):
        found[number].append(box)
    return found


def _nft_maps(boxes: Sequence[Box]) -> Scripts:
    """A map from ranges of all fields to a verdict for each layer."""
    kind = "ipv4_addr . ipv4_addr . inet_proto . inet_service . inet_service"
    asked = " . ".join(word for word, _, _ in NFT_WORDS)
    text = _nft_chain(4, "accept")
    for number, layer in enumerate(layers(boxes)):
        elements = (
            " . ".join(say(ends) for (_, _, say), ends in zip(NFT_WORDS, box.ranges, strict=True)) + " : drop"
            for box in layer
        )
        text += (
            f"add map ip t m{number} {{ type {kind} : verdict; flags interval; }}\n"
            f"add element ip t m{number} {{ {', '.join(elements)} }}\n"
            f"add rule ip t c {asked} vmap @m{number}\n"
        )
    return ((NFT, text),)


# ---- iptables ----


def restore(version: int) -> tuple[str, ...]:
    """The command that adds to what iptables has."""
    return _restore(version), "--noflush"


def _restore(version: int) -> str:
    names = [f"ip{'6' * (version == 6)}tables-{table}-restore" for table in TABLES]
    return next((name for name in names if shutil.which(name)), names[0])


def _ipt_closes(version: int) -> Scripts:
    return ((restore(version), "*raw\n:PREROUTING DROP [0:0]\nCOMMIT\n"),)


def _ipt(version: int, rules: Sequence[str]) -> tuple[tuple[str, ...], str]:
    lines = "".join(f"-A PREROUTING {rule}-j DROP\n" for rule in rules)
    return restore(version), f"*raw\n:PREROUTING ACCEPT [0:0]\n{lines}COMMIT\n"


def _ipset_set(entries: Entries, version: int) -> Scripts:
    width = 32 if version == 4 else 128
    hosts = all(length == width for _, length in entries)
    head = f"create s hash:{'ip' if hosts else 'net'} family inet{'6' * (version == 6)}"
    added = "".join(
        f"add s {address_text(version, value)}{'' if length == width else f'/{length}'}\n"
        for value, length in entries
    )
    restored = (("ipset", "restore"), f"{head} maxelem {len(entries) + 1}\n{added}")
    return restored, _ipt(version, ["-m set --match-set s src "])


def _ipt_rules(boxes: Sequence[Box]) -> Scripts:
    return (_ipt(4, [text for box in boxes for text in _ipt_rule(box)]),)


def _ipt_rule(box: Box) -> Iterator[str]:
    """One rule, or one for each protocol, since ports belong to a protocol here."""
    source, destination, protocol, sport, dport = box.ranges
    addresses = "".join(
        f"-{side} {address_text(4, ends[0])}/{32 - (ends[1] - ends[0]).bit_length()} "
        for side, ends in (("s", source), ("d", destination))
        if ends != ANY_ADDRESS
    )
    ports = "".join(
        f"--{side} {ends[0]}:{ends[1]} "
        for side, ends in (("sport", sport), ("dport", dport))
        if ends != ANY_PORT
    )
    if protocol == ANY_PROTOCOL and not ports:
        yield addresses
        return
    for name, number in (("tcp", 6), ("udp", 17)):
        if protocol[0] <= number <= protocol[1]:
            yield f"{addresses}-p {name} " + (f"-m {name} {ports}" if ports else "")


ALL = (
    Filter("nft set", ("nft",), _nft_closes, set=_nft_set),
    Filter("ipset", ("ipset", _restore(4), _restore(6)), _ipt_closes, set=_ipset_set),
    Filter("iptables", (_restore(4),), _ipt_closes, rules=_ipt_rules),
    Filter("nft rules", ("nft",), _nft_closes, rules=_nft_rules),
    Filter("nft maps", ("nft",), _nft_closes, rules=_nft_maps, most_rules=10_000),
)
