"""Network expressions of the tree to network expressions of the model.

Knows literals, names, files and dynamic sets; must never know a rule. Sums and sets become balanced trees, so
that depth grows with the logarithm of their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lockgate.stdlib_bpf import prefix_text
from lockgate.stdlib_bpf.labels import Selector
from lockgate.stdlib_bpf.sets import EMPTY, IntervalSet

from .. import errors
from ..source import Span
from ..syntax import tree as t
from . import names as builtin
from . import prefixes
from .families import families
from .files import Inputs, UnreadableInput
from .model import Live, Minus, Network, Not, Prefixes, Selected, Union
from .resolve import Scope
from .selectors import Selections, chosen

ANY = Prefixes(IntervalSet.full(32), IntervalSet.full(128))
BROKEN: Network = Prefixes()  # stands for what was complained about; told by identity
MAX_ENTRIES = 1 << 24
MAX_REPORTED_LINES = 10
MAX_DEPTH, MAX_PARTS = 100, 20_000  # of an expression with all names replaced


class Networks:
    """Evaluates network expressions, each declaration once."""

    def __init__(self, scope: Scope, inputs: Inputs) -> None:
        self.scope, self.sink, self.inputs = scope, scope.sink, inputs
        self.selections = Selections()
        self.given: dict[str, Network] = {}  # endpoints of the test that is being read, by name
        self._values: dict[int, Network] = {}  # by identity of the declaration
        self._sizes: dict[int, tuple[int, int]] = {id(BROKEN): (0, 0)}  # by identity of declared values
        # By identity of the value, which stays alive with it.
        self._asking: dict[int, tuple[Network, bool]] = {}
        self._fixed: dict[int, tuple[Network, Prefixes | None]] = {}

    def fixed(self, value: Network) -> Prefixes | None:
        """`fixed` of a value, the same value once."""
        if id(value) not in self._fixed:
            self._fixed[id(value)] = value, fixed(value)
        return self._fixed[id(value)][1]

    def asks_endpoints(self, value: Network) -> bool:
        """Whether a network names endpoints by labels."""
        if id(value) not in self._asking:
            match value:
                case Union(left, right) | Minus(left, right):
                    found = self.asks_endpoints(left) or self.asks_endpoints(right)
                case Not(operand):
                    found = self.asks_endpoints(operand)
                case _:
                    found = isinstance(value, Selected)
            self._asking[id(value)] = value, found
        return self._asking[id(value)][1]

    def declared(self, decl: t.NetworkDecl) -> Network:
        """Value of a declaration."""
        if id(decl) not in self._values:
            value = self.scope.evaluate(decl, lambda: self._declaration(decl), BROKEN)
            self._values.setdefault(id(decl), self._small_enough(decl.name.span, value))
        return self._values[id(decl)]

    def _small_enough(self, span: Span, value: Network) -> Network:
        """The value, or BROKEN after a complaint when later stages could not walk it."""
        depth, parts = self._measure(value)
        if depth > MAX_DEPTH:
            self._complain(errors.TooDeep(span, MAX_DEPTH))
        elif parts > MAX_PARTS:
            self._complain(errors.TooDeep(span, MAX_PARTS, "parts"))
        else:
            self._sizes[id(value)] = (depth, parts)
            return value
        return BROKEN

    def _measure(self, value: Network) -> tuple[int, int]:
        """Depth and number of parts; those of declared networks are remembered."""
        known = self._sizes.get(id(value))
        if known is not None:
            return known
        match value:
            case Union(left, right) | Minus(left, right):
                (depth, parts), (other_depth, other_parts) = self._measure(left), self._measure(right)
                return max(depth, other_depth) + 1, parts + other_parts + 1
            case Not(operand):
                depth, parts = self._measure(operand)
                return depth + 1, parts + 1
        return 1, 1

    def _declaration(self, decl: t.NetworkDecl) -> Network:
        if isinstance(decl.value, t.Dynamic):
            return self._dynamic(decl.name, decl.value)
        return self.value(decl.value)

    def value(self, net: t.Net) -> Network:
        """Value of an expression; BROKEN, after a complaint, for a wrong one. Warns when it is empty."""
        value = self._value(net)
        if not isinstance(net, t.Name) and value is not BROKEN:
            value = self._small_enough(net.span, value)
        if value is not BROKEN and not isinstance(net, t.Name | t.Selector) and is_empty(value):
            self._complain(errors.EmptyNetwork(net.span))
        return value

    def _value(self, net: t.Net) -> Network:
        match net:
            case t.Address(span):
                prefix = self.prefix(span)
                return BROKEN if prefix is None else prefix.prefixes
            case t.AnyAddress():
                return ANY
            case t.Name(_, text) if text in self.given:
                return self.given[text]
            case t.Name(_, text) if text in builtin.ENTITIES:
                return self.selections.entity(text)
            case t.Name():
                decl = self.scope.find(net, t.NetworkDecl)
                return BROKEN if decl is None else self.declared(decl)
            case t.Selector():
                self.selections.written_at(net, chosen(net))
                return self.selections.network(chosen(net))
            case t.NetSet(_, items):
                return self._set(items)
            case t.Sum():
                return self._sum(net)
            case t.Negation(_, operand):
                inner = self._value(operand)
                return BROKEN if inner is BROKEN else Not(inner)
            case t.File():
                return self._file(net)
            case t.Dynamic(span):
                self._complain(errors.BadDynamic(span, "a dynamic set needs a name of its own", nested=True))
            case t.PortRange(span):
                self._complain(errors.BadAddress(span, "is a number, not an address"))
            case t.Text(span):
                self._complain(errors.BadAddress(span, "is a text, not an address"))
            case t.NotYet(span, what):
                self._complain(errors.NotYet(what, span))
        return BROKEN

    def prefix(self, span: Span) -> prefixes.Prefix | None:
        """The prefix that a piece of text is; None after a complaint."""
        try:
            return prefixes.parse(span.text)
        except prefix_text.BadPrefix as reason:
            self._complain(bad_prefix(span, reason))
            return None

    def _set(self, items: Sequence[t.Net]) -> Network:
        """Literals become one value, and so do selections of endpoints; everything else stays beside them."""
        v4: list[tuple[int, int]] = []
        v6: list[tuple[int, int]] = []
        others: list[Network] = []
        selectors: list[Selector] = []
        broken = False
        for item in items:
            if isinstance(item, t.Address):
                prefix = self.prefix(item.span)
                if prefix is None:
                    broken = True
                else:
                    (v4 if prefix.family == 4 else v6).append((prefix.low, prefix.high))
            elif found := chosen(item):
                self.selections.written_at(item, found)
                selectors += found
            else:
                others.append(self._value(item))
        if broken or any(other is BROKEN for other in others):
            return BROKEN
        if selectors:
            others.append(self.selections.network(selectors))
        if v4 or v6 or not others:
            others.insert(0, Prefixes(IntervalSet.from_ranges(v4), IntervalSet.from_ranges(v6)))
        return union(others)

    def _sum(self, net: t.Sum) -> Network:
        """`a + b - c - d + e` as ((a + b) - (c + d)) + e."""
        value = self._value(net.first)
        broken = value is BROKEN
        run: list[Network] = []
        run_sign = "+"
        for sign, term in net.rest:
            if sign != run_sign:
                value, run, run_sign = _join(value, run_sign, run), [], sign
            operand = self._value(term)
            broken = broken or operand is BROKEN
            run.append(operand)
        return BROKEN if broken else _join(value, run_sign, run)

    def _dynamic(self, name: t.Name, net: t.Dynamic) -> Network:
        if net.max is None:
            if not net.span.source.text[net.span.end :].lstrip().startswith("max"):  # else it was broken
                self._complain(errors.BadDynamic(net.span, "a dynamic set needs a size"))
            return BROKEN
        if not self.in_range("the size of a dynamic set", net.max, 1, MAX_ENTRIES):
            return BROKEN
        return Live(self.scope.qualified(name), net.max.value)

    def _file(self, net: t.File) -> Network:
        if net.max is not None and not self.in_range("`max`", net.max, 1, MAX_ENTRIES):
            return BROKEN
        try:
            source = self.inputs.read(net.path.text, net.span.source)
        except UnreadableInput as reason:
            self._complain(errors.UnreadableFile(net.path.text, net.path.span, str(reason)))
            return BROKEN
        reached = None if self.sink.reached is None else partial(self.sink.reached, source)
        listed = prefixes.parse_lines(source.text, MAX_REPORTED_LINES, reached)
        for line in listed.bad:
            more = listed.bad_count - len(listed.bad) if line is listed.bad[-1] else 0
            span = Span(source, line.start, line.end)
            same = bad_prefix(span, line.reason).diagnostic()
            self._complain(errors.BadFileLine(span, str(line.reason), same.help, same.fixes, more))
        if net.max is not None and listed.entries > net.max.value:
            self._complain(errors.TooManyEntries(net.path.text, net.max.span, listed.entries, net.max.value))
        return BROKEN if listed.bad else listed.prefixes

    def in_range(self, what: str, number: t.Number, low: int, high: int) -> bool:
        """Whether a number lies in low to high; complains when not."""
        if low <= number.value <= high:
            return True
        self._complain(errors.OutOfRange(what, number.span, low, high))
        return False

    def _complain(self, error: errors.Finding) -> None:
        self.sink.add(error.diagnostic())


def bad_prefix(
    span: Span, reason: prefix_text.BadPrefix
) -> errors.HostBits | errors.MappedAddress | errors.BadAddress:
    """The complaint about a piece of text that is no prefix."""
    if isinstance(reason, prefix_text.HostBitsSet):
        return errors.HostBits(span, reason.network, reason.host)
    if isinstance(reason, prefix_text.Mapped):
        return errors.MappedAddress(span, reason.v4)
    return errors.BadAddress(span, str(reason))


def union(networks: Sequence[Network]) -> Network:
    """The union of one or more networks, as a balanced tree."""
    if len(networks) == 1:
        return networks[0]
    middle = len(networks) // 2
    return Union(union(networks[:middle]), union(networks[middle:]))


def _join(value: Network, sign: str, run: list[Network]) -> Network:
    if not run:
        return value
    return union([value, *run]) if sign == "+" else Minus(value, union(run))


def is_empty(network: Network) -> bool:
    """Whether a network surely holds no address, whatever dynamic sets hold."""
    if isinstance(network, Minus):  # without making a set that may be large only to look whether it is empty
        upper, taken = _bounds(network.left)[1], _bounds(network.right)[0]
        return upper.v4.issubset(taken.v4) and upper.v6.issubset(taken.v6)
    upper = _bounds(network)[1]
    return not upper.v4 and not upper.v6


def fixed(network: Network) -> Prefixes | None:
    """All addresses of a network, None where a dynamic set has a say."""
    match network:
        case Prefixes():
            return network
        case Not(operand):
            inner = fixed(operand)
            return None if inner is None else _minus(_whole(operand), inner)
        case Union(left, right) | Minus(left, right):
            one, other = fixed(left), fixed(right)
            if one is None or other is None:
                return None
            return _or(one, other) if isinstance(network, Union) else _minus(one, other)
    return None


def _bounds(network: Network) -> tuple[Prefixes, Prefixes]:
    """Addresses that are surely in a network, and those that may be."""
    match network:
        case Prefixes():
            return network, network
        case Live() | Selected():
            return Prefixes(), ANY
        case Union(left, right):
            (low, high), (other_low, other_high) = _bounds(left), _bounds(right)
            return _or(low, other_low), _or(high, other_high)
        case Minus(left, right):
            (low, high), (other_low, other_high) = _bounds(left), _bounds(right)
            return _minus(low, other_high), _minus(high, other_low)
        case Not(operand):
            (low, high), whole = _bounds(operand), _whole(operand)
            return _minus(whole, high), _minus(whole, low)


def _whole(network: Network) -> Prefixes:
    """All addresses of the families that a network speaks of."""
    spoken = families(network)
    return Prefixes(ANY.v4 if 4 in spoken else EMPTY, ANY.v6 if 6 in spoken else EMPTY)


def _or(a: Prefixes, b: Prefixes) -> Prefixes:
    return Prefixes(a.v4 | b.v4, a.v6 | b.v6)


def _minus(a: Prefixes, b: Prefixes) -> Prefixes:
    return Prefixes(a.v4 - b.v4, a.v6 - b.v6)
