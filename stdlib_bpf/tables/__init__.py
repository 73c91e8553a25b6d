"""One lookup structure a file: build, model, cost. `ALL` is the table of them."""

from . import cuckoo, lpm_trie, perfect6, prefix_index, range_index, range_tree
from . import hash as hash_map
from .base import Cost, DataImage, MapImage, MapSpec, Table

BLOCKS: tuple[Table, ...] = (
    hash_map,
    lpm_trie,
    range_index,
    cuckoo,
    prefix_index,
    range_tree,
    perfect6,
)
ALL: dict[str, Table] = {block.KIND: block for block in BLOCKS}

__all__ = ["ALL", "Cost", "DataImage", "MapImage", "MapSpec", "Table"]
