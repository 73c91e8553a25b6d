"""Plan to module: its maps and tables, and one program for each place where it is attached."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence

from lockgate.stdlib_bpf import classifiers
from lockgate.stdlib_bpf.emit.registers import NO_SLOT
from lockgate.stdlib_bpf.state.cgroups import CGROUPS, ID_BYTES
from lockgate.stdlib_bpf.state.clock import CLOCK, CLOCK_BYTES
from lockgate.stdlib_bpf.state.devices import DEVICES, IFINDEX_BYTES
from lockgate.stdlib_bpf.state.events import RING_BYTES
from lockgate.stdlib_bpf.state.generation import NOW, OWN, PREVIOUS
from lockgate.stdlib_bpf.tables.base import MapImage

from ..plan.ir import Plan
from . import parts, program, proxies
from .common import NAMED_OF, SAMPLE_OF, Common, asks, asks_the_time
from .functions import TAIL, row
from .maps import MapDefinitions
from .module import DataSection, Module


def lower(
    plan: Plan, sources: Mapping[str, str], line: int, index: int, targets: Sequence[str] = ()
) -> Module:
    """Generate the module of a plan. `sources`: text of each file that rules come from, the main one first;
    `line`: of the policy, for code that serves no single rule; `index`: of the chain in the bundle, for
    events; `targets`: what the policy is for."""
    return _Lowering(Common(plan, sources, line, index), targets).module()


def identifier(name: str) -> str:
    """A name as a C identifier."""
    return re.sub(r"\W", "_", name)


def _words(numbers: list[int]) -> bytes:
    """Numbers of 32 bits, little endian."""
    return struct.pack(f"<{len(numbers)}I", *numbers)


class _Lowering:
    """The state of one generation; lives for one call of `lower`."""

    def __init__(self, of: Common, targets: Sequence[str]) -> None:
        self.targets = targets
        self.of, self.plan, self.hook, self.debug = of, of.plan, of.hook, of.debug

    def _traces(self) -> list[DataSection]:
        """For classified rules: the slot of the named counter of each, and of how many packets one is
        logged."""
        if not self.plan.classifiers:
            return []
        rules = self.plan.rules
        empty = [0] * ((1 << max(0, len(rules) - 1).bit_length()) - len(rules))
        found = []
        if self.of.counts:
            named = [self.of.slot_numbers["named", rule.count] if rule.count else NO_SLOT for rule in rules]
            found.append(DataSection(NAMED_OF, _words([*named, *empty]), 4))
        if self.of.logs:
            found.append(DataSection(SAMPLE_OF, _words([*(rule.sample for rule in rules), *empty]), 4))
        return found

    def module(self) -> Module:
        definitions = MapDefinitions(self.debug)
        definitions.counters(len(self.of.slots))
        if self.of.logs:
            definitions.events(RING_BYTES)
        data: list[DataSection] = []
        if self.of.buckets:
            definitions.buckets(len(self.of.buckets))
        for index, rule in enumerate(self.plan.rules):
            if rule.limit is not None and rule.limit.per is not None:
                definitions.limit(f"limit{index}", rule.limit.per)
        if self.plan.fragments == "track":
            definitions.fragments()
        data += self.of.around.define(definitions)
        if asks_the_time(self.plan):
            data.append(DataSection(CLOCK, bytes(CLOCK_BYTES), CLOCK_BYTES))
        redirects = any(rule.verdict == "redirect" for rule in self.plan.rules)
        if redirects and self.hook.name == "xdp":
            definitions.devmap(len(self.plan.devices))
        if self.plan.devices and (self.hook.name != "xdp" or asks(self.plan, "meta.iif")):
            data.append(DataSection(DEVICES, bytes(IFINDEX_BYTES * len(self.plan.devices)), IFINDEX_BYTES))
        if self.plan.cgroups:
            data.append(DataSection(CGROUPS, bytes(ID_BYTES * len(self.plan.cgroups)), ID_BYTES))
        if self.of.answers:
            definitions.scratch()
        for table in self.plan.tables:
            image = self.of.images[table.name]
            if table.live is not None:
                definitions.live(table)
            elif isinstance(image, MapImage):
                definitions.table(table, image)
            else:
                data += [DataSection(f"{table.name}_{n}", d, size) for n, d, size in image.sections]
        for name, tree in (*self.of.trees.items(), *self.of.tags.items()):
            data += [DataSection(f"{name}_{n}", d, size) for n, d, size in tree.sections]
        data += self._traces()
        data_text = "".join(definitions.data(section) for section in data) + definitions.generation()
        points = self.hook.points[self.plan.direction]
        previous = {p.name: f"{PREVIOUS}_{p.name}" if len(points) > 1 else PREVIOUS for p in points}
        for name in previous.values():
            definitions.previous(name)
        if self.of.proxies:
            proxies.define(definitions)
        license_text = definitions.license()
        taken = {*definitions.symbols, *(d.name for d in data), NOW, OWN}
        taken |= {*(p.section for p in points), "license", "_license"}  # symbols of sections, too
        functions, texts = [], []
        for point in points:
            name = identifier(self.plan.name) + (f"_{point.name}" if len(points) > 1 else "")
            name += "_" * (name in taken)
            make = parts.functions if self.plan.parts else program.function
            texts.append(make(self.of, name, point, previous[point.name]))
            functions.append(row(name, point))
        if self.of.proxies:
            for text, described in proxies.programs(self.of, definitions, self.targets):
                texts.append(text)
                functions.append(described)
        body = "".join([*texts, TAIL, self.debug.finish()])
        return Module(
            chain=self.plan.name,
            hook=self.plan.hook,
            body=body,
            map_definitions=definitions.text + license_text,
            data_definitions=data_text,
            functions=tuple(functions),
            maps=tuple(definitions.maps),
            images=tuple(definitions.images),
            data=tuple(data),
            slots=self.of.slots,
            devices=self.plan.devices,
            cgroups=self.plan.cgroups,
            selections=self.plan.selections,
            classifier_steps=sum(
                classifiers.ALL[one.kind].steps(self.of.trees[one.name], one.contents.widths)
                for one in self.plan.classifiers
            ),
        )
