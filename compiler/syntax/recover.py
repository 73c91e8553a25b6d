"""Where reading goes on after a syntax error.

A statement begins with an action, a rule's name or a word such as `policy`, so text is skipped up to the next
such word, or one that is such a word misspelt at the beginning of a line, or `}`. Knows the look of words;
must never know the parser.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ..errors.base import surely
from . import foreign, words

_PIECE = re.compile(r'#[^\n]*|"[^"\n]*"?|[A-Za-z_]\w*(?:[.-]\w+)*(?::(?![:\w]))?|[{}]|[^\s"#{}A-Za-z_]+')
_FIRST_ON_LINE = frozenset({*words.DECLARATIONS, *words.ATTRIBUTES, *words.DIRECTIONS, *words.STEPS, "use"})
_ANYWHERE = frozenset({*words.ACTIONS, *foreign.ACTIONS, "expect"})
_BEFORE_AN_ACTION = frozenset({"default", "expect", "assert", "empty", *words.DIRECTIONS})


_STATEMENTS = tuple((word, None) for word in sorted({*_FIRST_ON_LINE, *words.ACTIONS}))
_SENTENCE = re.compile(
    rf"(?:network|ports|service|interface|proxy)\s+[\w.-]+\s*=|policy\s+[\w.-]+\s+(?:at|for)\b"
    rf'|(?:test|import)\s*"|template\s+[\w.-]+\s*\(|[A-Za-z_][\w.-]*:\s+(?:{"|".join(words.ACTIONS)})\b'
)


def begins_sentence(text: str, offset: int) -> bool:
    """Whether what begins here, first on its line, can only be a declaration or a rule with its name."""
    return starts_line(text, offset) and _SENTENCE.match(text, offset) is not None


@lru_cache(1024)
def meant(piece: str) -> str | None:
    """The word that begins a statement, for one that is surely it misspelt."""
    return next((word for word, _ in _STATEMENTS if surely(piece, word, _STATEMENTS)), None)


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
        elif depth == 0 or starts_line(text, match.start()):
            if piece in _ANYWHERE and before not in _BEFORE_AN_ACTION:
                return match.start()
            if starts_line(text, match.start()) and (
                piece in _FIRST_ON_LINE or piece.endswith(":") or meant(piece)
            ):
                return match.start()
        before = piece
    return len(text)


def starts_line(text: str, offset: int) -> bool:
    """Whether nothing but blanks stands before an offset on its line."""
    while offset and text[offset - 1] in " \t\r":
        offset -= 1
    return offset == 0 or text[offset - 1] == "\n"
