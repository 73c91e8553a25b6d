"""What is written, ready to be laid out: words with their comments, lists in brackets.

Knows which signs stand close to their neighbours and where a long sentence may break; must never know what a
declaration or a rule looks like as a whole (`format.py`). Comments belong to words by position: those on
lines of their own to the word behind them, one behind a word on its line to that word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

from lark import Token

from .nodes import Node

_GAP = re.compile(r"\n|#[^\n]*")
_CLOSING = {"{": "}", "[": "]", "ns[": "]", "(": ")"}
# Signs without blanks around them, by the rule in which they stand.
_TIGHT = {
    "portrange": frozenset("-"),
    "value": frozenset("-"),
    "per": frozenset("/,"),
    "flags": frozenset("/"),
    "flag": frozenset("!"),
    "mark": frozenset("/"),
    "label": frozenset("="),
    "label_not": frozenset({"!="}),
}
# Rules in whose lists the last item may have a comma behind it, too.
_TRAILING_COMMA = frozenset(
    {"netset", "portset", "typeset", "numbers", "deviceset", "at_cgroup", "setting"}
    | {"template", "use", "vlan", "member"}
)
# Parts of a sentence that may begin a new line when it is long.
_BREAKS = frozenset(
    {"from", "to", "type", "flags", "vlan", "flow_state", "where", "count", "log", "limit", "via", "into"}
    | {"mark", "dscp", "with", "expires", "ticket", "by", "default", "attr_text", "attr_word", "attr_number"}
    | {"at_interface", "at_cgroup", "at_labels", "for_labels", "SIGN", "AND", "OR"}
)


class Break(Enum):
    """Whether a line ends before a word: only where there is no room; or wherever the item has several."""

    NEVER = 0
    IF_LONG = 1
    ALWAYS = 2


@dataclass
class Comment:
    """`text` with its `#`; `blank`: an empty line stood before it."""

    text: str
    blank: bool = False


@dataclass
class Word:
    """A token. `lead`: comments on their own lines before it; `trail`: the one behind it on its line;
    `fresh`: it began a line; `blank`: behind an empty one; `space`: a blank comes between it and the word
    before."""

    text: str
    lead: list[Comment] = field(default_factory=list)
    trail: str | None = None
    fresh: bool = False
    blank: bool = False
    space: bool = True
    breaks: Break = Break.NEVER


@dataclass
class Listing:
    """Items between brackets. `trailing`: a comma may stand behind the last one."""

    opening: Word
    items: list[list[Doc]]
    commas: list[Word]
    closing: Word
    padded: bool
    trailing: bool


Doc = Word | Listing
Parts = list[tuple[str, list[Doc]]]


def first(doc: Doc) -> Word:
    """The word with which something begins."""
    return doc.opening if isinstance(doc, Listing) else doc


def last(doc: Doc) -> Word:
    """The word with which something ends."""
    return doc.closing if isinstance(doc, Listing) else doc


class Writing:
    """The words of a source by token, and trees as docs."""

    def __init__(self, text: str, root: Node) -> None:
        tokens = list(_tokens(root))
        self._words: dict[int, Word] = {}
        self.end = Word("")
        at, before = 0, None
        for token in tokens:
            word = Word(str(token))
            _comments(text[at : token.start_pos], before, word)
            self._words[id(token)] = before = word
            at = token.end_pos or 0
        _comments(text[at:], before, self.end)
        self._comments_of_commas([*self._words.values(), self.end])

    @staticmethod
    def _comments_of_commas(words: list[Word]) -> None:
        """A comma follows its word at once, so comments on both sides of it go behind it."""
        for before, comma, after in zip(words, words[1:], words[2:], strict=False):
            if comma.text != ",":
                continue
            found = [Comment(c) for c in (before.trail,) if c] + comma.lead
            found += [Comment(c) for c in (comma.trail,) if c]
            beside = before.trail is not None or not comma.lead
            before.trail, comma.lead, comma.trail = None, [], None
            if found and beside:
                comma.trail = found.pop(0).text
            after.lead[:0] = found

    def docs(self, node: Node) -> list[Doc]:
        """All of a tree."""
        return [doc for _, docs in self.parts(node) for doc in docs]

    def parts(self, node: Node) -> Parts:
        """The children of a tree: rule or terminal, and its docs. What lies in brackets is one part, called
        as its opening bracket."""
        parts = self._parts(node.data, node.children)
        for (_, before), (name, docs) in pairwise(parts):
            if not (before and docs):
                continue
            word = first(docs[0])
            word.space = _space(node.data, last(before[-1]).text, word.text)
            if name in _BREAKS:
                word.breaks = Break.IF_LONG
        if node.data == "flags" and any(name == "SLASH" for name, _ in parts):
            for doc in (doc for _, docs in parts for doc in docs[1:]):
                first(doc).space = False
        return parts

    def word(self, token: Token) -> Word:
        """The word of a token."""
        return self._words[id(token)]

    def _parts(self, rule: str, children: list[Token | Node]) -> Parts:
        parts: Parts = []
        at = 0
        while at < len(children):
            child = children[at]
            end = _closing(children, at)
            if end is not None:
                parts.append((str(child), [self._listing(rule, children[at : end + 1])]))
                at = end
            elif isinstance(child, Token):
                parts.append((child.type, [self.word(child)]))
            else:
                parts.append((child.data, self.docs(child)))
            at += 1
        return parts

    def _listing(self, rule: str, children: list[Token | Node]) -> Listing:
        opening, *inner, closing = children
        assert isinstance(opening, Token) and isinstance(closing, Token)
        items: list[list[Doc]] = [[]]
        commas: list[Word] = []
        for _, docs in self.parts(Node(rule, inner, None, None)):
            if len(docs) == 1 and first(docs[0]).text == ",":
                commas.append(first(docs[0]))
                items.append([])
            else:
                items[-1] += docs
        return Listing(
            self.word(opening),
            [item for item in items if item],
            commas,
            self.word(closing),
            padded=str(opening) == "{",
            trailing=rule in _TRAILING_COMMA,
        )


def _tokens(node: Node) -> Iterator[Token]:
    for child in node.children:
        if isinstance(child, Token):
            yield child
        else:
            yield from _tokens(child)


def _closing(children: list[Token | Node], at: int) -> int | None:
    """Index of the bracket that closes the one at `at`; None when there is none."""
    if children[at] not in _CLOSING:
        return None
    depth = 0
    for index in range(at, len(children)):
        depth += (children[index] in _CLOSING) - (children[index] in _CLOSING.values())
        if depth == 0:
            return index
    return None


def _space(rule: str, before: str, after: str) -> bool:
    """Whether a blank comes between two words that a rule puts side by side."""
    if after in (",", ")", "]") or before in ("(", "[", "ns["):
        return False
    if after == "(" and rule in ("template", "use"):
        return False
    if after == ":" and rule == "parameter":
        return False
    return not {before, after} & _TIGHT.get(rule, frozenset())


def _comments(gap: str, before: Word | None, after: Word) -> None:
    """Give the comments between two words to them."""
    ends = 0 if before else 1
    for match in _GAP.finditer(gap):
        if match.group() == "\n":
            ends += 1
            continue
        text = match.group().rstrip()
        if ends == 0 and before:
            before.trail = text
        else:
            after.lead.append(Comment(text, blank=ends > 1))
        ends = 0
    after.fresh, after.blank = ends > 0, ends > 1
