"""One lookup structure a file: build, model, cost. `ALL` is the table of them."""

from . import hash as hash_map
from . import lpm_trie, range_index
from .base import Cost, DataImage, MapImage, MapSpec, Table

ALL: dict[str, Table] = {block.KIND: block for block in (hash_map, lpm_trie, range_index)}

__all__ = ["ALL", "Cost", "DataImage", "MapImage", "MapSpec", "Table"]
