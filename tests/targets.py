"""Random policies built for a data plane: what the plane refuses is left out, rule by rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lockgate.compiler import targets
from lockgate.compiler.diagnostics import Diagnostic, PolicyError
from lockgate.compiler.driver import Session
from lockgate.compiler.policy.model import Chain, Unit
from tests import engines
from tests.properties.strategies import Text


@dataclass
class Built:
    """A policy without the rules that a data plane refuses, and its file."""

    unit: Unit
    chain: Chain
    text: str
    source: str
    refused: int


def built(text: Text, target: str) -> Built | None:
    """Built; None where nothing is left."""
    source, refused = text.source, 0
    for _ in range(30):
        session = Session(Path(engines.NAME))
        try:
            session._unit = engines.load(source, text.files)
            chosen = targets.ALL[target]
            chosen.check(session)
            session.sink.stop_on_errors()
            unit = session.unit
            return Built(unit, unit.chains[0], chosen.build(session).decode(), source, refused)
        except PolicyError as error:
            source, before = _without(source, error.diagnostics), source
            refused += before.count("\n") - source.count("\n")
            if source == before:
                return None
    raise AssertionError("a refusal remains")


def _without(source: str, found: Sequence[Diagnostic]) -> str:
    """The text without the rules that errors speak of."""
    lines = source.splitlines()
    wrong = {d.labels[0].span.line for d in found if d.labels[0].span.text.split()[0].rstrip(":") not in KEPT}
    return "\n".join(line for n, line in enumerate(lines, 1) if n not in wrong) + "\n"


KEPT = ("policy", "network", "default", "fragments", "service", "ports")
