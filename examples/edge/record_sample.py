"""Records `sample.pcap`: what arrives at a small server, from real sockets in another network namespace.

    sudo python examples/edge/record_sample.py

Makes two namespaces joined by a veth pair, records the frames that arrive at the inner one, and sends there
from the outer one: neighbour discovery, pings, web requests over both families, SSH from a bastion and from
elsewhere, a probe of a database port, large datagrams that are fragmented, answers of a name server that
nobody asked, and a web request from a listed source. Checksums and segmentation are done in software, so that
the recording shows what a wire would carry. Needs root, ip(8), ethtool(8) and dpkt.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import dpkt

from lockgate.runtime.sys import netns

HERE = Path(__file__).parent
INNER, OUTER = f"lg-rec-in-{os.getpid()}", f"lg-rec-out-{os.getpid()}"
PACKET_OUTGOING = 4  # include/uapi/linux/if_packet.h
ETH_P_ALL = 3
INNER4, INNER6 = "198.51.100.7", "2001:db8:100::7"
# addresses of the outer side: somebody, a bastion, somebody on the list
SOMEBODY, BASTION, LISTED = "198.51.100.65", "192.0.2.10", "198.18.66.9"
SOMEBODY6 = "2001:db8:100::65"


def ip(*arguments: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *arguments], check=True, timeout=10)


def build() -> None:
    """Both namespaces, joined, with addresses."""
    for name in (INNER, OUTER):
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
    ip("-n", INNER, "link", "add", "eth0", "type", "veth", "peer", "wan0", "netns", OUTER)
    for name, device, addresses in (
        (INNER, "eth0", (f"{INNER4}/24", f"{INNER6}/64")),
        (OUTER, "wan0", (f"{SOMEBODY}/24", f"{BASTION}/24", f"{LISTED}/24", f"{SOMEBODY6}/64")),
    ):
        for address in addresses:
            ip("-n", name, "address", "add", address, "dev", device, *(("nodad",) if ":" in address else ()))
        ip("-n", name, "link", "set", device, "up")
        with netns.inside(name):
            off = [word for what in ("tx", "tso", "gso", "gro") for word in (what, "off")]
            subprocess.run(["ethtool", "-K", device, *off], check=True, stdout=subprocess.DEVNULL, timeout=10)
    for network in ("192.0.2.0/24", "198.18.66.0/24"):
        ip("-n", INNER, "route", "add", network, "dev", "eth0")


def record(stop: threading.Event, frames: list[tuple[float, bytes]], ready: threading.Event) -> None:
    """Frames that arrive at the inner side, until told to stop."""
    kind = (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with netns.inside(INNER), socket.socket(*kind) as s:
        s.bind(("eth0", 0))
        s.settimeout(0.1)
        ready.set()
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):  # silence on the wire
                data, where = s.recvfrom(65535)
                if where[2] != PACKET_OUTGOING:
                    frames.append((time.time(), data))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web server that says nothing on the terminal."""

    def do_GET(self) -> None:
        """Answer with one line."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Server6(http.server.ThreadingHTTPServer):
    """The same over IPv6."""

    address_family = socket.AF_INET6


def servers() -> list[http.server.ThreadingHTTPServer]:
    """Web servers of the inner side, on both families."""
    with netns.inside(INNER):
        made = [
            http.server.ThreadingHTTPServer((INNER4, 80), Quiet),
            Server6((INNER6, 80), Quiet),
        ]
    for server in made:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    return made


def ask(address: str, port: int, source: str, request: bytes = b"GET / HTTP/1.0\r\n\r\n") -> None:
    """Open a connection, ask, read the answer; whatever happens is traffic."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as s, contextlib.suppress(OSError):
        s.settimeout(0.5)
        s.bind((source, 0))
        s.connect((address, port))
        s.sendall(request)
        while s.recv(4096):
            pass


def ping(address: str, size: int) -> None:
    """Send an echo request with `size` bytes of data, and wait for the answer."""
    family, protocol, kind = (
        (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128)
        if ":" in address
        else (socket.AF_INET, socket.IPPROTO_ICMP, 8)
    )
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as s, contextlib.suppress(OSError):
        s.settimeout(0.5)
        s.sendto(bytes((kind, 0, 0, 0, 0, 0, 0, 1)) + bytes(size), (address, 0))
        s.recv(65535)


def traffic() -> None:
    """Everything that the outer side sends."""
    with netns.inside(OUTER):
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
        for address, size in ((INNER4, 56), (INNER6, 56), (INNER4, 4000)):
            ping(address, size)
        ask(INNER4, 80, SOMEBODY)
        ask(INNER6, 80, SOMEBODY6)
        ask(INNER4, 80, LISTED)
        for source in (SOMEBODY, BASTION):
            ask(INNER4, 22, source)
        ask(INNER4, 5432, SOMEBODY)
        for size in (512, 4000):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind((SOMEBODY, 53))
                s.sendto(bytes(size), (INNER4, 33000))


def main() -> None:
    """Record and write."""
    frames: list[tuple[float, bytes]] = []
    try:
        build()
        stop, ready = threading.Event(), threading.Event()
        recorder = threading.Thread(target=record, args=(stop, frames, ready))
        recorder.start()
        ready.wait(5)
        running = servers()
        traffic()
        time.sleep(0.5)
        stop.set()
        recorder.join()
        for server in running:
            server.shutdown()
    finally:
        for name in (INNER, OUTER):
            subprocess.run(["ip", "netns", "del", name], check=False)
    with (HERE / "sample.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file, nano=False)
        for when, data in frames:
            writer.writepkt(data, when - frames[0][0])  # the first frame at second 0
    print(f"sample.pcap: {len(frames)} frames")


if __name__ == "__main__":
    main()
