"""Syntax tree to checked policy, and what a policy means."""

from .decide import decide
from .load import load

__all__ = ["decide", "load"]
