"""Shared by the tests of the front end: policies from text, with files from a dictionary."""

from pathlib import Path

from lockgate.compiler.diagnostics import Diagnostic, PolicyError, Sink
from lockgate.compiler.policy import load
from lockgate.compiler.policy.model import Unit
from lockgate.compiler.source import Source


def reader(files: dict[str, bytes | OSError]):
    def read(path: Path) -> bytes:
        content = files.get(path.as_posix(), FileNotFoundError(2, "No such file or directory"))
        if isinstance(content, OSError):
            raise content
        return content

    return read


def unit(text: str, **files: bytes) -> Unit:
    """A policy that must be sound."""
    return load(
        Source("p.gate", text), Sink(), read_file=reader({k.replace("_", "."): v for k, v in files.items()})
    )


def findings(text: str, files: dict[str, bytes | OSError] | None = None) -> list[Diagnostic]:
    """Everything said about a policy, sorted."""
    sink = Sink()
    try:
        load(Source("p.gate", text), sink, read_file=reader(files or {}))
    except PolicyError as error:
        return list(error.diagnostics)
    return sorted(sink.diagnostics, key=lambda d: d.sort_key)


def said(text: str, files: dict[str, bytes | OSError] | None = None) -> list[tuple[str, str]]:
    """Code and underlined text of everything said about a policy."""
    return [(d.code, d.labels[0].span.text) for d in findings(text, files)]


def xdp(rules: str) -> str:
    return f'policy edge at xdp on "eth0" {{ default pass  fragments first-only\n{rules}\n}}\n'


def tc(rules: str) -> str:
    return f'policy edge at tc on "eth0" {{ default allow ingress {{\n{rules}\n}} }}\n'


def connect(rules: str) -> str:
    return f'policy out at connect for cgroup "/app" {{ default allow\n{rules}\n}}\n'
