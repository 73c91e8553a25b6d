"""Where reading goes on after a syntax error.

A statement begins with an action, a rule's name or a word such as `policy`, so text is skipped up to the next
such word or `}`. Knows the look of words; must never know the parser.
"""

from __future__ import annotations

import re

from . import words

_PIECE = re.compile(r'#[^\n]*|"[^"\n]*"?|[A-Za-z_]\w*(?:[.-]\w+)*(?::(?![:\w]))?|[{}]|[^\s"#{}A-Za-z_]+')
_FIRST_ON_LINE = frozenset({*words.DECLARATIONS, *words.ATTRIBUTES, *words.DIRECTIONS, *words.STEPS})
FOREIGN_ACTIONS = frozenset({"accept", "permit", "block", "deny"})
_ANYWHERE = frozenset({*words.ACTIONS, *FOREIGN_ACTIONS, "expect"})
_BEFORE_AN_ACTION = frozenset({"default", "expect", "assert", "empty", *words.DIRECTIONS})


def piece_at(text: str, offset: int) -> int:
    """End of the word or sign that begins at an offset."""
    match = _PIECE.match(text, offset)
    return match.end() if match else min(offset + 1, len(text))


def restart(text: str, offset: int) -> int:
    """Offset, not before `offset`, where a statement may begin or a block may end; the text's length when
    there is none."""
    depth, before = 0, ""
    for match in _PIECE.finditer(text, offset):
        piece = match.group()
        if piece == "{":
            depth += 1
        elif piece == "}":
            if depth == 0:
                return match.start()
            depth -= 1
        elif depth == 0 or _starts_line(text, match.start()):
            if piece in _ANYWHERE and before not in _BEFORE_AN_ACTION:
                return match.start()
            if (piece in _FIRST_ON_LINE or piece.endswith(":")) and _starts_line(text, match.start()):
                return match.start()
        before = piece
    return len(text)


def _starts_line(text: str, offset: int) -> bool:
    line = text.rfind("\n", 0, offset) + 1
    return not text[line:offset].strip()
