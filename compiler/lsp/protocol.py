"""Values of the compiler as values of the protocol: places, findings, fixes, outlines.

Knows both sides' types. Columns of the protocol count in the units that the client asked for; lines and
columns from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lsprotocol import types
from pygls.workspace import PositionCodec

from ..diagnostics import Diagnostic, Fix, Severity
from ..source import Source, Span
from .complete import Proposal
from .outline import Entry

NAME = "lockgate"
SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
}
UNUSED = frozenset({"W0230", "W0242", "W0501"})  # editors fade what these are about
SYMBOLS = {
    "network": types.SymbolKind.Variable,
    "ports": types.SymbolKind.Constant,
    "service": types.SymbolKind.Interface,
    "interface": types.SymbolKind.Object,
    "template": types.SymbolKind.Function,
    "policy": types.SymbolKind.Class,
    "import": types.SymbolKind.Module,
    "rule": types.SymbolKind.Method,
    "block": types.SymbolKind.Namespace,
    "test": types.SymbolKind.Event,
    "other": types.SymbolKind.Property,
}
PROPOSALS = {
    "network": types.CompletionItemKind.Variable,
    "ports": types.CompletionItemKind.Constant,
    "service": types.CompletionItemKind.Interface,
    "interface": types.CompletionItemKind.Reference,
    "template": types.CompletionItemKind.Function,
    "policy": types.CompletionItemKind.Class,
    "rule": types.CompletionItemKind.Method,
    "counter": types.CompletionItemKind.Property,
    "field": types.CompletionItemKind.Field,
    "parameter": types.CompletionItemKind.TypeParameter,
    "value": types.CompletionItemKind.EnumMember,
    "keyword": types.CompletionItemKind.Keyword,
}
TOKENS = {
    "network": "variable",
    "ports": "enumMember",
    "service": "type",
    "interface": "property",
    "template": "function",
    "policy": "class",
    "import": "namespace",
    "rule": "method",
    "counter": "event",
    "parameter": "parameter",
}
LEGEND = types.SemanticTokensLegend(token_types=list(TOKENS.values()), token_modifiers=["declaration"])


class Places:
    """Offsets of sources as positions of one client, and back."""

    def __init__(self, codec: PositionCodec, uri_of: Callable[[Source], str]) -> None:
        self._codec, self._uri_of = codec, uri_of

    def position(self, source: Source, offset: int) -> types.Position:
        """A place in a text."""
        line, column = source.position(offset)
        before = source.line_text(line)[: column - 1]
        return types.Position(line - 1, self._codec.client_num_units(before))

    def offset(self, source: Source, position: types.Position) -> int:
        """The character at a position; the nearest one for a position outside the text."""
        line = min(max(position.line, 0), len(source.line_starts) - 1)
        text = source.line_text(line + 1)
        units = column = 0
        while column < len(text) and units < position.character:
            units += self._codec.client_num_units(text[column])
            column += 1
        return source.line_starts[line] + column

    def range(self, span: Span) -> types.Range:
        """A piece of a text."""
        return types.Range(self.position(span.source, span.start), self.position(span.source, span.end))

    def location(self, span: Span) -> types.Location:
        """A piece of a text, with its file."""
        return types.Location(self._uri_of(span.source), self.range(span))

    def edits(self, changes: Iterable[tuple[Span, str]]) -> types.WorkspaceEdit:
        """Replacements, by file."""
        found: dict[str, list[types.TextEdit]] = {}
        for span, text in changes:
            found.setdefault(self._uri_of(span.source), []).append(types.TextEdit(self.range(span), text))
        return types.WorkspaceEdit(changes=dict(found))

    def diagnostic(self, d: Diagnostic) -> types.Diagnostic:
        """A finding: its first label is where, the others are beside."""
        first, *others = d.labels
        more = [label.text for label in (first,) if label.text]
        more += [*d.notes, *([f"example: {d.witness}"] if d.witness else ()), *(f"help: {h}" for h in d.help)]
        return types.Diagnostic(
            range=self.range(first.span),
            message="\n".join([d.message, *more]),
            severity=SEVERITIES[d.severity],
            code=d.code,
            source=NAME,
            tags=[types.DiagnosticTag.Unnecessary] if d.code in UNUSED else None,
            related_information=[
                types.DiagnosticRelatedInformation(self.location(label.span), label.text or d.message)
                for label in others
            ],
        )

    def quick_fix(self, d: Diagnostic, fix: Fix) -> types.CodeAction:
        """One way to mend a finding."""
        old, new = fix.span.text, fix.replacement.strip()
        title = f"write `{new}`" if new else f"remove `{old.strip()}`"
        return types.CodeAction(
            title=title if len(title) < 80 else title[:79] + "…",
            kind=types.CodeActionKind.QuickFix,
            diagnostics=[self.diagnostic(d)],
            edit=self.edits([(fix.span, fix.replacement)]),
            is_preferred=fix.sure or None,
        )

    def symbol(self, entry: Entry) -> types.DocumentSymbol:
        """A line of the outline."""
        return types.DocumentSymbol(
            name=entry.name or "-",
            detail=entry.detail,
            kind=SYMBOLS[entry.kind],
            range=self.range(entry.whole),
            selection_range=self.range(entry.name_span),
            children=[self.symbol(inner) for inner in entry.inner],
        )

    def proposal(self, proposal: Proposal, span: Span, number: int) -> types.CompletionItem:
        """A line of a list of words, in its order."""
        return types.CompletionItem(
            label=proposal.text,
            kind=PROPOSALS[proposal.kind],
            documentation=types.MarkupContent(types.MarkupKind.Markdown, proposal.detail)
            if proposal.detail
            else None,
            sort_text=f"{number:05}",
            text_edit=types.TextEdit(self.range(span), proposal.text),
        )
