"""endpoint: packets to and from workloads and this host, judged by policies that name labels.

Programs are tc programs on the host's side of each workload's interface, where what the workload receives is
the device's egress, and on the host's own interfaces. All four share one list of rules; the direction, as the
endpoint sees it, is a field (`flow.direction`).
"""

from .base import AttachPoint, Hook
from .tc import SK_BUFF, TC_ACT_SHOT

# TCX_NEXT: what this policy allows, other programs at the same hook may still refuse.
NEXT = -1

HOOK = Hook(
    name="endpoint",
    doc="packets to and from workloads and hosts, flow by flow, at their interfaces' tc hooks",
    target="endpoint",
    directions=("ingress", "egress"),
    verdicts={"allow": NEXT, "drop": TC_ACT_SHOT},
    refusals={
        "reject": ("it cannot answer packets of flows yet", "write `drop`"),
        "redirect": ("where packets go is the routing table's affair", "write `allow`"),
        "mark": ("packets are only judged", "leave it out"),
        "dscp": ("packets are only judged", "leave it out"),
    },
    passing=("continue", "pass"),
    ends=("drop",),
    malformed="drop",
    context=SK_BUFF,
    decoder="frame",
    points={
        "": (
            AttachPoint("workload_ingress", "tc", 3, 0, 47, "tc"),
            AttachPoint("workload_egress", "tc", 3, 0, 46, "tc"),
            AttachPoint("host_ingress", "tc", 3, 0, 46, "tc"),
            AttachPoint("host_egress", "tc", 3, 0, 47, "tc"),
        )
    },
    min_kernel="6.6",
    fragments="track",
)
