"""XDP: frames as the driver hands them up, before the kernel has built a packet."""

from ..layout import Member, Struct
from .base import AttachPoint, Hook

XDP_MD = Struct(
    "xdp_md",
    24,
    (
        Member("data", 0, 4),
        Member("data_end", 4, 4),
        Member("data_meta", 8, 4),
        Member("ingress_ifindex", 12, 4),
        Member("rx_queue_index", 16, 4),
        Member("egress_ifindex", 20, 4),
    ),
    source="include/uapi/linux/bpf.h",
)

BPF_F_XDP_HAS_FRAGS = 1 << 5  # takes frames of several buffers, of which `data` to `data_end` is the first
XDP_REDIRECT = 4  # include/uapi/linux/bpf.h

HOOK = Hook(
    name="xdp",
    doc="arriving frames, before the kernel has built a packet",
    target="interface",
    directions=(),
    verdicts={"drop": 1, "pass": 2, "redirect": XDP_REDIRECT},
    refusals={
        "allow": (
            "XDP cannot allow a packet, it can only not drop it",
            "write `pass`; tc and the stack decide after it",
        ),
        "reject": (
            "`reject` needs a reply packet, which XDP does not send",
            "write `drop`, or reject at tc or connect",
        ),
        "mirror": (
            "XDP cannot copy a frame, it can only send it elsewhere",
            "mirror at tc, or write `redirect` for the frame itself",
        ),
        "mark": ("a frame has no mark yet when XDP sees it", "mark it at tc"),
    },
    passing=("continue",),
    ends=("drop",),
    ways={"egress": ("",)},
    malformed="drop",
    context=XDP_MD,
    decoder="frame",
    points={"": (AttachPoint("xdp", "xdp.frags", 6, 37, 37, "xdp", BPF_F_XDP_HAS_FRAGS),)},
    min_kernel="5.18",
    fragments="",
)
