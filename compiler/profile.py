"""A profile, put beside the policy that it is of: how many packets each rule decided, by the rule's number.

Knows the profile's form and the policy model. What is made of it is `plan.profiled`'s.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lockgate.stdlib_bpf import hooks
from lockgate.stdlib_bpf.profile import BadProfile, Profile, from_json

from . import errors
from .decision import DEFAULT, NO_RULE
from .diagnostics import Sink
from .policy.files import ReadFile
from .policy.model import Chain, Unit


@dataclass(frozen=True)
class Applied:
    """`hits`: rule list → rule, or DEFAULT → packets that it decided; `file` and `digest` (SHA-256 in hex) of
    what was read."""

    file: str
    digest: str
    hits: dict[str, dict[int, int]]


def name_of(unit: Unit) -> str:
    """What a policy file's bundle is called, and what a profile of it says."""
    return PurePosixPath(unit.source.name).stem


def read(path: Path, unit: Unit, read_file: ReadFile, sink: Sink) -> Applied:
    """The profile at `path`. PolicyError for what is none of this policy; rules that it does not have are
    warned of and left aside."""
    span = unit.chains[0].span
    try:
        data = read_file(path)
        found = from_json(data)
        if found.policy != name_of(unit):
            raise BadProfile(f"is one of `{found.policy}`, and this is `{name_of(unit)}`")
    except (OSError, BadProfile) as error:
        reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        sink.add(errors.BadProfile(span, str(path), reason).diagnostic())
        sink.stop_on_errors()
        raise AssertionError("an error stops") from error
    unknown = _unknown(found, unit)
    if unknown:
        sink.add(errors.StaleProfile(span, str(path), unknown).diagnostic())
    of_chains = {chain.name: hits(found.chains.get(chain.name, {}), chain) for chain in unit.chains}
    return Applied(path.name, hashlib.sha256(data).hexdigest(), of_chains)


def hits(counts: Mapping[str, int], chain: Chain) -> dict[int, int]:
    """Counts by label as counts by rule. Of rules that let packets go on nothing is taken over: they decide
    none."""
    passing = hooks.ALL[chain.hook].passing
    deciding = (item for item in enumerate(chain.rules) if item[1].verdict not in passing)
    return {DEFAULT: counts.get(NO_RULE[DEFAULT], 0)} | {i: counts.get(rule.label, 0) for i, rule in deciding}


def _unknown(found: Profile, unit: Unit) -> tuple[str, ...]:
    """Labels that no rule has, in order."""
    known = {chain.name: {*NO_RULE.values(), *(rule.label for rule in chain.rules)} for chain in unit.chains}
    return tuple(
        f"{label} of {name}" if len(found.chains) > 1 else label
        for name, counts in sorted(found.chains.items())
        for label in sorted(counts)
        if label not in known.get(name, ())
    )
