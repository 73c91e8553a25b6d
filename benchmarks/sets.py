"""Sets of addresses to measure with: kinds, sizes, and the structures that are compared on them.

Real prefixes come from a folder that is named with `--real` or in LOCKGATE_PREFIXES: `prefixes_v4.txt.xz` and
`prefixes_v6.txt.xz`, a prefix a line, and samples of them. Without one they are left out.
"""

from __future__ import annotations

import ipaddress
import lzma
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import policies

Entries = list[tuple[int, int]]
MAX_INLINE = 100  # entries; beyond, code size is the limit and not time
FOLDER = "LOCKGATE_PREFIXES"


@dataclass(frozen=True)
class Kind:
    """Sets of one kind. `sizes`: how many entries, 0 for all there are; `quick`: of them with --quick;
    `structures`: compared."""

    name: str
    version: int
    entries: Callable[[int, int], Entries]
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    structures: tuple[str, ...]

    def compared(self, size: int) -> tuple[str, ...]:
        """The structures that sets of that size are put into."""
        return tuple(name for name in self.structures if name != "inline" or size <= MAX_INLINE)

    @property
    def title(self) -> str:
        """For headings."""
        return f"IPv{self.version} {self.name}"


FEW, TO_A_MILLION = (10, 100), (1_000, 10_000, 100_000, 1_000_000)
KINDS = (
    Kind("hosts", 4, policies.hosts, FEW + TO_A_MILLION, (10, 1_000, 100_000),
         ("cuckoo", "range_index", "hash", "lpm_trie")),
    Kind("prefixes", 4, policies.prefixes, (1, *FEW, *TO_A_MILLION), (10, 100_000),
         ("inline", "range_index", "prefix_index", "lpm_trie")),
    Kind("nested prefixes", 4, policies.nested, TO_A_MILLION, (10_000,),
         ("range_index", "prefix_index", "lpm_trie")),
    Kind("block list", 4, policies.block_list, TO_A_MILLION, (100_000,),
         ("range_index", "prefix_index", "lpm_trie")),
    Kind("hosts", 6, policies.hosts, FEW + TO_A_MILLION, (100_000,),
         ("perfect6", "range_tree", "hash", "lpm_trie")),
    Kind("prefixes", 6, policies.prefixes, (1, *FEW, *TO_A_MILLION), (10, 100_000),
         ("inline", "range_tree", "lpm_trie")),
    Kind("nested prefixes", 6, policies.nested, TO_A_MILLION, (10_000,), ("range_tree", "lpm_trie")),
)  # fmt: skip
REAL = {4: ("range_index", "prefix_index", "lpm_trie"), 6: ("range_tree", "lpm_trie")}
REAL_SIZES, REAL_QUICK = (1_000, 10_000, 100_000, 0), (100_000,)


def every(folder: Path | None) -> Iterator[Kind]:
    """All kinds, also of the real prefixes that are in a folder or where LOCKGATE_PREFIXES says; says which
    are not there."""
    yield from KINDS
    named = os.environ.get(FOLDER)
    folder = folder or (Path(named) if named else None)
    for version, structures in REAL.items():
        name = f"prefixes_v{version}.txt.xz"
        if folder is None or not (folder / name).is_file():
            print(f"without {name}: no folder that has it (--real, {FOLDER})")
            continue
        listed = _read(folder / name)

        def sample(count: int, version: int, listed: Entries = listed) -> Entries:
            return sorted(random.Random(f"real {version}").sample(listed, count or len(listed)))

        yield Kind("real prefixes", version, sample, REAL_SIZES, REAL_QUICK, structures)


def _read(path: Path) -> Entries:
    with lzma.open(path, "rt") as lines:
        networks = [line.strip().partition("/") for line in lines]
    return [(int(ipaddress.ip_address(address)), int(length)) for address, _, length in networks]
