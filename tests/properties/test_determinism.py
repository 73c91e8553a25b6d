"""Compiling is a pure function of its input files: no hash order, no clock, no place, no environment."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from lockgate.compiler.driver import Options, build_bundle

from .strategies import Text

COMPILE = """
import hashlib, sys
from pathlib import Path
from lockgate.compiler.driver import Options, build_bundle
for name in sys.argv[1:]:
    options = Options(include=(Path(name).parent / "include",))
    print(hashlib.sha256(build_bundle(Path(name), options)).hexdigest())
"""


SAMPLES = (
    Text(
        """network office = { 10.0.0.0/8, 2001:db8::/32 } - 10.1.0.0/16
network listed = file "listed.txt" max 100
network ban = dynamic max 50
network vip = dynamic max 20
ports web = { 80, 443, 8000-8010 }
policy edge at xdp on { "eth0", "eth1" } {
  default drop  fragments first-only
  ssh: pass tcp from office + vip to port 22 flags syn/syn,ack count logins log
  drop ip from listed - vip count hits
  drop udp from not ban to port web count hits
  pass tcp, udp from { 192.0.2.1, 192.0.2.3, 192.0.2.5 } port 1024-65535 to any port web
  pass icmp type { 0, 8 }
  pass icmp6
  pass arp
}
""",
        "xdp",
        files={"listed.txt": "\n".join(f"198.51.{i}.0/25\n2001:db8:{i:x}::/64" for i in range(40))},
    ),
    Text(
        """network ban = dynamic max 50
policy gate at tc on "eth0" {
  default pass
  ingress {
    drop ip from ban log
    allow tcp to port { 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 } count odd
  }
  egress {
    drop udp to not ban port 53 count even
    drop sctp
  }
}
policy app at connect for cgroup "/shop" {
  default reject
  allow tcp to ban port 443
  allow udp to { 192.0.2.53, 2001:db8::53 } port 53 log
}
""",
        "tc ingress",
    ),
    Text(
        """import "common.gate" as common
import "shared/names.gate" as shared
import "std/services.gate" as std
policy edge at xdp on "eth0" {
  default pass  fragments first-only
  drop std.ssh from not common.office
  drop std.dns from shared.listed + shared.ban
}
""",
        "xdp",
        files={
            "common.gate": "network office = 10.0.0.0/8\n",
            "include/shared/names.gate": 'network listed = file "list.txt"\nnetwork ban = dynamic max 9\n',
            "include/shared/list.txt": "192.0.2.1\n",
        },
    ),
)


def write(texts: list[Text], folder: Path) -> list[str]:
    """Policy files with the files they name, each in a folder of its own; relative paths."""
    names = []
    for i, text in enumerate(texts):
        for name, contents in {"policy.gate": text.source, **text.files}.items():
            path = folder / str(i) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(contents)
        names.append(f"{i}/policy.gate")
    return names


def digests(folder: Path, names: list[str], **environment: str) -> list[str]:
    """Digests of bundles compiled by a process of its own in a working directory."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, *names],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.split()


def test_bundles_depend_on_nothing_but_their_inputs(tmp_path: Path) -> None:
    texts = list(SAMPLES)
    here, there = tmp_path / "here", tmp_path / "some" / "other place"
    names = write(texts, here)
    write(texts, there)
    first = digests(here, names, PYTHONHASHSEED="1", TZ="UTC", LC_ALL="C")
    again = digests(
        there, names, PYTHONHASHSEED="4242", TZ="Pacific/Kiritimati", LC_ALL="C.UTF-8", COLUMNS="40"
    )
    assert first == again
    assert len(set(first)) == len(SAMPLES), "each policy has a bundle of its own"


def test_compiling_twice_in_one_process_gives_the_same_bytes(tmp_path: Path) -> None:
    names = write(list(SAMPLES), tmp_path)
    for name in names:
        options = Options(include=((tmp_path / name).parent / "include",))
        once, twice = (build_bundle(tmp_path / name, options) for _ in range(2))
        assert hashlib.sha256(once).digest() == hashlib.sha256(twice).digest()


def test_one_changed_byte_of_an_input_changes_the_bundle(tmp_path: Path) -> None:
    """The negative: digests can differ."""
    policy = 'policy p at xdp on "eth0" { default pass  fragments drop  drop ip from n }'
    text = f'network n = file "n.txt"\n{policy}\n'
    write(
        [Text(text, "xdp", files={"n.txt": "10.0.0.1\n"}), Text(text, "xdp", files={"n.txt": "10.0.0.2\n"})],
        tmp_path,
    )
    assert build_bundle(tmp_path / "0/policy.gate") != build_bundle(tmp_path / "1/policy.gate")
