"""Labels at connect: who is a backend, who is exempt and who is judged, as each inventory says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from lockgate.runtime import running
from lockgate.runtime.backends import listing

from .. import netns
from .actions import lockgate
from .balancing import Stage, compiled, stage

pytestmark = pytest.mark.kernel

VIP = "10.96.0.40"
HOSTS = [f"127.0.0.{n}" for n in range(1, 5)]
SHOP = f"""
balance shop for cgroup CGROUP {{
  vip      {VIP}
  port     tcp 443 -> 8443
  port     udp 53 -> 5353
  backends [app=shop]
  exempt   [app=envoy]
}}
policy outbound at connect for [ns.team=shop] {{
  default allow
  reject tcp to 127.0.0.9 port 80
}}
"""
CALL = f'say(call("{VIP}", 443), call("127.0.0.9", 80))'


def endpoint(name: str, app: str, namespace: str = "", **more: object) -> dict[str, object]:
    spaced = {"namespace": namespace} if namespace else {}
    return {"name": name, "labels": {"app": app}, "addresses": [], **spaced, **more}


def inventory(folder: Path, endpoints: list[dict[str, object]]) -> str:
    path = folder / "inventory.yaml"
    path.write_text(yaml.safe_dump({"namespaces": {"blue": {"team": "shop"}}, "endpoints": endpoints}))
    return str(path)


def shops(*hosts: str, local: str = "") -> list[dict[str, object]]:
    found = [endpoint(f"shop-{host}", "shop", addresses=[host]) for host in hosts]
    for one in found:
        if local and one["addresses"] == [local]:
            one["cgroup"] = "/"
    return found


def tell(here: Stage, command: str, what: str, file: str) -> subprocess.CompletedProcess[str]:
    arguments = (what, "--endpoints", file) if command == "up" else (what, file)
    done = lockgate(command, *arguments, "--bpffs", str(here.bpffs))
    assert done.returncode == 0, done.stderr
    return done


@contextmanager
def pods(here: Stage, *names: str) -> Iterator[None]:
    for name in names:
        (here.directory / name).mkdir()
    try:
        yield
    finally:
        for name in names:
            netns.remove_cgroup(here.directory / name)


def bundled(here: Stage, text: str, folder: Path) -> str:
    path = folder / "policy.lgb"
    path.write_bytes(compiled(text.replace("CGROUP", f'"/{here.name}"')))
    return str(path)


def test_labels_say_who_answers_who_is_exempt_and_who_is_judged(bpffs: Path, tmp_path: Path) -> None:
    servers = [(host, 8443) for host in HOSTS] + [("127.0.0.9", 80), (VIP, 443)]
    with stage(bpffs, servers) as here, pods(here, "web", "mesh"):
        web = endpoint("web", "web", "blue", cgroup=f"/{here.name}/web")
        mesh = endpoint("mesh", "envoy", cgroup=f"/{here.name}/mesh")
        file = inventory(tmp_path, [web, mesh, *shops(HOSTS[0])])
        tell(here, "up", bundled(here, SHOP, tmp_path), file)
        assert here.client(CALL, below="web") == [["127.0.0.1 8443", "EPERM"]]
        assert here.client(CALL, below="mesh") == [[f"{VIP} 443", "127.0.0.9 80"]]
        assert here.client(CALL) == [["127.0.0.1 8443", "127.0.0.9 80"]], "whoever is in no list"

        swapped = [dict(web, labels={"app": "envoy"}, namespace=""), dict(mesh, namespace="blue")]
        swapped[0].pop("namespace")
        swapped[1]["labels"] = {"app": "web"}
        said = tell(here, "endpoints", "policy", inventory(tmp_path, [*swapped, *shops(HOSTS[1])])).stdout
        assert "2 backends came or went, 0 sockets ended" in said
        assert here.client(CALL, below="web") == [[f"{VIP} 443", "127.0.0.9 80"]]
        assert here.client(CALL, below="mesh") == [["127.0.0.2 8443", "EPERM"]]

        tell(here, "endpoints", "policy", inventory(tmp_path, [mesh]))
        assert here.client(CALL) == [["ECONNREFUSED", "127.0.0.9 80"]], "nobody answers any more"
        assert here.client(CALL, below="mesh") == [[f"{VIP} 443", "127.0.0.9 80"]]


HELD = f"""
gone = tcp("{VIP}", 443); gone.recv(100)
sent = udp("{VIP}"); sent.sendto(b"?", ("{VIP}", 53)); say(sent.recvfrom(100)[0].decode())
sys.stdin.readline()
try: gone.recv(1); say("open")
except OSError as error: say(errno.errorcode[error.errno])
sent.sendto(b"?", ("{VIP}", 53)); say(sent.recvfrom(100)[0].decode())
"""


def test_a_backend_that_leaves_the_inventory_ends_its_sockets_and_no_others(
    bpffs: Path, tmp_path: Path
) -> None:
    servers = [(host, port) for host in HOSTS[:2] for port in (8443, 5353)]
    with stage(bpffs, servers) as here:
        tell(here, "up", bundled(here, SHOP, tmp_path), inventory(tmp_path, shops(HOSTS[0])))
        client = subprocess.Popen(
            here.command(HELD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            assert client.stdin is not None and client.stdout is not None
            assert json.loads(client.stdout.readline()) == ["127.0.0.1 5353"]
            said = tell(here, "endpoints", "policy", inventory(tmp_path, shops(HOSTS[1]))).stdout
            assert said.endswith("2 backends came or went, 1 sockets ended\n")
            client.stdin.write("\n")
            client.stdin.flush()
            assert json.loads(client.stdout.readline()) == ["ECONNABORTED"]
            assert json.loads(client.stdout.readline()) == ["127.0.0.2 5353"]
        finally:
            client.kill()
            client.communicate()


def test_backends_of_this_host_come_first(bpffs: Path, tmp_path: Path) -> None:
    text = SHOP.replace("exempt   [app=envoy]", "spread local-first")
    many = f'say(sorted({{call("{VIP}", 443) for _ in range(60)}}))'
    with stage(bpffs, [(host, 8443) for host in HOSTS]) as here:
        tell(here, "up", bundled(here, text, tmp_path), inventory(tmp_path, shops(*HOSTS, local=HOSTS[2])))
        assert here.client(many) == [[["127.0.0.3 8443"]]]
        arguments = ("shop", HOSTS[2], "--bpffs", str(bpffs))
        assert lockgate("backend", "drain", *arguments).returncode == 0
        everybody_else = [f"{host} 8443" for host in HOSTS if host != HOSTS[2]]
        assert here.client(many) == [[everybody_else]], "none here takes clients"
        assert lockgate("backend", "drain", "--off", *arguments).returncode == 0
        assert here.client(many) == [[["127.0.0.3 8443"]]]
        tell(here, "endpoints", "policy", inventory(tmp_path, shops(*HOSTS, local=HOSTS[0])))
        assert here.client(many) == [[["127.0.0.1 8443"]]]
        tell(here, "endpoints", "policy", inventory(tmp_path, shops(*HOSTS)))
        assert here.client(many) == [[[f"{host} 8443" for host in HOSTS]]]
        assert {place.backend.address for place in listing(running.find(bpffs, "policy"))} == set(HOSTS)


def test_a_policy_of_an_inner_cgroup_judges_the_address_of_the_service(bpffs: Path, tmp_path: Path) -> None:
    """As docs/balance.md says: what is attached further in runs before the balancer."""
    text = SHOP.replace("to 127.0.0.9 port 80", f"to 127.0.0.1\n  reject udp to {VIP}")
    asks = f"""
say(call("{VIP}", 443))
try: udp("{VIP}").sendto(b"?", ("{VIP}", 53))
except OSError as error: say(errno.errorcode[error.errno])
"""
    with stage(bpffs, [(HOSTS[0], 8443)]) as here, pods(here, "web"):
        web = endpoint("web", "web", "blue", cgroup=f"/{here.name}/web")
        tell(here, "up", bundled(here, text, tmp_path), inventory(tmp_path, [web, *shops(HOSTS[0])]))
        assert here.client(asks, below="web") == [["127.0.0.1 8443"], ["EPERM"]]


def test_without_an_inventory_nothing_is_loaded(bpffs: Path, tmp_path: Path) -> None:
    with stage(bpffs, []) as here:
        done = lockgate("up", bundled(here, SHOP, tmp_path), "--bpffs", str(bpffs))
        assert done.returncode == 2 and "nothing says who carries them" in done.stderr
