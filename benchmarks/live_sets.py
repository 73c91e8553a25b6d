"""Dynamic sets: what one change and a whole new list cost, as the set grows.

    python -m benchmarks.live_sets [--quick]

A policy with a set is loaded in a network namespace of its own. One change is measured as the kernel's
operations alone (the system calls, seen from here), as the runtime's call and as a whole command; a new list
by its parts and as a whole command, in turns with what ipset and nftables take for the same prefixes, where
they are installed: their lists replace one that is there, too.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Session
from lockgate.runtime import bundle, pins, plan, prefixes, running, sets, swap, tries
from lockgate.runtime.sys import netns

from . import harness, policies, report

COMMAND = [sys.executable, "-m", "lockgate"]
SIZES = (1_000, 100_000, 1_000_000)
POLICY = """network ban = dynamic max {max}
policy edge at xdp on "lo" {{
  fragments first-only
  default pass
  drop from ban
}}
"""
OTHERS = range(0x0A000000, 0x0B000000, 0x1357)  # hosts that no list has
CHANGES = 2_000
MEDIAN = 1  # of three quartiles


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without the largest size, fewer rounds")
    parser.add_argument("--results", type=Path, help="folder for the results")
    given = parser.parse_args(arguments)
    if not harness.possible():
        print("live_sets: skipped, it needs root and BPF")
        return
    sizes, rounds = (SIZES[:2], 3) if given.quick else (SIZES, 5)
    rows = []
    with tempfile.TemporaryDirectory(prefix="lg-bench-") as name:
        for size in sizes:
            with netns.fresh():
                rows.append(measured(Path(name), size, rounds))
            print(f"{size:,} prefixes: measured", file=sys.stderr)
    report.publish("live_sets", _text(rows, rounds), {"rows": rows}, given.results)


def measured(folder: Path, size: int, rounds: int, changes: int = CHANGES) -> dict[str, Any]:
    """One row: seconds of everything, a figure a round; of single changes the quartiles."""
    text = policies.text_of(_list(size))
    listed = folder / "list.txt"
    listed.write_text(text)
    with _loaded(folder, size + 16) as bpffs:
        policy = running.find(bpffs, "edge")
        options = ["--bpffs", str(bpffs)]
        peers = {"lockgate": [*COMMAND, "set", "load", "ban", str(listed), *options], **_peers(folder, size)}
        loads: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(rounds):
            for name, command in peers.items():
                loads[name].append(_command(command))
        parts: dict[str, list[float]] = {"read the list": [], "fill and switch": []}
        for _ in range(rounds):
            began = time.perf_counter()
            listing = prefixes.read(text, "list")
            read = time.perf_counter()
            with pins.locked(bpffs):
                sets.load(policy, "ban", listing)
            parts["read the list"].append(read - began)
            parts["fill and switch"].append(time.perf_counter() - read)
        small = [*COMMAND, "set", "add", "ban", "10.0.0.1", *options]
        return {
            "size": size,
            "in the set": sets.size(policy, "ban"),
            "kernel": {name: _quartiles(took) for name, took in _kernel(policy, changes).items()},
            "call": _quartiles(_calls(policy, changes // 10)),
            "command": [_command(small) for _ in range(rounds)],
            "loads": loads,
            "parts": parts,
        }


def _list(size: int) -> list[tuple[int, int]]:
    return [(value, length) for value, length in policies.prefixes(size + size // 50) if value >> 24 != 10][
        :size
    ]


@contextmanager
def _loaded(folder: Path, most: int) -> Iterator[Path]:
    """A BPF file system where the policy runs."""
    source, mount = folder / "edge.gate", folder / "bpffs"
    source.write_text(POLICY.format(max=most))
    mount.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "bpf", "bpf", str(mount)], check=True)
    try:
        with Session(source) as session:
            swap.up(plan.make(bundle.parse(session.bundle())), mount)
        yield mount
        swap.down("edge", mount)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def _peers(folder: Path, size: int) -> dict[str, list[str]]:
    """Commands of others that replace a list by the same prefixes. nftables calls them one transaction,
    ipset fills another set and swaps it."""
    entries = policies.text_of(_list(size)).split()
    found = {}
    if nft := shutil.which("nft"):
        file = folder / "list.nft"
        kind = "type ipv4_addr; flags interval; auto-merge;"
        table = f"table inet lg {{ set ban {{ {kind} }}; }}\nflush set inet lg ban\n"
        file.write_text(f"{table}add element inet lg ban {{ {', '.join(entries)} }}\n")
        found["nft -f"] = [nft, "-f", str(file)]
    if ipset := shutil.which("ipset"):
        file = folder / "list.ipset"
        made = "".join(f"create {name} hash:net maxelem {size} -exist\n" for name in ("lg-ban", "lg-new"))
        added = "".join(f"add lg-new {entry}\n" for entry in entries)
        file.write_text(f"{made}flush lg-new\n{added}swap lg-ban lg-new\ndestroy lg-new\n")
        found["ipset restore"] = [ipset, "restore", "-file", str(file)]
    return found


def _kernel(policy: running.Running, changes: int) -> dict[str, list[float]]:
    """Seconds of the system calls that add or remove one host."""
    spec = next(m for m in policy.state.manifest.chains[0].maps if m.key == "lpm32")
    slot, trie = policy.open_set(plan.map_key("", spec))
    tokens = [value.to_bytes(4) + b"\x20" for value in OTHERS[:changes]]
    with slot, trie:
        both: tuple[tuple[str, Callable[[bytes], object]], ...] = (
            ("add", lambda token: tries.add(trie, spec, token)),
            ("del", lambda token: tries.delete(trie, spec, token)),
        )
        found: dict[str, list[float]] = {"add": [], "del": []}
        for token in tokens:
            for name, change in both:
                found[name].append(_timed(lambda change=change, token=token: change(token)))  # type: ignore[misc]
        return found


def _calls(policy: running.Running, changes: int) -> list[float]:
    """Seconds of each call that adds or removes one host, with opening the set's pins."""
    found = []
    for value in OTHERS[:changes]:
        host = [prefixes.prefix_of(value.to_bytes(4) + b"\x20")]
        found.append(_timed(lambda host=host: sets.add(policy, "ban", host)))  # type: ignore[misc]
        found.append(_timed(lambda host=host: sets.delete(policy, "ban", host)))  # type: ignore[misc]
    return found


