"""One hook a file: context layout, verdicts, what the hook can do. `ALL` is the table."""

from . import connect, endpoint, tc, xdp
from .base import AttachPoint, Hook

ALL: dict[str, Hook] = {h.name: h for h in (xdp.HOOK, tc.HOOK, connect.HOOK, endpoint.HOOK)}
# Those that policies name: `at HOOK`.
NAMED: dict[str, Hook] = {name: hook for name, hook in ALL.items() if hook.target != "endpoint"}

__all__ = ["ALL", "NAMED", "AttachPoint", "Hook"]
