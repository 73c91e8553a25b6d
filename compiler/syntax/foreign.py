"""Words and signs of other tools and languages, and what is written here instead.

Knows names of terminals; must never know the parser's states.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

# Words that begin a rule elsewhere.
ACTIONS = frozenset({"accept", "permit", "block", "deny"})


@dataclass(frozen=True)
class Hint:
    """What to say of a piece of text that cannot stand where it stands; `instead`: what to put in its place;
    `where`: a terminal that could follow there, when it is to be said only then."""

    text: str
    instead: str | None = None
    where: str = ""


@dataclass(frozen=True)
class Sign:
    """`text` is read as `word`, which is a `terminal`."""

    text: str
    terminal: str
    word: str


_ALLOW = Hint("write `allow`, or `pass` at xdp", "allow")
_DROP = Hint("write `drop`, or `reject` at connect", "drop")
_IF = Hint("conditions on fields begin with `if`", "if", "FROM")
_COMPARED = Hint("fields are compared behind `if`: `if ip.ttl < 2`", where="FROM")
RELATIONS = ("<", "<=", "==", "!=", ">=", ">")
HINTS = {
    "port": Hint("ports stand behind `from` or `to`: write `to port 80`", "to port"),
    "dport": Hint("write `to port …`", "to port"),
    "sport": Hint("write `from port …`", "from port"),
    "accept": _ALLOW,
    "permit": _ALLOW,
    "block": _DROP,
    "deny": _DROP,
    "where": _IF,
    "when": _IF,
    "not": Hint("`not` stands before the field: `not ip.ttl in { 1, 2 }`", where="RELATION"),
    ",": Hint("conditions are joined by `and` or `or`", where="AND"),
    **dict.fromkeys(RELATIONS, _COMPARED),
}
# Of signs that begin alike the longest first.
SIGNS = (
    Sign("=<", "RELATION", "<="),
    Sign("=>", "RELATION", ">="),
    Sign("=", "RELATION", "=="),
    Sign("&&", "AND", "and"),
    Sign("||", "OR", "or"),
    Sign("!", "NOT", "not"),
)


def hint(text: str, accepts: Collection[str]) -> Hint | None:
    """What to say of a piece of text where those terminals could follow."""
    found = HINTS.get(text)
    return found if found and (not found.where or found.where in accepts) else None


def sign(text: str, offset: int, accepts: Collection[str]) -> Sign | None:
    """The sign that begins at an offset, if those terminals could follow there."""
    return next((s for s in SIGNS if text.startswith(s.text, offset) and s.terminal in accepts), None)
