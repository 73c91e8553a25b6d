"""The catalogue of diagnostics: one class an error, with its manual page."""

from .base import Error

__all__ = ["Error"]
