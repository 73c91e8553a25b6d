"""Text to syntax tree, and text to text in the one style. The only user of lark."""

from .format import format_source
from .parse import parse

__all__ = ["format_source", "parse"]
