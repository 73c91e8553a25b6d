"""`lockgate.toml`: which files hold for a policy, and what they forbid."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.compiler.diagnostics import Diagnostic, PolicyError, Sink
from lockgate.compiler.errors import pages
from lockgate.compiler.policy import load
from lockgate.compiler.policy.model import Unit

POLICY = """policy lab at tc on { "tap0", "tap1" } {
  owner "lab@example.org"
  default pass
  ingress { web: allow tcp to port 80 drop udp }
}
"""


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def judged(path: Path, root: Path | None = None) -> list[Diagnostic]:
    sink = Sink()
    try:
        load(path, sink, root=root)
    except PolicyError as error:
        return list(error.diagnostics)
    return sink.diagnostics


def said(path: Path, root: Path | None = None) -> list[tuple[str, str]]:
    return [(d.code, d.labels[0].span.text) for d in judged(path, root)]


KEYS = [
    ('hooks = ["tc"]', []),
    ('hooks = ["xdp", "connect"]', [("E0401", "tc")]),
    ("hooks = []", [("E0401", "tc")]),
    ('interfaces = ["tap*"]', []),
    ('interfaces = ["tap0"]', [("E0401", '"tap1"')]),
    ('cgroups = ["/a/*"]', []),
    ('actions = ["allow", "drop", "pass"]', []),
    ('actions = ["drop", "pass"]', [("E0401", "web: allow tcp to port 80")]),
    ('actions = ["allow", "drop"]', [("E0401", "default pass")]),
    ('owners = ["*@example.org"]', []),
    ('owners = ["other@example.org"]', [("E0401", "lab")]),
    ("must-own = true", []),
    ('tiers = ["application"]', []),
    ('imports = ["../shared/*"]', []),
    ('hoks = ["tc"]', [("E0202", "hoks")]),
    ('hooks = "tc"', [("E0402", "hooks")]),
    ("must-own = 1", [("E0402", "must-own")]),
    ("hooks = [", [("E0402", "[")]),
]


@pytest.mark.parametrize(("line", "expected"), KEYS, ids=[k[0] for k in KEYS])
def test_each_key(tmp_path: Path, line: str, expected: list[tuple[str, str]]) -> None:
    write(tmp_path, {"lab.gate": POLICY, "lockgate.toml": f"[delegate]\n{line}\n"})
    assert said(tmp_path / "lab.gate") == expected


PATTERNS = [
    ("tap*", '"tap*"', True),
    ("tap*", '"t*"', True),
    ("tap*", '"tap?"', False),
    ("tap*", '"tap1*"', False),
    ("tap?", '"tap*"', True),
    ("[ab]*", '"[ab]*"', False),
    ("tap[12]", '"tap*"', True),
    ("lab/tap*", '"lab/*"', True),
    ("lab/tap*", '"*"', False),
    ("lab/tap*", '"**"', True),
    ("*", '"tap*"', False),
]


@pytest.mark.parametrize(("target", "allowed", "fits"), PATTERNS)
def test_a_pattern_of_devices_must_be_covered(tmp_path: Path, target: str, allowed: str, fits: bool) -> None:
    policy = f'policy lab at xdp on "{target}" {{ default pass  fragments first-only }}'
    write(tmp_path, {"lab.gate": policy, "lockgate.toml": f"[delegate]\ninterfaces = [{allowed}]\n"})
    assert said(tmp_path / "lab.gate") == ([] if fits else [("E0401", f'"{target}"')])


def test_devices_that_packets_are_sent_to_are_limited_too(tmp_path: Path) -> None:
    policy = 'policy lab at xdp on "lab/tap1" { default pass  fragments first-only redirect arp into "eth0" }'
    write(tmp_path, {"lab.gate": policy, "lockgate.toml": '[delegate]\ninterfaces = ["lab/tap*"]\n'})
    assert said(tmp_path / "lab.gate") == [("E0401", 'redirect arp into "eth0"')]


def test_policies_at_connect_for_labels_are_delegated_by_their_selector(tmp_path: Path) -> None:
    for chosen, expected in (("[app=web, ns.team=red]", []), ("[app=web]", ["E0401"])):
        policy = f"policy out at connect for {chosen} {{ default allow }}\n"
        settings = '[delegate]\nmust-select = "ns.team=red"\n'
        write(tmp_path, {"lab.gate": policy, "lockgate.toml": settings})
        assert [code for code, _ in said(tmp_path / "lab.gate")] == expected


PODS = """tiers security > team
policy web for [app=web, ns.team=red] {
  tier team  owner "red@example.org"  default drop
  ingress { allow tcp to port 80 }
}
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('hooks = ["endpoint"]', []),
        ('hooks = ["tc"]', [("E0401", "for [app=web, ns.team=red]")]),
        ('tiers = ["team"]', []),
        ('tiers = ["security"]', [("E0401", "team")]),
        ('must-select = "ns.team=red"', []),
        ('must-select = "[has app]ns[team in { red, blue }]"', []),
        ('must-select = "[ns.team != blue]"', []),
        ('must-select = "[ns.team=blue]"', [("E0401", "for [app=web, ns.team=red]")]),
        ('must-select = "[team=red]"', [("E0401", "for [app=web, ns.team=red]")]),
        ('must-select = "[lacks x]"', [("E0401", "for [app=web, ns.team=red]")]),
        ('must-select = "app=="', [("E0402", "must-select")]),
        ("must-select = 3", [("E0402", "must-select")]),
        ('actions = ["drop"]', [("E0401", "allow tcp to port 80")]),
        ('actions = ["allow"]', [("E0401", "drop")]),
        ('owners = ["blue*"]', [("E0401", "web")]),
        ("must-own = true", []),
    ],
)
def test_policies_for_labels(tmp_path: Path, line: str, expected: list[tuple[str, str]]) -> None:
    write(tmp_path, {"lab.gate": PODS, "lockgate.toml": f"[delegate]\n{line}\n"})
    assert said(tmp_path / "lab.gate") == expected


