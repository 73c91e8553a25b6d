"""Attaching programs, one hook a file. `KINDS` is the table: kind of hook → its module's functions."""

from __future__ import annotations

from . import cgroup, tcx, xdp
from .base import Attacher, Place

KINDS: dict[str, Attacher] = {
    "xdp": Attacher(xdp.resolve, xdp.attach, xdp.XDP_PASS),
    "tcx": Attacher(tcx.resolve, tcx.attach, tcx.TCX_NEXT),
    "cgroup": Attacher(cgroup.resolve, cgroup.attach, cgroup.ALLOW),
}

__all__ = ["KINDS", "Attacher", "Place"]
