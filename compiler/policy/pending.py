"""Constructs that have a node of their own and no meaning yet: each is answered with E0390.

Knows how messages name them; goes away as they come to mean something.
"""

from __future__ import annotations

from .. import errors
from ..diagnostics import Sink
from ..syntax import tree as t

WORDS: dict[type, str] = {}


def refuse(node: t.Decl | t.Statement | t.Part | t.Net | t.Assert | t.After, sink: Sink) -> bool:
    """Whether a node has no meaning yet; complains when so."""
    what = node.what if isinstance(node, t.NotYet) else WORDS.get(type(node))
    if what is None:
        return False
    sink.add(errors.NotYet(what, node.span).diagnostic())
    return True
