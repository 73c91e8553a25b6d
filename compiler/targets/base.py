"""What a data plane is to the compiler: a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from .. import errors
from ..driver import Session
from ..otherwise import Refusal, Row

# What the table of capabilities asks of each, in its order.
CAPABILITIES = (
    "hooks",
    "actions",
    "conditions",
    "dynamic sets",
    "`limit`",
    "`count`",
    "`log`",
    "`mark`, `dscp`",
    "`fragments`",
    "malformed packets",
    "changes at one instant",
    "counters",
    "tested",
)


@dataclass(frozen=True)
class Target:
    """`name` as `--target` takes it; `about`: one line; `takes`: what it is made from;
    `suffix` of the file; `capabilities`: CAPABILITIES, each in a few words; `check`: adds what the plane
    cannot do to the session's sink; `build`: the file's bytes, for a session without errors;
    `exceptions`: where it judges otherwise than the language says; `begin`: starts what takes a while, before
    anything else."""

    name: str
    about: str
    takes: str
    suffix: str
    capabilities: Mapping[str, str]
    check: Callable[[Session], None]
    build: Callable[[Session], bytes]
    exceptions: tuple[Row, ...] = ()
    begin: Callable[[Session], None] = lambda session: None

    def __post_init__(self) -> None:
        assert tuple(self.capabilities) == CAPABILITIES, f"{self.name} says something of each, in their order"


def report(session: Session, plane: str, refused: Iterable[Refusal]) -> None:
    """Tell the session's sink what a plane, called so in messages, cannot say."""
    for found in refused:
        finding = errors.NotOnTarget(found.span, plane, found.what, found.why, found.instead)
        session.sink.add(finding.diagnostic())


def no_services(session: Session) -> Iterator[Refusal]:
    """The refusals of a plane that has nothing for services."""
    for one in session.unit.balancers:
        yield Refusal(one.span, "services", "it sees packets, and no socket calls", "build it for bpf")
