"""Profiles of loaded policies: what their counters say, as a file that `lockgate build --profile` takes.

Counting costs nothing extra, since every rule has a counter anyway.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from lockgate.stdlib_bpf.profile import Profile, to_json
from lockgate.stdlib_bpf.state.counters import DECIDING

from . import counters
from .counters import Count
from .errors import SystemRefused
from .running import Running


def collected(running: Running, before: Sequence[Count] = ()) -> Profile:
    """What a loaded policy's rules have decided, less what they had `before`."""
    found: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for sign, counts in ((1, counters.read(running)), (-1, before)):
        for count in counts:
            if count.slot.kind in DECIDING:
                found[count.chain][count.slot.label] += sign * count.packets
    # Counters of several CPUs are not read at one instant.
    chains = {chain: {label: max(0, n) for label, n in of.items()} for chain, of in found.items()}
    return Profile(running.name, chains)


def write(profile: Profile, path: Path) -> int:
    """Write a profile; how many packets it tells of. SystemRefused when the place cannot be written."""
    try:
        path.write_text(to_json(profile))
    except OSError as error:
        raise SystemRefused(f"writing `{path}` failed: {error.strerror}") from error
    return sum(packets for counts in profile.chains.values() for packets in counts.values())
