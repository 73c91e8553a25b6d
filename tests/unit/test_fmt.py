"""The style as examples, and the command: what is written, what is left alone, exit codes."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.compiler.diagnostics import Sink
from lockgate.compiler.source import Source
from lockgate.compiler.syntax import format_source
from tests.unit.test_cli import run

MANY = ", ".join(str(port) for port in range(10000, 10013))
STYLES = {
    "rules stand in columns": (
        'policy p at xdp on "e"{default   pass\n'
        "a: drop tcp to port 22 count x\nlong-name: pass   udp count y log\n drop arp}",
        """\
policy p at xdp on "e" {
  default pass
  a:         drop tcp to port 22  count x
  long-name: pass udp             count y log
             drop arp
}
""",
    ),
    "an empty line begins new columns": (
        'policy p at tc on "e" { default allow ingress { a: drop tcp log\n\n\nlonger: allow udp log } }',
        """\
policy p at tc on "e" {
  default allow
  ingress {
    a: drop tcp  log

    longer: allow udp  log
  }
}
""",
    ),
    "neighbours share the column of =": (
        "network a = 10.0.0.1\nservice longer = tcp port {80,443,}\nports b = 1-2\n\nports c = 3",
        """\
network a      = 10.0.0.1
service longer = tcp port { 80, 443 }
ports b        = 1-2

ports c = 3
""",
    ),
    "sums of interfaces": (
        'interface a={"e0","e1",}+lan-{ "e1" }\n'
        'policy p at tc on lan-"e1"+{"e2",}{ingress{mirror arp into lan-"e0" as egress}}',
        """\
interface a = { "e0", "e1" } + lan - { "e1" }
policy p at tc on lan - "e1" + { "e2" } {
  ingress {
    mirror arp into lan - "e0" as egress
  }
}
""",
    ),
    "a long sum of interfaces goes on further right": (
        "interface a = " + " + ".join(f'"device-number-{i}"' for i in range(6)),
        "interface a = "
        + " + ".join(f'"device-number-{i}"' for i in range(4))
        + '\n    + "device-number-4" + "device-number-5"\n',
    ),
    "a long set is filled, with a comma at its end": (
        "network a = {" + ",".join(f"192.168.100.{i}" for i in range(9)) + "}",
        "network a = {\n  "
        + ", ".join(f"192.168.100.{i}" for i in range(7))
        + ",\n  192.168.100.7, 192.168.100.8,\n}\n",
    ),
    "lines of a list stay together where a comment stands behind one": (
        "network a = { 10.0.0.1, # one\n10.0.0.2,10.0.0.3 # two\n,\n10.0.0.4}",
        "network a = {\n  10.0.0.1,            # one\n  10.0.0.2, 10.0.0.3,  # two\n  10.0.0.4,\n}\n",
    ),
    "alternatives of a long service": (
        f"service s = tcp port {{ {MANY} }}, udp port 443",
        f"service s =\n  tcp port {{ {MANY} }},\n  udp port 443\n",
    ),
    "a long rule goes on further right": (
        'policy p at xdp on "e" { default pass a: drop tcp from { 2001:db8:aaaa:bbbb::/64, 192.0.2.0/24 } '
        "to { 2001:db8:cccc:dddd::/64, 198.51.100.0/24 } port 443 count a-counter }",
        """\
policy p at xdp on "e" {
  default pass
  a: drop tcp from { 2001:db8:aaaa:bbbb::/64, 192.0.2.0/24 }
      to { 2001:db8:cccc:dddd::/64, 198.51.100.0/24 } port 443 count a-counter
}
""",
    ),
    "flags with a mask stand close": (
        'policy p at xdp on "e" { default pass drop tcp flags syn,fin / syn , fin drop tcp flags syn,fin }',
        """\
policy p at xdp on "e" {
  default pass
  drop tcp flags syn,fin/syn,fin
  drop tcp flags syn, fin
}
""",
    ),
    "comments keep their places": (
        "# top\n\n\n# of a\nnetwork a = any# beside a\nnetwork bcd = any # beside b\n"
        'policy p at xdp on "e" { # opens\n default pass\n  # last\n} # closes\n# end',
        """\
# top

# of a
network a   = any  # beside a
network bcd = any  # beside b
policy p at xdp on "e" {  # opens
  default pass
  # last
}  # closes
# end
""",
    ),
    "a comment inside a sentence ends its line": (
        'policy p at xdp on "e" { default pass drop tcp # why\nfrom any\n# own\nlog }',
        """\
