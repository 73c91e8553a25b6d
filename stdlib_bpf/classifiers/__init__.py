"""Structures that find the first of many boxes that holds a packet: build, model, cost. `ALL` is the table of
them; the generated form of each is in `emit.classifiers`.

Building needs numpy, which only the compiler has: the runtime must not import this package.
"""

from . import rule_tree
from .base import Box, Boxes, Classifier

ALL: dict[str, Classifier] = {rule_tree.KIND: rule_tree}

__all__ = ["ALL", "Box", "Boxes", "Classifier"]
