"""The language server as an editor meets it: a real client, a real process, real files."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

from lockgate import cli
from lockgate.compiler.lsp import describe
from lockgate.compiler.syntax import grammars, words

COMMON = """\
network bastions = { 192.0.2.10, 192.0.2.11, 2001:db8:b::/126 }
service web      = tcp port { 80, 443 }
"""
EDGE = """\
import "common.gate" as common

network office = { 192.0.2.0/24, 10.0.0.0/8 } - 10.1.0.0/16
network ban    = dynamic max 100
ports admin    = { 22, 8000-8009 }
network listed = file "list.txt" max 10

policy edge at xdp on "eth0" {
  default pass  fragments first-only
  listed: drop from listed
  banned: drop from ban              count hits
  ssh:    drop tcp from not common.bastions to port admin  count hits log
  web:    pass common.web to office
  late:   drop tcp from 203.0.113.5 to port 22
}

test "ssh" of edge {
  given ban = 203.0.113.66
  expect drop tcp from 203.0.113.5 to 198.51.100.7 port 22 by ssh
}
"""


class Editor:
    """A client with two files, one of them open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = LanguageClient("editor", "1")
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.found: dict[str, types.PublishDiagnosticsParams] = {}
        self.logged: list[str] = []
        self.news = asyncio.Event()
        self.client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(lambda params: self._publish(params))
        self.client.feature(types.WINDOW_LOG_MESSAGE)(lambda params: self.logged.append(params.message))
        self.client.feature(types.WINDOW_SHOW_MESSAGE)(lambda params: self.logged.append(params.message))

    def _publish(self, params: types.PublishDiagnosticsParams) -> None:
        self.found[params.uri] = params
        self.news.set()

    async def start(self) -> types.InitializeResult:
        await self.client.start_io(sys.executable, "-m", "lockgate", "lsp")
        return await self.client.initialize_async(
            types.InitializeParams(
                capabilities=types.ClientCapabilities(),
                workspace_folders=[types.WorkspaceFolder(self.folder.as_uri(), "policies")],
            )
        )

    async def stop(self) -> None:
        await asyncio.wait_for(self.client.shutdown_async(None), 20)
        self.client.exit(None)
        await asyncio.wait_for(self.client.stop(), 20)

    def uri(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def open(self, name: str, text: str) -> None:
        self.texts[name], self.versions[name] = text, 1
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(self.uri(name), "lockgate", 1, text))
        )

    def change(self, name: str, old: str, new: str) -> None:
        """Replace a piece of the text, as typing does."""
        start = self.texts[name].index(old)
        area = types.Range(self.position(name, start), self.position(name, start + len(old)))
        self.texts[name] = self.texts[name].replace(old, new, 1)
        self.versions[name] += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(uri=self.uri(name), version=self.versions[name]),
                [types.TextDocumentContentChangePartial(range=area, text=new)],
            )
        )

    def position(self, name: str, offset: int) -> types.Position:
        before = self.texts[name][:offset]
        line = before.rpartition("\n")[2]
        return types.Position(before.count("\n"), len(line.encode("utf-16-le")) // 2)

    def at(self, name: str, text: str, occurrence: int = 0) -> dict[str, Any]:
        """Parameters that say where a piece of text is; the place is its second character."""
        offset = -1
        for _ in range(occurrence + 1):
            offset = self.texts[name].index(text, offset + 1)
        return {
            "text_document": types.TextDocumentIdentifier(self.uri(name)),
            "position": self.position(name, offset + 1),
        }

    async def diagnostics(self, name: str) -> list[types.Diagnostic]:
        """What is said of the newest version of a file."""

        async def wait() -> list[types.Diagnostic]:
            while True:
                params = self.found.get(self.uri(name))
                if params is not None and params.version in (None, self.versions.get(name)):
                    return list(params.diagnostics)
                self.news.clear()
                await self.news.wait()

        return await asyncio.wait_for(wait(), 30)

    def after(self, name: str, edits: list[types.TextEdit]) -> str:
        """A text with edits applied."""
        lines = [*self.texts[name].splitlines(keepends=True), ""]
        starts = [sum(map(len, lines[:n])) for n in range(len(lines))]
        text = self.texts[name]
        for edit in sorted(edits, key=lambda e: (e.range.start.line, e.range.start.character), reverse=True):
            start = starts[edit.range.start.line] + edit.range.start.character
            end = starts[edit.range.end.line] + edit.range.end.character
            text = text[:start] + edit.new_text + text[end:]
        return text


Scene = Callable[[Editor], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scene], Editor]:
    """Run a scene against a server of its own."""
    (tmp_path / "common.gate").write_text(COMMON)
    (tmp_path / "edge.gate").write_text(EDGE)
    (tmp_path / "list.txt").write_text("198.18.0.0/15\n")

    async def run(scene: Scene) -> Editor:
        editor = Editor(tmp_path)
        await editor.start()
        try:
            editor.open("edge.gate", EDGE)
            await scene(editor)
        finally:
            await editor.stop()
        assert editor.logged == []
        return editor

    return lambda scene: asyncio.run(run(scene))


