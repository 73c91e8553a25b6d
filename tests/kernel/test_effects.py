"""What rules do to real packets, seen by those who get them: sockets, and listeners on the wire.

A client that is rejected must hear so at once, through the stacks of both sides, whose checks of checksums
and sequence numbers no test of ours can bend. Devices of veth pairs compute no checksums: packets of local
sockets arrive with theirs still to be computed, unless that is turned off.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from lockgate.runtime.errors import InterfaceMissing, SystemRefused
from lockgate.stdlib_bpf.fields import ETH_P_IP, ETH_P_IPV6
from lockgate.stdlib_bpf.headers import network_header
from lockgate.stdlib_bpf.reply import reply
from tests import engines, netns
from tests.properties.shapes import IP4, IP6, TCP, UDP, Shape

from .actions import counts, lockgate, lockgate_json, tcp_answer, up
from .tagging import behind_two_tags

pytestmark = pytest.mark.kernel

# Asks with sockets what becomes of a connection, and of a datagram.
ASK = """
import errno, socket, sys, time
address, ports = sys.argv[1], sys.argv[2:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
def name(error):
    return errno.errorcode.get(error.errno, type(error).__name__)
for port in ports:
    kind, number = port.split(":")
    started = time.monotonic()
    s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(2)
    s.setsockopt(41, 25, 1) if ":" in address else s.setsockopt(0, 11, 1)  # also what may pass: IP_RECVERR
    try:
        s.connect((address, int(number)))
        if kind == "udp":
            s.send(bytes(100))
            s.recv(1)
        print("ok")
    except OSError as error:
        print(name(error), time.monotonic() - started < 1)
"""

# Prints `TYPE STATUS HEX` of each IP or ARP frame at a device until its standard input is closed, with the
# tag that the kernel keeps beside it; STATUS 1: its checksum is yet to be computed (TP_STATUS_CSUMNOTREADY).
LISTEN = """
import select, socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA
s.bind((sys.argv[1], 0))
print("ready", flush=True)
while True:
    ready = select.select([s, sys.stdin], [], [])[0]
    if s in ready:
        data, extra, _, address = s.recvmsg(70000, 200)
        status, _, _, _, _, control, ethertype = struct.unpack("<IIIHHHH", extra[0][2])
        if status >> 4 & 1:  # TP_STATUS_VLAN_VALID
            data = data[:12] + struct.pack(">HH", ethertype, control) + data[12:]
        if data[12:14] in (b"\\x08\\x00", b"\\x86\\xdd", b"\\x08\\x06", b"\\x81\\x00", b"\\x88\\xa8"):
            print(address[2], status >> 3 & 1, data.hex(), flush=True)
    elif sys.stdin in ready:
        break
"""

# Prints mark and traffic class of the next datagram to a port; its text.
HEAR = """
import socket, sys
six = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 75, 1)  # SO_RCVMARK
s.setsockopt(41, 66, 1) if six else s.setsockopt(0, 13, 1)  # IPV6_RECVTCLASS, IP_RECVTOS
s.bind((sys.argv[1], int(sys.argv[2])))
s.settimeout(1)
print("ready", flush=True)
try:
    data, extra, _, _ = s.recvmsg(100, 200)
except TimeoutError:
    print("silence")
else:
    found = {(level, kind): int.from_bytes(value[:4], "little") for level, kind, value in extra}
    print(data.decode(), found.get((1, 36), 0), found.get((41, 67), found.get((0, 1), 0)))
"""

SEND = """
import socket, sys
six = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(41, 67, int(sys.argv[3])) if six else s.setsockopt(0, 1, int(sys.argv[3]))
s.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
"""

# ETHTOOL_STXCSUM and ETHTOOL_SGRO of include/uapi/linux/ethtool.h.
FEATURE = """
import ctypes, fcntl, socket, struct, sys
value = ctypes.create_string_buffer(struct.pack("<II", int(sys.argv[2], 0), int(sys.argv[3])))
request = struct.pack("<16sQ16x", sys.argv[1].encode(), ctypes.addressof(value))
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8946, request)
"""
CHECKSUMS, GRO = "0x17", "0x2c"

# Sends frames, a line each of hexadecimal digits, whose checksum is still to be computed: `START OFFSET HEX`
# (VIRTIO_NET_HDR_F_NEEDS_CSUM of include/uapi/linux/virtio_net.h).
SEND_UNFINISHED = """
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
s.setsockopt(263, 15, 1)  # SOL_PACKET, PACKET_VNET_HDR
s.bind((sys.argv[1], 0))
for line in sys.stdin:
    start, offset, data = line.split()
    s.send(struct.pack("<BBHHHH", 1, 0, 0, 0, int(start), int(offset)) + bytes.fromhex(data))
