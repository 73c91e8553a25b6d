"""Docs to lines: what fits stays on one line, runs of lines share columns, lists are filled.

Knows widths and columns; must never know a word of the language.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, zip_longest

from .docs import Break, Comment, Doc, Listing, Word, first, last

WIDTH = 110
STEP = 2  # of indentation
HANG = 4  # further than the line that goes on
BESIDE = 2  # blanks before a comment


@dataclass
class Line:
    """One line of the result; `comment` stands behind its text."""

    indent: int
    text: str = ""
    comment: str | None = None

    @property
    def width(self) -> int:
        """Columns to the end of the text."""
        return self.indent + len(self.text)


@dataclass
class Item:
    """A statement or declaration in columns. `shape`: items of one shape share columns; `firm`: columns that
    they share in any case; `tail`: what stands in one more column, `gap` blanks behind the widest body, as
    far as there is room. Lines after the first begin `hang` further. Comments before and behind the whole
    move from its words to `lead` and `trail`; `apart`: an empty line stood right before its first word."""

    shape: str
    firm: list[list[Doc]]
    body: list[Doc]
    tail: list[Doc] = field(default_factory=list)
    gap: int = 1
    hang: int = HANG
    lead: list[Comment] = field(default_factory=list)
    trail: str | None = None
    apart: bool = False

    def __post_init__(self) -> None:
        begin, end = first(self.all[0]), last(self.all[-1])
        self.lead, begin.lead = begin.lead, []
        self.trail, end.trail = end.trail, None
        self.apart = begin.blank

    @property
    def rest(self) -> list[Doc]:
        """All behind the firm columns."""
        return self.body + self.tail

    @property
    def all(self) -> list[Doc]:
        """Everything."""
        return [doc for column in self.firm for doc in column] + self.rest

    @property
    def blank(self) -> bool:
        """Whether an empty line stood before it and its comments."""
        return self.lead[0].blank if self.lead else self.apart


def flat(docs: Iterable[Doc]) -> str | None:
    """Docs on one line; None when a comment forbids it."""
    out: list[str] = []
    return "".join(out).lstrip(" ") if _flatten(docs, out) else None


def _flatten(docs: Iterable[Doc], out: list[str]) -> bool:
    for doc in docs:
        for word in (doc,) if isinstance(doc, Word) else (doc.opening, *doc.commas, doc.closing):
            if word.lead or word.trail:
                return False
        if isinstance(doc, Word):
            out.append(" " + doc.text if doc.space else doc.text)
            continue
        out.append(" " + doc.opening.text if doc.opening.space else doc.opening.text)
        pad = " " if doc.padded and doc.items else ""
        for index, item in enumerate(doc.items):
            inner: list[str] = []
            if not _flatten(item, inner):
                return False
            out.append((", " if index else pad) + "".join(inner).lstrip(" "))
        out.append(pad + doc.closing.text)
    return True


class Pen:
    """Writes one item over several lines."""

    def __init__(self, indent: int, text: str = "") -> None:
        self.lines = [Line(indent, text)]

    @property
    def line(self) -> Line:
        """The line being written."""
        return self.lines[-1]

    def fresh(self, indent: int) -> None:
        """Go on at the beginning of a line."""
        if self.line.text:
            self.lines.append(Line(indent))
        else:
            self.line.indent = indent

    def comments(self, lead: list[Comment], indent: int) -> None:
        """Comments on lines of their own."""
        for comment in lead:
            self.fresh(indent)
            self.line.text = comment.text
            self.lines.append(Line(indent))

    def docs(self, docs: Sequence[Doc], hang: int) -> None:
        """Write docs; lines after the first one begin at column `hang`."""
        begin = 0
        for at in range(1, len(docs) + 1):
            if at == len(docs) or first(docs[at]).breaks is not Break.NEVER:
                self._piece(docs[begin:at], hang)
                begin = at

    def _piece(self, docs: Sequence[Doc], hang: int) -> None:
        """What stays on one line if it fits on one at all."""
        if not docs:
            return
        text = flat(docs)
        room = WIDTH - self.line.width - 1
        breaks = first(docs[0]).breaks
        fits = text is None or len(text) <= room or hang + len(text) > WIDTH
        if self.line.text and (breaks is Break.ALWAYS or (breaks is Break.IF_LONG and not fits)):
            self.fresh(hang)
        for at, doc in enumerate(docs):
            if isinstance(doc, Word):
                self._word(doc, hang)
            else:
                self._listing(doc, hang, 0 if at + 1 == len(docs) else 2)

    def _word(self, word: Word, hang: int) -> None:
        if word.lead:
            self.comments(word.lead, hang)
        elif self.line.comment:
            self.fresh(hang)
        self.line.text += " " + word.text if word.space and self.line.text else word.text
        self.line.comment = word.trail

    def _listing(self, listing: Listing, hang: int, behind: int) -> None:
        text = flat([listing])
        if text and (self.line.comment is None and self.line.width + 1 + len(text) + behind <= WIDTH):
            self.line.text += " " + text if listing.opening.space and self.line.text else text
            return
        self._word(listing.opening, hang)
        outer = self.line.indent
        inner = outer + STEP
        self.fresh(inner)
        commas = [self._comma(listing, index) for index in range(len(listing.items))]
        commented = any(comma and comma.trail for comma in commas)  # then lines belong together as written
        for item, comma in zip(listing.items, commas, strict=True):
            if commented and first(item[0]).fresh:
                self.fresh(inner)
            self._item(item, comma, inner)
        self.comments(listing.closing.lead, inner)
        self.fresh(outer)
        self.line.text = listing.closing.text
        self.line.comment = listing.closing.trail

    @staticmethod
    def _comma(listing: Listing, index: int) -> Word | None:
        """The comma behind an item, with the comment behind it."""
        if index < len(listing.commas):
            return listing.commas[index]
        if not listing.trailing:
            return None
        end = last(listing.items[index][-1])
        comma = Word(",", trail=end.trail, space=False)
        end.trail = None
        return comma

    def _item(self, item: list[Doc], comma: Word | None, indent: int) -> None:
        begin = first(item[0])
        lead, begin.lead = begin.lead, []
        self.comments(lead, indent)
        text = flat(item)
        if text is None or self.line.comment or self.line.width + len(text) + 2 > WIDTH:
            self.fresh(indent)
        begin.space = True
        self.docs(item, indent + HANG)
        if comma:
            self.line.text += ","
            self.line.comment = comma.trail


def run(items: Sequence[Item], indent: int) -> list[list[Line]]:
    """The lines of each item of a run: items one below the other, without an empty line between."""
    widths = {shape: _widths([i for i in items if i.shape == shape]) for shape in {i.shape for i in items}}
    result: list[list[Line]] = []
    loose: dict[str, list[_Loose]] = {}
    for item in items:
        head = _head(item, widths[item.shape])
        body, tail = flat(item.body), flat(item.tail)
        row = None
        if head is not None and body is not None and tail is not None:
            row = _Loose(Line(indent), (head + body).rstrip(), tail, item.gap)
        if row and indent + len(row.joined()) <= WIDTH:
            loose.setdefault(item.shape, []).append(row)
            result.append([row.line])
        else:
            pen = Pen(indent, (head or "")[:-1])
            pen.docs(item.rest if head is not None else item.all, indent + item.hang)
            result.append(pen.lines)
            _align(loose)
            loose = {}
    _align(loose)
    return result


@dataclass
class _Loose:
    """A line whose tail may move to the right."""

    line: Line
    body: str
    tail: str
    gap: int

    def joined(self, width: int = 0) -> str:
        """The text, with the tail behind `width` columns."""
        return self.body.ljust(width) + " " * self.gap + self.tail if self.tail else self.body


def _align(rows_by_shape: dict[str, list[_Loose]]) -> None:
    """Put tails into one column. As long as a line gets too long, the widest body stays out of it."""
    for rows in rows_by_shape.values():
        together = [row for row in rows if row.tail]
        for row in rows:
            row.line.text = row.joined()
        while together:
            width = max(len(row.body) for row in together)
            if all(row.line.indent + len(row.joined(width)) <= WIDTH for row in together):
                for row in together:
                    row.line.text = row.joined(width)
                break
            together = [row for row in together if len(row.body) < width]


def _widths(items: Sequence[Item]) -> list[int]:
    columns = zip_longest(*(item.firm for item in items), fillvalue=[])
    return [max(len(flat(docs) or "") for docs in column) for column in columns]


def _head(item: Item, widths: list[int]) -> str | None:
    """The firm columns as text; None when a comment stands in them."""
    head = ""
    for column, width in zip(item.firm, widths, strict=False):
        text = flat(column)
        if text is None:
            return None
        head += text.ljust(width) + " " if width else ""
    return head


def beside(lines: Sequence[Line]) -> list[str]:
    """Lines as text, comments of neighbouring lines in one column."""
    out: list[str] = []
    for (comment, indent, _), group in groupby(lines, _neighbourhood):
        run = list(group)
        column = max(line.width for line in run) + BESIDE
        for line in run:
            text = " " * indent + line.text
            out.append((text.ljust(column) + (line.comment or "") if comment else text).rstrip())
    return out


def _neighbourhood(line: Line) -> tuple[bool, int, str]:
    """What lines have in common whose comments share a column; one that opens or closes something stands
    alone."""
    opens = line.text[-1:] in ("{", "[", "(")
    return line.comment is not None, line.indent, line.text if opens or line.text[:1] == "}" else ""
