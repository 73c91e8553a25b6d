"""What generated code answers out of every lookup structure, natively and in the kernel, is membership."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from itertools import islice

import pytest

from lockgate.runtime import bundle
from lockgate.runtime.testrun import load_chain
from lockgate.stdlib_bpf import tables
from lockgate.stdlib_bpf.decode.frame import Frame
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.tables import DataImage, Table
from tests import engines

from .table_sets import drawn, keys

ADDRESSES = {32: ("ip4", ipaddress.IPv4Address), 128: ("ip6", ipaddress.IPv6Address)}
BLOCKS = [
    pytest.param(block, width, id=f"{kind}-{width}")
    for kind, block in tables.ALL.items()
    for width in sorted(block.WIDTHS & ADDRESSES.keys())
]
# Sets that each ask for a special case of some block: bits of 64, /64s that begin inside, the last key.
EDGES = {
    32: (((1, 1),), ((5, 9), (1 << 31, (1 << 32) - 2)), ((0x7FFFFFFF, 0x80000000), (0xFFFFFFFE, 0xFFFFFFFE))),
    128: (
        ((1, 1), ((1 << 127) + 5, (1 << 127) + 5), ((1 << 128) - 3, (1 << 128) - 2)),
        ((1 << 63, (1 << 65) + 7), (0xFE80 << 112, (0xFE80 << 112) + (1 << 70)), (3 << 126, (3 << 126) + 1)),
        tuple((((1 << i) - 1) << 64, ((1 << i) - 1) << 64) for i in range(1, 64, 2)),
        tuple((0x20010DB8 << 96 | 1 << i, 0x20010DB8 << 96 | 1 << i) for i in range(0, 90, 2)),
    ),
}


def frame(width: int, source: int) -> bytes:
    """A UDP packet from an address."""
    udp = struct.pack("!HHHH", 1234, 53, 8, 0)
    if width == 32:
        head = struct.pack("!BBHHHBBHII", 0x45, 0, 28, 0, 0, 64, 17, 0, source, 0x0A090909)
        return bytes(12) + b"\x08\x00" + head + udp
    head = struct.pack("!IHBB", 6 << 28, 8, 17, 64) + source.to_bytes(16) + (0xFD00 << 112).to_bytes(16)
    return bytes(12) + b"\x86\xdd" + head + udp


def opened(block: Table, width: int, values: IntervalSet) -> engines.Opened:
    """A policy that drops what comes from the set, which lies in that structure."""
    family, kind = ADDRESSES[width]
    listed = "".join(f"{kind(value)}/{length}\n" for value, length in values.prefixes(width))
    source = (
        'network listed = file "listed.txt"\n'
        f'policy edge at xdp on "lo" {{ default pass fragments first-only drop {family} from listed }}\n'
    )
    case = engines.Case(source, (), files={"listed.txt": listed}, structures=frozenset({block.KIND}))
    return engines.Opened(case)


def wrong(block: Table, width: int, values: IntervalSet, asked: Iterator[int], kernel: bool) -> list[str]:
    """Keys that native code, or the kernel, does not answer as the set does."""
    found: list[str] = []
    with opened(block, width, values) as it:
        (table,) = it.session.plan(it.chain).tables
        assert table.kind == block.KIND
        native = it.session.native(it.chain)
        loaded = load_chain(bundle.parse(it.session.bundle()), it.chain.name) if kernel else None
        try:
            while batch := list(islice(asked, 1 << 14)):
                frames = [frame(width, key) for key in batch]
                if loaded is None:
                    dropped = [d.verdict == "drop" for d in native.run([Frame(f) for f in frames])]
                else:
                    dropped = [ran is not None and ran.value == 1 for ran in loaded.run(frames)]
                found += [hex(k) for k, d in zip(batch, dropped, strict=True) if d != (k in values)]
        finally:
            native.close()
            if loaded is not None:
                loaded.close()
    return found


def sets(block: Table, width: int, count: int) -> Iterator[IntervalSet]:
    """The special cases, of which a block that takes single values gets the low ends, and a drawn set."""
    for ranges in EDGES[width]:
        yield IntervalSet.of(*((low, low if block.EXACT else high) for low, high in ranges))
    yield drawn("engines", block, width, count)


@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_native_code_is_membership(block: Table, width: int) -> None:
    for values in sets(block, width, 3_000):
        assert not wrong(block, width, values, keys(values, width, 5_000), kernel=False)


@pytest.mark.kernel
@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_the_kernel_answers_membership(block: Table, width: int) -> None:
    for values in sets(block, width, 1_000):
        assert not wrong(block, width, values, keys(values, width, 1_000), kernel=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_native_code_on_a_million_keys(block: Table, width: int) -> None:
    values = drawn("many", block, width, 100_000)
    assert not wrong(block, width, values, keys(values, width, 1_000_000), kernel=False)


@pytest.mark.exhaustive
@pytest.mark.kernel
@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_the_kernel_on_many_keys(block: Table, width: int) -> None:
    values = drawn("many", block, width, 100_000)
    assert not wrong(block, width, values, keys(values, width, 100_000), kernel=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_models_on_a_million_keys(block: Table, width: int) -> None:
    values = drawn("many", block, width, 100_000)
    image = block.build(values, width, block.entries(values, width))
    assert not [k for k in keys(values, width, 1_000_000) if block.model(image, k, width) != (k in values)]


@pytest.mark.parametrize(("block", "width"), BLOCKS)
def test_images_do_not_depend_on_anything_but_the_set(block: Table, width: int) -> None:
    values = drawn("same", block, width, 2_000)
    once, again = (block.build(values, width, block.entries(values, width)) for _ in range(2))
    assert once == again
    if isinstance(once, DataImage):
        assert sum(len(data) for _, data, _ in once.sections) < 1 << 20
