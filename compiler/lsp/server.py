"""The server: requests of the protocol to the modules that answer them.

Knows pygls, which buffers are open and which edition of them an answer is about. No failure of ours reaches
the client as a traceback: a request that fails is answered with nothing, and logged in one line.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer

from lockgate import __version__

from .. import fixes
from ..diagnostics import Diagnostic, Sink
from ..driver import Options
from ..source import Source, Span
from ..syntax import format_source
from . import complete, hover, outline, rename
from .buffers import Buffers, path_of
from .index import Occurrence, identity
from .protocol import LEGEND, NAME, TOKENS, Places
from .view import View

DEBOUNCE_SECONDS = 0.2
MAX_FILES = 2_000  # of a workspace, that are looked through for uses of a name

Answer = TypeVar("Answer")


class Server(LanguageServer):
    """One editor's server. `options`: how policies are read."""

    def __init__(self, options: Options) -> None:
        super().__init__(NAME, __version__)
        self.options = options
        self.buffers = Buffers()
        self._views: dict[str, tuple[int, View]] = {}
        self._checking = threading.Lock()
        self._published: dict[str, list[types.Diagnostic]] = {}
        self._timer: asyncio.Task[None] | None = None

    @property
    def places(self) -> Places:
        """Positions as this client counts them."""
        return Places(self.workspace.position_codec, self.buffers.uri)

    def view(self, source: Source) -> View:
        """The policy of a file, as the buffers are now."""
        key = identity(source)
        known = self._views.get(key)
        if known is None or known[0] != self.buffers.edition:
            edition = self.buffers.edition
            known = self._views[key] = edition, View(source, self.buffers.read, self.options)
        return known[1]

    def open_view(self, uri: str) -> View | None:
        """The policy of an open file."""
        source = self.buffers.source(path_of(uri))
        return None if source is None else self.view(source)

    async def checked(self, view: View) -> list[Diagnostic]:
        """What the compiler says of a policy; takes its time outside of this thread."""

        def check() -> list[Diagnostic]:
            with self._checking:
                return view.checked.diagnostics

        return await asyncio.to_thread(check)

    def changed(self) -> None:
        """Check again, when nothing has changed for a moment."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().create_task(self._check_soon())

    async def _check_soon(self) -> None:
        await asyncio.sleep(DEBOUNCE_SECONDS)
        edition = self.buffers.edition
        found: dict[str, list[Diagnostic]] = {self.buffers.uri(source): [] for source in self.buffers.sources}
        own = set(found)
        for source in self.buffers.sources:
            try:
                diagnostics = await self.checked(self.view(source))
            except Exception as error:
                self.log(error)
                continue
            for d in diagnostics:
                if not d.labels:
                    continue
                where = self.buffers.uri(d.labels[0].span.source)
                if where not in own or where == self.buffers.uri(source):  # an open file speaks for itself
                    found.setdefault(where, [])
                    found[where] += [d] if d not in found[where] else []
        if edition == self.buffers.edition:
            self._publish(found)

    def _publish(self, found: dict[str, list[Diagnostic]]) -> None:
        """Send what has changed since last time, and take back what is no longer true."""
        places = self.places
        now = {uri: [places.diagnostic(d) for d in ds] for uri, ds in found.items()}
        for uri in [*now, *(u for u in self._published if u not in now)]:
            version = (
                self.workspace.text_documents[uri].version if uri in self.workspace.text_documents else None
            )
            self.text_document_publish_diagnostics(
                types.PublishDiagnosticsParams(uri, now.get(uri, []), version=version)
            )
        self._published = now

    def log(self, error: Exception) -> None:
        """One line about a failure of ours."""
        text = f"internal error: {type(error).__name__} in lockgate {__version__}"
        self.window_log_message(types.LogMessageParams(types.MessageType.Error, text))

    def policies(self) -> Iterator[View]:
        """The policies of all open files and of all files of the workspace."""
        seen = set()
        for source in self.buffers.sources:
            seen.add(identity(source))
            yield self.view(source)
        for path in self._files():
            try:
                source = Source(path.name, self.buffers.read(path).decode(), path)
            except (OSError, UnicodeDecodeError):
                continue
            if identity(source) not in seen:
                seen.add(identity(source))
                yield View(source, self.buffers.read, self.options)

    def _files(self) -> Iterator[Path]:
        roots = [folder.uri for folder in self.workspace.folders.values()]
        roots = roots or [uri for uri in (self.workspace.root_uri,) if uri]
        count = 0
        for root in roots:
            for path in sorted(path_of(root).rglob("*.gate")):
                count += 1
                if count > MAX_FILES:
                    return
                yield path


Handler = Callable[[Server, Any], Awaitable[Any]]


def _quiet(handler: Handler) -> Handler:
    """Answer nothing where a handler fails."""

    @wraps(handler)
    async def wrapped(server: Server, params: Any) -> Any:
        try:
            return await handler(server, params)
        except (JsonRpcInvalidParams, asyncio.CancelledError):
            raise
        except Exception as error:
            server.log(error)
            return None

    return wrapped


# ---- buffers ----


async def _opened(server: Server, params: types.DidOpenTextDocumentParams) -> None:
    server.buffers.put(params.text_document.uri, params.text_document.text)
    server.changed()


async def _changed(server: Server, params: types.DidChangeTextDocumentParams) -> None:
    document = server.workspace.get_text_document(params.text_document.uri)
    server.buffers.put(params.text_document.uri, document.source)
    server.changed()


async def _saved(server: Server, params: types.DidSaveTextDocumentParams) -> None:
    server.buffers.edition += 1  # a list that a policy reads may be what was saved
    server.changed()


async def _closed(server: Server, params: types.DidCloseTextDocumentParams) -> None:
    server.buffers.drop(params.text_document.uri)
    server.changed()


# ---- questions about a place ----


def _named(server: Server, params: Any) -> tuple[View, Occurrence] | None:
    view = server.open_view(params.text_document.uri)
    if view is None:
        return None
    found = view.index.at(view.source, server.places.offset(view.source, params.position))
    return None if found is None else (view, found)


async def _hover(server: Server, params: types.HoverParams) -> types.Hover | None:
    view = server.open_view(params.text_document.uri)
    if view is None:
        return None
    await server.checked(view)
    found = hover.hover(view, view.source, server.places.offset(view.source, params.position))
    if found is None:
        return None
    text, span = found
    content = types.MarkupContent(types.MarkupKind.Markdown, text)
    return types.Hover(content, server.places.range(span))


async def _definition(server: Server, params: types.DefinitionParams) -> types.Location | None:
    found = _named(server, params)
    if found is not None:
        return server.places.location(found[1].symbol.place)
    view = server.open_view(params.text_document.uri)
    target = None if view is None else _file_at(view, server.places.offset(view.source, params.position))
    return None if target is None else server.places.location(Span(target, 0, 0))


def _file_at(view: View, offset: int) -> Source | None:
    """The file that an `import` or a `file` names at an offset."""
    for decl, module in view.program.imported.items():
        if decl.path.span.source is view.source and decl.path.span.start <= offset <= decl.path.span.end:
            return module.source
    return view.list_at(offset)


async def _references(server: Server, params: types.ReferenceParams) -> list[types.Location]:
    found = _named(server, params)
    if found is None:
        return []
    spans = rename.places(found[1].symbol, server.policies())
    place = found[1].symbol.place
    if not params.context.include_declaration:
        spans = [s for s in spans if (identity(s.source), s.start) != (identity(place.source), place.start)]
    return [server.places.location(span) for span in spans]


async def _prepare_rename(server: Server, params: types.PrepareRenameParams) -> types.Range | None:
    found = _named(server, params)
    return None if found is None else server.places.range(found[1].span)


async def _rename(server: Server, params: types.RenameParams) -> types.WorkspaceEdit | None:
    found = _named(server, params)
    if found is None:
        return None
    view, occurrence = found
    try:
        rename.check(view, occurrence.symbol, params.new_name)
    except rename.Refused as reason:
        raise JsonRpcInvalidParams(message=str(reason)) from None
    spans = rename.places(occurrence.symbol, server.policies())
    return server.places.edits((span, params.new_name) for span in spans)


async def _completion(server: Server, params: types.CompletionParams) -> list[types.CompletionItem]:
    view = server.open_view(params.text_document.uri)
    if view is None:
        return []
    places = server.places
    span, proposals = complete.complete(view, view.source, places.offset(view.source, params.position))
    return [places.proposal(proposal, span, number) for number, proposal in enumerate(proposals)]


# ---- questions about a file ----


async def _symbols(server: Server, params: types.DocumentSymbolParams) -> list[types.DocumentSymbol]:
    view = server.open_view(params.text_document.uri)
    return [] if view is None else [server.places.symbol(entry) for entry in outline.outline(view.module)]


async def _format(server: Server, params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
    source = server.buffers.source(path_of(params.text_document.uri))
    text = None if source is None else format_source(source, Sink())
    if source is None or text is None or text == source.text:
        return None
    return [types.TextEdit(server.places.range(Span(source, 0, len(source.text))), text)]


async def _actions(server: Server, params: types.CodeActionParams) -> list[types.CodeAction]:
    view = server.open_view(params.text_document.uri)
    if view is None:
        return []
    places = server.places
    start, end = (places.offset(view.source, p) for p in (params.range.start, params.range.end))
    diagnostics = [d for d in await server.checked(view) if d.labels]
    actions = [
        places.quick_fix(d, fix)
        for d in diagnostics
        if identity(d.labels[0].span.source) == identity(view.source)
        and d.labels[0].span.start <= end
        and start <= d.labels[0].span.end
        for fix in d.fixes
    ]
    sure = [fix for _, fix in fixes.choose(diagnostics, unsafe=False) if fix.span.source.path]
    if sure:
        edit = places.edits((fix.span, fix.replacement) for fix in sure)
        title = "apply all sure fixes"
        actions.append(types.CodeAction(title, kind=types.CodeActionKind.SourceFixAll, edit=edit))
    only = params.context.only
    return [a for a in actions if only is None or any((a.kind or "").startswith(kind) for kind in only)]


async def _tokens(server: Server, params: types.SemanticTokensParams) -> types.SemanticTokens:
    """Names by what they stand for; the rest is the affair of the TextMate grammar."""
    view = server.open_view(params.text_document.uri)
    data: list[int] = []
    if view is None:
        return types.SemanticTokens(data)
    kinds = list(TOKENS)
    before = types.Position(0, 0)
    here = {o.span.start: o for o in view.index.occurrences if o.span.source is view.source}
    for start in sorted(here):
        occurrence = here[start]
        area = server.places.range(occurrence.span)
        line = area.start.line - before.line
        column = area.start.character - (before.character if line == 0 else 0)
        length = area.end.character - area.start.character
        data += [line, column, length, kinds.index(occurrence.symbol.kind), int(occurrence.declares)]
        before = area.start
    return types.SemanticTokens(data)


_HANDLERS: dict[str, tuple[Handler, Any]] = {
    types.TEXT_DOCUMENT_DID_OPEN: (_opened, None),
    types.TEXT_DOCUMENT_DID_CHANGE: (_changed, None),
    types.TEXT_DOCUMENT_DID_SAVE: (_saved, None),
    types.TEXT_DOCUMENT_DID_CLOSE: (_closed, None),
    types.TEXT_DOCUMENT_HOVER: (_hover, None),
    types.TEXT_DOCUMENT_DEFINITION: (_definition, None),
    types.TEXT_DOCUMENT_REFERENCES: (_references, None),
    types.TEXT_DOCUMENT_PREPARE_RENAME: (_prepare_rename, None),
    types.TEXT_DOCUMENT_RENAME: (_rename, types.RenameOptions(prepare_provider=True)),
    types.TEXT_DOCUMENT_COMPLETION: (_completion, types.CompletionOptions(trigger_characters=["."])),
    types.TEXT_DOCUMENT_DOCUMENT_SYMBOL: (_symbols, None),
    types.TEXT_DOCUMENT_FORMATTING: (_format, None),
    types.TEXT_DOCUMENT_CODE_ACTION: (
        _actions,
        types.CodeActionOptions(
            code_action_kinds=[types.CodeActionKind.QuickFix, types.CodeActionKind.SourceFixAll]
        ),
    ),
    types.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL: (_tokens, LEGEND),
}


def serve(options: Options) -> None:
    """Answer one client on standard input and output, until it says goodbye."""
    server = Server(options)
    for method, (handler, able) in _HANDLERS.items():
        server.feature(method, able)(_quiet(handler))
    server.start_io()