"""


def compiled(text: str) -> bytes:
    """A policy's bundle."""
    with engines.Opened(engines.Case(text, ())) as opened:
        return opened.session.bundle()


def answers(netns_name: str, address: str, *asked: str) -> list[str]:
    """What sockets in a namespace are told."""
    done = netns.run("nsenter", f"--net=/run/netns/{netns_name}", "python3", "-c", ASK, address, *asked)
    return done.stdout.splitlines()


def feature(netns_name: str, device: str, command: str, on: bool) -> None:
    """Turn a feature of a device on or off."""
    inside = netns.inside(netns_name, "python3", "-c", FEATURE, device, command, str(int(on)))
    netns.run(*inside)


@contextmanager
def listening(netns_name: str, device: str) -> Iterator[list[tuple[int, int, bytes]]]:
    """Frames that come and go at a device meanwhile: (type, whether unfinished, bytes)."""
    heard: list[tuple[int, int, bytes]] = []
    process = netns.python(netns_name, LISTEN, device)
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline().strip() == "ready"
    try:
        yield heard
        process.stdin.close()
        for line in process.stdout:
            kind, status, data = line.split()
            heard.append((int(kind), int(status), bytes.fromhex(data)))
        process.wait(10)
    finally:
        process.kill()
        _close(process)


