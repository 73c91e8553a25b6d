"""Structures that tell of several sets at once which of them hold an address: build, model, cost. `ALL` is
the table of them; the generated form of each is in `emit.tags`.

Building needs numpy, which only the compiler has: the runtime must not import this package.
"""

from . import tag_index, tag_tree
from .base import MAX_MEMBERS, Tagger

ALL: dict[str, Tagger] = {block.KIND: block for block in (tag_index, tag_tree)}

__all__ = ["ALL", "MAX_MEMBERS", "Tagger"]
