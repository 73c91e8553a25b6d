"""Imports: which file a name is of, what is read, what is said when something is missing."""

from pathlib import Path

import pytest

from lockgate.compiler.diagnostics import PolicyError, Sink
from lockgate.compiler.match.lower import lower
from lockgate.compiler.match.text import write
from lockgate.compiler.policy import load
from lockgate.compiler.policy.imports import MAX_DEPTH
from lockgate.compiler.render import render
from lockgate.compiler.source import Source

from .front import findings, reader, said, unit, xdp

COMMON = b"""\
network bastions = { 192.0.2.10, 2001:db8:b::/126 }
network ban      = dynamic max 100
ports web        = { 80, 443 }
service ssh      = tcp port 22
interface uplink = { "eth0", "eth1" }
"""
IMPORT = 'import "common.gate" as common\n'
RULES = """\
  drop common.ssh from not common.bastions
  drop tcp from common.ban to port common.web
"""


def files(**contents: str) -> dict[str, bytes | OSError]:
    return {name.replace("_", "/") + ".gate": text.encode() for name, text in contents.items()}


def on_disk(folder: Path, **contents: str) -> None:
    for name, text in contents.items():
        path = folder / (name.replace("_", "/") + ".gate")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_names_may_stand_wherever_a_name_may() -> None:
    body = f"{{ default pass  fragments first-only\n{RULES} }}\n"
    imported = unit(f"{IMPORT}policy edge at xdp on common.uplink {body}", common_gate=COMMON)
    (chain,) = imported.chains
    assert chain.targets == ("eth0", "eth1")
    written_out = unit(f"{COMMON.decode()}policy edge at xdp on uplink {body}".replace("common.", ""))
    one, other = (write(lower(u.chains[0])) for u in (imported, written_out))
    assert matches(one.replace("common.ban", "ban")) == matches(other) != []


def matches(text: str) -> list[str]:
    """The match IR without the lines of rules, which tell where they stand."""
    return [line for line in text.splitlines() if line.startswith("match ")]


def test_a_dynamic_set_is_called_as_the_policy_calls_it() -> None:
    text = 'import "a.gate" as a\n' + xdp("drop from a.both")
    more = {"a_gate": b'import "b.gate" as b\nnetwork both = b.ban + b.ban\n', "b_gate": COMMON}
    assert [*unit(text, **more).live] == ["a.b.ban"]
    shorter = 'import "b.gate" as b\n' + text.replace("a.both", "a.both + b.ban")
    assert [*unit(shorter, **more).live] == ["b.ban"], "one set, one name, the shortest"


def test_inputs_are_the_files_in_the_order_of_reading() -> None:
    found = unit(
        'import "a.gate" as a\nimport "b.gate" as b\n' + xdp("drop from a.n + b.n"),
        a_gate=b'import "sub/c.gate" as c\nnetwork n = c.n\n',
        b_gate=b'import "./sub/../sub/c.gate" as c\nnetwork n = c.n\n',
        **{"sub/c_gate": b'network n = file "list.txt"\n', "sub/list_txt": b"10.0.0.1\n"},
    )
    assert [name for name, _ in found.inputs] == ["p.gate", "a.gate", "sub/c.gate", "b.gate", "sub/list.txt"]


def test_relative_to_the_importing_file_then_each_folder(tmp_path: Path) -> None:
    on_disk(
        tmp_path,
        one_lib="network n = 10.0.0.1\n",
        two_lib="network n = 10.0.0.2\n",
        two_more="network n = 10.0.0.3\n",
        here_policy='import "lib.gate" as lib\nimport "more.gate" as more\n'
        + xdp("drop from lib.n + more.n"),
    )
    include = (tmp_path / "one", tmp_path / "two")
    found = load(tmp_path / "here/policy.gate", Sink(), include=include)
    assert [name for name, _ in found.inputs] == ["policy.gate", "lib.gate", "more.gate"]
    assert "10.0.0.1" in str(hex_of(found)) and "10.0.0.2" not in str(hex_of(found))
    on_disk(tmp_path, here_lib="network n = 10.0.0.9\n")
    assert "10.0.0.9" in str(hex_of(load(tmp_path / "here/policy.gate", Sink(), include=include)))


