"""A stage for balancers: a network namespace whose loopback has backends, and a cgroup whose processes call.

Every backend is a real server that answers with who it is (`ADDRESS PORT`), over TCP and UDP. Nothing is left
behind.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lockgate.compiler.driver import Session
from tests import engines

from .. import netns
from .actions import up

SERVE = """
import json, selectors, socket, sys
ready = selectors.DefaultSelector()
for address, port in json.loads(sys.argv[1]):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    name = f"{address} {port}".encode()
    tcp = socket.create_server((address, port), family=family, backlog=1024)
    udp = socket.socket(family, socket.SOCK_DGRAM)
    udp.bind((address, port))
    for s in (tcp, udp):
        s.setblocking(False)
        ready.register(s, selectors.EVENT_READ, (name, s is tcp))
print("ready", flush=True)
kept = set()
while True:
    for key, _ in ready.select():
        name, is_tcp = key.data if key.data else (None, False)
        try:
            if name is None:
                if not key.fileobj.recv(100):
                    ready.unregister(key.fileobj)
                    key.fileobj.close()
            elif is_tcp:
                connection, _ = key.fileobj.accept()
                connection.setblocking(False)
                connection.sendall(name)
                ready.register(connection, selectors.EVENT_READ, None)
            else:
                _, who = key.fileobj.recvfrom(100)
                key.fileobj.sendto(name, who)
        except OSError:
            if name is None:
                ready.unregister(key.fileobj)
                key.fileobj.close()
"""

# What clients have at hand: `call` over TCP, `ask` over UDP; both say who answered.
CLIENT = """
import errno, json, socket, struct, sys, time
def family(address): return socket.AF_INET6 if ":" in address else socket.AF_INET
def cookie(s): return struct.unpack("Q", s.getsockopt(socket.SOL_SOCKET, 57, 8))[0]
def tcp(address, port):
    s = socket.socket(family(address))
    s.settimeout(5)
    s.connect((address, port))
    return s
def call(address, port):
    try:
        with tcp(address, port) as s:
            return s.recv(100).decode()
    except OSError as error:
        return errno.errorcode[error.errno]
def udp(address):
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    s.settimeout(5)
    return s
def say(*what): print(json.dumps(what), flush=True)
"""


@dataclass(frozen=True)
class Stage:
    """`netns` is the name of the namespace, `name` of the cgroup, `directory` its directory."""

    netns: str
    name: str
    directory: Path
    bpffs: Path

    def client(self, code: str, *arguments: str, below: str = "") -> list[Any]:
        """Run Python in namespace and cgroup; everything it said, one list for each `say`."""
        done = netns.run(*self.command(code, *arguments, below=below), check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def command(self, code: str, *arguments: str, below: str = "") -> list[str]:
        """The command line that runs Python with what CLIENT has."""
        return self.enters(sys.executable, "-c", CLIENT + code, *arguments, below=below)

    def enters(self, *command: str, below: str = "") -> list[str]:
        """The command line that runs a command in namespace and cgroup. `below`: a cgroup in that one."""
        enter = f'echo $$ > {self.directory / below}/cgroup.procs && exec "$@"'
        return netns.inside(self.netns, "sh", "-c", enter, "sh", *command)

    def balance(self, text: str) -> None:
        """Load a policy; `CGROUP` in it is the stage's."""
        up(compiled(text.replace("CGROUP", f'"/{self.name}"')), self.bpffs)


def compiled(text: str) -> bytes:
    """A policy's bundle."""
    session = Session(Path(engines.NAME), worker=engines.worker())
    session._unit = engines.load(text, {})
    return session.bundle()


@contextmanager
def stage(bpffs: Path, backends: Sequence[tuple[str, int]]) -> Iterator[Stage]:
    """A stage with these backends: addresses of 127.0.0.0/8 are there, others are put on loopback."""
    name = netns.unique()
    netns.run("ip", "netns", "add", name)
    try:
        netns.run("ip", "-n", name, "link", "set", "lo", "up")
        for address in {a for a, _ in backends if not a.startswith("127.") and a != "::1"}:
            length = "128" if ":" in address else "32"
            netns.run("ip", "-n", name, "address", "add", f"{address}/{length}", "dev", "lo")
        server = netns.python(name, SERVE, json.dumps(backends))
        try:
            assert server.stdout is not None
            assert server.stdout.readline().strip() == "ready"
            with netns.cgroup() as (cgroup, directory):
                yield Stage(name, cgroup, directory, bpffs)
        finally:
            server.kill()
            server.communicate()
    finally:
        netns.run("ip", "netns", "del", name, check=False)
