"""Two policies that disagree at every hook, and the question which of them judges where.

Hooks on the way from the outer namespace to the inner one: tc egress, XDP, tc ingress. Each has two ports of
its own: the old policy drops the first and the new one drops the second; the other hooks know neither.
"""

from __future__ import annotations

import sys

from .. import netns
from .policies import UDP, bundle, chain, rule

HOOKS = {"egress": (6001, 6002), "xdp": (6003, 6004), "ingress": (6005, 6006)}
PORTS = [port for ports in HOOKS.values() for port in ports]
OLD, NEW, NEITHER = (dict.fromkeys(HOOKS, word) for word in ("old", "new", "neither"))
_WORDS = {(False, True): "old", (True, False): "new", (True, True): "neither", (False, False): "both"}

_SINK = """
import select, socket, sys
sockets = []
for port in sys.argv[2:]:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((sys.argv[1], int(port)))
    sockets.append(s)
last = sockets.pop()
print("ready", flush=True)
last.recv(64)  # comes behind all others
print(*(int(bool(select.select([s], [], [], 0)[0])) for s in sockets))
"""

_SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in sys.argv[2:]:
    s.sendto(b"x", (sys.argv[1], int(port)))
"""


def policy(pair: netns.Pair, which: str, name: str = "edge", extra: tuple[str, ...] = ()) -> bytes:
    """The policy `old` or `new`; `extra`: more interfaces for XDP."""
    chains = []
    for hook, ports in HOOKS.items():
        drop = rule("drop", f"{which}-{hook}", proto=UDP, dport=ports[which == "new"])
        if hook == "xdp":
            chains.append(chain(hook, "xdp", (pair.target, *extra), "pass", drop))
        else:
            where = f"{pair.outer}/{pair.outer_if}" if hook == "egress" else pair.target
            chains.append(chain(hook, "tc", where, "pass", drop, direction=hook))
    return bundle(name, *chains)


def judges(pair: netns.Pair) -> dict[str, str]:
    """Which policy each hook goes by: old, new, neither, or both (then it drops what either drops)."""
    ports = [str(port) for port in (*PORTS, 6100)]
    sink = netns.python(pair.inner, _SINK, pair.inner4, *ports)
    try:
        assert sink.stdout is not None
        assert sink.stdout.readline().strip() == "ready"
        netns.run(*netns.inside(pair.outer, sys.executable, "-c", _SEND, pair.inner4, *ports))
        arrived = [word == "1" for word in sink.communicate(timeout=10)[0].split()]
    finally:
        sink.kill()
        sink.wait()
    return {h: _WORDS[arrived[2 * i], arrived[2 * i + 1]] for i, h in enumerate(HOOKS)}
