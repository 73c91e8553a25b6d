"""Text to syntax tree. The only user of lark."""

from .parse import parse

__all__ = ["parse"]
