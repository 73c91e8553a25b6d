"""What a hook is. Generic code reads this record and never asks which hook it deals with."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..layout import Struct


@dataclass(frozen=True)
class AttachPoint:
    """One program of a hook. `section`: ELF section that stock tools know; `variant` tells the decoder which
    form of the context it gets; numbers are enum bpf_prog_type and enum bpf_attach_type of
    include/uapi/linux/bpf.h; `load_attach_type` is expected_attach_type at BPF_PROG_LOAD, `link_attach_type`
    the type at BPF_LINK_CREATE, `load_flags` are prog_flags at BPF_PROG_LOAD."""

    name: str
    section: str
    prog_type: int
    load_attach_type: int
    link_attach_type: int
    variant: str = ""
    load_flags: int = 0


@dataclass(frozen=True)
class Hook:
    """`verdicts`: action that decides → value the program returns. `passing`: actions that do something and
    let the next rule be tried. `ends`: actions after which there is no packet any more. `refusals`: action or
    option → why this hook cannot do it and what to write instead. `ways`: of sending a packet to a device →
    directions in which it can be, the first is meant where none is named; `answers`: of a rejection;
    `proxies`: a redirect sends to a local proxy, not to a device.
    `fragments`: their mode in a policy that names none; "" where it must name one, None where there are none.
    `directions`: names of the blocks a policy may have (empty: rules stand alone); `points`: direction (""
    when there is none) → programs that one rule list is compiled to. `context` is the program's argument,
    `decoder` the module of `decode`/`emit` that reads it."""

    name: str
    doc: str
    target: str  # "interface", "cgroup" or "endpoint"
    directions: tuple[str, ...]
    verdicts: dict[str, int]
    refusals: dict[str, tuple[str, str]]
    passing: tuple[str, ...]
    malformed: str
    context: Struct
    decoder: str
    points: dict[str, tuple[AttachPoint, ...]] = field(default_factory=dict)
    min_kernel: str = ""
    ends: tuple[str, ...] = ()
    ways: dict[str, tuple[str, ...]] = field(default_factory=dict)
    answers: tuple[str, ...] = ()
    fragments: str | None = None
    proxies: bool = False
