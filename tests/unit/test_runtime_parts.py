"""Small parts of the runtime that need no kernel."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.runtime import counters, errors, expiry, mounts, pins, prefixes, running, testrun
from lockgate.runtime.errors import InterfaceMissing, PolicyLine, SetError, VerifierRejected, telling_line
from lockgate.runtime.loader import failing_instruction
from lockgate.runtime.plan import HookPoint
from lockgate.runtime.running import Attachment, State
from lockgate.runtime.sys import attrs
from lockgate.stdlib_bpf.manifest import Manifest

LOG = """\
func#0 @0
0: R1=ctx() R10=fp0
; drop tcp to port 80 @ edge.gate:7
0: (61) r2 = *(u32 *)(r1 +4)          ; R1=ctx() R2_w=pkt_end()
1: (85) call unknown#9999
invalid func unknown#9999
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


def test_the_telling_line_of_a_verifier_log() -> None:
    assert telling_line(LOG).startswith("invalid func unknown#9999")
    assert failing_instruction(LOG) == 1
    assert telling_line("BPF program is too large. Processed 1000001 insn\n").endswith(
        "(the policy is too long: the verifier gave up after a million instructions)"
    )
    assert telling_line("") == "no reason given"
    assert failing_instruction("") is None


def test_a_verifier_refusal_names_the_rule() -> None:
    place = PolicyLine("edge.gate", 7, "drop tcp to port 80", "no-web")
    error = VerifierRejected("edge", "edge_ingress", LOG, place, telling_line(LOG))
    text = errors.render(error)
    assert "refused `edge_ingress` of `edge` at rule `no-web`" in text
    assert "edge.gate:7: `drop tcp to port 80`" in text
    assert "7 more lines" in text or "6 more lines" in text
    assert errors.as_json(error)["line"] == 7


def test_every_error_has_a_code_of_its_own_and_an_exit_code() -> None:
    codes = [kind.code for kind in errors.ALL]
    assert codes == sorted(set(codes))
    assert {kind.exit_code for kind in errors.ALL} == {2, 3}
    assert all(kind.__doc__ for kind in errors.ALL)
    tree = errors.__doc__ or ""
    assert all(kind.__name__ in tree and kind.code in tree for kind in errors.ALL)


def test_did_you_mean() -> None:
    assert InterfaceMissing("eth1", "red", ["eth0", "lo"]).help == ("did you mean `eth0`?",)
    assert InterfaceMissing("eth1", None, []).help == ("there are no interfaces",)
    assert "lo, wlan0" in InterfaceMissing("eth1", None, ["wlan0", "lo"]).help[0]


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1))
def test_quoted_names_fit_a_bpf_file_system(name: str) -> None:
    from urllib.parse import unquote

    quoted = pins.quote(name)
    assert "." not in quoted
    assert "/" not in quoted
    assert unquote(quoted) == name


