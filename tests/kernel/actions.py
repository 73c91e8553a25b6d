"""What kernel tests do with policies: load, look, and send real packets between two namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from lockgate.runtime import bundle as bundles
from lockgate.runtime import counters, plan, running, swap

from .. import netns

# counts datagrams until its standard input is closed, then says how many came
UDP_SINK = """
import select, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
s.bind((sys.argv[1], int(sys.argv[2])))
s.setblocking(False)
print("ready", flush=True)
count, ending = 0, False
while True:
    try:
        while True:
            s.recv(64)
            count += 1
    except BlockingIOError:
        if ending:
            break
    ending = sys.stdin in select.select([s, sys.stdin], [], [])[0]
print(count)
"""

UDP_SEND = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[3])):
    s.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
"""

TCP_SERVE = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("ready", flush=True)
s.settimeout(20)
while True:
    c, _ = s.accept()
    c.sendall(b"hello")
    c.close()
"""

TCP_ASK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])) as s:
        print(s.recv(5).decode())
except OSError as error:
    print(type(error).__name__)
"""


def up(data: bytes, bpffs: Path, **options: str) -> swap.Outcome:
    """Load a bundle held in memory."""
    return swap.up(plan.make(bundles.parse(data), **options), bpffs)  # type: ignore[arg-type]


def counts(bpffs: Path, name: str) -> dict[str, int]:
    """Label → packets, of a policy that is loaded."""
    return {c.slot.label: c.packets for c in counters.read(running.find(bpffs, name))}


def udp_arrivals(receiver: str, sender: str, address: str, port: int, count: int = 3) -> int:
    """How many of `count` datagrams from one namespace arrive at a socket in another."""
    sink = netns.python(receiver, UDP_SINK, address, str(port))
    try:
        assert sink.stdout is not None
        assert sink.stdout.readline().strip() == "ready"
        sent = netns.python(sender, UDP_SEND, address, str(port), str(count))
        assert sent.wait(10) == 0, sent.communicate()
        _close(sent)
        assert sink.stdin is not None
        sink.stdin.close()
        return int(sink.stdout.readline())
    finally:
        sink.kill()
        sink.wait()
        _close(sink)


def tcp_answer(server: str, client: str, address: str, port: int, timeout: float = 0.5) -> str:
    """What a client hears from a server that says hello: "hello", or the name of the error."""
    process = netns.python(server, TCP_SERVE, address, str(port))
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        asked = netns.run(
            *netns.inside(client, sys.executable, "-c", TCP_ASK, address, str(port), str(timeout))
        )
        return asked.stdout.strip()
    finally:
        process.kill()
        process.wait()
        _close(process)


def _close(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def lockgate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from lockgate.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def lockgate_json(*arguments: str) -> object:
    """What a successful command prints as JSON."""
    done = lockgate(*arguments, "--output", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
