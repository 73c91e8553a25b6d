"""tc: packets at an interface's traffic-control hooks, attached by TCX links."""

from .. import answers
from ..layout import Member, Struct
from .base import AttachPoint, Hook

SK_BUFF = Struct(
    "__sk_buff",
    192,
    (
        Member("len", 0, 4),
        Member("pkt_type", 4, 4),
        Member("mark", 8, 4),
        Member("queue_mapping", 12, 4),
        Member("protocol", 16, 4),
        Member("vlan_present", 20, 4),
        Member("vlan_tci", 24, 4),
        Member("vlan_proto", 28, 4),
        Member("priority", 32, 4),
        Member("ingress_ifindex", 36, 4),
        Member("ifindex", 40, 4),
        Member("tc_index", 44, 4),
        Member("cb", 48, 4, 5),
        Member("hash", 68, 4),
        Member("tc_classid", 72, 4),
        Member("data", 76, 4),
        Member("data_end", 80, 4),
        Member("gso_segs", 164, 4),
        Member("gso_size", 176, 4),
    ),
    source="include/uapi/linux/bpf.h",
)

TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7  # include/uapi/linux/pkt_cls.h

# TC_ACT_OK ends the chain and lets the packet go on; TC_ACT_UNSPEC (TCX_NEXT) leaves it to the next program.
# A rejected packet becomes the answer, which is redirected, or is dropped when there is none.
HOOK = Hook(
    name="tc",
    doc="packets entering or leaving an interface, after XDP and before or behind the stack",
    target="interface",
    directions=("ingress", "egress"),
    verdicts={
        "allow": 0,
        "drop": TC_ACT_SHOT,
        "pass": -1,
        "reject": TC_ACT_SHOT,
        "redirect": TC_ACT_REDIRECT,
    },
    refusals={},
    passing=("continue", "mirror"),
    ends=("drop", "reject"),
    ways={
        "egress": ("ingress", "egress"),
        "ingress": ("ingress", "egress"),
        "peer": ("ingress",),
        "neighbour": ("ingress", "egress"),
    },
    answers=tuple(answers.PACKETS)[1:],
    malformed="drop",
    context=SK_BUFF,
    decoder="frame",
    points={
        "ingress": (AttachPoint("ingress", "tc", 3, 0, 46, "tc"),),
        "egress": (AttachPoint("egress", "tc", 3, 0, 47, "tc"),),
    },
    min_kernel="6.6",
    fragments="first-only",
)
