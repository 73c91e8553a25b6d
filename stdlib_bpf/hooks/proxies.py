"""Where the programs beside a policy that sends calls to proxies are attached. Not a place where policies
stand: the file names none of these."""

from ..layout import Member, Struct
from .base import AttachPoint

GETPEERNAME = (
    AttachPoint("getpeername4", "cgroup/getpeername4", 18, 29, 29, "ip4"),
    AttachPoint("getpeername6", "cgroup/getpeername6", 18, 30, 30, "ip6"),
)
SOCKOPS = AttachPoint("sockops", "sockops", 13, 3, 3)
GETSOCKOPT = AttachPoint("getsockopt", "cgroup/getsockopt", 25, 21, 21)

SOCK_OPS = Struct(
    "bpf_sock_ops",
    192,
    (
        Member("op", 0, 4),
        Member("args", 4, 4, 4),
        Member("family", 20, 4),
        Member("remote_ip4", 24, 4),
        Member("local_ip4", 28, 4),
        Member("remote_ip6", 32, 4, 4),
        Member("local_ip6", 48, 4, 4),
        Member("remote_port", 64, 4),
        Member("local_port", 68, 4),
        Member("cb_flags", 84, 4),
        Member("sk", 184, 8),
    ),
    source="include/uapi/linux/bpf.h; remote_port is be16 in the high half, local_port in host order",
)
SOCKOPT = Struct(
    "bpf_sockopt",
    40,
    (
        Member("sk", 0, 8),
        Member("optval", 8, 8),
        Member("optval_end", 16, 8),
        Member("level", 24, 4),
        Member("optname", 28, 4),
        Member("optlen", 32, 4),
        Member("retval", 36, 4),
    ),
    source="include/uapi/linux/bpf.h",
)
