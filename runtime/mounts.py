"""Mounted file systems by type, from /proc/mounts."""

from __future__ import annotations

import re
from pathlib import Path


def mounts_of(type_: str) -> list[str]:
    """Mount points of a file system type, in the order they were mounted."""
    out = []
    for line in Path("/proc/mounts").read_text().splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and fields[2] == type_:
            out.append(_unescaped(fields[1]))
    return out


def _unescaped(path: str) -> str:
    """Blanks and the like are written as \\ooo, octal."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), path)