def _quartiles(took: list[float]) -> list[float]:
    return statistics.quantiles(took, n=4)


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _command(words: list[str]) -> float:
    """Seconds of a whole command. CalledProcessError when it fails."""
    return _timed(lambda: subprocess.run(words, check=True, capture_output=True))


def _text(rows: list[dict[str, Any]], rounds: int) -> str:
    smallest = {name: rows[0]["kernel"][name][MEDIAN] for name in ("add", "del")}
    changes = [
        (
            f"{row['size']:,}",
            *(f"{row['kernel'][name][MEDIAN] * 1e6:.1f}" for name in ("add", "del")),
            *(report.times(row["kernel"][n][MEDIAN] / smallest[n]) for n in ("add", "del")),
            f"{row['call'][MEDIAN] * 1e6:.0f}",
            f"{min(row['command']) * 1e3:.0f}",
        )
        for row in rows
    ]
    peers = list(rows[0]["loads"])
    loads = []
    for row in rows:
        ours = min(row["loads"]["lockgate"])
        loads.append(
            (
                f"{row['size']:,}",
                *(f"{min(figures):.2f}" for figures in row["parts"].values()),
                f"{ours:.2f}",
                *(report.times(min(row["loads"][peer]) / ours) for peer in peers[1:]),
            )
        )
    return (
        "# Dynamic sets\n\n"
        "One host is added to and removed from a set of so many prefixes (medians): the kernel's "
        "operations with their system calls from Python, and how often that of the smallest set; the "
        f"runtime's call with opening pins; the whole command (the least of {rounds}), which is Python's "
        "start.\n\n"
        + report.table(("prefixes", "add, µs", "del, µs", "add", "del", "call, µs", "command, ms"), changes)
        + "\nA whole list takes the place of one as large (the least of "
        f"{rounds}, in turns): reading it and filling a trie with it in one process, then whole commands, "
        "others' as often as ours.\n\n"
        + report.table(
            ("prefixes", "read, s", "fill and switch, s", "`set load`, s", *(f"`{p}`" for p in peers[1:])),
            loads,
        )
        + "\nPackets go on being judged meanwhile; there is one instant at which the list changes.\n"
    )


if __name__ == "__main__":
    main()
