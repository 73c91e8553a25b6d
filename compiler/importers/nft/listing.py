"""The text form of nftables' rules, told by nft itself: it loads them into a network namespace that ends with
it, and lists them as JSON. So `define`, `include` and all short forms are understood as nft means them.

Knows nft(8) as a tool; must never know what a rule means. No rule of this host is touched.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from ...source import Source
from ..sources import UnreadableError

# Chains at devices need these to be there; what kind they are of is no matter. A word that
# only looks like one may be no name for a device.
SCRIPT = """
for device in "$@"; do ip link add "$device" type veth 2>/dev/null || true; done
nft -f /dev/stdin
nft -j list ruleset
"""
DEVICES = re.compile(r"\bdevices?\s*=?\s*(?:\{([^}]*)\}|(\"[^\"]+\"|[^\s;{}]+))")
NEEDED = ("nft", "ip", "unshare")  # Debian: nftables, iproute2, util-linux


def told(source: Source) -> Source:
    """A file as it is where it is JSON, which begins with a brace, else as nft tells it."""
    return source if source.text.lstrip().startswith("{") else listed(source)


def listed(source: Source) -> Source:
    """The same rules as `nft -j list ruleset` says them; places are in that. Raises UnreadableError where
    nft is missing or refuses the file."""
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        reason = f"`{missing[0]}` is needed to read the text form; `nft -j list ruleset` prints the other one"
        raise UnreadableError(f"cannot read `{source.shown}`: {reason}")
    command = ["unshare", "--map-root-user", "--net", "--", "sh", "-ec", SCRIPT, "sh", *_devices(source.text)]
    folder = Path.cwd() if source.path is None else source.path.resolve().parent
    done = subprocess.run(command, input=source.text, capture_output=True, text=True, cwd=folder, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().replace("/dev/stdin", source.shown)
        raise UnreadableError(f"nft cannot read `{source.shown}`:\n{said}")
    return Source(source.name, done.stdout, source.path)


def _devices(text: str) -> list[str]:
    """Devices that base chains name, each once."""
    found = [name.strip(' "\n\t') for m in DEVICES.finditer(text) for name in (m[1] or m[2]).split(",")]
    return sorted({name for name in found if name and name != "lo" and not name.startswith("$")})