def hex_of(found) -> list[str]:
    text = write(lower(found.chains[0]))
    return [f"10.0.0.{i}" for i in range(1, 10) if f"10.0.0.{i}" in text]


def test_files_of_one_name_keep_apart(tmp_path: Path) -> None:
    on_disk(
        tmp_path,
        policy='import "sub/x.gate" as x\nimport "lib.gate" as lib\n' + xdp("drop from x.n + lib.n"),
        sub_x='import "lib.gate" as lib\nnetwork n = lib.n\n',
        include_lib="network n = 10.0.0.1\n",
        lib="network n = 10.0.0.2\n",
    )
    found = load(tmp_path / "policy.gate", Sink(), include=(tmp_path / "include",))
    assert [name for name, _ in found.inputs] == ["policy.gate", "sub/x.gate", "lib.gate", "lib.gate#2"]


def test_the_librarys_files_are_inputs_too() -> None:
    found = unit('import "std/services.gate" as std\n' + xdp("drop std.ntp"))
    assert [name for name, _ in found.inputs] == ["p.gate", "std/services.gate"]
    own = unit(
        'import "std/services.gate" as std\n' + xdp("drop std.ntp"),
        **{"std/services_gate": b"service ntp = udp port 124\n"},
    )
    assert own.chains[0].rules[0].traffic[0].ports.ranges == ((124, 124),), "a file of one's own comes first"


