"""Facts of the machine that a result was measured on: what a reader needs to judge the numbers."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

MITIGATIONS = Path("/sys/devices/system/cpu/vulnerabilities")


def facts() -> dict[str, str]:
    """Name of the fact → value."""
    return {
        "cpu": _cpu(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "load": " ".join(f"{average:.1f}" for average in os.getloadavg()),
        "bpf_jit": _read(Path("/proc/sys/net/core/bpf_jit_enable")),
        "mitigations": "; ".join(
            f"{path.name}: {text}"
            for path in sorted(MITIGATIONS.glob("*"))
            if not (text := _read(path)).startswith("Not affected")
        ),
        "python": platform.python_version(),
        "llvmlite": metadata.version("llvmlite"),
        "lark": metadata.version("lark"),
        "lockgate": metadata.version("lockgate"),
    }


def markdown() -> str:
    """The facts as one paragraph."""
    f = facts()
    return (
        f"{f['cpu']}, {f['cores']} cores, Linux {f['kernel']}, JIT {f['bpf_jit']}; load of the last 1, 5 and "
        f"15 minutes {f['load']}; Python {f['python']}, llvmlite {f['llvmlite']}, lark {f['lark']}. "
        f"Mitigations: {f['mitigations'] or 'none'}."
    )


def _cpu() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "?"
