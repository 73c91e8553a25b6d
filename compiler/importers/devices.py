"""Interfaces: which rules are about the device that a policy is for, and which devices are judged alike.

Knows names and numbers of devices (`meta.iif`); must never know a source language.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lockgate.stdlib_bpf.sets import IntervalSet

from .model import FlatRule, full

LOOPBACK = "lo"
SHOWN = 15  # places that are listed


@dataclass
class Devices:
    """Names that values of `meta.iif` stand for, from 1 on."""

    names: list[str] = field(default_factory=list)

    def number(self, name: str) -> int:
        """The value of a device."""
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name) + 1

    def arrived(self) -> IntervalSet:
        """Values of packets that came in by an interface: a forwarded one did, and not by the loopback."""
        return full("meta.iif") - IntervalSet.of(self.number(LOOPBACK))


def fits(name: str, device: str, wildcard: str) -> bool:
    """Whether a name, or one that ends in a wildcard, is that of a device."""
    return device.startswith(name[:-1]) if name.endswith(wildcard) else device == name


@dataclass
class Group:
    """Devices that are judged alike, by these rules; `said`: comments about them."""

    devices: list[str]
    rules: list[FlatRule]
    said: list[str]


def grouped(devices: Sequence[str], made: Callable[[str], tuple[list[FlatRule], list[str]]]) -> list[Group]:
    """One group for all devices for which the same rules are made."""
    groups: list[Group] = []
    for device in devices:
        rules, said = made(device)
        same = [(rule.box, rule.action) for rule in rules]
        for group in groups:
            if [(rule.box, rule.action) for rule in group.rules] == same:
                group.devices.append(device)
                break
        else:
            groups.append(Group([device], rules, said))
    return groups


def left_out(lines: Sequence[int], device: str) -> list[str]:
    """What is said of rules that match no packet at a device."""
    if not lines:
        return []
    shown = ", ".join(map(str, sorted(lines)[:SHOWN])) + (", …" if len(lines) > SHOWN else "")
    return [f"Nothing at {device} matches line{'s' * (len(lines) > 1)} {shown}."]
