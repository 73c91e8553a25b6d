"""Where each row of the language's semantics is tested.

`ROWS` follows the table of the language reference row by row. A row is a list of test ids (a file, or
`file::test`) or the reason why there is nothing to test yet; `tests/unit/test_semantics.py` checks that every
id exists.
"""

from __future__ import annotations

FT = "tests/filetests/semantics"
FIELDS = "tests/filetests/fields"
LAW = "tests/properties/test_law.py::test_five_meanings_agree"
DECODE = "tests/properties/test_decode.py"
REAL = "tests/kernel/test_real_frames.py"
TRAFFIC = "tests/kernel/test_traffic.py"


def later(what: str) -> str:
    """A row that the language does not have yet."""
    return f"not yet in the language: {what}"


ROWS: dict[str, list[str] | str] = {
    "ports of a later fragment": [
        f"{FT}/later_fragments_have_no_ports.ft",
        f"{FT}/tiny_fragments.ft",
        f"{FT}/atomic_fragment.ft",
        "tests/filetests/diagnostics/missing_fragments.ft",
    ],
    "`fragments drop` and `fragments track`": [
        f"{FT}/fragments_drop.ft",
        f"{FT}/fragments_track.ft",
        LAW,
    ],
    "missing field and `!=`": [f"{FT}/missing_fields_never_match.ft", LAW],
    "malformed, truncated": [
        f"{FT}/malformed.ft",
        f"{FT}/truncated_under_default_drop.ft",
        f"{FT}/tiny_fragments.ft",
        f"{FT}/padding.ft",
        f"{DECODE}::test_truncation_is_malformed_or_equal",
        f"{REAL}::test_frames_cut_short_and_tagged_ones",
    ],
    "IP options": [f"{FT}/ip_options.ft", f"{DECODE}::test_fields_are_what_scapy_finds"],
    "`ip.options` as a condition": [f"{FIELDS}/ip4_options.ft", f"{FIELDS}/ip6_headers.ft", LAW],
    "VLAN, QinQ": [
        f"{FT}/vlan_tags.ft",
        f"{FT}/vlan_in_metadata.ft",
        f"{REAL}::test_frames_cut_short_and_tagged_ones",
    ],
    "`vlan` as a condition": [
        f"{FIELDS}/vlan_id.ft",
        f"{FIELDS}/vlan_priority.ft",
        f"{REAL}::test_frames_cut_short_and_tagged_ones",
        LAW,
    ],
    "IPv6 extension headers": [
        f"{FT}/extension_headers.ft",
        f"{FT}/too_many_extension_headers.ft",
        f"{FT}/esp_and_unknown_headers.ft",
        f"{FT}/atomic_fragment.ft",
        f"{DECODE}::test_the_fragment_header_has_one_length",
    ],
    "ICMP errors of a flow": later("flow tables of endpoints; at xdp and tc they are packets like others"),
    "non-IP: ARP, ND": [f"{FT}/arp_at_default.ft"],
    "first match or priority": [f"{FT}/first_match.ft", LAW],
    "return traffic": later("flow tables of endpoints"),
    "GRO, GSO, LRO": [f"{FT}/limits.ft", LAW],
    "frames of several buffers": [
        f"{FT}/first_buffer.ft",
        f"{FT}/first_buffer_counted.ft",
        LAW,
        f"{REAL}::test_jumbo_frames_at_xdp",
    ],
    "headers outside the linear part": [f"{FT}/non_linear.ft", f"{REAL}::test_frames_that_are_not_linear"],
    "tc direction": [f"{FT}/tc_directions.ft", f"{TRAFFIC}::test_tc_judges_both_directions"],
    "two ends on one node": later("endpoints"),
    "IPv4-mapped IPv6": [
        f"{FT}/mapped_at_connect.ft",
        f"{FT}/unspecified_at_connect.ft",
        f"{FT}/mapped_on_the_wire.ft",
        "tests/filetests/diagnostics/mapped_prefix.ft",
        "tests/properties/test_law.py::test_five_meanings_agree_on_real_sockets",
    ],
    "UDP without connect": [f"{FT}/udp_without_connect.ft"],
    "loopback, hairpin": later("endpoints"),
    "host-network pods": later("endpoints"),
    "NAT before or after": later("balancing"),
    "rate limits on many CPUs": [
        f"{FT}/limits.ft",
        "tests/kernel/test_limits.py::test_a_bucket_is_exact_on_many_processors",
        LAW,
    ],
    "rules that let the packet go on": [f"{FT}/continue.ft", LAW],
    "marks, DSCP": [f"{FT}/mark.ft", f"{FT}/dscp.ft", f"{FT}/dscp_at_tc.ft", LAW],
    "redirects and copies": [
        f"{FT}/redirect.ft",
        f"{FT}/redirect_at_xdp.ft",
        f"{FT}/redirect_at_connect.ft",
        f"{FT}/mirror.ft",
        "tests/kernel/test_effects.py",
        LAW,
    ],
    "rejections": [
        f"{FT}/reject.ft",
        f"{FT}/reject_at_connect.ft",
        "tests/properties/test_reply.py",
        "tests/kernel/test_effects.py",
        LAW,
    ],
    "expiry, time": ["tests/unit/test_expiry.py::test_the_last_day"],
    "counters and logs": [f"{FT}/counters.ft", LAW],
    "dynamic sets": [f"{FT}/dynamic_sets.ft", LAW],
    "host addresses, sums and differences": [f"{FT}/host_addresses.ft", LAW],
}
