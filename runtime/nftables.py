"""Policies as nftables tables: load, replace, remove, count, by the program nft(8).

The kernel keeps everything that is asked about a policy: its table is called by its name, its chains say
where they are attached, its counters whose they are (`stdlib_bpf.nft`). So no file is kept beside. Nothing
but tables whose names begin with our prefix is read or changed.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockgate.stdlib_bpf import nft

from .errors import UNCHANGED, BundleForeign, InterfaceMissing, NoPrivileges, NotLoaded, SystemRefused
from .sys import netns

PROGRAM = "nft"
_TABLE = re.compile(r"table (?:netdev|inet) (\S+) \{")
_CHAIN = re.compile(r"chain (\S+) \{")
_HOOK = re.compile(r"type filter hook (\w+)(?: devices? (?:= )?(?:\{ )?([^}]*?)(?: \})?)? priority")
ROUTED = ("forward", "input", "output")  # hooks that no device has


@dataclass(frozen=True)
class Ruleset:
    """A file of `build --target nftables`. `netns`: where its devices are, None for where it is loaded."""

    name: str
    text: str
    netns: str | None = None

    @property
    def table(self) -> str:
        """What its table is called."""
        return nft.PREFIX + self.name


@dataclass(frozen=True)
class Base:
    """A chain where packets enter: its hook in nft's words, and its devices."""

    chain: str
    hook: str
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Count:
    """What a counter has counted."""

    counter: nft.Counter
    packets: int
    bytes: int


def read(file: Path) -> Ruleset:
    """A file, as it is. BundleForeign for one that lockgate has not built."""
    try:
        return parse(file.read_bytes(), str(file))
    except OSError as error:
        raise BundleForeign(str(file), error.strerror or "it cannot be read") from None


def parse(data: bytes, file: str) -> Ruleset:
    """The same, from its bytes."""
    text = data.decode(errors="replace")
    said = dict(
        line.removeprefix(nft.HEAD).split(" ", 1)
        for line in text.splitlines()
        if line.startswith(nft.HEAD) and " " in line.removeprefix(nft.HEAD)
    )
    if "name" not in said:
        raise BundleForeign(file, "it is no ruleset of `lockgate build --target nftables`")
    return Ruleset(said["name"], text, said.get("netns"))


def up(ruleset: Ruleset, where: str | None) -> bool:
    """Load a ruleset, or replace the one of its name, at one instant; whether there was one."""
    there = ruleset.name in names(where)
    _present(ruleset, where)
    run(["-f", "-"], where, f"loading `{ruleset.name}`", ruleset.text)
    return there


def down(name: str, where: str | None) -> int:
    """Remove a policy, at one instant; how many chains were attached. NotLoaded when there is none."""
    bases = status(name, where)
    gone = "".join(
        f"delete table {family} {table}\n" for family, table in _tables(where) if table == nft.PREFIX + name
    )
    run(["-f", "-"], where, f"removing `{name}`", gone)
    return len(bases)


def names(where: str | None) -> list[str]:
    """Policies that are loaded."""
    return sorted({table.removeprefix(nft.PREFIX) for _, table in _tables(where)})


def _tables(where: str | None) -> list[tuple[str, str]]:
    """Families and names of our tables."""
    listed = json.loads(run(["-j", "list", "tables"], where, "listing tables"))["nftables"]
    found = [(entry["table"]["family"], entry["table"]["name"]) for entry in listed if "table" in entry]
    return [(f, table) for f, table in found if f in nft.FAMILIES and table.startswith(nft.PREFIX)]


def status(name: str, where: str | None) -> list[Base]:
    """Where a policy is attached. NotLoaded when there is none."""
    require(name, where)
    text = run(["list", "chains"], where, "listing chains")
    return [base for table, base in _bases(text) if table == nft.PREFIX + name]


def counters(name: str, where: str | None) -> list[Count]:
    """What a policy's counters have counted, in their order. NotLoaded when there is none."""
    require(name, where)
    listed: list[dict[str, Any]] = []
    for family, table in _tables(where):
        if table == nft.PREFIX + name:
            arguments = ["-j", "list", "counters", "table", family, table]
            listed += json.loads(run(arguments, where, f"reading `{name}`"))["nftables"]
    found = []
    for entry in (entry["counter"] for entry in listed if "counter" in entry):
        about = nft.read(entry["name"], entry.get("comment", ""))
        if about is not None:
            found.append(Count(about, entry["packets"], entry["bytes"]))
    return found


def _present(ruleset: Ruleset, where: str | None) -> None:
    """Newer kernels take a chain of a device that is not there; older ones do not say which is missing."""
    with netns.inside(where):
        existing = [device for _, device in socket.if_nameindex()]
    for _, base in _bases(ruleset.text):
        for device in base.devices:
            if device not in existing:
                raise InterfaceMissing(device, where, existing)


def require(name: str, where: str | None) -> None:
    """NotLoaded when there is no policy of that name."""
    loaded = names(where)
    if name not in loaded:
        raise NotLoaded(name, loaded)


def _bases(text: str) -> Iterator[tuple[str, Base]]:
    """(table, base chain) of what `nft list chains` prints. A chain whose device is gone has none."""
    table = chain = ""
    for line in map(str.strip, text.splitlines()):
        if found := _TABLE.fullmatch(line):
            table = found[1]
        elif found := _CHAIN.fullmatch(line):
            chain = found[1]
        elif found := _HOOK.match(line):
            devices = tuple(word.strip(' "') for word in (found[2] or "").split(",") if word.strip(' "'))
            yield table, Base(chain, found[1], devices)


def run(arguments: list[str], where: str | None, doing: str, text: str | None = None) -> str:
    """What nft prints, run in a network namespace."""
    try:
        with netns.inside(where):
            done = subprocess.run(
                [PROGRAM, *arguments], input=text, capture_output=True, text=True, check=False
            )
    except netns.NetnsError as error:
        if where is not None and error.filename == where:
            existing = [path.name for path in netns.DIRECTORY.iterdir()] if netns.DIRECTORY.is_dir() else []
            raise InterfaceMissing.namespace(where, existing) from None
        raise NoPrivileges(doing, ("CAP_SYS_ADMIN",)) from None
    except FileNotFoundError:
        raise SystemRefused(
            f"the program `{PROGRAM}` is not installed", (UNCHANGED,), ("install the package nftables",)
        ) from None
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.strip().splitlines()
    if any("Operation not permitted" in line for line in said):
        raise NoPrivileges(doing, ("CAP_NET_ADMIN",))
    notes = [f"nft says: {line}" for line in said[:1]]
    raise SystemRefused(f"nftables refused: {doing}", (*notes, UNCHANGED), log=done.stderr)
