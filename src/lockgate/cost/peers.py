"""What a policy would cost in packet filters that are already on this machine. Needs root and their tools.

Rules are loaded into network namespaces of their own, where frames that XDP passes go up the stack; what is
measured is net of the same filter with no rule but the last. Nothing is left behind.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from lockgate.compiler.match.ir import MatchProgram
from lockgate.compiler.policy.model import Prefixes
from lockgate.runtime import coldrun
from lockgate.runtime.sys import netns
from lockgate.runtime.sys.link import loopback_up
from lockgate.stdlib_bpf import hooks

from . import ipset, nft
from .measure import ROUNDS, net, pooled
from .said import Said

SECONDS = 120  # that a tool may take to load rules
LOOPBACK_ADDRESS = bytes(6)
XDP = hooks.ALL["xdp"]
Groups = Mapping[str, Sequence[bytes]]


@dataclass(frozen=True)
class Peer:
    """A packet filter: the commands it needs, and how rules are said to it."""

    tools: tuple[str, ...]
    say: Callable[[MatchProgram, Mapping[str, Prefixes]], Said]


ALL: dict[str, Peer] = {
    "nftables": Peer(("nft",), nft.say),
    "iptables and ipset": Peer(("ipset", *ipset.COMMANDS.values()), ipset.say),
}


@dataclass(frozen=True)
class Priced:
    """`ns`: of a packet, by the name of its group; `load_ms`: to load rules and sets; `unsaid`: labels of
    rules that are missing → what could not be said; `failed`: why there is nothing to tell, else None."""

    ns: dict[str, float] = field(default_factory=dict)
    load_ms: float = 0.0
    unsaid: dict[str, str] = field(default_factory=dict)
    failed: str | None = None


def priced(
    peer: Peer, program: MatchProgram, live: Mapping[str, Prefixes], groups: Groups, rounds: int = ROUNDS
) -> Priced:
    """What the program's rules cost in a peer, on groups of frames, none empty. `live`: what dynamic sets
    hold."""
    missing = [tool for tool in peer.tools if shutil.which(tool) is None]
    if missing:
        return Priced(failed=f"{missing[0]} is not installed")
    said = peer.say(program, live)
    unsaid = {program.rules[rule].label: reason for rule, reason in sorted(said.unsaid.items())}
    nothing = peer.say(replace(program, rules=(), matches=(), default="pass"), {})
    with ExitStack() as stack:
        places = {what: stack.enter_context(netns.Nameless()) for what in ("floor", "chain")}
        for what, place in places.items():
            with place.inside():
                loopback_up()
                started = time.perf_counter()
                failed = load(said if what == "chain" else nothing)
            if failed is not None:
                return Priced(unsaid=unsaid, failed=failed)
        load_ms = (time.perf_counter() - started) * 1000
        up = stack.enter_context(coldrun.constant("pass", XDP))
        runs = {}
        for name, frames in groups.items():
            pool = pooled(to_loopback(frames))
            front = stack.enter_context(coldrun.stamping(up, pool, coldrun.WHOLE_FRAME, XDP))
            for what, place in places.items():
                runs[name, what] = within(place, coldrun.running(front, frames[0], live=True))
        found = coldrun.alternate(runs, rounds)
        return Priced({name: net(found, name) for name in groups}, load_ms, unsaid)


def to_loopback(frames: Sequence[bytes]) -> list[bytes]:
    """Frames for the loopback device: the stack drops what is for others before any rule."""
    return [LOOPBACK_ADDRESS + frame[len(LOOPBACK_ADDRESS) :] for frame in frames]


def within(place: netns.Nameless, run: Callable[[int], float]) -> Callable[[int], float]:
    """The run, in a namespace."""

    def there(repeat: int) -> float:
        with place.inside():
            return run(repeat)

    return there


def load(said: Said) -> str | None:
    """None when the tools took the rules, else the first line of what one said."""
    for command, text in said.scripts:
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return f"{command[0]} did not load the rules in {SECONDS} s"
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            return f"{command[0]}: {lines[0].strip() if lines else 'failed'}"
    return None