N1 = "network n = 10.0.0.1"
IMPORT_A = 'import "a.gate" as a\n'
ROUND = {"a": 'import "b.gate" as b\nnetwork n = b.n', "b": 'import "a.gate" as a\nnetwork n = a.n'}
FROM_N = IMPORT_A + xdp("drop from a.n")
REFUSED = [
    ('import "no.gate" as no\n' + xdp("drop from no.n"), {}, [("E0240", '"no.gate"')]),
    ('import "std/../std/x.gate" as s\n' + xdp("drop s.ntp"), {}, [("E0240", '"std/../std/x.gate"')]),
    (IMPORT_A + xdp("drop from a.x"), {"a": N1}, [("E0202", "a.x")]),
    (FROM_N, {"a": "ports n = 1"}, [("E0203", "a.n")]),
    (IMPORT_A + xdp("drop from a"), {"a": "ports n = 1"}, [("E0203", "a")]),
    (IMPORT_A + xdp("drop udp"), {"a": ""}, [("W0242", 'import "a.gate" as a')]),
    ('import "a.gate" as a\nnetwork a = 10.0.0.1\n' + xdp("drop from a.n"), {"a": N1}, [("E0201", "a")]),
    (FROM_N, {"a": "network n = 10.0.0.1/8"}, [("E0204", "10.0.0.1/8")]),
    (FROM_N, {"a": "network n = m"}, [("E0202", "m")]),
    (IMPORT_A + xdp("drop from a.b.n"), {"a": 'import "b.gate" as b', "b": N1}, [("E0202", "a.b.n")]),
    (FROM_N + 'test "t" of a.edge { }', {"a": f"{N1}\n{xdp('')}"}, [("E0202", "a.edge")]),
    (IMPORT_A + "policy p at xdp on a.lan { default pass  fragments drop }", {"a": N1}, [("E0202", "a.lan")]),
    ("policy p at xdp on eth0.100 { default pass  fragments first-only }", {}, [("E0217", "eth0.100")]),
    ('import "p.gate" as p\n' + xdp("drop from p.n"), {}, [("E0241", '"p.gate"')]),
    (FROM_N, ROUND, [("E0241", '"a.gate"')]),
    ('import "./x/../a.gate" as b\n' + FROM_N, {"a": "netwrk n = 10.0.0.1"}, [("E0101", "netwrk")]),
    (FROM_N, {"a": "netwoooork n = 10.0.0.1"}, [("E0101", "netwoooork")]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "others", "expected"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_refused(text: str, others: dict[str, str], expected: list[tuple[str, str]]) -> None:
    assert said(text, files(**others)) == expected


def test_policies_and_tests_of_an_imported_file_stay_there() -> None:
    other = b'network n = 10.0.0.1\npolicy edge at xdp on { default }\ntest "t" of nobody { }\n'
    sink = Sink()
    with pytest.raises(PolicyError):  # the syntax is checked like any other
        load(
            Source("p.gate", 'import "a.gate" as a\n' + xdp("drop from a.n")),
            sink,
            read_file=reader({"a.gate": other}),
        )
    found = unit(
        'import "a.gate" as a\n' + xdp("drop from a.n"),
        a_gate=b"network n = 10.0.0.1\n"
        + xdp("drop udp").encode()
        + b'test "t" of edge { expect drop udp }\n',
    )
    assert len(found.chains) == 1 and found.tests == ()


def test_unused_names_of_a_library_are_nobodys_business() -> None:
    assert said(FROM_N, files(a="network n = 10.0.0.1\nports p = 1")) == []
    assert said("network n = 10.0.0.1\nports p = 1") == []


SUGGESTIONS = [
    ("common.bastoins", "did you mean `common.bastions` (common.gate:1)?"),
    ("bastions", "did you mean `common.bastions` (common.gate:1)?"),
    ("comon.bastions", "did you mean `common.bastions` (common.gate:1)?"),
    ("nobody.knows", "unknown name"),
]


@pytest.mark.parametrize(("name", "label"), SUGGESTIONS)
def test_did_you_mean_across_files(name: str, label: str) -> None:
    text = IMPORT + xdp(f"drop from {name}\n drop from common.bastions")
    (d,) = findings(text, {"common.gate": COMMON})
    assert (d.code, d.labels[0].span.text, d.labels[0].text) == ("E0202", name, label)


def test_where_a_missing_file_was_looked_for(tmp_path: Path) -> None:
    on_disk(tmp_path, edge_policy='import "no.gate" as no\n' + xdp("drop from no.n"))
    sink = Sink()
    with pytest.raises(PolicyError):
        load(tmp_path / "edge/policy.gate", sink, include=(tmp_path / "lib",))
    assert [note.replace(str(tmp_path), "") for note in sink.diagnostics[0].notes] == [
        "looked for `/edge/no.gate`",
        "looked for `/lib/no.gate`",
    ]


def test_an_unreadable_file_is_not_looked_for_elsewhere() -> None:
    text = 'import "std/services.gate" as std\n' + xdp("drop std.ntp")
    (d,) = findings(text, {"std/services.gate": PermissionError(13, "Permission denied")})
    assert (d.code, d.labels[0].text) == ("E0240", "permission denied")


def test_a_circle_is_shown_with_its_chain() -> None:
    text = 'import "a.gate" as a\n' + xdp("drop from a.n")
    (d,) = findings(
        text, files(a='import "b.gate" as b\nnetwork n = b.n', b='import "a.gate" as a\nnetwork n = a.n')
    )
    assert d.notes == ("`a.gate` -> `b.gate` -> `a.gate`",)
    assert [label.span.source.name for label in d.labels] == ["b.gate", "a.gate"]


def test_a_chain_of_imports_has_an_end() -> None:
    more = {
        f"f{i}.gate": f'import "f{i + 1}.gate" as n\nnetwork n = n.n\n'.encode() for i in range(MAX_DEPTH + 9)
    }
    assert {d.code for d in findings('import "f0.gate" as f\n' + xdp("drop from f.n"), dict(more))} >= {
        "E0106"
    }


def test_a_message_shows_both_files() -> None:
    text = IMPORT + xdp("drop from common.web")
    shown = render(findings(text, {"common.gate": COMMON}))
    assert "--> p.gate:3:" in shown and "::: common.gate:3:7" in shown
