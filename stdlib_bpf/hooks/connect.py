"""connect: sockets of a cgroup that connect, or send a datagram without having connected."""

from .. import answers
from ..layout import Member, Struct
from .base import AttachPoint, Hook

SOCK_ADDR = Struct(
    "bpf_sock_addr",
    72,
    (
        Member("user_family", 0, 4),
        Member("user_ip4", 4, 4, big_endian=True),
        Member("user_ip6", 8, 4, 4),
        Member("user_port", 24, 4),
        Member("family", 28, 4),
        Member("type", 32, 4),
        Member("protocol", 36, 4),
        Member("msg_src_ip4", 40, 4),
        Member("msg_src_ip6", 44, 4, 4),
        Member("sk", 64, 8),
    ),
    source="include/uapi/linux/bpf.h; user_port is be16 in the low half of a u32",
)

HOOK = Hook(
    name="connect",
    doc="sockets of a cgroup that connect or send without connecting",
    target="cgroup",
    directions=(),
    verdicts={"allow": 1, "redirect": 1, "reject": 0},
    refusals={
        "drop": ("at connect nothing is dropped: the call is allowed or fails", "write `reject`"),
        "pass": ("at connect a policy decides alone: there is nothing to pass to", "write `allow`"),
        "mirror": ("at connect there is no packet to copy", "mirror at tc"),
        "mark": ("at connect there is no packet to mark", "mark it at tc"),
        "dscp": ("at connect there is no packet to rewrite", "rewrite it at tc"),
    },
    passing=("continue",),
    ends=("reject",),
    answers=tuple(answers.ERRNOS)[1:],
    malformed="reject",
    proxies=True,
    context=SOCK_ADDR,
    decoder="sock_addr",
    points={
        "": (
            AttachPoint("connect4", "cgroup/connect4", 18, 10, 10, "ip4"),
            AttachPoint("connect6", "cgroup/connect6", 18, 11, 11, "ip6"),
            AttachPoint("sendmsg4", "cgroup/sendmsg4", 18, 14, 14, "ip4"),
            AttachPoint("sendmsg6", "cgroup/sendmsg6", 18, 15, 15, "ip6"),
        )
    },
    min_kernel="5.7",
)
