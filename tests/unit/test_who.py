"""What an inventory says about a policy, and policies of one tier that disagree."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.compiler.diagnostics import Diagnostic, PolicyError
from lockgate.compiler.driver import Options, Session

INVENTORY = """
namespaces: { shop: { team: red } }
endpoints:
  - { name: db, namespace: shop, labels: { app: shop, part: db }, addresses: [ 10.0.0.1 ] }
  - { name: api, namespace: shop, labels: { app: shop, part: api }, addresses: [ 10.0.0.2 ] }
  - { name: n, kind: host, labels: { role: node }, addresses: [ 10.0.0.3 ] }
"""


def found(tmp_path: Path, policy: str, inventory: str | None = INVENTORY) -> list[Diagnostic]:
    path, who = tmp_path / "p.gate", tmp_path / "e.yaml"
    path.write_text(policy)
    who.write_text(inventory or "")
    with Session(path, Options(endpoints=who if inventory is not None else None)) as session:
        try:
            session.analyse()
        except PolicyError as error:
            return list(error.diagnostics)
        return session.sink.diagnostics


def codes(diagnostics: list[Diagnostic]) -> list[str]:
    return [d.code for d in diagnostics]


A = "policy a for [app=shop] { ingress { %s } }\n"
B = "policy b for [part=db] { %s ingress { %s } }\n"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("allow tcp to port 80-90", "drop tcp to port 85"),
        ("drop from [part=api]", "allow from cluster"),
        ("drop from world", "allow tcp from 192.0.2.0/24"),
        ("pass udp", "allow udp to port 53"),
        ("continue tcp drop tcp", "allow tcp"),
        ("drop udp limit 1/s", "allow udp"),
    ],
)
def test_policies_that_disagree(tmp_path: Path, one: str, other: str) -> None:
    text = A % one + B % ("", other)
    (error,) = [d for d in found(tmp_path, text) if d.code.endswith("0312")]
    (doubt,) = [d for d in found(tmp_path, text, None) if d.code.endswith("0312")]
    assert (error.code, doubt.code) == ("E0312", "W0312")
    assert error.witness is not None and "to shop/db" in error.witness
    assert doubt.witness is not None and "to [app=shop, part=db]" in doubt.witness
    assert [label.span.line for label in error.labels] == [2, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("allow tcp to port 80", "drop tcp to port 85"),
        ("allow tcp to port 80", "allow tcp"),
        ("drop from [part=api]", "allow from [part=other]"),
        ("drop from [part=api]", "allow from world"),
        ("drop udp", "allow tcp to port 80 drop tcp allow ip4 from 10.0.0.1 if ip.proto == 47"),
        ("drop tcp to port 80", "drop tcp to port 80 allow tcp from any to port 80"),
        ("continue tcp", "allow tcp"),
    ],
)
def test_policies_that_agree(tmp_path: Path, one: str, other: str) -> None:
    text = A % one + B % ("", other)
    assert not [d for who in (INVENTORY, None) for d in found(tmp_path, text, who) if "0312" in d.code]


def test_order_tiers_audit_and_other_endpoints_settle_it(tmp_path: Path) -> None:
    one = A % "allow tcp"
    assert codes(found(tmp_path, one + B % ("order 1", "drop tcp"), None)) == []
    assert codes(found(tmp_path, one + B % ("mode audit", "drop tcp"), None)) == []
    assert codes(found(tmp_path, one + B.replace("part=db", "app=blog") % ("", "drop tcp"), None)) == []
    tiers = "tiers x > y\n" + one.replace("{ ", "{ tier x ", 1) + B % ("tier y", "drop tcp")
    assert codes(found(tmp_path, tiers, None)) == []


def test_labels_that_nobody_carries_are_an_error_for_nobody(tmp_path: Path) -> None:
    text = A % "allow tcp" + B.replace("part=db", "part=web") % ("", "drop tcp")
    assert codes(found(tmp_path, text)) == ["W0532"]
    assert codes(found(tmp_path, text, None)) == ["W0312"]


def test_selectors_that_take_nobody_are_told_with_what_is_near(tmp_path: Path) -> None:
    rules = "allow from { [part=apy], [prt=db] } allow from []ns[team=rde]"
    text = f"policy a for [app=shpo] {{ ingress {{ {rules} }} }}\n"
    text += "failsafe for hosts [role=nod] { ingress { allow tcp to port 22 } }\n"
    diagnostics = found(tmp_path, text)
    assert codes(diagnostics) == ["W0532"] * 5
    help = {d.labels[0].span.text: d.help for d in diagnostics}
    assert help == {
        "[app=shpo]": ("did you mean `app=shop`?",),
        "[part=apy]": ("did you mean `part=api`?",),
        "[prt=db]": ("did you mean `part=db`?",),
        "[]ns[team=rde]": ("did you mean `ns[team=red]`?",),
        "[role=nod]": ("did you mean `role=node`?",),
    }


def test_an_inventory_that_is_wrong_is_told_in_its_own_lines(tmp_path: Path) -> None:
    wrong = "endpoints:\n  - { name: a, addresses: [ 10.0.0.1 ] }\n  - { name: b, addresses: [ 10.0.0.1 ] }\n"
    (error,) = found(tmp_path, A % "allow tcp", wrong)
    assert (error.code, error.labels[0].span.line) == ("E0316", 3)
    assert error.labels[0].span.source.shown.endswith("e.yaml")
    (error,) = found(tmp_path, A % "allow tcp", "endpoints: [")
    assert error.code == "E0316"


def test_a_failsafe_that_opens_everything(tmp_path: Path) -> None:
    def said(rule: str) -> list[str]:
        return codes(found(tmp_path, f"failsafe for hosts [] {{ ingress {{ {rule} }} }}\n", None))

    assert said("allow") == said("allow tcp") == said("allow tcp from any") == ["W0531"]
    assert said("allow tcp to port 22") == said("allow tcp from 10.0.0.1") == said("allow icmp") == []
