"""Where a policy at nftables judges otherwise than the language says: the list, for the docs and for the law.

The law compares every other packet. What opens nothing by accident is preferred: what nftables cannot read is
dropped and counted as `unread`.
"""

from __future__ import annotations

from ..otherwise import Row

EXCEPTIONS = {
    "tags": Row(
        "two VLAN tags and more; at egress, a tag that is part of the frame",
        "dropped and counted as `unread` if a rule asks what lies behind: nftables looks behind the tag that "
        "the kernel took off and no further",
    ),
    "authentication": Row(
        "IPv6 with an authentication or mobility header",
        "dropped and counted as `unread` if a rule asks for a protocol, ports, flags or types: nftables ends "
        "its walk there",
    ),
    "walk": Row(
        "IPv6 whose extension headers are malformed: more than six, cut short, or two of fragments; or whose "
        "transport header lies in padding behind the packet",
        "judged by what nftables finds there, else `malformed`",
    ),
    "later": Row(
        "later fragments of IPv6 that name an extension header as what follows",
        "`malformed`: nftables finds no protocol",
    ),
    "cut tag": Row(
        "arriving frames of less than 20 bytes with a VLAN tag",
        "are dropped by the kernel before any rule, and counted nowhere",
    ),
    "segments": Row(
        "super-packets (GRO, GSO)", "take one token of a limit, not one for each packet of the wire"
    ),
    "buckets": Row(
        "keys of a limit beyond the 65,536th",
        "do not match: nftables forgets no other key. Rates are rounded to a whole nanosecond a packet, up",
    ),
    "accept": Row(
        "what `allow` takes at tc",
        "is still seen by other tables' chains at the hook: `accept` ends one table's judging",
    ),
    "flows": Row(
        "at endpoints: flows",
        "are the kernel's connections (conntrack), with its times and its windows of sequence numbers; a "
        "packet with a wrong checksum is of none. Those that "
        "are open stay so under a new policy or inventory, also such as were open before the first; an error "
        "of ICMP may come from anybody; helpers let in nothing",
    ),
    "routed": Row(
        "at endpoints: what a bridge carries from one workload to another",
        "is not seen: workloads are judged where the host routes, at forward, input and output",
    ),
    "reassembled": Row(
        "at endpoints: fragments",
        "are put together by the kernel first, and judged as the packet that they were",
    ),
    "samples": Row("`log sample N`", "counts on all CPUs together"),
}
