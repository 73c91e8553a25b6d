"""A prefix file means what its lines mean one by one, however many of them are read at once."""

from __future__ import annotations

import ipaddress
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.compiler.policy import prefixes
from lockgate.compiler.policy.model import Prefixes
from lockgate.compiler.policy.prefixes import BadLine, Listed, parse, parse_lines
from lockgate.stdlib_bpf.prefix_text import BadPrefix
from lockgate.stdlib_bpf.sets import IntervalSet


def _plain(width: int) -> st.SearchStrategy[str]:
    kind = ipaddress.IPv4Network if width == 32 else ipaddress.IPv6Network
    top = (1 << width) - 1
    pair = st.tuples(st.integers(0, top), st.integers(0, width))
    return pair.map(lambda p: str(kind((p[0] >> (width - p[1]) << (width - p[1]), p[1]))))


HOSTS = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
ODD = st.sampled_from(
    [
        *("10.0.0.1/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/8/8", "10.1", "010.0.0.1", "/8"),
        *(
            "::ffff:1.2.3.4",
            "::ffff:0:0/96",
            "::ffff:0:0/95",
            "::/0",
            "0.0.0.0/0",
            "2001:db8::1/32",
            "::1/129",
        ),
        *("fe80::1%eth0", "1:2", ":", "nonsense", "\0", "é", "\u2028", "10.0.0.1 10.0.0.2", "10.0.0.0/²"),
        *("10.0.0.1\x0b", "\x1c10.0.0.1", "\ufeff10.0.0.1", "10.0.0.0-10.0.0.9", "10.0.0.0 /8"),
    ]
)
TEXTS = st.one_of(_plain(32), _plain(128), HOSTS, ODD, st.text(max_size=8).map(lambda t: t.replace("\n", "")))
LINES = st.tuples(
    st.sampled_from(["", "", " ", "\t"]),
    st.one_of(TEXTS, TEXTS, st.just("")),
    st.sampled_from(["", "", "", " ", "\r", " # why\r", "#", "# 10.0.0.1"]),
).map("".join)


def by_hand(text: str, max_bad: int) -> Listed:
    """The meaning, line by line."""
    found: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    bad: list[BadLine] = []
    offset = 0
    for line in text.split("\n"):
        if entry := line.partition("#")[0].strip():
            try:
                prefix = parse(entry)
                found[prefix.family].append((prefix.low, prefix.high))
            except BadPrefix as reason:
                start = offset + line.index(entry)
                bad.append(BadLine(start, start + len(entry), reason))
        offset += len(line) + 1
    sets = Prefixes(IntervalSet.from_ranges(found[4]), IntervalSet.from_ranges(found[6]))
    return Listed(sets, len(found[4]) + len(found[6]), tuple(bad[:max_bad]), len(bad))


def facts(listed: Listed, text: str) -> tuple[object, ...]:
    """All that a reader of a result can see; exceptions by what they say."""
    bad = [(b.start, text[b.start : b.end], repr(b.reason), vars(b.reason)) for b in listed.bad]
    return listed.prefixes, listed.entries, listed.bad_count, bad


@given(
    st.lists(LINES, max_size=40),
    st.sampled_from(["\n", "\n", "\r\n"]),
    st.booleans(),
    st.sampled_from([1, 7, 40, 1 << 16]),
    st.integers(1, 4),
)
@settings(deadline=None, max_examples=500)
def test_many_lines_are_each_of_them(
    lines: list[str], newline: str, ended: bool, piece: int, max_bad: int
) -> None:
    text = newline.join(lines) + newline * ended
    with mock.patch.object(prefixes, "PIECE", piece):
        assert facts(parse_lines(text, max_bad), text) == facts(by_hand(text, max_bad), text)


def test_a_large_file_with_errors_names_the_first_ones_at_their_places() -> None:
    lines = [f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}" for i in range(200_000)]
    for at in range(1_000, 200_000, 1_000):
        lines[at] = "10.0.0.300"
    text = "\n".join(lines)
    listed = parse_lines(text, 10)
    assert listed.bad_count == 199 and listed.entries == 200_000 - 199
    assert [text.count("\n", 0, line.start) for line in listed.bad] == [*range(1_000, 11_000, 1_000)]
    assert {text[line.start : line.end] for line in listed.bad} == {"10.0.0.300"}


def test_progress_is_told_in_characters_and_goes_up() -> None:
    heard: list[int] = []
    text = "10.0.0.1\n" * 100_000
    parse_lines(text, reached=heard.append)
    assert heard == sorted(set(heard)) and heard[0] == 0 and len(heard) > 5 and heard[-1] == len(text)