addresses = st.one_of(
    st.builds(
        lambda a, n: ipaddress.ip_network((a, n), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
    ),
    st.builds(
        lambda a, n: ipaddress.ip_network((a, n), strict=False),
        st.integers(2**33, 2**128 - 1),
        st.integers(0, 128),
    ).filter(lambda prefix: prefix.network_address.ipv4_mapped is None),  # refused: judged as IPv4
)


@given(addresses)
def test_prefixes_tokens_and_keys_of_tries(prefix: prefixes.Prefix) -> None:
    token = prefixes.token_of(prefix)
    key = prefixes.key_of(token)
    assert key == prefix.prefixlen.to_bytes(4, "little") + prefix.network_address.packed
    assert prefixes.token_of_key(key) == token
    assert prefixes.prefix_of(token) == prefix
    assert prefixes.is_host(token) == (prefix.num_addresses == 1)


@given(st.lists(addresses))
def test_keys_of_many_are_those_of_each(listed: list[prefixes.Prefix]) -> None:
    for version in (4, 6):
        tokens = [prefixes.token_of(prefix) for prefix in listed if prefix.version == version]
        assert prefixes.keys_of(tokens) == b"".join(map(prefixes.key_of, tokens))


@given(st.lists(addresses, max_size=30), st.sampled_from(["\n", "  # why\n", "\n\n# none\n"]))
def test_lists_are_read_as_their_lines_are(listed: list[prefixes.Prefix], end: str) -> None:
    read = prefixes.read("".join(f" {prefix}{end}" for prefix in listed), "list")
    assert read.tokens[4] | read.tokens[6] == dict.fromkeys(map(prefixes.token_of, listed), 0)


def test_a_line_may_say_how_long_a_prefix_stays() -> None:
    found = prefixes.read("10.0.0.0/8\n192.0.2.1 30m # x\n2001:db8::/32\t1d\n10.0.0.0/8 90s\n", "list").tokens
    assert {str(prefixes.prefix_of(token)): span for t in found.values() for token, span in t.items()} == {
        "10.0.0.0/8": 90 * 10**9,
        "192.0.2.1/32": 1800 * 10**9,
        "2001:db8::/32": 86400 * 10**9,
    }
    for line in ("192.0.2.1 30", "192.0.2.1 0s", "192.0.2.1 30m 2", "192.0.2.1 -1s", "192.0.2.1 999999999d"):
        with pytest.raises(SetError):
            prefixes.read(line, "list")


@pytest.mark.parametrize(("span_ns", "text"), [(1, "1s"), (10**9, "1s"), (1799 * 10**9 + 1, "1800s")])
def test_time_spans_are_rounded_up(span_ns: int, text: str) -> None:
    assert expiry.text_of(span_ns) == text
    assert expiry.duration(text) >= span_ns


@given(
    st.dictionaries(addresses.filter(lambda p: p.version == 6), st.integers(0, 5), max_size=30),
    st.integers(1, 6),
)
def test_the_end_of_a_prefix_is_the_latest_around_it(own: dict[prefixes.Prefix, int], above: int) -> None:
    found = expiry.effective({prefixes.token_of(p): end for p, end in own.items()}, above)
    for prefix in own:
        ends = [above, *(end for wide, end in own.items() if prefix.subnet_of(wide))]  # type: ignore[arg-type]
        assert found[prefixes.token_of(prefix)] == (0 if 0 in ends else max(ends))


ODD = ["::ffff:1.2.3.4", "::ffff:0:0", "::1.2.3.4", "fe80::1%2", "1.2.3", "0x7f.1", "1.2.3.4\0", "1.2.3.04"]


@given(
    st.one_of(
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).map(str),
        st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){2,4}", fullmatch=True),
        st.from_regex(r"[0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,8}", fullmatch=True),
        st.sampled_from(ODD),
    ),
    st.one_of(st.sampled_from(["", "/", "/08", "/255.0.0.0", "/-1"]), st.integers(0, 140).map("/{}".format)),
)
def test_the_quick_way_of_reading_prefixes_is_the_slow_one(address: str, length: str) -> None:
    token = prefixes._quick(address + length)
    if token is not None:
        assert token == prefixes.token_of(prefixes.parse(address + length))


def test_a_bad_line_of_a_list_is_named() -> None:
    with pytest.raises(SetError) as caught:
        prefixes.read("10.0.0.0/8\n\n10.0.0.1/8\n", "bans.txt")
    assert "in bans.txt:3" in caught.value.notes


NO_MEMBERS = ("10.0.0.1/8", "2001:db8::1/32", "10.0.0.0/33", "x", "", "::ffff:1.2.3.4")
# `ipaddress` takes these: a zone, a mask, a wildcard mask.
NO_PREFIXES = ("fe80::1%eth0", "10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255")


@pytest.mark.parametrize("text", [*NO_MEMBERS, *NO_PREFIXES])
def test_what_is_no_member_of_a_set(text: str) -> None:
    with pytest.raises(SetError):
        prefixes.parse(text)


def test_prefixes_as_people_write_them() -> None:
    assert str(prefixes.parse("192.0.2.7")) == "192.0.2.7/32"
    assert str(prefixes.parse("2001:DB8::/32")) == "2001:db8::/32"


def test_mount_points_with_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "bpf /sys/fs/bpf bpf rw 0 0\nnone /mnt/a\\040b bpf rw 0 0\ncgroup2 /c cgroup2 rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert mounts.mounts_of("bpf") == ["/sys/fs/bpf", "/mnt/a b"]


def test_state_reads_back() -> None:
    manifest = Manifest("edge", "0.1", (("edge.gate", "00"),), (), (), ("xdp-link",))
    point = HookPoint("xdp", "xdp", 37, "eth0.7", "red")
    state = State(
        manifest, "abc", (Attachment("xdp@red%2Feth0%2E7:1:2", point, "edge:edge", "native", 1),), 7
    )
    assert running._from_json(running._to_json(state)) == state


def test_attributes_have_the_sizes_of_the_kernel_header() -> None:
    """Offsets of include/uapi/linux/bpf.h, checked against numbers computed by hand."""
    assert attrs.PROG_LOAD.offset("expected_attach_type") == 68
    assert attrs.PROG_LOAD.offset("line_info_cnt") == 104
    assert attrs.TEST_RUN.offset("duration") == 36
    assert attrs.MAP_BATCH.offset("map_fd") == 36
    assert attrs.MAP_CREATE.offset("map_name") == 28
    assert attrs.LINK_INFO.offset("target") == 16


@pytest.mark.parametrize(("text", "cpus"), [("0\n", 1), ("0-1\n", 2), ("0,2-127\n", 128)])
def test_possible_cpus(monkeypatch: pytest.MonkeyPatch, text: str, cpus: int) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    assert counters.possible_cpus.__wrapped__() == cpus


def test_return_values_are_signed() -> None:
    assert testrun._signed(struct.unpack("<I", struct.pack("<i", -1))[0]) == -1
    assert testrun._signed(2) == 2
