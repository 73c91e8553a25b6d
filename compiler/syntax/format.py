"""The one style: two blanks of indentation, one statement a line, columns, 110 characters.

Knows what declarations, rules and expectations look like; how lines are made is `layout.py`, what belongs to
what is `docs.py`. Changes blanks, line ends and the comma behind the last item of a list, nothing else: every
construct that the grammar reads is covered, those without meaning yet, too.
"""

from __future__ import annotations

from collections.abc import Callable

from ..diagnostics import Sink
from ..source import Source
from .docs import Break, Comment, Doc, Word, Writing, first
from .layout import STEP, Item, Line, beside, flat, run
from .nodes import Node
from .parse import concrete

BLOCKS = frozenset({"policy", "template", "failsafe", "test", "balance", "block"})
OPTIONS = frozenset({"count", "log", "limit", "expires", "ticket"})  # those that stand in a column
OPTION_GAP = 2


def format_source(source: Source, sink: Sink) -> str | None:
    """The text in the one style; None after complaints, when it is no policy."""
    root = concrete(source, sink)
    return None if root is None else _Format(source.text, root).text()


class _Format:
    def __init__(self, text: str, root: Node) -> None:
        self.root = root
        self.writing = Writing(text, root)

    def text(self) -> str:
        lines = self._items(self.root.children, self.writing.end, 0)
        return "".join(f"{line}\n" for line in beside(lines))

    # ---- blocks ----

    def _items(self, nodes: list[Node], end: Word, indent: int) -> list[Line]:
        """Statements one below the other, then the comments before the word that ends them."""
        lines: list[Line] = []
        together: list[Item] = []

        def flush() -> None:
            for item, own in zip(together, run(together, indent), strict=True):
                _put(lines, item, own, indent)
            together.clear()

        for node in nodes:
            if node.data in BLOCKS:
                flush()
                self._block(node, lines, indent)
                continue
            item = self._item(node)
            if item.blank:
                flush()
            together.append(item)
        flush()
        _comments(lines, end.lead, indent)
        while lines and not lines[0].text:
            del lines[0]
        return lines

    def _block(self, node: Node, lines: list[Line], indent: int) -> None:
        """`… {`, statements, `}`."""
        opens = next(i for i, child in enumerate(node.children) if child == "{")
        closing = self.writing.word(node.children[-1])
        header = Node(node.data, node.children[: opens + 1], None, None)
        docs = self.writing.docs(header)
        end, closing.trail = closing.trail, None
        inner = [child for child in node.children[opens + 1 : -1] if isinstance(child, Node)]
        item = Item("block", [], docs)
        if not inner and not item.trail and not closing.lead:
            item.body.append(Word("}", space=False))
            item.trail = end
            _put(lines, item, run([item], indent)[0], indent)
            return
        _put(lines, item, run([item], indent)[0], indent)
        lines += self._items(inner, closing, indent + STEP)
        lines.append(Line(indent, "}", end))

    # ---- statements ----

    def _item(self, node: Node) -> Item:
        make = _ITEMS.get(node.data)
        return make(self, node) if make else Item(node.data, [], self.writing.docs(node))

    def declaration(self, node: Node) -> Item:
        """`network NAME` and `= …`: declarations of all kinds share the column of `=`."""
        parts = self.writing.parts(node)
        equals = next(i for i, (name, _) in enumerate(parts) if name == "EQUAL")
        value = parts[equals + 1 :]
        several = [docs for name, docs in value if name != "COMMA"]
        if node.data == "service" and len(several) > 1:
            for docs in several:
                first(docs[0]).breaks = Break.ALWAYS
        item = Item("declaration", [], _all(parts[:equals]), _all(parts[equals:]))
        item.hang = STEP if node.data == "service" else item.hang
        return item

    def attribute(self, node: Node) -> Item:
        """A word and its value."""
        key, *value = self.writing.docs(node)
        return Item("attribute", [[key]], value)

    def rule(self, node: Node) -> Item:
        """`LABEL:`, the action, the sentence, the options; of a `use`, the label and the rest."""
        parts = self.writing.parts(node)
        label = parts.pop(0)[1] if parts[0][0] == "RULE_NAME" else []
        if node.data == "use":
            return Item("rule", [label], _all(parts))
        (_, action), *rest = parts
        options = len(rest)
        while options and rest[options - 1][0] in OPTIONS:
            options -= 1
        return Item("rule", [label, action], _all(rest[:options]), _all(rest[options:]), OPTION_GAP)

    def expect(self, node: Node) -> Item:
        """`expect`, a direction, the action, the packet, `by …`."""
        parts = self.writing.parts(node)
        if any(name == "outcome_reply" for name, _ in parts):
            return Item("reply", [], _all(parts))
        start = next(i for i, (name, _) in enumerate(parts) if name == "EXPECT") + 1
        by = parts.pop()[1] if parts[-1][0] == "by" else []
        lead = _all(parts[:start])
        direction = parts[start][1] if parts[start][0] == "DIRECTION" else []
        action, *packet = parts[-1][1]
        return Item(f"expect {flat(lead)}", [lead, direction, [action]], packet, by, OPTION_GAP)

    def claim(self, node: Node) -> Item:
        """`assert`, a direction, the action, the packets."""
        word, *rest = self.writing.parts(node)
        direction = rest.pop(0)[1] if rest[0][0] == "DIRECTION" else []
        (_, action), *packets = rest
        return Item("assert", [word[1], direction, action], _all(packets))


_ITEMS: dict[str, Callable[[_Format, Node], Item]] = {
    **dict.fromkeys(("network", "ports", "service", "interface", "proxy", "given"), _Format.declaration),
    **dict.fromkeys(("default", "attr_text", "attr_word", "attr_number", "setting"), _Format.attribute),
    **dict.fromkeys(("rule", "use"), _Format.rule),
    "expect": _Format.expect,
    "assert": _Format.claim,
}


def _all(parts: list[tuple[str, list[Doc]]]) -> list[Doc]:
    return [doc for _, docs in parts for doc in docs]


def _put(lines: list[Line], item: Item, own: list[Line], indent: int) -> None:
    """Add an item's lines, with its comments and the empty line before it."""
    _comments(lines, item.lead, indent)
    if item.apart and lines:
        lines.append(Line(indent))
    lines += own
    lines[-1].comment = item.trail or lines[-1].comment


def _comments(lines: list[Line], comments: list[Comment], indent: int) -> None:
    for comment in comments:
        if comment.blank and lines:
            lines.append(Line(indent))
        lines.append(Line(indent, comment.text))
