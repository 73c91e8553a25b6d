"""Structures that tell of several sets at once which of them hold an address: build, model, cost. `ALL` is
the table of them; the generated form of each is in `emit.tags`.

Building needs numpy, which only the compiler has: the runtime must not import this package.
"""

from . import tag_index
from .base import MAX_MEMBERS, Tagger

ALL: dict[str, Tagger] = {tag_index.KIND: tag_index}

__all__ = ["ALL", "MAX_MEMBERS", "Tagger"]
