"""Where names are declared and where rules are written makes no difference: names in an imported file and
rules in a template give the match IR of the policy in one piece."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.compiler.match.lower import lower
from lockgate.compiler.match.text import write
from lockgate.compiler.syntax.words import ACTIONS
from tests import engines
from tests.properties.strategies import Text, policies

DECLARED = re.compile(r"^(?:network|ports|service|proxy) ([\w-]+) =", re.MULTILINE)
RULE = re.compile(rf"^  (?P<rule>(?:[\w-]+: )?(?:{'|'.join(ACTIONS)})\b.*)$", re.MULTILINE)


def meaning(source: str, files: dict[str, str]) -> list[list[str]]:
    """For each rule list what decides, without what rules are called and where they stand."""
    unit = engines.load(source, files)
    texts = [write(lower(chain)) for chain in unit.chains]
    return [[line for line in text.splitlines() if not line.startswith("rule ")] for text in texts]


def parts(text: Text) -> tuple[str, str]:
    """The declarations and the policy."""
    at = text.source.index("policy ")
    return text.source[:at], text.source[at:]


def dotted(policy: str, declared: list[str]) -> str:
    """The policy with every declared name taken from the import `c`."""
    words = "|".join(sorted(map(re.escape, declared), key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])(?<!count )({words})(?![\w.:-])", r"c.\1", policy) if declared else policy


@pytest.mark.parametrize("place", ["xdp", "tc ingress", "connect"])
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_names_may_be_declared_in_another_file(place: str, data: st.DataObject) -> None:
    text = data.draw(policies(place, max_rules=6))
    declarations, policy = parts(text)
    used = dotted(policy, DECLARED.findall(declarations))
    split = 'import "c.gate" as c\n' + used if used != policy else policy
    if used == policy:
        return
    there = meaning(split, {"c.gate": declarations, **text.files})
    here = meaning(text.source, text.files)
    assert [[line.replace("c.", "") for line in lines] for lines in there] == here


@pytest.mark.parametrize("place", ["xdp", "tc ingress", "connect"])
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_rules_may_come_from_a_template(place: str, data: st.DataObject) -> None:
    text = data.draw(policies(place, max_rules=6))
    declarations, policy = parts(text)
    found = RULE.findall(policy)
    if not found:
        return
    template = "template t() {\n" + "".join(f"  {rule}\n" for rule in found) + "}\n"
    first = RULE.search(policy)
    assert first is not None
    used = policy[: first.start()] + "  u: use t()\n" + RULE.sub("", policy[first.start() :])
    assert meaning(declarations + template + used, text.files) == meaning(text.source, text.files)
