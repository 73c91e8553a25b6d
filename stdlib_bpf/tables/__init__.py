"""One lookup structure a file: build, model, cost. `ALL` is the table of them."""

from . import cuckoo, hosts_and_ranges, lpm_trie, range_index, range_tree
from . import hash as hash_map
from .base import Cost, DataImage, MapImage, MapSpec, Table

ALL: dict[str, Table] = {
    block.KIND: block for block in (hash_map, lpm_trie, range_index, cuckoo, hosts_and_ranges, range_tree)
}

__all__ = ["ALL", "Cost", "DataImage", "MapImage", "MapSpec", "Table"]