policy p at xdp on "e" {
  default pass
  drop tcp  # why
      from any
      # own
      log
}
""",
    ),
    "expectations stand in columns": (
        'test "t" of p { given a=10.0.0.1 given bcd=10.0.0.2 expect ingress allow tcp by a '
        "expect egress drop udp to port 53 by longer repeat 5 expect ingress allow arp by b }",
        """\
test "t" of p {
  given a   = 10.0.0.1
  given bcd = 10.0.0.2
  expect ingress allow tcp             by a
  expect egress  drop  udp to port 53  by longer
  repeat 5 expect ingress allow arp  by b
}
""",
    ),
    "assertions stand in columns": (
        'test "t" of p { assert ingress allow tcp assert egress drop udp to port 53 }',
        'test "t" of p {\n  assert ingress allow tcp\n  assert egress  drop  udp to port 53\n}\n',
    ),
    "nothing stays nothing": ("\n\n", ""),
    "empty brackets": ("network a = { }\nports p = {\n}", "network a = {}\nports p   = {}\n"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), STYLES.values(), ids=STYLES)
def test_style(text: str, expected: str) -> None:
    assert format_source(Source("p.gate", text), Sink()) == expected


UGLY = "network   a = { 10.0.0.1,10.0.0.2 } # two\n"
NICE = "network a = { 10.0.0.1, 10.0.0.2 }  # two\n"


@pytest.fixture
def ugly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("a.gate")
    path.write_text(UGLY)
    return path


def test_fmt_writes_files_and_names_them(ugly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ugly.chmod(0o640)
    assert run("fmt", ugly) == 0
    assert capsys.readouterr() == ("", "formatted: a.gate\n")
    assert ugly.read_text() == NICE and stat.S_IMODE(ugly.stat().st_mode) == 0o640
    assert run("fmt", ugly) == 0
    assert capsys.readouterr() == ("", "")
    assert list(Path().iterdir()) == [Path("a.gate")]


def test_check_and_diff_write_nothing(ugly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fmt", "--check", ugly) == 1
    assert capsys.readouterr() == ("", "not in the style: a.gate\n")
    assert run("fmt", "--diff", ugly) == 0
    assert capsys.readouterr().out == f"--- a.gate\n+++ a.gate\n@@ -1 +1 @@\n-{UGLY}+{NICE}"
    assert run("fmt", "--diff", "--check", ugly) == 1
    assert ugly.read_text() == UGLY
    ugly.write_text(NICE)
    assert run("fmt", "--check", "--diff", ugly) == 0


def test_diff_is_one_that_patch_takes(ugly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ugly.write_text(UGLY.rstrip("\n"))
    assert run("fmt", "--diff", ugly) == 0
    subprocess.run(["git", "apply", "-p0", "-"], input=capsys.readouterr().out, text=True, check=True)
    assert ugly.read_text() == NICE


def test_a_folder_means_the_policies_below_it(ugly: Path) -> None:
    for name in ("sub/b.gate", "sub/c.txt", ".hidden/d.gate"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(UGLY)
    assert run("fmt") == 0
    texts = [Path(name).read_text() for name in ("a.gate", "sub/b.gate", "sub/c.txt", ".hidden/d.gate")]
    assert texts == [NICE, NICE, UGLY, UGLY]


def test_a_broken_file_is_not_touched(ugly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.gate").write_text("network = 5\n")
    assert run("fmt", "b.gate", ugly) == 1
    assert "E0102" in capsys.readouterr().err
    assert Path("b.gate").read_text() == "network = 5\n" and ugly.read_text() == NICE


def test_what_cannot_be_read_or_written_is_2(ugly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("latin.gate").write_bytes(b"# ok\n# \xe9\n")
    assert run("fmt", "latin.gate", "missing.gate", ugly) == 2
    said = capsys.readouterr().err
    assert "line 2 is not UTF-8" in said and "missing.gate" in said and ugly.read_text() == NICE


def test_a_link_stays_a_link(ugly: Path) -> None:
    Path("link.gate").symlink_to("a.gate")
    assert run("fmt", "link.gate") == 0
    assert Path("link.gate").is_symlink() and ugly.read_text() == NICE


def test_standard_input(ugly: Path) -> None:
    def fmt(*arguments: str, text: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lockgate", "fmt", *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True)

    done = fmt("-", text=UGLY)
    assert (done.returncode, done.stdout, done.stderr) == (0, NICE, "")
    assert fmt("-", text=NICE).stdout == NICE
    done = fmt("-", "--check", text=UGLY)
    assert (done.returncode, done.stdout) == (1, "")
    done = fmt("-", text="network = 5")
    assert done.returncode == 1 and done.stdout == "" and "<stdin>:1:9" in done.stderr
