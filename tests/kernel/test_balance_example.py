"""The example of a service, at work: its own backends, put on loopback, answer for its addresses."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from .balancing import stage

pytestmark = pytest.mark.kernel

EXAMPLE = Path(__file__).parents[2] / "examples" / "balance" / "shop.gate"
HOSTS = ("10.244.1.7", "10.244.2.9", "10.244.3.4", "fd00:244:1::7")


def test_the_example_at_work(bpffs: Path) -> None:
    text = EXAMPLE.read_text().split("test ")[0]
    with stage(bpffs, [(host, port) for host in HOSTS for port in (8443, 5353)]) as here:
        (here.directory / "mesh").mkdir()
        try:
            here.balance(text.replace('"/lockgate-example"', "CGROUP").replace("lockgate-example", here.name))
            said = here.client('for _ in range(20): say(call("10.96.0.40", 443), call("fd00:96::40", 443))')
            got = Counter(who for pair in said for who in pair)
            assert len(got) == 2 and got["fd00:244:1::7 8443"] == 20, "with affinity: one of each family"
            assert not got["10.244.3.4 8443"], "it drains"
            assert here.client('say(call("10.96.0.40", 80))') == [["ECONNREFUSED"]]
            direct = 'say(call("10.96.0.40", 443) in ("ENETUNREACH", "EHOSTUNREACH", "ECONNREFUSED"))'
            assert here.client(direct, below="mesh") == [[True]], "nobody is at the address itself"
        finally:
            (here.directory / "mesh").rmdir()
