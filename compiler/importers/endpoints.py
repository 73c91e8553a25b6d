"""Policies for endpoints as importers make them, and their text.

Like `model.py` and `write.py` for policies at interfaces: knows tiers, selectors, peers and how they are
written; must never know a source language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lockgate.stdlib_bpf.labels import LabelTest, Selector

from ..source import Span
from ..syntax import words
from ..syntax.docs import Break, Doc, Listing, Word
from ..syntax.layout import STEP, Item, Line, beside, flat, run
from .sentence import listing

OPTION_GAP = 2
LONG = 30  # characters of a network that gets a name when it comes again
_PLAIN = re.compile(r"[A-Za-z_]\w*(?:[.-]\w+)*\Z")
_OTHER = re.compile(r"[^A-Za-z0-9_]+")
QUOTED = frozenset({"in", "not", "has", "lacks", *words.ACTIONS, *words.DIRECTIONS})


# ---- networks ----


@dataclass(frozen=True)
class Chosen:
    """The addresses of workloads that a selector takes."""

    selector: Selector


@dataclass(frozen=True)
class Prefix:
    """An address or prefix, or a word for a group of addresses, such as `nodes` or `any`."""

    text: str


@dataclass(frozen=True)
class AnyOf:
    """Whatever is in one of them."""

    items: tuple[Net, ...]


@dataclass(frozen=True)
class Less:
    """What is in `base` and in none of `taken`."""

    base: Net
    taken: tuple[Net, ...]


@dataclass(frozen=True)
class Other:
    """`not`: every other address of the families."""

    net: Net


Net = Chosen | Prefix | AnyOf | Less | Other


def any_of(items: Iterable[Net]) -> Net:
    """One of them, or the only one."""
    found = tuple(dict.fromkeys(items))
    return found[0] if len(found) == 1 else AnyOf(found)


# ---- policies ----


@dataclass(frozen=True)
class EndpointRule:
    """One rule. `kinds`: words such as `tcp` or `protocol 47`; `ports` and `sports`: as written, of the
    destination and the source; `more`: conditions as pieces of text, the first word of each may begin a
    line."""

    action: str
    kinds: tuple[str, ...] = ()
    source: Net | None = None
    target: Net | None = None
    sports: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    log: bool = False
    label: str = ""
    comment: str = ""


@dataclass(frozen=True)
class EndpointPolicy:
    """One policy. `attributes`: key and value; `blocks`: direction → rules; a direction that is there without
    rules selects all the same. `head`: comments before it."""

    name: str
    subject: Selector
    attributes: tuple[tuple[str, str], ...]
    blocks: tuple[tuple[str, tuple[EndpointRule, ...]], ...]
    head: tuple[str, ...] = ()
    span: Span | None = None


@dataclass
class EndpointFile:
    """A whole file. `tiers`: their names, none for a file without that line, and what stands behind them."""

    head: list[str] = field(default_factory=list)
    tiers: tuple[str, ...] = ()
    policies: list[EndpointPolicy] = field(default_factory=list)


# ---- words ----


def word(text: str) -> str:
    """A key or value of a label, in quotes where the language wants some."""
    plain = _PLAIN.match(text) and text not in QUOTED and not text.startswith("ns.")
    return text if plain else f'"{text}"'


def slug(text: str) -> str:
    """A name for a policy like `text`."""
    made = _OTHER.sub("-", text).strip("-")
    return made if made and (made[0].isalpha() or made[0] == "_") else f"policy-{made}"


def selector_docs(selector: Selector) -> list[Doc]:
    """`[app=db] ns[name=shop]`."""
    own = [t for t in selector.tests if not t.of_namespace]
    theirs = [t for t in selector.tests if t.of_namespace]
    out: list[Doc] = [Word("hosts")] if selector.kind == "host" else []
    out.append(_bracket("[", own))
    return [*out, _bracket("ns[", theirs)] if theirs else out


def _bracket(opening: str, tests: Sequence[LabelTest]) -> Listing:
    commas = [Word(",", space=False) for _ in tests[1:]]
    return Listing(Word(opening), [_test(t) for t in tests], commas, Word("]"), padded=False, trailing=False)


def _test(test: LabelTest) -> list[Doc]:
    key = word(test.key)
    if not test.values:
        return [Word("lacks" if test.negated else "has"), Word(key)]
    if len(test.values) == 1:
        sign = "!=" if test.negated else "="
        return [Word(key), Word(sign, space=False), Word(word(test.values[0]), space=False)]
    relation: list[Doc] = [Word("not"), Word("in")] if test.negated else [Word("in")]
    values: list[list[Doc]] = [[Word(word(v))] for v in test.values]
    commas = [Word(",", space=False) for _ in values[1:]]
    return [Word(key), *relation, Listing(Word("{"), values, commas, Word("}"), padded=True, trailing=False)]


def net_docs(net: Net) -> list[Doc]:
    """A network as words."""
    match net:
        case Chosen(selector):
            return selector_docs(selector)
        case Prefix(text):
            return [Word(text)]
        case AnyOf(items):
            return [listing([net_docs(item) for item in items])]
        case Less(base, taken):
            inside = _one_term(any_of(taken))
            return [*_one_term(base), Word("-", breaks=Break.IF_LONG), *inside]
        case Other(inner):
            return [Word("not"), *_one_term(inner)]


def _one_term(net: Net) -> list[Doc]:
    return [listing([net_docs(net)])] if isinstance(net, Less | Other) else net_docs(net)


# ---- the file ----


class Writer:
    """Writes one file, with names for networks and ports that come more than once."""

    def __init__(self, file: EndpointFile) -> None:
        self.file = file
        self.names: dict[Net, str] = {}
        self.port_names: dict[tuple[str, ...], str] = {}
        self._taken: set[str] = set()
        self._name()

    def _name(self) -> None:
        nets: Counter[Net] = Counter()
        ports: Counter[tuple[str, ...]] = Counter()
        first: dict[Net | tuple[str, ...], str] = {}
        for policy in self.file.policies:
            for _, rules in policy.blocks:
                for rule in rules:
                    for net in (rule.source, rule.target):
                        if net is not None:
                            nets[net] += 1
                            first.setdefault(net, policy.name)
                    if len(rule.ports) > 1:
                        ports[rule.ports] += 1
                        first.setdefault(rule.ports, policy.name)
        for net, count in nets.items():
            if count > 1 and isinstance(net, AnyOf | Less) and len(flat(net_docs(net)) or "") >= LONG:
                self.names[net] = self._free(f"peers-of-{first[net]}")
        for listed, count in ports.items():
            if count > 1:
                self.port_names[listed] = self._free(f"ports-of-{first[listed]}")

    def _free(self, wish: str) -> str:
        name, number = wish, 2
        while name in self._taken:
            name, number = f"{wish}-{number}", number + 1
        self._taken.add(name)
        return name

    def text(self) -> str:
        """The `.gate` file."""
        lines = [Line(0, f"# {text}".rstrip()) for text in self.file.head]
        if self.file.tiers:
            docs: list[Doc] = [Word("tiers"), Word(self.file.tiers[0])]
            for name in self.file.tiers[1:]:
                docs += [Word(">"), Word(name)]
            lines += [Line(0), *run([Item("tiers", [], docs)], 0)[0]]
        items = [
            Item("declaration", [], [Word("network"), Word(name)], [Word("="), *net_docs(net)])
            for net, name in self.names.items()
        ]
        items += [
            Item(
                "declaration",
                [],
                [Word("ports"), Word(name)],
                [Word("="), listing([[Word(p)] for p in ports])],
            )
            for ports, name in self.port_names.items()
        ]
        if items:
            lines += [Line(0), *(line for own in run(items, 0) for line in own)]
        for policy in self.file.policies:
            lines += [Line(0)] if lines else []
            lines += self._policy(policy)
        return "".join(f"{line}\n" for line in beside(lines))

    def _policy(self, policy: EndpointPolicy) -> list[Line]:
        lines = [Line(0, f"# {text}".rstrip()) for text in policy.head]
        subject = selector_docs(policy.subject)
        header: list[Doc] = [Word("policy"), Word(policy.name), Word("for", breaks=Break.IF_LONG), *subject]
        lines += run([Item("block", [], [*header, Word("{")])], 0)[0]
        attributes = [Item("attribute", [[Word(key)]], [Word(value)]) for key, value in policy.attributes]
        lines += [line for own in run(attributes, STEP) for line in own]
        for direction, rules in policy.blocks:
            if not rules:
                lines.append(Line(STEP, f"{direction} {{}}"))
                continue
            lines.append(Line(STEP, f"{direction} {{"))
            for rule, own in zip(rules, run([self._rule(r) for r in rules], 2 * STEP), strict=True):
                own[-1].comment = f"# {rule.comment}" if rule.comment else None
                lines += own
            lines.append(Line(STEP, "}"))
        return [*lines, Line(0, "}")]

    def _rule(self, rule: EndpointRule) -> Item:
        body: list[Doc] = []
        for kind in rule.kinds:
            body += [Word(",", space=False), Word(kind)] if body else [Word(kind)]
        for side, net, ports in (("from", rule.source, rule.sports), ("to", rule.target, rule.ports)):
            peer: list[Doc] = []
            if net is not None:
                peer += [Word(self.names[net])] if net in self.names else net_docs(net)
            if ports:
                named = self.port_names.get(ports) if side == "to" else None
                one = (
                    [Word(named or ports[0])]
                    if named or len(ports) == 1
                    else [listing([[Word(p)] for p in ports])]
                )
                peer += [Word("port"), *one]
            body += [Word(side, breaks=Break.IF_LONG), *peer] if peer else []
        for piece in rule.more:
            first, *rest = piece.split(" ")
            body += [Word(first, breaks=Break.IF_LONG), *(Word(w) for w in rest)]
        options: list[Doc] = [Word("log", breaks=Break.IF_LONG)] if rule.log else []
        label: list[Doc] = [Word(f"{rule.label}:")] if rule.label else []
        return Item("rule", [label, [Word(rule.action)]], body, options, OPTION_GAP)


def write(file: EndpointFile) -> str:
    """The text of a file."""
    return Writer(file).text()
