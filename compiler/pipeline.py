"""Passes and the order they run in: signature = contract, one table = the order, checks when it is built.

A pass is a function from an IR to the same IR, decorated:

    @compiler_pass(after={"drop_covered": "fewer matches to compare"})
    def merge_neighbours(program: MatchProgram) -> MatchProgram:
        \"\"\"Neighbours with one deciding rule become one match.\"\"\"

Valid IR in, valid IR out; what lies between is the pass's own business. Knows nothing of any IR: what "valid"
means and how one is printed is told by `Level`. Holds no state; the clock is read for timings only, and no
output depends on it.
"""

from __future__ import annotations

import inspect
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

IR = TypeVar("IR")
Observer = Callable[[str, IR], None]
Comparison = Callable[[str, IR, IR], None]


class ContractError(TypeError):
    """A pass, or a table of passes, that breaks the rules of this module: our bug, seen at import."""


class PassBroken(Exception):  # noqa: N818 - reads as what happened
    """A pass raised, or returned an IR that its verifier refuses or that means something else. `before` and
    `after` (None when it raised) are IR texts: a reproducer."""

    def __init__(self, pass_name: str, reason: Exception, before: str, after: str | None) -> None:
        self.pass_name, self.reason, self.before, self.after = pass_name, reason, before, after
        super().__init__(f"pass `{pass_name}` broke the program: {reason}")


@dataclass(frozen=True)
class Pass(Generic[IR]):
    """A function with its contract. `ir`: the type it takes and gives; `after`: pass that must stand before
    this one in the table → why."""

    name: str
    function: Callable[[IR], IR]
    ir: type[IR]
    after: Mapping[str, str]
    doc: str

    def __call__(self, ir: IR) -> IR:
        """Run the pass alone, unchecked."""
        return self.function(ir)


def compiler_pass(*, after: Mapping[str, str] | None = None) -> Callable[[Callable[[IR], IR]], Pass[IR]]:
    """Make a pass of a function whose parameter and return annotations are one IR type."""

    def make(function: Callable[[IR], IR]) -> Pass[IR]:
        name = function.__name__
        hints = typing.get_type_hints(function)
        result = hints.pop("return", None)
        if len(inspect.signature(function).parameters) != 1 or list(hints.values()) != [result]:
            raise ContractError(f"pass `{name}` must take one IR and return the same type")
        doc = inspect.getdoc(function)
        if not doc:
            raise ContractError(f"pass `{name}` has no docstring")
        ir: Any = result
        return Pass(name, function, ir, dict(after or {}), doc)

    return make


@dataclass(frozen=True)
class Level(Generic[IR]):
    """What the pipeline must know of an IR. `verify` raises for an invalid one; `text` prints one."""

    name: str
    verify: Callable[[IR], None]
    text: Callable[[IR], str]


@dataclass(frozen=True)
class Result(Generic[IR]):
    """The final IR, and seconds of wall-clock time per pass that ran, in order."""

    ir: IR
    seconds: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Pipeline(Generic[IR]):
    """A checked table of passes at one level. ContractError when the table contradicts itself."""

    level: Level[IR]
    passes: Sequence[Pass[IR]] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for item in self.passes:
            if item.ir is not self.passes[0].ir:
                raise ContractError(f"pass `{item.name}` is about another IR than `{self.passes[0].name}`")
            if item.name in seen:
                raise ContractError(f"pass `{item.name}` is in the table twice")
            for name, reason in item.after.items():
                if name not in seen:
                    raise ContractError(f"pass `{item.name}` must stand after `{name}`: {reason}")
            seen.add(item.name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the passes, in order."""
        return tuple(item.name for item in self.passes)

    def run(
        self,
        ir: IR,
        *,
        observe: Observer[IR] | None = None,
        skip: frozenset[str] = frozenset(),
        fuel: int | None = None,
        verify: bool = True,
        compare: Comparison[IR] | None = None,
    ) -> Result[IR]:
        """Run the passes. `observe` is called with ("input", ir), then with each pass's name and result;
        `skip`: names left out (KeyError for an unknown one); `fuel`: run no more than that many passes, to
        find the one that breaks something; `verify`: check the input and the result of each pass; `compare`:
        called with a pass's name, its input and its result, raises where they mean different things.
        Raises PassBroken for a pass that raises, has an invalid result, or one that `compare` refuses; what
        the verifier raises for an invalid input."""
        unknown = skip - set(self.names)
        if unknown:
            raise KeyError(f"no such pass: {', '.join(sorted(unknown))}")
        if verify:
            self.level.verify(ir)
        if observe:
            observe("input", ir)
        seconds: list[tuple[str, float]] = []
        for item in [p for p in self.passes if p.name not in skip][:fuel]:
            started = time.perf_counter()
            result = self._result(item, ir)
            seconds.append((item.name, time.perf_counter() - started))
            if result is not ir:
                self._check(item.name, ir, result, verify, compare)
            ir = result
            if observe:
                observe(item.name, ir)
        return Result(ir, tuple(seconds))

    def _result(self, item: Pass[IR], ir: IR) -> IR:
        try:
            return item(ir)
        except Exception as reason:
            raise PassBroken(item.name, reason, self.level.text(ir), None) from reason

    def _check(self, name: str, before: IR, after: IR, verify: bool, compare: Comparison[IR] | None) -> None:
        try:
            if verify:
                self.level.verify(after)
            if compare:
                compare(name, before, after)
        except Exception as reason:
            raise PassBroken(name, reason, self.level.text(before), self.level.text(after)) from reason
