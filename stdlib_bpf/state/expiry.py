"""Expiry of confirmed flows, and what the tables of flows have been through.

Every flow that is confirmed takes a ticket, the next number, and its key lies in RING under it. Whoever
confirms a flow looks at EXAMINED of the oldest tickets: a flow that has been silent for too long is removed,
one that lives takes a new ticket, and a ticket that is no longer the flow's own is dropped. So dead flows go
as fast as new ones come, nobody walks the table, and who opens nothing pays nothing; with as many new flows
as old ones end, the table holds about twice what lives at most. The last LAG tickets are left alone, because
another CPU may not have written its key yet.

Knows layouts and meaning; generated code: `emit.expiry`.
"""

from __future__ import annotations

from ..layout import packed
from .flows import MAX_FLOWS

RING, HANDS = "flow_ring", "flow_hands"
TICKET_BYTES = 8
MAX_TICKETS = 2 * MAX_FLOWS  # a flow that ends early leaves its ticket behind
EXAMINED, LAG = 2, 64
# `taken`, `examined`: tickets so far. Since the tables were made: flows `begun`, `confirmed`, `removed` by
# this sweep, and how often one found no `room`, which stays in OPENINGS then.
HAND = packed(
    "flow_hands", ("taken", 8), ("examined", 8), ("begun", 8), ("confirmed", 8), ("removed", 8), ("room", 8)
)