def test_hosts_are_no_workloads_of_a_team(tmp_path: Path) -> None:
    text = PODS.replace("for [app=web, ns.team=red]", "for hosts [app=web, ns.team=red]")
    write(tmp_path, {"lab.gate": text, "lockgate.toml": '[delegate]\nmust-select = "ns.team=red"\n'})
    assert [code for code, _ in said(tmp_path / "lab.gate")] == ["E0401"]


def test_a_failsafe_is_delegated_by_its_name(tmp_path: Path) -> None:
    text = "failsafe for hosts [] { ingress { allow tcp to port 22 } }\n"
    for hooks, expected in (("failsafe", []), ("endpoint", [("E0401", "failsafe for hosts []")])):
        write(tmp_path, {"lab.gate": text, "lockgate.toml": f'[delegate]\nhooks = ["{hooks}"]\n'})
        assert said(tmp_path / "lab.gate") == expected


def test_both_places_are_shown(tmp_path: Path) -> None:
    write(tmp_path, {"lab.gate": POLICY, "lockgate.toml": '[delegate]\nactions = []\nhooks = ["xdp"]\n'})
    found = judged(tmp_path / "lab.gate")
    hook = next(d for d in found if d.labels[0].span.text == "tc")
    assert hook.message == "no policy at this hook may be in this directory"
    assert [(x.span.source.name, x.span.line) for x in hook.labels] == [("lab.gate", 1), ("lockgate.toml", 3)]


def test_every_file_on_the_way_holds_and_inner_ones_only_narrow(tmp_path: Path) -> None:
    outer, inner = '[delegate]\nhooks = ["xdp"]\n', '[delegate]\nhooks = ["tc", "xdp"]\n'
    write(tmp_path, {"a/b/lab.gate": POLICY, "a/b/lockgate.toml": inner, "lockgate.toml": outer})
    path = tmp_path / "a/b/lab.gate"
    assert said(path) == [], "without a root, only the directory's own file is read"
    assert said(path, tmp_path) == [("E0401", "tc")]
    assert said(path, tmp_path / "a") == []
    (tmp_path / ".git").mkdir()
    assert said(path) == [("E0401", "tc")], "the repository is the root"


def inputs_of(unit: Unit) -> list[str]:
    return [name for name, _ in unit.inputs]


def test_the_file_is_an_input(tmp_path: Path) -> None:
    write(tmp_path, {"a/lab.gate": POLICY, "lockgate.toml": "", "a/lockgate.toml": "[delegate]\n"})
    unit = load(tmp_path / "a/lab.gate", Sink(), root=tmp_path)
    assert inputs_of(unit) == ["lab.gate", "../lockgate.toml", "lockgate.toml"]


IMPORT = """import "{}" as names
policy lab at tc on "tap0" {{ default pass ingress {{ drop from names.n }} }}
"""
NAMES = "network n = 10.0.0.1\n"


