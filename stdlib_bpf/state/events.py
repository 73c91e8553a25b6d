"""Log events: one record of a ring buffer for each packet that a rule with `log` decides, and for each flow
that such a rule has let in, when it ends."""

from __future__ import annotations

from ..layout import Struct, packed

HEADER_BYTES = 96
RING_BYTES = 256 * 1024
# Kinds: a packet; a flow that its ends have closed or that was reset, that was silent for too long, that is
# no longer allowed.
PACKET, CLOSED, SILENT, DENIED = range(4)
NO_RULE = 0xFFFFFFFF

# kind: PACKET, or why a flow has ended; of those, header is FLOW_END and slot that of the rule that let it
# in, NO_RULE where that was one of an earlier load. slot: counter slot of the deciding rule. length: of the
# whole frame, in bytes. captured: how many bytes of `header` are filled with the beginning of the frame. At
# connect, captured is 0 and header begins with the decoded destination: family (u32: 4 or 6), protocol (u32),
# port (u32, host order), zero (u32), address (16 bytes, network order).
EVENT: Struct = packed(
    "event",
    ("ktime_ns", 8),
    ("policy", 4),
    ("slot", 4),
    ("ifindex", 4),
    ("length", 4),
    ("captured", 4),
    ("kind", 4),
    ("header", 1, HEADER_BYTES),
)
# The end of a flow, members as in `state.flows`.
FLOW_END: Struct = packed(
    "flow_end",
    ("key", 1, 48),
    ("packets", 8, 2),
    ("bytes", 8, 2),
    ("since_ns", 8),
    ("opener", 4),
    ("zero", 4),
)
assert FLOW_END.size == HEADER_BYTES
