"""How a decision comes about: each rule that is asked, and why it does not match.

A second account of what `policy.decide` does, for people; a test holds the two together. Buckets of limits
are full. Knows the policy model and facts; must never know engines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.state.limits import Buckets

from .packet import value_text
from .policy.decide import holds, matches
from .policy.model import AllOf, AnyOf, Chain, FieldTest, Prefixes, Rule, Section, Traffic, Where

DECIDES, GOES_ON, MISSES, SKIPPED = "decides", "goes on", "does not match", "is not asked"


@dataclass(frozen=True)
class Step:
    """What becomes of one rule. `outcome`: one of the four above; `reason`: why it does not match, "" where
    there is none."""

    rule: int
    outcome: str
    reason: str = ""


def steps(chain: Chain, facts: Facts, live: Mapping[str, Prefixes]) -> Iterator[Step]:
    """All rules in order, up to the one that decides."""
    passing = hooks.ALL[chain.hook].passing
    buckets, following = Buckets(), 0
    for index, rule in enumerate(chain.rules):
        if index < following:
            yield Step(index, SKIPPED)
        elif not matches(rule, facts, live):
            yield Step(index, MISSES, why_not(rule, facts, live))
        elif rule.limit is not None and not buckets.admit(index, rule.limit, facts):
            yield Step(index, MISSES, "its limit has no bucket for the packet, or not enough in it")
        elif rule.verdict in passing:
            yield Step(index, GOES_ON)
            following = index + 1 if rule.resume is None else rule.resume
        else:
            yield Step(index, DECIDES)
            return


def selects(chain: Chain, section: Section, facts: Facts) -> bool:
    """Whether a section is about the endpoint that is judged, in the packet's direction."""
    direction = fields.DIRECTIONS.index(section.direction)
    selected = facts.get(fields.selected_field(fields.SUBJECT, section.selection))
    return facts.get("flow.direction") == direction and selected == 1


def why_not(rule: Rule, facts: Facts, live: Mapping[str, Prefixes]) -> str:
    """The first part of a rule that does not hold, in words; "" where all hold."""
    anything = (Traffic(),)
    bare = replace(
        rule, traffic=anything, src=None, dst=None, sports=None, dports=None, flags=None, where=None
    )
    parts = {
        "the direction is another": bare,
        "it is other traffic": replace(bare, traffic=rule.traffic, effects=rule.effects),
        "the source is another": replace(bare, src=rule.src),
        "the destination is another": replace(bare, dst=rule.dst),
        "the source port is another": replace(bare, sports=rule.sports),
        "the destination port is another": replace(bare, dports=rule.dports),
        "the flags are others": replace(bare, flags=rule.flags),
    }
    found = next((reason for reason, part in parts.items() if not matches(part, facts, live)), "")
    return found or ("" if rule.where is None else _unmet(rule.where, facts))


def _unmet(where: Where, facts: Facts) -> str:
    """The first test of a condition that does not hold."""
    match where:
        case AllOf(items):
            return next((_unmet(item, facts) for item in items if not holds(item, facts)), "")
        case AnyOf(items):
            return " and ".join(dict.fromkeys(_unmet(item, facts) for item in items))
        case FieldTest(field, _) if holds(where, facts):
            return ""
        case FieldTest("flow.opens", _):
            opens = facts.get("flow.opens")
            return "it begins a flow" if opens else "it does not begin a flow"
        case FieldTest(field, _):
            if fields.split_selected(field) is not None:
                return "it is not about this endpoint"
            if field not in facts:
                return f"there is no `{field}`"
            return f"`{field}` is {value_text(field, facts[field])}"