@pytest.mark.parametrize(
    ("path", "patterns", "allowed"),
    [
        ("../shared/names.gate", '"../shared/*"', True),
        ("../shared/names.gate", '"../other/*"', False),
        ("names.gate", '"../shared/*"', False),
        ("names.gate", '"./*"', True),
        ("more.gate", '"./*"', False),
        ("std/addresses.gate", '"std/*"', True),
        ("std/addresses.gate", '"./*"', False),
    ],
)
def test_imports(tmp_path: Path, path: str, patterns: str, allowed: bool) -> None:
    write(
        tmp_path,
        {
            "team/lab.gate": IMPORT.format(path).replace(
                "names.n", "names.rfc1918" if "std" in path else "names.n"
            ),
            "team/names.gate": NAMES,
            "team/more.gate": 'import "../shared/names.gate" as more\nnetwork n = more.n\n',
            "team/lockgate.toml": f"[delegate]\nimports = [{patterns}]\n",
            "shared/names.gate": NAMES,
        },
    )
    found = said(tmp_path / "team/lab.gate")
    assert [code for code, _ in found] == ([] if allowed else ["E0401"])


def test_must_own(tmp_path: Path) -> None:
    text = POLICY.replace('  owner "lab@example.org"\n', "")
    write(tmp_path, {"lab.gate": text, "lockgate.toml": "[delegate]\nmust-own = true\n"})
    assert said(tmp_path / "lab.gate") == [("E0401", "lab")]


def test_include_paths_come_behind_those_of_the_command(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "team/lab.gate": IMPORT.format("names.gate"),
            "lockgate.toml": 'include-paths = ["lib"]\n',
            "lib/names.gate": NAMES,
            "mine/names.gate": NAMES.replace("10.0.0.1", "10.0.0.2"),
        },
    )
    path = tmp_path / "team/lab.gate"
    by_settings = load(path, Sink(), root=tmp_path)
    by_command = load(path, Sink(), root=tmp_path, include=[tmp_path / "mine"])
    assert inputs_of(by_settings) == ["lab.gate", "../lockgate.toml", "names.gate"]
    assert by_settings.chains[0].rules[0].src != by_command.chains[0].rules[0].src


def test_what_a_template_brings_is_judged_where_it_is_used(tmp_path: Path) -> None:
    text = """import "../shared.gate" as shared
policy lab at tc on "tap0" { default pass ingress { x: use shared.open(22) } }
"""
    shared = "template open(on: ports) { allow tcp to port on }\n"
    write(tmp_path, {"team/lab.gate": text, "shared.gate": shared})
    write(tmp_path, {"team/lockgate.toml": '[delegate]\nactions = ["drop", "pass"]\n'})
    assert said(tmp_path / "team/lab.gate") == [("E0401", "x: use shared.open(22)")]


@pytest.mark.parametrize("code", ["E0401", "E0402"])
def test_the_pages_commands_do_what_they_say(tmp_path: Path, code: str) -> None:
    for title, found in (("Example (shell)", True), ("Instead (shell)", False)):
        for line in pages.example(pages.pages()[code].text, title).splitlines():
            command = line.removeprefix("$ ").replace("lockgate check", f"{sys.executable} -m lockgate check")
            done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
        assert (code in done.stderr) == found and done.returncode == int(found), done.stderr


def test_services_are_limited_by_hook_cgroup_and_owner(tmp_path: Path) -> None:
    rest = "port tcp 80  backends { 10.1.0.1 } }\n"
    text = f"balance s1 {{ vip 10.0.0.1 {rest}"
    text += 'balance s2 for cgroup { "/lab/a", "/shop" } { owner "lab@example.org"  vip 10.0.0.2 ' + rest
    limits = '[delegate]\ncgroups = ["/lab/**"]\nowners = ["*@other.org"]\nmust-own = true\n'
    write(tmp_path, {"p.gate": text, "lockgate.toml": limits})
    assert said(tmp_path / "p.gate") == [
        ("E0401", "s1"),
        ("E0401", "s1"),
        ("E0401", '"/shop"'),
        ("E0401", '"lab@example.org"'),
    ]
    write(tmp_path, {"lockgate.toml": '[delegate]\nhooks = ["tc"]\n'})
    assert said(tmp_path / "p.gate") == [("E0401", "s1"), ("E0401", "s2")]
    write(tmp_path, {"lockgate.toml": '[delegate]\nhooks = ["balance"]\n'})
    assert said(tmp_path / "p.gate") == []
