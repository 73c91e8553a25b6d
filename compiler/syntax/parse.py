"""Source to syntax tree, with one message for each slip.

Drives the LALR parser token by token. A misspelt keyword is repaired on the spot; after any other slip the
unfinished part is dropped and reading goes on at the next statement (`recover.py`). With `grammars.py` and
`build.py` the only place that knows lark; none of its texts reach a user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lark import Token
from lark.exceptions import UnexpectedCharacters, UnexpectedToken
from lark.parsers.lalr_analysis import Shift

from .. import errors
from ..diagnostics import Sink
from ..errors.base import nearest, shorten, surely
from ..source import Source, Span
from . import build, foreign, grammars, recover, words
from .nodes import Node
from .tree import Module

MAX_NESTING = 64
PIECE = 1 << 15  # characters read between two tellings
MAX_SLIPS = 50
END = "$END"
_STATEMENT = frozenset({"OWNER", "EXPECT", "NETWORK", "ACTION"})  # one of them can begin a statement
_WORD = re.compile(r"[A-Za-z_][\w.-]*")
_UNCLOSED = re.compile(r'"(?:[^"\n{},\s]|[ \t]+(?=[^"\n{},\s]))*')
_MEANINGLESS = re.compile(r'[^\w\s"#{}()\[\],=+\-/!<>:.]+')
_BEFORE_VALUES = frozenset({"RELATION", "IN", "LBRACE", "COMMA"})
_CONNECTIVES = frozenset({"and", "or", "in"})


def parse(source: Source, sink: Sink) -> Module:
    """The module that a source says. Complaints go to `sink`; what could not be read is left out and listed
    in `Module.skipped`. Never raises for any text."""
    parser = _Parse(source, sink)
    root = parser.run()
    skipped = tuple(parser.skipped)
    return Module(source, (), skipped) if root is None else build.build(source, root, skipped)


def concrete(source: Source, sink: Sink) -> Node | None:
    """What a source says with every token of it, for those who care how it is written; None after a
    complaint."""
    root = _Parse(source, sink, whole=True).run()
    return None if sink.has_errors else root


@dataclass(frozen=True)
class Unfinished:
    """A word or a finished part that what comes belongs to: name of its terminal or rule, its first word."""

    kind: str
    text: str


@dataclass(frozen=True)
class Ahead:
    """What can follow a text: names of terminals. `behind`: what is unfinished, the last first."""

    terminals: frozenset[str]
    behind: tuple[Unfinished, ...]


def ahead(source: Source) -> Ahead:
    """What can stand where a source ends, whatever slips it has before."""
    parser = _Parse(source, Sink())
    parser.read()
    return Ahead(frozenset(parser._accepts()), tuple(map(_unfinished, reversed(parser.state.value_stack))))


def _unfinished(value: Token | Node) -> Unfinished:
    if isinstance(value, Token):
        return Unfinished(value.type, str(value))
    return Unfinished(value.data, next((str(c) for c in value.children if isinstance(c, Token)), ""))


class _Parse:
    def __init__(self, source: Source, sink: Sink, *, whole: bool = False) -> None:
        self.source, self.text, self.sink = source, source.text, sink
        lark = grammars.load("policy")
        self.keywords: dict[str, tuple[str, ...]] = grammars.keywords("policy") | words.MANY_WORDS
        self.known_words = frozenset(word for words_ in self.keywords.values() for word in words_)
        session = lark.parse_interactive(self.text)
        self.state: Any = session.parser_state
        self.state.parse_conf.callbacks = grammars.callbacks("policy", whole=whole)
        self.lexer: Any = session.lexer_thread
        self.tokens: Iterator[Token] = iter(())
        self.skipped: list[Span] = []
        self.openers: list[Token] = []
        self.previous: Token | None = None
        self.negations = self.slips = 0
        self.restarted_at = -1
        self.blamed = False  # nothing has been read since a sign that was complained about
        self.told = 0  # characters that were told to be read
        self._continue_at(0)

    def run(self) -> Node | None:
        """The root of what was read; None when reading was given up."""
        return self._end() if self.read() else None

    def read(self) -> bool:
        """Read to the end; False when reading was given up."""
        while True:
            try:
                token = next(self.tokens, None)
                if token is None:
                    return True
                if token.type == "NAME" and str(token) in words.ACTIONS:
                    token.type = "ACTION"  # begins a statement wherever it stands
                if self.sink.reached and (token.start_pos or 0) >= self.told + PIECE:
                    self.told = token.start_pos or 0
                    self.sink.reached(self.source, self.told)
                if self._too_deep(token):
                    self._give_up(token.start_pos or 0)
                    return False
                if self._begins_the_next(token):
                    self._slip(token.start_pos or 0)
                else:
                    self.state.feed_token(token)
                    self.previous, self.blamed = token, False
            except UnexpectedToken as slip:
                self._slip(int(slip.token.start_pos or 0))
            except UnexpectedCharacters as slip:
                self._bad_character(slip.pos_in_stream or 0)
            if self.slips >= MAX_SLIPS:
                self._give_up(self.lexer.state.line_ctr.char_pos)
                return False

    # ---- the end ----

    def _end(self) -> Node:
        end = len(self.text)
        if self.sink.reached:
            self.sink.reached(self.source, end)
        if END not in self._accepts():
            last = len(self.text.rstrip())
            opener = self._span(self.openers[-1]) if self.openers else None
            expected = "`}`" if self.openers else words.expectation(self._accepts())
            if not self.skipped or self.skipped[-1].end < last:
                self._complain(
                    errors.UnfinishedText(Span(self.source, max(last - 1, 0), last), expected, opener)
                )
            start = self._drop_until(END, end)
            self.skipped.append(Span(self.source, start, end))
        root: Node = self.state.feed_token(Token(END, "", start_pos=end, end_pos=end), True)
        return root

    def _give_up(self, offset: int) -> None:
        self.skipped.append(Span(self.source, 0, max(offset, len(self.text))))

    # ---- slips ----

    def _begins_the_next(self, token: Token) -> bool:
        """Whether a word that could be a name or a value in an unfinished sentence is the beginning of the
        next one, or joins conditions of which one is missing."""
        offset = token.start_pos or 0
        if token.type == "ACTION" and self.previous is not None and recover.starts_line(self.text, offset):
            if self.previous.type == "TYPE":
                return True  # `type`, a line end, `drop`
            return self.previous.type in _BEFORE_VALUES and self._no_value(token)
        if token.type == "NAME" and str(token) in _CONNECTIVES:
            accepts = self._accepts()
            return {"NAME", "LPAR", "NOT"} <= accepts and "ADDRESS" not in accepts
        return token.type == "NAME" and recover.begins_sentence(self.text, offset)

    def _no_value(self, token: Token) -> bool:
        """Whether an action would be taken for a value that no field has."""
        states = self.state.state_stack
        begins = self._follows("ACTION", states, begins=True)
        return str(token) != words.TYPE_AND_ACTION and not begins and self._follows("ACTION", states)

    def _slip(self, offset: int) -> None:
        """A token that cannot follow: repair it, or say so and go on at the next statement."""
        span = Span(self.source, offset, recover.piece_at(self.text, offset))
        accepts = self._accepts()
        if self._translate(offset, accepts):
            return
        hint = foreign.hint(span.text, accepts)
        help_, instead = (hint.text, hint.instead) if hint else (None, None)
        if _WORD.fullmatch(span.text) and span.text not in self.known_words:
            known = [(word, None) for name in sorted(accepts) for word in self.keywords.get(name, ())]
            near = None if hint or "." in span.text else nearest(span.text, known)
            if near is not None and self._substitute(span, near[0], accepts):
                return
            begins = recover.starts_line(self.text, offset) and offset != self.restarted_at
            if span.text in foreign.ACTIONS or (begins and accepts & _STATEMENT and "FROM" not in accepts):
                remedy = help_ or f"expected {words.expectation(accepts)}"
                self._complain(errors.UnknownWord(span.text, span, instead, remedy))
                self._restart(span.end)
                return
        if self._negates(offset, accepts):
            return
        if offset != self.restarted_at and not self.blamed and not self._blame_previous(offset):
            found, expected = f"`{shorten(span.text, 30)}`", words.expectation(accepts)
            unfinished = self._unfinished(offset, accepts)
            self._complain(
                errors.UnexpectedText(found, span, expected, help_, instead, unfinished=unfinished)
            )
            if span.text in foreign.RELATIONS and self.previous is not None and self.previous.type == "NAME":
                self.skipped.append(Span(self.source, self.previous.start_pos or 0, offset))
        self._restart(offset)

    def _unfinished(self, offset: int, accepts: set[str]) -> tuple[Span, str] | None:
        """What a sentence lacks its rest behind, when the next line has begun."""
        whole = accepts & {"EXPECT", "POLICY"} or self._follows("ACTION", self.state.state_stack, begins=True)
        if whole or self.previous is None or not recover.starts_line(self.text, offset):
            return None
        if self.openers and ("RPAR" in accepts or {"COMMA", "RBRACE"} <= accepts):
            return self._span(self.openers[-1]), "opened here"
        return self._span(self.previous), "unfinished here"

    def _translate(self, offset: int, accepts: set[str]) -> bool:
        """Read a sign of another language as what it means here, and go on behind it."""
        found = foreign.sign(self.text, offset, accepts)
        if found is None:
            return False
        end = offset + len(found.text)
        expected, span = words.expectation(accepts), Span(self.source, offset, end)
        instead = found.word
        if instead.isalpha():
            before, behind = self.text[offset - 1 : offset], self.text[end : end + 1]
            instead = " " * (not before.isspace() and before != "(") + instead + " " * (not behind.isspace())
        help_ = f"write `{found.word}`"
        self._complain(errors.UnexpectedText(f"`{found.text}`", span, expected, help_, instead, sure=True))
        token = Token(found.terminal, found.word, start_pos=offset, end_pos=end)
        self.state.feed_token(token)
        self.previous, self.blamed = token, False
        self._continue_at(end)
        return True

    def _negates(self, offset: int, accepts: set[str]) -> bool:
        """`if nto ip6.routing`: `nto` was read as a field. Read it as `not`, and go on."""
        states, values = self.state.state_stack, self.state.value_stack
        previous = self.previous
        if "RELATION" not in accepts or previous is None or values[-1] is not previous:
            return False
        if not surely(str(previous), "not", [("not", None)]) or not _WORD.match(self.text, offset):
            return False
        states.pop()
        values.pop()
        self._complain(errors.UnknownWord(str(previous), self._span(previous), "not", sure=True))
        self.state.feed_token(Token.new_borrow_pos("NOT", "not", previous))
        self._continue_at(offset)
        return True

    def _substitute(self, span: Span, word: str, accepts: set[str]) -> bool:
        """Read a misspelt keyword as the one that was meant, and go on behind it."""
        terminal = next(name for name in sorted(accepts) if word in self.keywords.get(name, ()))
        token = Token(terminal, word, start_pos=span.start, end_pos=span.end)
        try:
            self.state.feed_token(token)
        except UnexpectedToken:
            return False
        self.previous, self.blamed = token, False
        known = [(w, None) for name in accepts for w in self.keywords.get(name, ())]
        sure = surely(span.text, word, known)
        remedy = f"expected {words.expectation(accepts)}"
        self._complain(errors.UnknownWord(span.text, span, word, remedy, sure))
        self._continue_at(span.end)
        return True

    def _blame_previous(self, offset: int) -> bool:
        """`drop form 10.0.0.0/8`: `form` was read as a service; `from to 10.0.0.1`: `to` as a network. The
        complaint is about the word in front, and rules do not hear of that name."""
        previous = self.previous
        if previous is None or previous.type != "NAME" or len(previous) < 2:
            return False
        parts = ("from", "to", "port", "flags", "type", "if")
        near = nearest(str(previous), [(word, None) for word in parts])
        if near is None:
            return False
        span = self._span(previous)
        if near[0] == previous:
            self._complain(
                errors.UnexpectedText(f"`{previous}`", span, "something between this and the word before")
            )
        else:
            sure = surely(str(previous), near[0], [(word, None) for word in parts])
            self._complain(errors.UnknownWord(str(previous), span, near[0], sure=sure))
        self.skipped.append(Span(self.source, span.start, offset))
        return True

    def _bad_character(self, offset: int) -> None:
        """A sign outside the language is left out; a string without an end takes the rest of its line."""
        if self.text[offset] == '"':
            self._string_without_end(offset)
            return
        if self._translate(offset, self._accepts()):
            return
        match = _MEANINGLESS.match(self.text, offset)
        end = match.end() if match else offset + 1
        if match:
            self._complain(errors.BadCharacter(Span(self.source, offset, offset + 1)))
            self.blamed = True
            self._continue_at(end)
        else:
            self._slip(offset)

    def _string_without_end(self, offset: int) -> None:
        """Read it as if it ended before the next brace or comma, or at the end of its line."""
        found = _UNCLOSED.match(self.text, offset)
        end = found.end() if found else offset + 1
        closing = Span(self.source, end, end)
        self._complain(errors.BadCharacter(Span(self.source, offset, offset + 1), closing))
        if "STRING" in self._accepts():
            string = Token("STRING", self.text[offset:end] + '"', start_pos=offset, end_pos=end)
            self.state.feed_token(string)
            self.previous = string
            self._continue_at(end)
        else:
            self._restart(end)

    def _complain(self, error: errors.Finding) -> None:
        self.slips += 1
        self.sink.add(error.diagnostic())

    # ---- going on ----

    def _restart(self, offset: int) -> None:
        """Drop what is unfinished and go on at the next statement, always further than last time."""
        place = recover.restart(self.text, offset)
        if place == offset and self.previous is not None and self.previous.type == "LBRACE":
            place = recover.restart(self.text, recover.piece_at(self.text, offset))  # `in { }`
        if place <= self.restarted_at:
            place = recover.restart(self.text, recover.piece_at(self.text, self.restarted_at))
        self.restarted_at, self.previous = place, None
        if place == len(self.text):
            self.skipped.append(Span(self.source, offset, place))
        else:
            piece = self.text[place : recover.piece_at(self.text, place)]
            self.skipped.append(Span(self.source, self._drop_until(self._terminal(piece), place), place))
        self._continue_at(place)

    def _terminal(self, piece: str) -> str:
        if piece == "}":
            return "RBRACE"
        if piece in foreign.ACTIONS:
            return "ACTION"
        if piece.endswith(":"):
            return "RULE_NAME"
        meant = recover.meant(piece) or piece
        return next((name for name, ws in sorted(self.keywords.items()) if meant in ws), END)

    def _drop_until(self, terminal: str, offset: int) -> int:
        """Drop unfinished parts until `terminal` can follow; leaves everything when it never can. Gives the
        offset where the dropped text begins. A comparison without its value goes with its field; `}` ends one
        that has values."""
        states, values = self.state.state_stack, self.state.value_stack
        half = [n for n, value in enumerate(values) if getattr(value, "type", "") in ("RELATION", "IN")]
        top = half[-1] if half and terminal != "RBRACE" else len(states)
        keep = next((n for n in range(top, 0, -1) if self._follows(terminal, states[:n], begins=True)), None)
        if keep is None:
            return offset
        starts = [start for value in values[keep - 1 :] if (start := _start(value)) is not None]
        del states[keep:], values[keep - 1 :]
        begin = min(starts, default=offset)
        self.openers = [o for o in self.openers if (o.start_pos or 0) < begin]
        return begin

    def _continue_at(self, offset: int) -> None:
        self.lexer.state.line_ctr.char_pos = offset
        self.tokens = self.lexer.lex(self.state)

    def _too_deep(self, token: Token) -> bool:
        """Keep count of open brackets and of `not` after `not`; complain when there are too many."""
        if token.type in ("LBRACE", "LPAR", "LSQB"):
            self.openers.append(token)
        elif token.type in ("RBRACE", "RPAR", "RSQB") and self.openers:
            self.openers.pop()
        self.negations = self.negations + 1 if token.type == "NOT" else 0
        if len(self.openers) + self.negations <= MAX_NESTING:
            return False
        self._complain(errors.TooDeep(self._span(token), MAX_NESTING))
        return True

    def _accepts(self) -> set[str]:
        """Terminals that can come next."""
        states = self.state.state_stack
        table = self.state.parse_conf.parse_table.states[states[-1]]
        return {name for name in table if (name.isupper() or name == END) and self._follows(name, states)}

    def _follows(self, terminal: str, states: list[Any], *, begins: bool = False) -> bool:
        """Whether a terminal can come after a stack of states: its reductions are tried on a copy, since the
        table alone allows more than can follow. `begins`: an action has to begin a rule or an outcome, and
        not to be a value, where a name can stand, too."""
        table, stack = self.state.parse_conf.parse_table, list(states)
        while True:
            if terminal == END and stack[-1] == self.state.parse_conf.end_state:
                return True
            row = table.states[stack[-1]]
            action, target = row.get(terminal, (None, None))
            if action is None:
                return False
            if action is Shift:
                return not (begins and terminal == "ACTION" and "NAME" in row)
            if target.expansion:
                del stack[-len(target.expansion) :]
            stack.append(table.states[stack[-1]][target.origin.name][1])

    def _span(self, token: Token) -> Span:
        return Span(self.source, token.start_pos or 0, token.end_pos or 0)


def _start(value: Any) -> int | None:
    """Where a value of the parser's stack begins; None for an empty one."""
    start: int | None = value.start_pos
    return start