def test_diagnostics_follow_what_is_typed(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        (shadowed,) = await editor.diagnostics("edge.gate")
        assert (shadowed.code, shadowed.source) == ("W0501", "lockgate")
        assert list(shadowed.tags or ()) == [types.DiagnosticTag.Unnecessary]
        assert "`late` never decides" in shadowed.message
        editor.change("edge.gate", "drop from ban", "dorp from ban")
        codes = [d.code for d in await editor.diagnostics("edge.gate")]
        assert codes == ["E0101"]
        editor.change("edge.gate", "dorp", "drop")
        assert [d.code for d in await editor.diagnostics("edge.gate")] == ["W0501"]

    play(scene)


def test_only_the_last_of_quick_changes_is_answered(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        for old, new in (("ban  ", "bano "), ("bano ", "banon "), ("banon ", "ban  ")):
            editor.change("edge.gate", f"drop from {old}", f"drop from {new}")
        assert [d.code for d in await editor.diagnostics("edge.gate")] == ["W0501"]

    play(scene)


def test_an_imported_file_counts_as_it_is_in_the_editor(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        editor.open("common.gate", COMMON)
        assert await editor.diagnostics("common.gate") == []
        editor.change("common.gate", "bastions", "bastion")
        await editor.diagnostics("common.gate")
        editor.change("edge.gate", "default pass", "default  pass")
        (d,) = await editor.diagnostics("edge.gate")
        assert d.code == "E0202" and "did you mean `common.bastion`" in d.message
        close = types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(editor.uri("common.gate")))
        editor.client.text_document_did_close(close)
        editor.change("edge.gate", "default  pass", "default pass")
        assert [d.code for d in await editor.diagnostics("edge.gate")] == ["W0501"]

    play(scene)


HOVERS = [
    ("office =", 0, ["network `office`", "IPv4", "16,711,936 addresses", "10.0.0.0/16"]),
    ("office\n", 0, ["network `office`"]),
    ("common.b", 0, ["import `common`", "common.gate"]),
    ("bastions to", 0, ["network `bastions`", "IPv4: 2 addresses in 1 prefix: 192.0.2.10/31", "IPv6: 4"]),
    ("admin  count", 0, ["ports `admin`", "11 ports: 22, 8000-8009"]),
    ("web to", 0, ["service `web`", "tcp port 80, 443"]),
    ("ban ", 0, ["dynamic set `ban`", "100 prefixes"]),
    ("ssh: ", 0, ["rule `ssh`", "rule 3 of 5", "behind `banned`", "ns"]),
    ("late", 0, ["**Never decides**", "`ssh`"]),
    ("by ssh", 0, ["`by RULE`"]),
    ("hits ", 0, ["counter `hits`", "2 rules"]),
    ("drop from listed", 0, ["ends here", "asked first"]),
    ("xdp", 0, ["arriving frames"]),
    ("log\n", 0, ["send an event"]),
]


def test_hover(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        for text, occurrence, wanted in HOVERS:
            at = editor.at("edge.gate", text, occurrence)
            answer = await editor.client.text_document_hover_async(types.HoverParams(**at))
            assert answer is not None, text
            assert isinstance(answer.contents, types.MarkupContent)
            for part in wanted:
                assert part in answer.contents.value, (text, answer.contents.value)
        nothing = types.HoverParams(**editor.at("edge.gate", "{ 22"))
        assert await editor.client.text_document_hover_async(nothing) is None

    play(scene)


def test_definition_crosses_files(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        for text, name, line in (
            ("bastions to", "common.gate", 0),
            ("common.web", "edge.gate", 0),
            ("common.gate", "common.gate", 0),
            ("list.txt", "list.txt", 0),
            ("office\n", "edge.gate", 2),
            ("edge {\n  given", "edge.gate", 7),
            ("ssh\n}", "edge.gate", 11),
        ):
            params = types.DefinitionParams(**editor.at("edge.gate", text))
            answer = await editor.client.text_document_definition_async(params)
            assert isinstance(answer, types.Location), text
            assert (answer.uri, answer.range.start.line) == (editor.uri(name), line), text

    play(scene)


def test_references_are_found_in_files_that_are_not_open(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        editor.open("common.gate", COMMON)
        for declaration, expected in ((True, 2), (False, 1)):
            params = types.ReferenceParams(
                types.ReferenceContext(declaration), **editor.at("common.gate", "bastions")
            )
            answer = await editor.client.text_document_references_async(params)
            assert answer is not None and len(answer) == expected

    play(scene)


RENAMES = [
    ("office =", "hq", {"edge.gate": 2}),
    ("hits ", "strikes", {"edge.gate": 2}),
    ("ssh: ", "shell", {"edge.gate": 2}),
    ("common.b", "shared", {"edge.gate": 3}),
    ("bastions to", "jumps", {"edge.gate": 1, "common.gate": 1}),
    ("edge at", "front", {"edge.gate": 2}),
    ("ban ", "blocked", {"edge.gate": 3}),
]


def test_rename(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        await editor.diagnostics("edge.gate")
        for text, new, counts in RENAMES:
            params = types.RenameParams(new_name=new, **editor.at("edge.gate", text))
            answer = await editor.client.text_document_rename_async(params)
            assert answer is not None and answer.changes is not None, text
            by_name = {Path(uri).name: edits for uri, edits in answer.changes.items()}
            assert {name: len(edits) for name, edits in by_name.items()} == counts, text
            if list(counts) == ["edge.gate"]:
                old = editor.texts["edge.gate"]
                editor.change("edge.gate", old, editor.after("edge.gate", list(by_name["edge.gate"])))
                assert [d.code for d in await editor.diagnostics("edge.gate")] == ["W0501"], text
                editor.change("edge.gate", editor.texts["edge.gate"], old)

    play(scene)


def test_rename_refuses_what_would_not_be_the_same(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        for text, new in (
            ("office =", "ban"),
            ("office =", "tcp"),
            ("office =", "a b"),
            ("ssh: ", "default"),
        ):
            params = types.RenameParams(new_name=new, **editor.at("edge.gate", text))
            with pytest.raises(JsonRpcException, match=new):
                await editor.client.text_document_rename_async(params)
        here = types.PrepareRenameParams(**editor.at("edge.gate", "office\n"))
        area = await editor.client.text_document_prepare_rename_async(here)
        assert isinstance(area, types.Range) and area.end.character - area.start.character == len("office")

    play(scene)


COMPLETIONS = [
    ("  \n}\n", ["drop", "pass", "continue", "owner"], ["allow", "reject", "network"]),
    ("  drop \n}\n", ["tcp", "icmp6", "common.web", "from", "to", "log"], ["office", "admin"]),
    ("  drop from \n}\n", ["office", "ban", "common.bastions", "any", "not"], ["admin", "tcp", "log"]),
    ("  drop tcp to port \n}\n", ["admin"], ["office", "from"]),
    ("  drop tcp to port { 1, \n}\n", ["admin"], ["office"]),
    ("  drop from { office, \n}\n", ["ban"], ["admin", "tcp"]),
    ("  drop tcp flags \n}\n", ["syn", "ack"], ["office"]),
    ("  drop icmp type \n}\n", ["echo-request"], ["syn"]),
    ("  drop udp count \n}\n", ["hits"], ["office"]),
    ("  drop if ip4.src in { ban, \n}\n", ["office", "common.bastions"], ["admin", "edge", "ip.ttl"]),
    ("  drop if arp.op == \n}\n", ["request", "reply"], ["office", "arp.op"]),
    ("  drop if ip4.src in office and \n}\n", ["ip.ttl"], ["office"]),
    ("  drop from off\n}\n", ["office"], ["admin"]),
    ("  drop from common.b\n}\n", ["common.bastions"], []),
    ("  pass to 10.0.0.1 \n}\n", ["port", "count", "log", "drop"], ["office", "network"]),
    ("  fragments \n}\n", ["first-only"], ["office"]),
    ("}\n\npolicy x at \n", ["xdp", "tc", "connect"], ["drop"]),
    ("}\n\n\n", ["network", "policy", "test"], ["drop", "from"]),
    ('}\ntest "x" of \n', ["edge"], ["office"]),
    ('}\ntest "x" of edge {\n  expect drop by \n}\n', ["ssh", "default", "malformed"], ["office"]),
    ('}\ntest "x" of edge {\n  expect \n}\n', ["drop", "pass"], ["allow"]),
    ("}\ntemplate t(who: network, on: ports) {\n  drop tcp from \n}\n", ["who", "office"], ["on"]),
    ("  # from \n}\n", [], ["office", "drop"]),
]


def test_completion(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        head = EDGE[: EDGE.index("  late:")]
        for typed, wanted, unwanted in COMPLETIONS:
            old = editor.texts["edge.gate"]
            editor.change("edge.gate", old, head + typed + EDGE[EDGE.index('\ntest "ssh"') :])
            end = len(head) + len(typed.removesuffix("}\n").removesuffix("\n"))
            params = types.CompletionParams(
                types.TextDocumentIdentifier(editor.uri("edge.gate")), editor.position("edge.gate", end)
            )
            answer = await editor.client.text_document_completion_async(params)
            assert isinstance(answer, list)
            labels = [item.label for item in answer]
            assert not [w for w in wanted if w not in labels], (typed, labels)
            assert not [w for w in unwanted if w in labels], (typed, labels)
            assert len(labels) == len(set(labels))

    play(scene)


def test_symbols_of_a_broken_file(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        params = types.DocumentSymbolParams(types.TextDocumentIdentifier(editor.uri("edge.gate")))
        for change in (None, ("web:    pass common.web to office", "web:    pass $ to to {")):
            if change:
                editor.change("edge.gate", *change)
            answer = await editor.client.text_document_document_symbol_async(params)
            assert answer is not None
            names = {symbol.name: [c.name for c in symbol.children or []] for symbol in answer}  # type: ignore[union-attr]
            assert {"common", "office", "ban", "admin", "edge"} <= set(names)
            assert names["edge"][:2] == ["listed", "banned"]

    play(scene)


def test_formatting(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        params = types.DocumentFormattingParams(
            types.TextDocumentIdentifier(editor.uri("edge.gate")), types.FormattingOptions(2, True)
        )
        edits = await editor.client.text_document_formatting_async(params)
        assert edits is not None
        text = editor.after("edge.gate", list(edits))
        assert f"  banned: {'drop from ban':47}  count hits\n" in text
        editor.change("edge.gate", editor.texts["edge.gate"], text)
        assert await editor.client.text_document_formatting_async(params) is None
        editor.change("edge.gate", "default   pass", "default {")
        assert await editor.client.text_document_formatting_async(params) is None

    play(scene)


def test_quick_fixes(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        editor.change("edge.gate", "drop from ban", "drop from bann")
        (d,) = await editor.diagnostics("edge.gate")
        params = types.CodeActionParams(
            types.TextDocumentIdentifier(editor.uri("edge.gate")), d.range, types.CodeActionContext([d])
        )
        answer = await editor.client.text_document_code_action_async(params)
        assert answer
        action = answer[0]
        assert isinstance(action, types.CodeAction) and action.edit and action.edit.changes
        assert action.kind == types.CodeActionKind.QuickFix and "`ban`" in action.title
        (edits,) = action.edit.changes.values()
        assert "drop from ban " in editor.after("edge.gate", list(edits))

    play(scene)


def test_semantic_tokens(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        params = types.SemanticTokensParams(types.TextDocumentIdentifier(editor.uri("edge.gate")))
        answer = await editor.client.text_document_semantic_tokens_full_async(params)
        assert answer is not None and len(answer.data) % 5 == 0 and len(answer.data) >= 5 * 20

    play(scene)


def test_positions_count_utf16(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        editor.change("edge.gate", 'test "ssh"', 'test "\N{GRINNING FACE}ß" of edge {}\ntest "ssh"')
        params = types.DefinitionParams(**editor.at("edge.gate", "edge {}"))
        answer = await editor.client.text_document_definition_async(params)
        assert isinstance(answer, types.Location) and answer.range.start.line == 7

    play(scene)


BROKEN = [
    "",
    "\n",
    "{",
    "policy",
    'test "',
    "network a = {" * 200,
    "\x00\ud800",
    'policy p at xdp on "e" { drop from ',
]


def test_nothing_that_is_typed_makes_it_fail(play: Callable[[Scene], Editor]) -> None:
    async def scene(editor: Editor) -> None:
        document = types.TextDocumentIdentifier(editor.uri("edge.gate"))
        for text in BROKEN:
            editor.change("edge.gate", editor.texts["edge.gate"], text.encode("utf-8", "replace").decode())
            await editor.diagnostics("edge.gate")
            where = {"text_document": document, "position": types.Position(99, 99)}
            client = editor.client
            await client.text_document_hover_async(types.HoverParams(**where))  # type: ignore[arg-type]
            await client.text_document_completion_async(types.CompletionParams(**where))  # type: ignore[arg-type]
            await client.text_document_document_symbol_async(types.DocumentSymbolParams(document))
            await client.text_document_semantic_tokens_full_async(types.SemanticTokensParams(document))

    play(scene)


def test_what_it_can_is_announced(tmp_path: Path) -> None:
    async def run() -> types.InitializeResult:
        editor = Editor(tmp_path)
        result = await editor.start()
        await editor.stop()
        return result

    able = asyncio.run(run()).capabilities
    assert able.hover_provider and able.definition_provider and able.references_provider
    assert able.rename_provider and able.completion_provider and able.document_symbol_provider
    assert able.document_formatting_provider and able.code_action_provider and able.semantic_tokens_provider


def test_every_word_of_the_language_is_described() -> None:
    table = {**grammars.keywords("policy"), **words.MANY_WORDS}
    missing = [word for found in table.values() for word in found if describe.word(word) is None]
    assert missing == []
    from lockgate.compiler import codes
    from lockgate.compiler.policy import names

    assert set(describe.PROTOCOLS) == set(names.PROTOCOLS) and set(describe.FLAGS) == set(codes.TCP_FLAGS)


def test_without_its_library_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "pygls" else real(name, *a)
    )
    with pytest.raises(SystemExit) as stop:
        cli.main(["lsp"])
    assert stop.value.code == 2 and "pip install 'lockgate[editor]'" in capsys.readouterr().err
