"""Text that is fit to be printed: nothing that a terminal would obey, and how wide it is."""

from __future__ import annotations

import unicodedata

TAB_COLUMNS = 4


def clean(text: str) -> str:
    """Text without anything a terminal would obey: tabs as blanks, control characters as pictures."""
    if text.isprintable():
        return text
    return "".join(
        " " * TAB_COLUMNS if c == "\t" else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def columns(text: str) -> int:
    """Terminal columns that a cleaned text takes: wide characters take two, combining ones none."""
    shown = clean(text)
    if shown.isascii():
        return len(shown)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in shown)
    return len(shown) + wide - sum(unicodedata.combining(c) != 0 for c in shown)
