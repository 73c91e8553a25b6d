"""The line `forward fast`: how packets of known flows get from one interface to another.

It holds for all policies for endpoints, in whichever of the files it stands. Knows the modes
(`stdlib_bpf.state.flows.FORWARD`); what they do is written in `stdlib_bpf.emit.forward`.
"""

from __future__ import annotations

from lockgate.stdlib_bpf.state.flows import FORWARD, STACK

from .. import errors
from ..diagnostics import Sink
from ..syntax import tree as t
from .imports import Program


def check(program: Program, sink: Sink) -> str:
    """The mode. Complains about a second line, and about a mode that does not exist."""
    lines = [d for module in program.modules for d in module.decls if isinstance(d, t.Forward)]
    for line in lines[1:]:
        sink.add(errors.Repeated("`forward`", line.span, lines[0].span).diagnostic())
    for line in lines:
        if line.mode.text not in FORWARD:
            known = tuple((mode, None) for mode in FORWARD)
            sink.add(errors.UnknownName("`forward`", line.mode.text, line.mode.span, known).diagnostic())
    return lines[0].mode.text if lines else STACK
