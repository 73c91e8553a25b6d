"""The command `demo`: the policies of `examples/` compiled, loaded and at work, or simulated.

`live` needs root: throw-away network namespaces, a veth pair, a cgroup, the ordinary runtime. `simulated`
needs nothing: the generated code judges packets in a process. Both say what they expect and what came; the
exit code is 1 when anything is not as expected.
"""

from __future__ import annotations

import sys

import click


@click.command()
@click.option(
    "--simulate", is_flag=True, help="Load nothing into the kernel, even where it would be possible."
)
def demo(simulate: bool) -> None:
    """Show policies at work on this machine.

    As root: compiles the example policies, loads them in throw-away network namespaces and a throw-away
    cgroup, sends real packets and makes real socket calls. Otherwise the same by simulation. Leaves nothing
    behind.
    """
    from . import live, simulated
    from .policies import Compiled
    from .report import Report

    report = Report()
    reason = "asked for by --simulate" if simulate else live.why_not()
    with Compiled() as compiled:
        report.title("lockgate: one policy language, three places in the kernel")
        if reason:
            report.note(f"SIMULATION, nothing is loaded into the kernel: {reason}.")
            report.note("The generated code runs in a process of its own and gets the same packets.")
        compiled.show(report)
        (simulated if reason else live).run(report, compiled)
    report.end()
    if report.failed:
        sys.exit(1)


COMMANDS = {"demo": demo}
