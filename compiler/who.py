"""What an inventory says about a policy for endpoints: mistakes of the file, selectors that take nobody, and
policies that disagree about somebody.

Knows findings and where their facts come from; the facts are `inventory_text`'s, `populations`' and
`agreement`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lockgate.stdlib_bpf import inventory_text
from lockgate.stdlib_bpf.inventory import Inventory
from lockgate.stdlib_bpf.labels import LabelTest, Selector

from . import agreement, errors
from .diagnostics import Sink
from .errors.base import nearest
from .match.ir import MatchProgram
from .policy.files import ReadFile
from .policy.model import Chain
from .source import Source, Span


def read(path: Path, read_file: ReadFile, sink: Sink) -> Inventory | None:
    """The inventory; None after complaints."""
    try:
        source = Source(path.name, read_file(path).decode("utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        empty = Source(path.name, "", path)
        sink.add(errors.BadInventory(Span(empty, 0, 0), "", f"cannot be read: {reason}").diagnostic())
        return None
    try:
        return inventory_text.read(source.text)
    except inventory_text.BadInventory as bad:
        for mistake in bad.mistakes:
            more = bad.more if mistake is bad.mistakes[-1] else 0
            where = _line(source, mistake.line)
            finding = errors.BadInventory(where, mistake.path, mistake.reason, mistake.instead, more)
            sink.add(finding.diagnostic())
        return None


def _line(source: Source, number: int) -> Span:
    """The text of a line, of the first one where it is not known."""
    number = min(max(number, 1), len(source.line_starts))
    text = source.line_text(number)
    start = source.line_starts[number - 1] + len(text) - len(text.lstrip())
    return Span(source, start, start + len(text.strip()))


def findings(chain: Chain, program: MatchProgram, inventory: Inventory | None) -> Iterator[errors.Finding]:
    """What is doubtful about a list for endpoints. `program`: the chain as matches; `inventory`: None where
    it is not known which endpoints there are."""
    for found in agreement.disagreements(chain, program, inventory):
        kind = errors.PossibleDisagreement if inventory is None else errors.Disagreement
        (first, second) = ((rule.span, rule.verdict) for rule in found.rules)
        yield kind(found.tier, first, second, found.packet)


def nobody(
    selectors: Iterable[tuple[Selector, Span]], inventory: Inventory
) -> Iterator[errors.SelectsNobody]:
    """The selectors that take no endpoint."""
    for selector, span in selectors:
        if not any(
            selector.takes(entry.kind, entry.labels, inventory.namespace(entry))
            for entry in inventory.entries
        ):
            yield errors.SelectsNobody(span, selector.text, _nearest(selector, inventory))


def _nearest(selector: Selector, inventory: Inventory) -> tuple[str, ...]:
    """Labels that there are, most like those that nobody carries."""
    known: dict[bool, dict[str, set[str]]] = {False: {}, True: {}}
    for entry in inventory.entries:
        for of_namespace, labels in ((False, entry.labels), (True, inventory.namespace(entry))):
            for key, value in labels.items():
                known[of_namespace].setdefault(key, set()).add(value)
    found = []
    for test in selector.tests:
        keys = known[test.of_namespace]
        if (
            test.negated
            or keys.get(test.key, set()) & set(test.values)
            or (test.key in keys and not test.values)
        ):
            continue
        if test.key not in keys:
            near = nearest(test.key, [(key, None) for key in sorted(keys)])
            found += [LabelTest(near[0], test.values, False, test.of_namespace)] if near else []
        else:
            values = [(value, None) for value in sorted(keys[test.key])]
            close = {near[0] for value in test.values if (near := nearest(value, values))}
            found += [LabelTest(test.key, (value,), False, test.of_namespace) for value in sorted(close)]
    return tuple(f"ns[{test.text}]" if test.of_namespace else test.text for test in found)
