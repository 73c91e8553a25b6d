"""One compilation, stage by stage: source → policy → match → plan → module → object → bundle.

Knows the order of the stages, caches what each made, keeps the time each took. No stage's logic lives here,
and nothing is printed: that is `cli`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lockgate import __version__
from lockgate.stdlib_bpf import manifest
from lockgate.stdlib_bpf.emit.llvm import render_bpf
from lockgate.stdlib_bpf.inventory import Inventory

from . import errors, neighbours, policy, profile, validate, who, witness
from .codegen import balance, bundle, elf
from .codegen.llvm import Worker
from .codegen.lower import lower as lower_plan
from .codegen.module import Module
from .diagnostics import PolicyError, Sink
from .match import passes as match_passes
from .match.coverage import covered_rules
from .match.ir import Match, MatchProgram
from .match.lower import lower as lower_chain
from .match.text import write as match_text
from .match.verify import verify as verify_match
from .pipeline import Level, Pipeline
from .plan.choose import GOALS, Goal, tightening
from .plan.cost import MAX_STEPS, asking, cost, over_budget, price, steps
from .plan.ir import Plan
from .plan.lower import lower as lower_match
from .plan.parts import PART_INSNS, split
from .plan.text import write as plan_text
from .plan.verify import verify as verify_plan
from .policy.files import ReadFile
from .policy.model import Balancer, Chain, Rule, Unit

if TYPE_CHECKING:
    from .codegen.simulate import NativeChain

MATCH = Level("match", verify_match, match_text)
PLAN = Level("plan", verify_plan, plan_text)
MATCH_PIPELINE = Pipeline(MATCH, match_passes.PASSES)

FEATURES = {
    "xdp": ("xdp-link", "xdp-frags"),
    "tc": ("tcx-link",),
    "connect": ("cgroup-sock-addr",),
    "endpoint": ("tcx-link",),
}
PROXY_FEATURES = ("cgroup-getpeername", "cgroup-getsockopt", "cgroup-sockops", "sk-storage")
BALANCER_FEATURES = ("cgroup-sock-addr", "cgroup-getpeername", "sk-storage")
MAX_MAPS = 64  # that one program may use: MAX_USED_MAPS in include/linux/bpf_verifier.h

MAX_EXAMPLE_LOOKS = 500_000  # rules tried to show examples of what is never reached; about a second

T = TypeVar("T")
Observer = Callable[[str, str, Any], None]  # (chain, stage or pass, IR)


@dataclass(frozen=True)
class Options:
    """`include`: folders where imported files are looked for; `now`: the day for which rules that expire are
    judged, None for none; `root`: the outermost directory whose `lockgate.toml` holds; `endpoints`: file that
    says which endpoints there are, which changes findings alone; `structures`: kinds of table the planner may
    choose from, None for all; `optimize`: what it chooses them for, of `choose.GOALS`;
    `max_memory`: bytes that the tables of all rule lists may take together, None for any; `profile`:
    file that says how many packets each rule decided, which changes speed alone; `skip`: passes left out;
    `fuel`: at most that many passes; `verify`: check every IR; `validate`: compare what each pass and the
    planner make with what they were given (`validate`); `part_insns`: about how many instructions one
    function may have before a list becomes several (`plan.parts`); `cpu`: BPF instruction set (v3 runs on
    Linux ≥ 5.1)."""

    include: tuple[Path, ...] = ()
    now: date | None = None
    root: Path | None = None
    endpoints: Path | None = None
    structures: frozenset[str] | None = None
    optimize: str = "latency"
    max_memory: int | None = None
    profile: Path | None = None
    skip: frozenset[str] = frozenset()
    fuel: int | None = None
    verify: bool = True
    validate: bool = False
    part_insns: int = PART_INSNS
    cpu: str = "v3"


class StageFailed(Exception):  # noqa: N818 - reads as what happened
    """A stage raised what it must not: a bug of ours. `stage` names it, with its rule list; `inputs` are the
    files that were read, name → bytes. The cause is chained."""

    def __init__(self, stage: str, inputs: dict[str, bytes]) -> None:
        self.stage, self.inputs = stage, inputs
        super().__init__(f"stage `{stage}` failed")


@dataclass
class Session:
    """One compilation of `path`. Use `with`: it may own a worker process. Warnings gather in `sink`; a stage
    that finds errors raises PolicyError; one that is wrong itself makes `with` end with StageFailed. Files
    are read with `read_file`. `observe` gets what each stage made, `begun` hears which one is at work.
    `seconds`: (stage, wall-clock seconds) in the order they ran; `validated`: (chain, pass or "plan", what
    was found good)."""

    path: Path
    options: Options = field(default_factory=Options)
    sink: Sink = field(default_factory=Sink)
    read_file: ReadFile = Path.read_bytes
    observe: Observer | None = None
    begun: Callable[[str], None] | None = None
    worker: Worker | None = None
    seconds: list[tuple[str, float]] = field(default_factory=list)
    validated: list[tuple[str, str, validate.Validated]] = field(default_factory=list)
    _unit: Unit | None = None
    _cache: dict[tuple[str, str], Any] = field(default_factory=dict)
    _own_worker: Worker | None = None
    _failed: str | None = None
    _fitting: Goal | None = None
    _profile: profile.Applied | None = None
    _inventory: Inventory | None = None
    _read: list[Path] = field(default_factory=list)
    _running: list[str] = field(default_factory=list)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: object = None, error: BaseException | None = None, trace: object = None) -> None:
        if self._own_worker is not None:
            self._own_worker.close()
        if self._failed is not None and isinstance(error, Exception):
            raise StageFailed(self._failed, self._inputs()) from error

    def _inputs(self) -> dict[str, bytes]:
        """Files that were read, by their path from the policy's folder."""
        found = {}
        for path in self._read:
            with suppress(OSError):
                found[os.path.relpath(path, self.path.parent)] = self.read_file(path)
        return found

    def _reading(self, path: Path) -> bytes:
        self._read.append(path)
        return self.read_file(path)

    @property
    def unit(self) -> Unit:
        """The checked policy. PolicyError when it has errors."""
        if self._unit is None:
            with self._timed("policy"):
                self._unit = policy.load(
                    self.path,
                    self.sink,
                    read_file=self._reading,
                    include=self.options.include,
                    now=self.options.now,
                    root=self.options.root,
                )
        return self._unit

    def chain(self, name: str) -> Chain:
        """A chain of the unit by name; KeyError when there is none."""
        for chain in self.unit.chains:
            if chain.name == name:
                return chain
        raise KeyError(name)

    def match(self, chain: Chain) -> MatchProgram:
        """The chain as matches, before any pass."""
        return self._once("match", chain, lambda: lower_chain(chain))

    def optimised(self, chain: Chain) -> MatchProgram:
        """The chain after all passes over the match IR."""

        def compare(name: str, before: MatchProgram, after: MatchProgram) -> None:
            self.validated.append((chain.name, name, validate.match_pass(chain, before, after)))

        def run() -> MatchProgram:
            result = MATCH_PIPELINE.run(
                self.match(chain),
                skip=self.options.skip,
                fuel=self.options.fuel,
                verify=self.options.verify,
                compare=compare if self.options.validate else None,
                observe=lambda name, ir: self._show(chain.name, f"match/{name}", ir),
            )
            self.seconds += [(f"  {name}", seconds) for name, seconds in result.seconds]
            return result.ir

        return self._once("passes", chain, run)

    def plan(self, chain: Chain) -> Plan:
        """The chain as a plan."""

        def run() -> Plan:
            plan = split(self._planned(chain, self._goal()), self.options.part_insns)
            if self.options.verify:
                verify_plan(plan)
            if self.options.validate:
                good = validate.planning(chain, self.optimised(chain), plan)
                self.validated.append((chain.name, "plan", good))
            return plan

        return self._once("plan", chain, run)

    def _planned(self, chain: Chain, goal: Goal) -> Plan:
        return lower_match(self.optimised(chain), self.options.structures, goal, self.hits(chain))

    def hits(self, chain: Chain) -> dict[int, int] | None:
        """How many packets each rule decided, and DEFAULT, as the profile says; None where it says nothing.
        PolicyError when it is none of this policy."""
        if self._profile is None and self.options.profile is not None:
            with self._timed("profile"):
                self._profile = profile.read(self.options.profile, self.unit, self._reading, self.sink)
        return None if self._profile is None else self._profile.hits[chain.name]

    def _goal(self) -> Goal:
        """What tables are chosen for: as asked, with bytes dearer until all tables fit `max_memory`."""
        goal, most = GOALS[self.options.optimize], self.options.max_memory
        if most is None:
            return goal
        if self._fitting is None:
            for self._fitting in tightening(goal):
                plans = [self._planned(chain, self._fitting) for chain in self.unit.chains]
                if sum(cost(plan).table_bytes for plan in plans) <= most:
                    break
        assert self._fitting is not None
        return self._fitting

    def prepare(self) -> None:
        """Start the worker now, so that it is ready when code is generated."""
        self._worker().start()

    def analyse(self, fits: Callable[[Session], None] | None = None) -> None:
        """Everything that can be said of the policy without generating code: rules that never decide, and
        what `fits` adds to the sink, of what a data plane cannot do (None: programs that no kernel takes).
        PolicyError when there are errors."""
        inventory = self.inventory()
        for chain in self.unit.chains:
            with self._timed(f"analysis {chain.name}"):
                self._shadowed(chain)
                for finding in neighbours.forgotten(chain, self.match(chain)):
                    self.sink.add(finding.diagnostic())
                for doubt in who.findings(chain, self.match(chain), inventory) if chain.sections else ():
                    self.sink.add(doubt.diagnostic())
        written = [pair for chain in self.unit.chains for pair in chain.selectors]
        written += [pair for one in self.unit.balancers for pair in one.selectors]
        for unknown in who.nobody(written, inventory) if inventory is not None else ():
            self.sink.add(unknown.diagnostic())
        (fits or Session.fits)(self)
        self.sink.stop_on_errors()

    def inventory(self) -> Inventory | None:
        """Which endpoints there are, None where nothing says so. PolicyError when it is wrong."""
        if self._inventory is None and self.options.endpoints is not None:
            self._inventory = who.read(self.options.endpoints, self.read_file, self.sink)
            self.sink.stop_on_errors()
        return self._inventory

    def fits(self) -> None:
        """Report plans that no kernel takes."""
        for chain in self.unit.chains:
            with self._timed(f"budget {chain.name}"):
                self._budget(chain)
        self._memory()

    def _shadowed(self, chain: Chain) -> None:
        matches: dict[int, list[Match]] = {}
        for match in self.match(chain).matches:
            matches.setdefault(match.rule, []).append(match)
        looks = 0
        for index, takers in covered_rules(self.match(chain)):
            rule = chain.rules[index]
            if rule.stands_for is not None:
                continue
            by = tuple((chain.rules[i].span, chain.rules[i].label, chain.rules[i].verdict) for i in takers)
            looks += index  # the reference goes through all rules before the one that decides
            packets = (witness.of(chain, m) for m in matches[index] if looks <= MAX_EXAMPLE_LOOKS)
            shown = next((text for text in packets if text), None)
            self.sink.add(errors.ShadowedRule(rule.span, rule.label, rule.verdict, by, shown).diagnostic())

    def _budget(self, chain: Chain) -> None:
        over = over_budget(self.plan(chain))
        if over is None:
            return
        heaviest = tuple(
            (chain.rules[rule].span, chain.rules[rule].label, round(100 * share))
            for rule, share in over.rules
        )
        self.sink.add(
            errors.OverBudget(
                chain.policy, chain.span, over.needs, over.limit, over.unit, len(chain.rules), heaviest
            ).diagnostic()
        )

    def _memory(self) -> None:
        """Whether the tables of all chains fit; their sizes and the rules that ask them when they do not."""
        most, found = self.options.max_memory, []
        if most is None:
            return
        for chain in self.unit.chains:
            plan = self.plan(chain)
            for table in plan.tables:
                rules = [chain.rules[i] for i in asking(plan, table.name)]
                place = (rules[0].span, rules[0].label) if rules else (chain.span, chain.name)
                found.append((*place, table.kind, table.live, len(table.values), price(table).bytes))
            for tags in plan.tags:
                rules = [chain.rules[i] for i in asking(plan, tags.name)]
                place = (rules[0].span, rules[0].label) if rules else (chain.span, chain.name)
                found.append((*place, tags.kind, None, tags.ranges, price(tags).bytes))
            for one in plan.classifiers:
                first = chain.rules[one.boxes[0].rule]
                found.append((first.span, first.label, one.kind, None, len(one.boxes), price(one).bytes))
        needed = sum(cost(self.plan(chain)).table_bytes for chain in self.unit.chains)
        if needed > most:
            span = self.unit.chains[0].span
            self.sink.add(errors.OverMemory(span, needed, most, tuple(found)).diagnostic())

    def module(self, chain: Chain) -> Module:
        """The chain as LLVM text, maps and slots. PolicyError when the verifier would give up on it."""

        def run() -> Module:
            sources = {self.unit.source.name: self.unit.source.text}
            index = self.unit.chains.index(chain)
            module = lower_plan(self.plan(chain), sources, chain.span.line, index, chain.targets)
            self._fits(chain, "verifier steps", steps(self.plan(chain)) + module.classifier_steps, MAX_STEPS)
            self._fits(chain, "maps", module.map_count, MAX_MAPS)
            return module

        return self._once("codegen", chain, run)

    def _fits(self, chain: Chain, unit: str, needs: int, limit: int) -> None:
        """PolicyError when a program needs more than the kernel gives."""
        if needs > limit:
            over = errors.OverBudget(chain.policy, chain.span, needs, limit, unit, len(chain.rules))
            self.sink.add(over.diagnostic())
            self.sink.stop_on_errors()

    def llvm(self, chain: Chain) -> str:
        """The module text for the BPF back end."""
        module = self.module(chain)
        return render_bpf(module.map_definitions + module.data_definitions + module.body)

    def object(self, chain: Chain) -> bytes:
        """The chain as a BPF object. LlvmError when LLVM refuses it."""

        def run() -> bytes:
            compiled: bytes = self._worker().request("compile", self.llvm(chain), self.options.cpu)
            return elf.fill(compiled, self.module(chain).data)

        return self._once("llvm", chain, run)

    def balancer(self, one: Balancer) -> Module:
        """A balancer as LLVM text, maps and slots."""
        sources = {self.unit.source.name: self.unit.source.text}
        return self._kept("codegen", one.name, lambda: balance.lower(one, sources))

    def balancer_llvm(self, one: Balancer) -> str:
        """A balancer's text for the BPF back end."""
        module = self.balancer(one)
        return render_bpf(module.map_definitions + module.data_definitions + module.body)

    def balancer_object(self, one: Balancer) -> bytes:
        """A balancer as a BPF object. LlvmError when LLVM refuses it."""

        def run() -> bytes:
            compiled: bytes = self._worker().request("compile", self.balancer_llvm(one), self.options.cpu)
            return elf.fill(compiled, self.balancer(one).data)

        return self._kept("llvm", one.name, run)

    def assembly(self, chain: Chain) -> str:
        """The chain as BPF assembly."""
        return str(self._worker().request("disassemble", self.llvm(chain), self.options.cpu))

    def native(self, chain: Chain) -> NativeChain:
        """The chain, loaded for native simulation."""
        from .codegen.simulate import NativeChain

        module = self.module(chain)
        with self._timed("native"):
            return NativeChain(self._worker(), module)

    def description(self) -> manifest.Manifest:
        """The bundle's manifest, with the digests of members still missing."""
        modules = [(chain, self.module(chain)) for chain in self.unit.chains]
        features = {name for chain, _ in modules for name in FEATURES[chain.hook]}
        if any(m.role == "events" for _, module in modules for m in module.maps):
            features.add("ringbuf")
        if any(rule.effects.via for chain, _ in modules for rule in chain.rules):
            features |= set(PROXY_FEATURES)
        if self.unit.balancers:
            features |= set(BALANCER_FEATURES)
        return manifest.Manifest(
            name=profile.name_of(self.unit),
            compiler=__version__,
            inputs=(*self.unit.inputs, *self._profile_input()),
            members=(),
            chains=(
                *(_balancer(one, self.balancer(one)) for one in self.unit.balancers),
                *(self._described(chain, module) for chain, module in modules),
            ),
            features=tuple(sorted(features)),
            now=self.unit.now,
        )

    def _profile_input(self) -> list[tuple[str, str]]:
        return [] if self._profile is None else [(self._profile.file, self._profile.digest)]

    def _described(self, chain: Chain, module: Module) -> manifest.Chain:
        images = {name for name, _ in module.images}
        maps = tuple(
            replace(m, image=_image_member(chain.name, m.name)) if m.name in images else m
            for m in module.maps
        )
        by_label = {rule.label: rule for rule in chain.rules}
        owners = {
            chain.rules[i].label: section.policy or None
            for section in chain.sections
            for i in range(section.first, section.last)
        }
        slots = tuple(
            _for_people(s, by_label.get(s.label), owners.get(s.label)) if s.kind == "rule" else s
            for s in module.slots
        )
        return manifest.Chain(
            name=chain.name,
            policy=chain.policy,
            hook=chain.hook,
            direction=chain.direction,
            default=chain.default,
            targets=chain.targets,
            object=_object_member(chain.name),
            functions=module.functions,
            maps=maps,
            slots=slots,
            owner=chain.owner,
            data=tuple(d.section for d in module.data),
            devices=chain.devices,
            cgroups=chain.cgroups,
            selections=chain.selections,
        )

    def bundle(self) -> bytes:
        """The bundle file's bytes."""
        members: dict[str, bytes] = {}
        for one in self.unit.balancers:
            members[_object_member(one.name)] = self.balancer_object(one)
        for chain in self.unit.chains:
            members[_object_member(chain.name)] = self.object(chain)
            for name, image in self.module(chain).images:
                members[_image_member(chain.name, name)] = image.keys + image.values
        with self._timed("bundle"):
            return bundle.write(self.description(), members)

    def _worker(self) -> Worker:
        if self.worker is None:
            self.worker = self._own_worker = Worker()
        return self.worker

    def _once(self, stage: str, chain: Chain, make: Callable[[], T]) -> T:
        return self._kept(stage, chain.name, make)

    def _kept(self, stage: str, name: str, make: Callable[[], T]) -> T:
        key = (stage, name)
        if key not in self._cache:
            with self._timed(f"{stage} {name}"):
                self._cache[key] = make()
            self._show(name, stage, self._cache[key])
        made: T = self._cache[key]
        return made

    def _show(self, name: str, stage: str, ir: Any) -> None:
        if self.observe:
            self.observe(name, stage, ir)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        self._running.append(stage)
        if self.begun:
            self.begun(stage)
        try:
            yield
        except PolicyError:
            raise
        except Exception:
            self._failed = self._failed or stage
            raise
        finally:
            self.seconds.append((stage, time.perf_counter() - started))
            self._running.pop()
            if self.begun and self._running:
                self.begun(self._running[-1])  # which waited for the one that ended


