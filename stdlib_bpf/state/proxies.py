"""What programs keep of connections that go to a local proxy.

| map | key | value |
|---|---|---|
| PROXIED | a socket | ORIGINAL: whom the caller named; of the caller's socket, and of the proxy's |
| CALLERS | CALLER | ORIGINAL: of connections that the proxy has not got yet |

The caller's socket knows whom it called. When its SYN leaves, that is noted under its own address, which is
the proxy's peer; when the proxy's socket comes to be, the note moves into that one, and is gone with it. A
note whose connection comes to nothing is removed when the caller's socket closes. Addresses are 16 bytes in
network order, IPv4 mapped into IPv6; ports are in network order. What sends SYNs without end pushes out the
oldest notes, of connections that no proxy took.
"""

from __future__ import annotations

from ..layout import packed

PROXIED, CALLERS = "proxied", "callers"
ORIGINAL = packed("lockgate_original", ("address", 1, 16), ("port", 2), ("side", 2), ("pad", 4))
NOBODY, CALLER_SIDE, PROXY_SIDE = range(3)  # whose socket it is; NOBODY: it is not sent to a proxy
CALLER = packed("lockgate_caller", ("netns", 8), ("address", 1, 16), ("port", 2), ("proxy", 2), ("pad", 4))
MAX_CALLERS = 1 << 16
