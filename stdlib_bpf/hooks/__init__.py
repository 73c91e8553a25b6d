"""One hook a file: context layout, verdicts, what the hook can do. `ALL` is the table."""

from . import connect, tc, xdp
from .base import AttachPoint, Hook

ALL: dict[str, Hook] = {h.name: h for h in (xdp.HOOK, tc.HOOK, connect.HOOK)}

__all__ = ["ALL", "AttachPoint", "Hook"]