def _for_people(slot: manifest.Slot, rule: Rule | None, policy: str | None) -> manifest.Slot:
    """A slot with what its rule says beside its meaning, and whose it is in a list of several policies."""
    if rule is None:
        return slot
    day = rule.deadline.day if rule.deadline else None
    return replace(slot, ticket=rule.ticket, expires=day, policy=policy, would=rule.would)


def _balancer(one: Balancer, module: Module) -> manifest.Chain:
    """The manifest's row of a balancer, which passes what is for no service of its own."""
    return manifest.Chain(
        name=one.name,
        policy=one.name,
        hook=module.hook,
        direction="",
        default="pass",
        targets=one.targets,
        object=_object_member(one.name),
        functions=module.functions,
        maps=module.maps,
        slots=module.slots,
        data=tuple(d.section for d in module.data),
        cgroups=one.cgroups,
        selections=one.selections,
        services=one.services,
    )


def _object_member(chain: str) -> str:
    return f"objects/{chain}.o"


def _image_member(chain: str, name: str) -> str:
    return f"images/{chain}/{name}.bin"


def build_bundle(path: Path, options: Options | None = None, sink: Sink | None = None) -> bytes:
    """Compile a policy file to a bundle; warnings go to `sink`. PolicyError when it has errors."""
    with Session(path, options or Options(), Sink() if sink is None else sink) as session:
        session.prepare()
        session.analyse()
        return session.bundle()


__all__ = ["Options", "PolicyError", "Session", "StageFailed", "build_bundle"]
