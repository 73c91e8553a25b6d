"""What kernel tests of importers share: a host that takes or forwards whatever arrives, and what our program
made of the frames by the lines that rules came from."""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lockgate.runtime import bundle, counters, running, swap
from tests import engines, netns

from .actions import up

OUT, BEHIND = "out0", "out1"
MAC = "02:00:00:00:00:02"
_ORIGIN = re.compile(r"# (?:\d+ > )*(\d+)(?::.*)?$")

SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.bind((sys.argv[1], 0))
for line in sys.stdin:
    s.send(bytes.fromhex(line))
"""


@dataclass(frozen=True)
class Host:
    """A namespace that takes or forwards everything which arrives at `inside`."""

    pair: netns.Pair
    family: int

    @property
    def name(self) -> str:
        """Of the namespace."""
        return self.pair.inner

    def run(self, *command: str, text: str | None = None) -> str:
        """Run a tool there."""
        done = subprocess.run(
            netns.inside(self.name, *command),
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}\n{text}"
        return done.stdout

    def send(self, frames: Sequence[bytes]) -> None:
        """Frames to its device."""
        sender = netns.python(self.pair.outer, SEND, self.pair.outer_if)
        _, complaints = sender.communicate("".join(frame.hex() + "\n" for frame in frames), timeout=60)
        assert sender.returncode == 0, complaints


@contextmanager
def host(family: int, forwards: bool) -> Iterator[Host]:
    """A host without any address but those of the test."""
    with netns.pair() as pair:
        made = Host(pair, family)
        device = pair.inner_if
        for name, link in ((pair.inner, device), (pair.outer, pair.outer_if)):
            netns.run("ip", "-n", name, "address", "flush", "dev", link)
            netns.run("ip", "-n", name, "link", "set", link, "mtu", "9000")
        netns.run(*netns.inside(pair.outer, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
        made.run("ip", "link", "set", device, "address", MAC)
        made.run("ip", "link", "add", OUT, "mtu", "9000", "type", "veth", "peer", BEHIND)
        made.run("ip", "link", "set", BEHIND, "up")
        made.run("ip", "link", "set", OUT, "arp", "off", "up")
        for key in ("all", "default", device, OUT):
            made.run(
                "sysctl", "-qw", f"net.ipv4.conf.{key}.rp_filter=0", f"net.ipv4.conf.{key}.accept_local=1"
            )
            made.run("sysctl", "-qw", f"net.ipv6.conf.{key}.accept_dad=0", f"net.ipv6.conf.{key}.accept_ra=0")
        word = [f"-{family}"]
        made.run("ip", *word, "route", "add", "default", "dev", OUT)
        if forwards:
            made.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        else:
            made.run("ip", *word, "route", "add", "local", "default", "dev", "lo", "table", "100")
            made.run("ip", *word, "rule", "add", "pref", "1", "iif", device, "lookup", "100")
        yield made


def counted_by_us(ours: Host, text: str, frames: Sequence[bytes], bpffs: Path, folder: Path) -> Counter[int]:
    """Packets by the last line in the comment of the rule that decided them, or of the default."""
    path = folder / "p.gate"
    path.write_text(text)
    with engines.Opened(engines.Case(text, ())) as opened:
        data = opened.session.bundle()
        rules = opened.chain.rules
    name = bundle.parse(data).manifest.name
    up(data, bpffs)
    ours.send(frames)
    time.sleep(0.02)
    read = counters.read(running.find(bpffs, name))
    swap.down(name, bpffs)
    by_label = {c.slot.label: c.packets for c in read}
    found: Counter[int] = Counter()
    lines = text.split("\n")
    for rule in rules:
        end = rule.span.source.position(rule.span.end)[0]
        origin = next((o for at in (end, end - 1) if (o := _ORIGIN.search(lines[at - 1]))), None)
        if origin is not None and rule.verdict != "continue":
            found[int(origin[1])] += by_label[rule.name or rule.span.label]
    policy = next((o for line in lines if "default" in line and (o := _ORIGIN.search(line))), None)
    if policy is not None:
        found[int(policy[1])] += by_label["default"]
    return +found


def settled(look: Callable[[], str]) -> str:
    """What is there when it does not change any more."""
    before = ""
    for _ in range(100):
        now = look()
        if now == before:
            break
        before = now
        time.sleep(0.01)
    return before
