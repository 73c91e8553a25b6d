"""A profile: how many packets each rule of a policy decided. The runtime writes it, the compiler may read it.

One JSON document, sorted, so that the same counts are the same bytes:

    {"chains": {"edge": {"default": 90, "web": 10}}, "format": "lockgate profile 1", "policy": "edge"}

Knows the form alone: neither counters nor plans.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

FORMAT = "lockgate profile 1"
MAX_COUNT = 1 << 64


class BadProfile(ValueError):  # noqa: N818 - reads as what happened
    """Text that is no profile; the message completes "it"."""


@dataclass(frozen=True)
class Profile:
    """`policy`: the bundle's name; `chains`: name of a rule list → label of a rule, or of who decides where
    no rule does (`default`, …) → packets."""

    policy: str
    chains: Mapping[str, Mapping[str, int]]


def to_json(profile: Profile) -> str:
    """The document, with a line end."""
    document = {"format": FORMAT, "policy": profile.policy, "chains": profile.chains}
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def from_json(data: bytes) -> Profile:
    """The profile of a document. BadProfile for anything else."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise BadProfile("is not JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadProfile(f"does not say `{FORMAT}`")
    policy, chains = document.get("policy"), document.get("chains")
    if not isinstance(policy, str) or not isinstance(chains, dict):
        raise BadProfile("names no policy, or has no rule lists")
    for name, counts in chains.items():
        if not isinstance(counts, dict):
            raise BadProfile(f"has no counts for `{name}`")
        for label, count in counts.items():
            if type(count) is not int or not 0 <= count < MAX_COUNT:
                raise BadProfile(f"has no number of packets for `{label}` of `{name}`")
    return Profile(policy, chains)
