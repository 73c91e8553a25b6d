"""What the law has exercised: counted while it runs, asserted at its end, printed at the session's end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from lockgate.compiler.decision import NO_RULE, Decision
from lockgate.compiler.match.ir import MatchProgram, RuleInfo
from lockgate.compiler.plan.ir import Between, Branch, InTable, Plan
from lockgate.stdlib_bpf import fields, hooks, tags

OPTIONS: dict[str, Callable[[RuleInfo], object]] = {
    "count": lambda rule: rule.count,
    "log": lambda rule: rule.sample == 1,
    "sample": lambda rule: rule.sample > 1,
    "limit": lambda rule: rule.limit,
    "limit per key": lambda rule: rule.limit and rule.limit.per,
}


def effects_of(rule: RuleInfo) -> set[str]:
    """What a rule does to packets, in words."""
    does = rule.effects
    found = {f"{rule.verdict} as {does.how}" if does.into else f"with {does.how}"} if does.how else set()
    return found | ({"mark"} if does.mark else set()) | ({"dscp"} if does.dscp is not None else set())


def effects_at(place: str) -> set[str]:
    """What rules can do to packets at a place."""
    name, _, direction = place.partition(" ")
    hook = hooks.ALL[name]
    ways = {way for way, where in hook.ways.items() if direction in where}
    copies = ways & {"egress", "ingress"} if "mirror" in hook.passing else set()
    found = {f"redirect as {way}" for way in ways} | {f"mirror as {way}" for way in copies}
    return found | {f"with {answer}" for answer in hook.answers} | ({"mark", "dscp"} - hook.refusals.keys())


@dataclass
class Coverage:
    """Tallies of one run at one place. `tested`: packets judged by policies that test the field; `kernel`:
    pairs that the kernel judged too."""

    place: str
    policies: int = 0
    pairs: int = 0
    kernel: int = 0
    packets: Counter[str] = field(default_factory=Counter)
    tested: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)
    structures: Counter[str] = field(default_factory=Counter)
    options: Counter[str] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        program: MatchProgram,
        plan: Plan,
        decisions: Iterable[Decision | None],
        kernel: Iterable[Decision | None],
    ) -> None:
        """One policy and what became of its packets."""
        found = [d for d in decisions if d is not None]
        self.policies += 1
        self.pairs += len(found)
        self.kernel += sum(d is not None for d in kernel)
        for name in {name.partition("@")[0] for match in program.matches for name, _ in match.tests}:
            self.tested[name] += len(found)
        for structure in structures_of(plan):
            self.structures[structure] += len(found)
        self.options[f"fragments {program.fragments}"] += len(found)
        self.options["parts"] += len(found) * bool(plan.parts)
        for name, has in OPTIONS.items():
            self.options[name] += len(found) * any(map(has, program.rules))
        for rule in program.rules:
            self.effects.update(effects_of(rule))
        for decision in found:
            self.options["let go on"] += len(decision.passed)
            self.verdicts[decision.verdict] += 1
            self.decided[
                NO_RULE.get(decision.rule, "first rule" if decision.rule == 0 else "later rule")
            ] += 1

    def lines(self) -> list[str]:
        """The table."""

        def row(title: str, counts: Counter[str]) -> str:
            return f"  {title:9}" + "  ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))

        head = f"{self.place}: {self.pairs:,} pairs of {self.policies} policies"
        head += f", {self.kernel:,} pairs in the kernel too"
        return [
            head,
            row("fields", self.tested),
            row("actions", self.verdicts),
            row("decided", self.decided),
            row("tables", self.structures),
            row("options", self.options),
            row("effects", self.effects),
        ]

    def check(self, hook: str, verdicts: Iterable[str], policies: int, pairs: int) -> None:
        """AssertionError, with the table, unless everything the place has was exercised."""
        expected = {f.name for f in fields.ALL if hook in f.hooks}
        table = "\n".join(self.lines())
        assert expected <= self.tested.keys(), (
            f"fields never tested: {expected - self.tested.keys()}\n{table}"
        )
        assert set(verdicts) <= self.verdicts.keys(), f"an action never decided\n{table}"
        decided = {"default", "first rule", "later rule"}
        decided |= {"malformed", "fragments"} if hook != "connect" else set()
        assert decided <= self.decided.keys(), table
        assert all(self.options[name] for name in (*OPTIONS, "let go on", "parts")), (
            f"an option never used\n{table}"
        )
        assert effects_at(self.place) <= self.effects.keys(), (
            f"effects never used: {effects_at(self.place) - self.effects.keys()}\n{table}"
        )
        kinds = {"inline", "hash", "lpm_trie", "range_index", "prefix_index", "range_tree", "rule_tree"}
        kinds |= tags.ALL.keys()
        assert kinds <= self.structures.keys(), table
        assert self.policies >= policies and self.pairs >= pairs, table


def structures_of(plan: Plan) -> set[str]:
    """Kinds of structure that a plan uses, "inline" for comparisons of what could lie in a table."""
    tests = [node.test for node in plan.nodes if isinstance(node, Branch)]
    kinds = {plan.table(test.table).kind for test in tests if isinstance(test, InTable)}
    kinds |= {one.kind for one in (*plan.classifiers, *plan.tags)}
    addresses = ("ip4.src", "ip4.dst", "ip6.src", "ip6.dst", "th.sport", "th.dport")
    if any(isinstance(test, Between) and test.field in addresses for test in tests):
        kinds.add("inline")
    return kinds


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each test of the law recorded; under pytest-xdist the reports bring it from the workers."""
    reports = terminalreporter.getreports("passed")
    found = [value for r in reports if r.when == "call" for name, value in r.user_properties if name == "law"]
    if found:
        terminalreporter.section("coverage of the law")
        for table in sorted(map(str, found)):
            terminalreporter.write_line(table)