@contextmanager
def talking(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block."""
    try:
        yield process
    finally:
        process.kill()
        _close(process)


def _close(process: subprocess.Popen[str]) -> None:
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def heard(where: str, address: str, port: int, sender: str, to: str, tos: int = 0) -> str:
    """What a socket in one namespace hears of a datagram from another."""
    process = netns.python(where, HEAR, address, str(port))
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready", process.stderr and process.stderr.read()
        netns.run(*netns.inside(sender, "python3", "-c", SEND, to, str(port), str(tos)))
        return process.stdout.readline().strip()
    finally:
        process.kill()
        _close(process)


REJECTS = """
policy lan at tc on "{target}" {{
  default allow
  {direction} {{
    refused:    reject tcp, udp to port 81
    reset:      reject tcp to port 82 with reset
    prohibited: reject tcp, udp to port 83 with prohibited
    host:       reject udp to port 84 with host
    quiet:      drop tcp to port 85
  }}
}}
"""
ASKED = ("tcp:81", "udp:81", "tcp:82", "tcp:83", "udp:83", "udp:84")
TOLD = {
    # Linux takes 3/13 for EHOSTUNREACH (net/ipv4/icmp.c) and 1/1 for EACCES (net/ipv6/icmp.c)
    4: ["ECONNREFUSED"] * 3 + ["EHOSTUNREACH"] * 3,
    6: ["ECONNREFUSED"] * 3 + ["EACCES"] * 2 + ["EHOSTUNREACH"],
}


@pytest.mark.parametrize("tagged", [False, True], ids=["untagged", "two tags"])
@pytest.mark.parametrize("finished", [False, True], ids=["checksums to come", "checksums done"])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_rejected_sender_is_told_at_once(
    bpffs: Path, pair: netns.Pair, direction: str, family: int, finished: bool, tagged: bool
) -> None:
    inner, outer = (pair.inner4, pair.outer4) if family == 4 else (pair.inner6, pair.outer6)
    asking, address = (pair.outer, inner) if direction == "ingress" else (pair.inner, outer)
    if finished:
        feature(pair.outer, pair.outer_if, CHECKSUMS, False)
        feature(pair.inner, pair.inner_if, CHECKSUMS, False)
    device = (pair.outer, pair.outer_if) if direction == "ingress" else (pair.inner, pair.inner_if)
    with behind_two_tags(*device) if tagged else nullcontext():
        up(compiled(REJECTS.format(target=pair.target, direction=direction)), bpffs)
        with listening(*device) as frames:
            assert answers(asking, address, *ASKED) == [f"{told} True" for told in TOLD[family]]
    counted = counts(bpffs, "policy")
    assert min(counted[name] for name in ("refused", "reset", "prohibited", "host")) >= 1
    if direction == "ingress":
        check_frames(frames, finished, tagged)


def check_frames(frames: list[tuple[int, int, bytes]], finished: bool, tagged: bool) -> None:
    """Each answer is the reference's, byte by byte, and nobody will compute a checksum in it any more."""
    outgoing, ports = 4, {81: "", 82: "", 83: "prohibited", 84: "host"}
    asked = [data for kind, _, data in frames if kind == outgoing]
    came = [(unfinished, data) for kind, unfinished, data in frames if kind != outgoing]
    expected = []
    for frame in asked:
        network, ethertype = network_header(frame, False)
        at = network + (20 if ethertype == ETH_P_IP else 40)
        port = int.from_bytes(frame[at + 2 : at + 4])
        if ethertype in (ETH_P_IP, ETH_P_IPV6) and port in ports:
            assert network == (22 if tagged else 14)
            expected.append(reply(frame, ports[port]))
    assert len(expected) >= len(ASKED)
    assert {data for _, data in came} >= set(expected)
    assert not any(unfinished for unfinished, data in came if data in expected)
    if not finished:
        assert any(unfinished for kind, unfinished, _ in frames if kind == outgoing)


@pytest.mark.parametrize("how", ["refused", "prohibited"])
@pytest.mark.parametrize("tags", [((0x8100, 7),), ((0x88A8, 7), (0x8100, 5 << 13 | 8))], ids=["one", "two"])
@pytest.mark.parametrize("family", [4, 6])
def test_tags_in_an_unfinished_frame_are_in_its_answer(
    bpffs: Path, pair: netns.Pair, family: int, tags: tuple[tuple[int, int], ...], how: str
) -> None:
    """As virtual machines send them by macvtap: no tag beside the frame, and its checksum still open. At
    ingress the kernel takes one tag off, so only egress sees such."""
    rules = f"egress {{ told: reject tcp, udp to port 81 with {how} }}"
    up(compiled(f'policy lan at tc on "{pair.target}" {{ default allow {rules} }}'), bpffs)
    ends = (0x0A000001, 0x0A000002) if family == 4 else ((0xFD << 120) + 1, (0xFD << 120) + 2)
    common = Shape(eth_type=IP4 if family == 4 else IP6, src=ends[0], dst=ends[1], tags=tags, dport=81)
    sent = [
        replace(common, protocol=protocol, payload=payload).frame()
        for protocol in (TCP, UDP)
        for payload in (b"", bytes(range(200)))
    ]
    start = 14 + 4 * len(tags) + (20 if family == 4 else 40)
    places = [16, 16, 6, 6]
    with listening(pair.inner, pair.inner_if) as frames:
        lines = [f"{start} {at} {frame.hex()}\n" for at, frame in zip(places, sent, strict=True)]
        sender = netns.inside(pair.inner, "python3", "-c", SEND_UNFINISHED, pair.inner_if)
        subprocess.run(sender, input="".join(lines), text=True, check=True, timeout=60)
    assert counts(bpffs, "policy")["told"] == len(sent)
    came = [
        (unfinished, data) for kind, unfinished, data in frames if data[12:14] in (b"\x81\x00", b"\x88\xa8")
    ]
    assert came == [(0, reply(frame, how)) for frame in sent]


@pytest.mark.parametrize("tagged", [False, True], ids=["untagged ingress", "two tags egress"])
def test_an_open_connection_is_reset(bpffs: Path, pair: netns.Pair, tagged: bool) -> None:
    """Segments of megabytes of data, which come as super-packets, and acknowledge: the answer takes the
    peer's own number, else the peer would not listen."""
    serve = """
import socket, sys
s = socket.create_server((sys.argv[1], 80))
print("ready", flush=True)
c, _ = s.accept()
while c.recv(1 << 16):
    pass
"""
    pour = """
import socket, sys
s = socket.create_connection((sys.argv[1], 80))
s.settimeout(10)
s.sendall(bytes(1 << 20))
print("poured", flush=True)
sys.stdin.readline()
try:
    while True:
        s.sendall(bytes(1 << 20))
except OSError as error:
    print(type(error).__name__)
"""
    ends = ((pair.inner, pair.inner_if, pair.inner4), (pair.outer, pair.outer_if, pair.outer4))
    (served, _, address), (asking, _, _) = reversed(ends) if tagged else ends
    direction = "egress" if tagged else "ingress"
    with ExitStack() as stack:
        for where, device, _ in ends if tagged else ():
            stack.enter_context(behind_two_tags(where, device))
        server = stack.enter_context(talking(netns.python(served, serve, address)))
        assert server.stdout and server.stdout.readline().strip() == "ready"
        client = stack.enter_context(talking(netns.python(asking, pour, address)))
        assert client.stdout and client.stdin
        assert client.stdout.readline().strip() == "poured"
        rules = f"{direction} {{ web: reject tcp to port 80 }}"
        up(compiled(f'policy lan at tc on "{pair.target}" {{ default allow {rules} }}'), bpffs)
        client.stdin.write("go\n")
        client.stdin.flush()
        assert client.stdout.readline().strip() == "ConnectionResetError"
        assert counts(bpffs, "policy")["web"] >= 1


@pytest.mark.parametrize("hook", ["xdp", "tc ingress", "tc egress"])
@pytest.mark.parametrize("family", [4, 6])
def test_a_new_dscp_arrives_with_its_checksum_right(
    bpffs: Path, pair: netns.Pair, family: int, hook: str
) -> None:
    """The stack drops IPv4 packets whose header checksum is wrong."""
    name, _, direction = hook.partition(" ")
    rules = "voice: pass udp to port 5060 dscp ef"
    rules = f"{direction} {{ {rules} }}" if direction else rules
    body = f"{{ default pass  fragments drop  {rules} }}"
    up(compiled(f'policy lan at {name} on "{pair.target}" {body}'), bpffs)
    inner, outer = (pair.inner4, pair.outer4) if family == 4 else (pair.inner6, pair.outer6)
    here, there, to = (
        (pair.inner, pair.outer, inner) if direction != "egress" else (pair.outer, pair.inner, outer)
    )
    assert heard(here, to, 5060, there, to, tos=0b000100_01) == f"hello 0 {46 << 2 | 1}"
    assert heard(here, to, 5061, there, to, tos=0b000100_01) == f"hello 0 {0b000100_01}"


def test_a_mark_is_on_the_packet_that_a_socket_gets(bpffs: Path, pair: netns.Pair) -> None:
    text = f"""
policy lan at tc on "{pair.target}" {{
  default pass
  ingress {{ continue udp mark 0x100/0xff00   pass udp to port 5060 mark 7/0xff }}
}}
"""
    up(compiled(text), bpffs)
    assert heard(pair.inner, pair.inner4, 5060, pair.outer, pair.inner4) == f"hello {0x107} 0"
    assert heard(pair.inner, pair.inner6, 5061, pair.outer, pair.inner6) == f"hello {0x100} 0"


# ---- other devices ----


@contextmanager
def third(pair: netns.Pair) -> Iterator[str]:
    """A namespace behind a second device of the protected side: `out0` 10.9.9.1 to `far0` 10.9.9.2."""
    far = netns.unique("lg-f")
    netns.run("ip", "netns", "add", far)
    try:
        netns.run(
            *("ip", "-n", pair.inner, "link", "add", "out0", "type", "veth", "peer", "far0", "netns", far)
        )
        for where, device, address in ((pair.inner, "out0", "10.9.9.1"), (far, "far0", "10.9.9.2")):
            netns.run("ip", "-n", where, "address", "add", f"{address}/24", "dev", device)
            netns.run("ip", "-n", where, "link", "set", device, "up")
            netns.run("ip", "-n", where, "link", "set", "lo", "up")
        netns.run("ip", "-n", pair.outer, "route", "add", "10.9.9.0/24", "via", pair.inner4)
        netns.run("ip", "-n", far, "route", "add", "192.0.2.0/24", "via", "10.9.9.1")
        yield far
    finally:
        netns.run("ip", "netns", "del", far, check=False)


@pytest.mark.parametrize("way", ["peer", "neighbour"])
def test_a_redirect_reaches_a_socket_in_another_namespace(bpffs: Path, pair: netns.Pair, way: str) -> None:
    """The protected side forwards nothing, so only the redirect can bring the datagram there."""
    with third(pair) as far:
        text = f"""
policy lan at tc on "{pair.target}" {{
  default pass
  ingress {{ away: redirect udp to 10.9.9.0/24 into "out0" as {way} dscp ef }}
}}
"""
        assert heard(far, "10.9.9.2", 5060, pair.outer, "10.9.9.2") == "silence"
        up(compiled(text), bpffs)
        assert heard(far, "10.9.9.2", 5060, pair.outer, "10.9.9.2") == f"hello 0 {46 << 2}"


@pytest.mark.parametrize(
    ("action", "arrives"),
    [
        ('redirect udp into "out0"', False),
        ('redirect udp into "out0" as ingress', False),
        ('mirror udp into "out0"', True),
        ('mirror udp into "out0" as ingress', True),
    ],
)
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_other_devices_send_or_get_the_frame(
    bpffs: Path, pair: netns.Pair, direction: str, action: str, arrives: bool
) -> None:
    """`out0` sends it (4: PACKET_OUTGOING), or receives it."""
    text = f'policy lan at tc on "{pair.target}" {{ default pass {direction} {{ sent: {action} }} }}'
    with third(pair), listening(pair.inner, "out0") as frames:
        up(compiled(text), bpffs)
        if direction == "ingress":
            got = heard(pair.inner, pair.inner4, 5060, pair.outer, pair.inner4)
        else:
            got = heard(pair.outer, pair.outer4, 5060, pair.inner, pair.outer4)
    assert got == ("hello 0 0" if arrives else "silence")
    found = [kind for kind, _, data in frames if data.endswith(b"hello")]
    assert [kind == 4 for kind in found] == ["ingress" not in action]


def test_a_mirror_sends_a_copy_to_each_device(bpffs: Path, pair: netns.Pair) -> None:
    text = f"""
policy lan at tc on "{pair.target}" {{
  default pass
  ingress {{ seen: mirror udp into {{ "out0", "lo" }} count copied   pass udp dscp ef }}
}}
"""
    with third(pair) as far, listening(far, "far0") as frames, listening(pair.inner, "lo") as looped:
        up(compiled(text), bpffs)
        assert heard(pair.inner, pair.inner4, 5060, pair.outer, pair.inner4) == f"hello 0 {46 << 2}"
    for copies in (frames, looped):
        found = {data for _, _, data in copies if data.endswith(b"hello")}
        assert [data[15] for data in found] == [0], "as it arrived"
    assert counts(bpffs, "policy")["copied"] == 1


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_xdp_redirects_frames(bpffs: Path, pair: netns.Pair, mode: str) -> None:
    text = f"""
policy edge at xdp on "{pair.target}" {{
  default pass  fragments first-only
  away: redirect udp to port 5060 into "out0" dscp ef
}}
"""
    with third(pair) as far, listening(far, "far0") as frames:
        feature(far, "far0", GRO, True)  # else a veth device takes no frames of XDP
        up(compiled(text), bpffs, xdp_mode=mode)
        assert heard(pair.inner, pair.inner4, 5060, pair.outer, pair.inner4) == "silence"
        assert heard(pair.inner, pair.inner4, 5061, pair.outer, pair.inner4) == "hello 0 0"
    found = [data for _, _, data in frames if data.endswith(b"hello")]
    assert [data[15] for data in found] == [46 << 2]


def test_a_missing_device_is_told_before_anything_changes(
    bpffs: Path, pair: netns.Pair, tmp_path: Path
) -> None:
    text = """
policy lan at tc on "{target}" {{
  default pass
  ingress {{ sent: redirect arp into "{device}" }}
}}
"""
    bundle = tmp_path / "lan.bundle"
    bundle.write_bytes(compiled(text.format(target=pair.target, device=pair.inner_if)))
    done = lockgate("up", str(bundle), "--bpffs", str(bpffs))
    assert done.returncode == 0, done.stderr
    assert f"devices of lan.ingress: {pair.target}" in lockgate("up", str(bundle), "--dry-run").stdout
    bundle.write_bytes(compiled(text.format(target=pair.target, device="nowhere")))
    done = lockgate("up", str(bundle), "--bpffs", str(bpffs))
    assert done.returncode == 3
    assert "E0903" in done.stderr and "`nowhere`" in done.stderr and "still attached" in done.stderr
    assert tcp_answer(pair.outer, pair.inner, pair.outer4, 80) == "hello"


# ---- patterns of interfaces ----


def attached(bpffs: Path) -> list[str]:
    """Interfaces with a program."""
    shown = lockgate_json("status", "--bpffs", str(bpffs))
    assert isinstance(shown, list)
    return [hook["target"].partition("/")[2] for policy in shown for hook in policy["attachments"]]


def test_a_pattern_means_the_interfaces_that_are_there(bpffs: Path, pair: netns.Pair) -> None:
    def make(device: str) -> None:
        link = ("ip", "-n", pair.inner, "link", "add")
        netns.run(*link, device, "type", "veth", "peer", "name", f"p-{device}")

    text = f'policy lab at tc on "{pair.inner}/tap*" {{ default pass ingress {{ }} egress {{ }} }}'
    with pytest.raises(InterfaceMissing, match=r"no interface fits `tap\*`"):
        up(compiled(text), bpffs)
    for device in ("tap10", "tap2", "other"):
        make(device)
    assert up(compiled(text), bpffs).added == 4
    assert attached(bpffs) == ["tap10", "tap2"] * 2
    make("tap3")
    outcome = up(compiled(text), bpffs)
    assert (outcome.added, outcome.switched, outcome.removed) == (2, 4, 0)
    netns.run("ip", "-n", pair.inner, "link", "del", "tap10")
    outcome = up(compiled(text), bpffs)
    assert (outcome.added, outcome.switched) == (0, 4)
    assert attached(bpffs) == ["tap2", "tap3"] * 2


def test_patterns_that_meet_at_xdp_change_nothing(bpffs: Path, pair: netns.Pair) -> None:
    text = f"""
policy one at xdp on "{pair.inner}/lan*" {{ default pass  fragments first-only }}
policy two at xdp on {{ "{pair.inner}/[a-m]*0", "{pair.inner}/lo" }} {{ default pass  fragments first-only }}
"""
    with pytest.raises(SystemRefused, match=f"two policies of the bundle want XDP on `{pair.target}`"):
        up(compiled(text), bpffs)
    assert not (bpffs / "lockgate").exists() or not any((bpffs / "lockgate").iterdir())


@pytest.mark.parametrize("hook", ["xdp", "tc"])
def test_status_tells_of_devices_that_are_gone(bpffs: Path, pair: netns.Pair, hook: str) -> None:
    rules = 'redirect arp into "out0"' if hook == "xdp" else 'ingress { mirror arp into { "lo", "out0" } }'
    body = f"{{ default pass  fragments drop  {rules} }}"
    with third(pair):
        up(compiled(f'policy lan at {hook} on "{pair.target}" {body}'), bpffs)
        shown = lockgate_json("status", "--bpffs", str(bpffs))
        assert isinstance(shown, list) and shown[0]["lost_devices"] == []
        netns.run("ip", "-n", pair.inner, "link", "del", "out0")
        told = lockgate("status", "--bpffs", str(bpffs)).stdout
    assert f"policy: packets for `{pair.inner}/out0` are dropped: the interface was removed" in told


# ---- the interface that packets arrive on ----


@pytest.mark.parametrize("hook", ["xdp", "tc"])
def test_packets_know_where_they_arrived(bpffs: Path, pair: netns.Pair, hook: str) -> None:
    rules = f"""
    here:      continue udp if meta.iif == "{pair.inner_if}"
    elsewhere: continue udp if meta.iif != "{pair.inner_if}"
    other:     continue udp if meta.iif in {{ "lo" }}
"""
    text = f'policy lan at {hook} on "{pair.target}" {{ default pass  fragments drop '
    text += (
        rules
        if hook == "xdp"
        else f'ingress {{ {rules} }} egress {{ out: continue udp if meta.iif != "lo" }}'
    )
    up(compiled(text + " }"), bpffs)
    assert heard(pair.inner, pair.inner4, 5060, pair.outer, pair.inner4) == "hello 0 0"
    assert heard(pair.outer, pair.outer4, 5060, pair.inner, pair.outer4) == "hello 0 0"
    counted = counts(bpffs, "policy")
    assert (counted["here"], counted["elsewhere"], counted["other"]) == (1, 0, 0)
    assert counted.get("out", 0) == 0, "what the host sends itself has arrived nowhere"
