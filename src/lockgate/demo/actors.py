"""Processes that make the demo's traffic: `python -m lockgate.demo.actors NETNS ROLE ARGUMENT…`.

Each enters its network namespace, says `ready` where it must be waited for, and prints one line of JSON at
its end. Sockets and bytes only; knows no policies.
"""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lockgate.runtime.sys import netns

TIMEOUT_S = 0.4
SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h
BURST, PAUSE_S = 20, 0.001


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with one line."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


class _Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def serve(address4: str, address6: str) -> None:
    """A web server on port 80 of both addresses, until standard input is closed."""
    for kind, address in ((http.server.ThreadingHTTPServer, address4), (_Server6, address6)):
        threading.Thread(target=kind((address, 80), _Quiet).serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


def ask(calls: str) -> None:
    """Make socket calls one after the other: [cgroup directory or "", [[kind, source, address, port], …]]."""
    cgroup, wanted = json.loads(calls)
    if cgroup:
        Path(cgroup, "cgroup.procs").write_text("0")
    print(json.dumps([_ask(*call) for call in wanted]))


def _ask(kind: str, source: str, address: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as s:
            s.settimeout(TIMEOUT_S)
            if source:
                host, _, from_port = source.partition("#")
                s.bind((host, int(from_port or 0)))
            if kind == "udp":
                s.sendto(b"x", (address, port))
                return "sent"
            s.connect((address, port))
            if kind == "http":
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return s.recv(100).split(b"\r\n")[0].decode()
            return "connected"
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))


def sink(address: str, port: str) -> None:
    """Count datagrams by their source address, until standard input is closed."""
    counts: dict[str, int] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        s.bind((address, int(port)))
        s.setblocking(False)
        print("ready", flush=True)
        ending = False
        while not ending:
            ending = sys.stdin in select.select([s, sys.stdin], [], [])[0]
            with contextlib.suppress(BlockingIOError):
                while True:
                    source = s.recvfrom(64)[1][0]
                    counts[source] = counts.get(source, 0) + 1
    print(json.dumps(counts))


def stream(address: str, port: str, *sources: str) -> None:
    """Send datagrams from each source, in bursts, until standard input is closed; prints how many of each."""
    sockets = []
    for source in sources:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((source, 0))
        s.connect((address, int(port)))
        sockets.append(s)
    sent = 0
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        for _ in range(BURST):
            for s in sockets:
                with contextlib.suppress(ConnectionRefusedError):
                    s.send(b"x")
        sent += BURST
        time.sleep(PAUSE_S)
    print(json.dumps(sent))


def flood(device: str, count: str, *frames: str) -> None:
    """Send frames (hex) in turn, `count` of each, as fast as one process can; prints the seconds it took."""
    data = [bytes.fromhex(frame) for frame in frames]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((device, 0))
        started = time.monotonic()
        for _ in range(int(count)):
            for frame in data:
                s.send(frame)
        seconds = time.monotonic() - started
    print(json.dumps(seconds))


ROLES: dict[str, Callable[..., None]] = {
    "serve": serve,
    "ask": ask,
    "sink": sink,
    "stream": stream,
    "flood": flood,
}


def main(arguments: list[Any]) -> None:
    """Enter the namespace and play the role."""
    namespace, role, *rest = arguments
    with netns.inside(namespace):
        ROLES[role](*rest)


if __name__ == "__main__":
    main(sys.argv[1:])
