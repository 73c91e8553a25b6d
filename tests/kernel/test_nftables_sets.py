"""Dynamic sets of policies that nftables runs, by the command: what is in them is dropped, as real packets
show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import netns

from .test_nftables_life import knocked, lockgate

pytestmark = pytest.mark.kernel

POLICY = """\
network ban = dynamic max 4
policy edge at tc on "{target}" {{
  default pass
  ingress {{ drop tcp from ban }}
}}
"""


class Sets:
    """The command `set` for a policy that is loaded."""

    def __init__(self, pair: netns.Pair, folder: Path) -> None:
        self.there, self.file = ("--target", "nftables", "--netns", pair.inner), folder / "list.txt"
        policy = folder / "edge.gate"
        policy.write_text(POLICY.format(target=pair.target))
        lockgate("up", "--target", "nftables", str(policy))

    def __call__(self, what: str, *more: str, code: int = 0) -> str:
        return lockgate("set", what, *more, *self.there, code=code)

    def load(self, text: str, code: int = 0) -> str:
        self.file.write_text(text)
        return self("load", "ban", str(self.file), code=code)

    def members(self) -> list[str]:
        return self("list", "ban").splitlines()


def test_a_set_changes_while_it_is_asked(pair: netns.Pair, tmp_path: Path) -> None:
    sets = Sets(pair, tmp_path)
    assert knocked(pair, 22) == "open"
    assert sets("add", "ban", pair.outer4, "2001:db8::/64", "198.51.100.0/24") == "ban: 3 added\n"
    assert knocked(pair, 22) == "closed"
    assert sets.members() == [f"{pair.outer4}/32", "198.51.100.0/24", "2001:db8::/64"]
    assert sets("list") == "policy  set  prefixes  max\nedge    ban         3    4\n"
    assert sets("add", "ban", "198.51.100.0/24", "--timeout", "1h") == "ban: 1 added\n"
    assert [line.split()[0] for line in sets.members() if line.endswith("s")] == ["198.51.100.0/24"]
    assert sets("del", "ban", pair.outer4, "192.0.2.0/24") == "ban: 1 removed\n"
    assert knocked(pair, 22) == "open"
    assert sets("flush", "ban") == "ban: 2 removed\n"
    assert sets.members() == []


def test_a_list_takes_the_place_of_the_old_one(pair: netns.Pair, tmp_path: Path) -> None:
    sets = Sets(pair, tmp_path)
    sets("add", "ban", "203.0.113.7")
    assert sets.load(f"{pair.outer4}  # him\n192.0.2.0/24\n2001:db8::1 30m\n") == "ban: 3 prefixes\n"
    assert knocked(pair, 22) == "closed"
    assert sets.members()[0] == "192.0.2.0/24", "what another covers as long is left out"
    assert sets.load("") == "ban: 0 prefixes\n"
    assert (sets.members(), knocked(pair, 22)) == ([], "open")


def test_what_nftables_cannot_keep_changes_nothing(pair: netns.Pair, tmp_path: Path) -> None:
    sets = Sets(pair, tmp_path)
    sets("add", "ban", "10.0.0.0/8")
    for said in (
        sets("add", "ban", "192.0.2.1", "10.1.0.0/16", code=2),
        sets("add", "ban", "10.0.0.0/7", code=2),
        sets.load("10.0.0.0/8 1h\n10.1.0.0/16\n", code=2),
    ):
        assert "E0911" in said and "nftables keeps no prefix within another" in said
    full = sets("add", "ban", *(f"192.0.2.{i}" for i in range(1, 5)), code=2)
    assert "set `ban` is full" in full and "it holds 4 prefixes" in full
    assert "no loaded policy has a dynamic set `bann`" in sets("add", "bann", "10.0.0.1", code=2)
    assert sets.members() == ["10.0.0.0/8"]
