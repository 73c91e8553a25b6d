"""What both halves must agree about nftables tables: names, and how a counter says whose it is.

A policy NAME is the table `lockgate-NAME`, one for its interfaces and one for its endpoints, in the families
FAMILIES. A counter is called `LIST/RULE`, and its comment says the rest as
people read it: `rule ssh: drop, edge.gate:5`, `default default: pass`. So what is loaded needs no file beside
it. Knows names; must never know how tables are written or read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

INTERFACES, ENDPOINTS = "netdev", "inet"  # families of a policy's tables, by what they judge
FAMILIES = (INTERFACES, ENDPOINTS)
PREFIX = "lockgate-"
MAX_NAME = 200  # NFT_NAME_MAXLEN is 256, with some room for what stands around a name
MAX_COMMENT = 127  # NFTNL_UDATA_COMMENT_MAXLEN
HEAD = "# lockgate: "  # begins the lines of a file that programs read
SUFFIX = ".nft"

_COMMENT = re.compile(r"(\w+) (.+?): (\w*)(?:, (.+):(\d+))?")


@dataclass(frozen=True)
class Counter:
    """Whose a counter is. `kind`: "rule", "count", "default", "malformed", "unread",
    "fragments", "foreign" or "flow"; `verdict`
    "" where there is none; `line` 0 where no line of a policy is meant."""

    chain: str
    kind: str
    label: str
    verdict: str
    file: str = ""
    line: int = 0

    @property
    def comment(self) -> str:
        """As text of at most MAX_COMMENT bytes; a place that does not fit is left out, a label cut."""
        place = f", {self.file}:{self.line}" if self.line else ""
        whole = f"{self.kind} {self.label}: {self.verdict}{place}"
        if len(whole.encode()) <= MAX_COMMENT:
            return whole
        room = MAX_COMMENT - len(f"{self.kind} : {self.verdict}".encode())
        label = self.label.encode()[:room].decode(errors="ignore")
        return f"{self.kind} {label}: {self.verdict}"


def read(name: str, comment: str) -> Counter | None:
    """The counter of that name and comment; None for one that is not of us."""
    found = _COMMENT.fullmatch(comment)
    chain, slash, _ = name.partition("/")
    if found is None or not slash:
        return None
    kind, label, verdict, file, line = found.groups()
    return Counter(chain, kind, label, verdict, file or "", int(line or 0))


def safe(text: str) -> str:
    """Text as a part of an nft name: what such a name cannot hold becomes `_`."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)[:MAX_NAME]
