"""Where a balancer's programs are attached. Not a place where policies stand: the file names none of
these."""

from .base import AttachPoint

NAME = "balance"
# `variant`: family of the socket.
FORWARD = {
    "connect": (
        AttachPoint("connect4", "cgroup/connect4", 18, 10, 10, "ip4"),
        AttachPoint("connect6", "cgroup/connect6", 18, 11, 11, "ip6"),
    ),
    "sendmsg": (
        AttachPoint("sendmsg4", "cgroup/sendmsg4", 18, 14, 14, "ip4"),
        AttachPoint("sendmsg6", "cgroup/sendmsg6", 18, 15, 15, "ip6"),
    ),
}
BACK = {
    "recvmsg": (
        AttachPoint("recvmsg4", "cgroup/recvmsg4", 18, 19, 19, "ip4"),
        AttachPoint("recvmsg6", "cgroup/recvmsg6", 18, 20, 20, "ip6"),
    ),
    "getpeername": (
        AttachPoint("getpeername4", "cgroup/getpeername4", 18, 29, 29, "ip4"),
        AttachPoint("getpeername6", "cgroup/getpeername6", 18, 30, 30, "ip6"),
    ),
}
