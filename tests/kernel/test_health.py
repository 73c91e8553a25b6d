"""Health checks of real servers: who fails leaves the table and its clients, who is well comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .. import netns
from .actions import lockgate, lockgate_json
from .balancing import Stage, stage

pytestmark = pytest.mark.kernel

VIP = "10.96.0.40"
ONE, TWO = "127.0.0.1", "127.0.0.2"
TEXT = f"""
balance shop for cgroup CGROUP {{
  vip {VIP}  port tcp 443 -> 8443  port udp 53 -> 5353  affinity client 1h
  backends {{ {ONE}, {TWO} }}
}}
"""
# An HTTP server whose answer is what it is told, and one for datagrams; says who it is.
SERVER = """
import http.server, socket, sys, threading
status, host = [200], sys.argv[1]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(status[0] if self.path == "/healthz" else 200)
        self.end_headers()
        self.wfile.write(host.encode())
    def log_message(self, *_): pass
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((host, 5353))
def echo():
    while True:
        udp.sendto(host.encode(), udp.recvfrom(100)[1])
threading.Thread(target=echo, daemon=True).start()
server = http.server.ThreadingHTTPServer((host, 8443), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    status[0] = int(line)
    print("told", flush=True)
"""
ASK = f"""
import urllib.request
def ask():
    try: return urllib.request.urlopen("http://{VIP}:443/", timeout=5).read().decode()
    except OSError as error: return str(error)
u = udp("{VIP}")
def datagram():
    u.sendto(b"?", ("{VIP}", 53))
    return u.recvfrom(100)[0].decode()
say(ask(), datagram())
for _ in sys.stdin: say(ask(), datagram())
"""


class Talk:
    """A process that answers lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, line: str = "") -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self.hear()


@contextmanager
def talking(process: subprocess.Popen[str]) -> Iterator[Talk]:
    try:
        yield Talk(process)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def serving(here: Stage, host: str) -> Iterator[Talk]:
    with talking(netns.python(here.netns, SERVER, host)) as server:
        assert server.hear() == "ready"
        yield server


@contextmanager
def checking(here: Stage, *options: str) -> Iterator[Talk]:
    common = ["--netns", here.netns, "--interval", "20ms", "--rise", "2", "--fall", "3"]
    command = [sys.executable, "-m", "lockgate", "health", "policy", *common, *options]
    command += ["--bpffs", str(here.bpffs)]
    with talking(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) as process:
        yield process
        process.process.terminate()
        assert process.process.wait(10) == 0, "it ends when it is told to"


def failing(here: Stage) -> set[str]:
    listed = lockgate_json("backend", "list", "--bpffs", str(here.bpffs), "--output", "json")
    return {row["backend"] for row in listed if row["failing"]}


def test_a_backend_that_dies_leaves_the_table_and_comes_back(bpffs: Path) -> None:
    with stage(bpffs, []) as here, serving(here, ONE) as first:
        here.balance(TEXT)
        with checking(here) as health:
            assert health.hear() == f"shop: {TWO} fails", "nobody listens there"
            with talking(
                subprocess.Popen(here.command(ASK), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            ) as client:
                assert client.hear() == f'["{ONE}", "{ONE}"]'
                with serving(here, TWO):
                    assert health.hear() == f"shop: {TWO} is well"
                    assert client.tell() == f'["{ONE}", "{ONE}"]', "a client keeps its backend"
                    first.process.kill()
                    assert health.hear() == f"shop: {ONE} fails"
                    assert client.tell() == f'["{TWO}", "{TWO}"]', "affinity and a socket's datagrams move"
                    assert failing(here) == {ONE}
                assert health.hear() == f"shop: {TWO} fails"
        assert here.client(f'say(call("{VIP}", 443))') == [["ECONNREFUSED"]], "the service is empty"


def test_what_a_server_answers_counts_where_it_is_asked_by_http(bpffs: Path) -> None:
    with stage(bpffs, []) as here, serving(here, ONE) as one, serving(here, TWO):
        here.balance(TEXT)
        with checking(here, "--http", "/healthz") as health:
            assert one.tell("503") == "told"
            assert health.hear() == f"shop: {ONE} fails"
            assert one.tell("204") == "told"
            assert health.hear() == f"shop: {ONE} is well"
        assert failing(here) == set()


def test_what_cannot_be_asked_is_said(bpffs: Path) -> None:
    with stage(bpffs, []) as here:
        here.balance(TEXT)
        for arguments, said in (
            (("policy", "shap"), "has no service `shap`"),
            (("policy", "--interval", "soon"), "`soon` is no time span"),
        ):
            done = lockgate("health", *arguments, "--bpffs", str(bpffs))
            assert done.returncode == 2 and said in done.stderr, done.stderr
