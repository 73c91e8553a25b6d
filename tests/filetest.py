"""File tests: one format for all stages, `tests/filetests/**/*.ft` and the counterexamples in `tests/corpus`.

A file says why it is there, then holds named sections, each a line `-- NAME` and what follows:

    -- policy            source text
    -- file NAME         a file that the policy names
    -- live              contents of dynamic sets: `ban = 10.0.0.0/8, 2001:db8::1`
    -- structures        kinds of table the planner may use
    -- profile           how many packets each rule decides: `COUNT LABEL`, one a line
    -- parts             about how many instructions a function may have
    -- chain             which rule list, when there are several
    -- diagnostics       `LINE:COLUMN CODE message`, one a line; in another file `FILE:LINE:COLUMN …`
    -- match             the match IR before any pass
    -- after PASS        the match IR behind that pass
    -- plan              the plan
    -- packets           `PACKET   VERDICT   RULE   MORE`, columns apart by two blanks or more; PACKET as in
                         `tests/packettext.py`, RULE a name, `line N`, `default` or `malformed`, MORE what
                         else became of it: where it and copies went, its mark, DSCP, answer

Packets run through every engine there is, and all must agree. `pytest --bless` rewrites the expectations.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lockgate.compiler.decision import NO_RULE, Decision
from lockgate.compiler.diagnostics import Diagnostic, PolicyError, Sink
from lockgate.compiler.match import text as match_text
from lockgate.compiler.match.passes import PASSES
from lockgate.compiler.packet import heading
from lockgate.compiler.plan import text as plan_text
from lockgate.compiler.plan.parts import PART_INSNS
from lockgate.compiler.policy.model import Chain, Prefixes
from lockgate.stdlib_bpf.decode.frame import decode
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.headers import network_header
from lockgate.stdlib_bpf.sets import IntervalSet
from tests import engines, packettext

CORPUS = Path(__file__).parent / "corpus"
HINT = "if this is what it should be now: pytest --bless"
INPUTS = ("policy", "file", "live", "structures", "profile", "parts", "chain")


@dataclass(frozen=True)
class Section:
    """`name` without the dashes, `body` with its line ends."""

    name: str
    body: str


@dataclass(frozen=True)
class FileTest:
    """A file, read. `why`: what stands before the first section."""

    why: str
    sections: tuple[Section, ...]

    def get(self, name: str) -> str | None:
        """A section's body, None when it is not there."""
        return next((s.body for s in self.sections if s.name == name), None)

    @property
    def text(self) -> str:
        """The file's text."""
        return self.why + "".join(f"-- {s.name}\n{s.body}" for s in self.sections)

    def case(self) -> engines.Case:
        """What the engines are asked."""
        structures = self.get("structures")
        chain, counts, insns = self.get("chain"), self.get("profile"), self.get("parts")
        return engines.Case(
            source=(self.get("policy") or "").rstrip("\n") + "\n",
            packets=tuple(packettext.parse(row.packet) for row in rows(self.get("packets") or "")),
            files={s.name[5:]: s.body for s in self.sections if s.name.startswith("file ")},
            live=dict(_contents(line) for line in (self.get("live") or "").splitlines() if line.strip()),
            structures=None if structures is None else frozenset(re.split(r"[,\s]+", structures.strip())),
            chain=chain.strip() if chain else None,
            profile=None if counts is None else _counts(counts),
            part_insns=PART_INSNS if insns is None else int(insns),
        )


@dataclass(frozen=True)
class Row:
    """One line of `-- packets`."""

    packet: str
    verdict: str
    rule: str


def read(text: str) -> FileTest:
    """A file test from its text. ValueError for one without a reason or without sections."""
    parts = re.split(r"^-- (.+)\n", text, flags=re.MULTILINE)
    found = FileTest(
        parts[0], tuple(Section(n.strip(), b) for n, b in zip(parts[1::2], parts[2::2], strict=True))
    )
    if not found.why.strip() or found.get("policy") is None:
        raise ValueError("a file test says why it is there, and has a section `-- policy`")
    known = {*INPUTS, "diagnostics", "match", "plan", "packets"}
    for section in found.sections:
        if section.name.split()[0] not in (*known, "after"):
            raise ValueError(f"no section is called `{section.name}`: {', '.join(sorted(known))}, after PASS")
    return found


def rows(body: str) -> list[Row]:
    """Rows of `-- packets`; `#` begins a comment line."""
    out = []
    for line in body.splitlines():
        if line.strip() and not line.startswith("#"):
            columns = [*re.split(r"\s{2,}", line.strip()), "", ""]
            out.append(Row(*columns[:3]))
    return out


def _contents(line: str) -> tuple[str, Prefixes]:
    name, _, found = line.partition("=")
    ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
    for word in found.replace(",", " ").split():
        net = ipaddress.ip_network(word)
        ranges[net.version].append((int(net.network_address), int(net.broadcast_address)))
    return name.strip(), Prefixes(IntervalSet.from_ranges(ranges[4]), IntervalSet.from_ranges(ranges[6]))


def _counts(body: str) -> dict[str, int]:
    pairs = (line.split(None, 1) for line in body.splitlines() if line.strip())
    return {label: int(count) for count, label in pairs}


def label(chain: Chain, decision: Decision) -> str:
    """The third column."""
    if decision.rule in NO_RULE:
        return NO_RULE[decision.rule]
    rule = chain.rules[decision.rule]
    return rule.name or f"line {rule.span.line}"


def diagnostics(case: engines.Case) -> list[Diagnostic]:
    """Everything that checking the policy complains about."""
    sink = Sink()
    try:
        engines.load(case.source, case.files, sink)
    except PolicyError as error:
        return list(error.diagnostics)
    return sorted(sink.diagnostics, key=lambda d: d.sort_key)


def actual(test: FileTest) -> FileTest:
    """The same file with expectations as they are now. AssertionError where engines disagree."""
    case = test.case()
    made: dict[str, str] = {}
    if test.get("diagnostics") is not None:
        made["diagnostics"] = "".join(_complaint(d) for d in diagnostics(case))
    wanted = [
        s.name for s in test.sections if s.name in ("match", "plan", "packets") or s.name.startswith("after ")
    ]
    if wanted:
        with engines.Opened(case) as opened:
            for name in wanted:
                made[name] = _made(name, opened, test)
    return replace(
        test,
        sections=tuple(
            replace(s, body=_like(s.body, made[s.name])) if s.name in made else s for s in test.sections
        ),
    )


def _made(name: str, opened: engines.Opened, test: FileTest) -> str:
    if name == "match":
        return match_text.write(opened.session.match(opened.chain))
    if name == "plan":
        return plan_text.write(opened.session.plan(opened.chain))
    if name == "packets":
        answers, found = opened.judge(kernel=False)
        disagree(opened, found)
        decisions = answers[0].decisions
        told = [_told(opened, i, d) for i, d in enumerate(decisions) if d is not None]
        return _table(test.get("packets") or "", opened.chain, decisions, told)
    wanted, program = name.removeprefix("after "), opened.session.match(opened.chain)
    for item in PASSES:
        program = item(program)
        if item.name == wanted:
            return match_text.write(program)
    raise AssertionError(f"no pass is called `{wanted}`: {', '.join(p.name for p in PASSES)}")


def _complaint(d: Diagnostic) -> str:
    if not d.labels:
        return f"{d.code} {d.message}\n"
    span = d.labels[0].span
    file = "" if span.source.name == engines.NAME else f"{span.source.name}:"
    place = f"{file}{span.line}:{span.column} "
    return f"{place}{d.code} {d.message}\n"


def _like(old: str, new: str) -> str:
    """New text with as many empty lines behind it as the old one had."""
    return new.rstrip("\n") + "\n" * max(1, len(old) - len(old.rstrip("\n")))


def _told(opened: engines.Opened, number: int, decision: Decision) -> str:
    """The fourth column: what became of the packet besides its verdict."""
    packet, found = opened.case.packets[number], opened.outcome(number, decision)
    words = [f"copy to {device} as {way}" for device, way in found.copies]
    if found.sent is not None and found.sent[0]:
        words.append(f"to {found.sent[0]} as {found.sent[1]}")
    if not isinstance(packet, SocketCall) and found.mark != packet.mark:
        words.append(f"mark {found.mark:#x}")
    if found.proxy:
        words.append(f"to the proxy at {found.proxy}")
    if found.errno:
        words.append(errno.errorcode[found.errno])
    if not isinstance(packet, SocketCall) and found.frame != packet.data:
        at, _ = network_header(found.frame, packet.vlan_tci is not None)
        head = int.from_bytes(found.frame[at : at + 2])
        dscp = head >> 2 & 63 if head >> 12 == 4 else head >> 6 & 63
        facts = decode(replace(packet, data=found.frame))
        assert isinstance(facts, dict), "a malformed answer"
        answered = found.sent is not None and not found.sent[0]
        words.append(f"answer {heading(facts)}" if answered else f"dscp {dscp}")
    return ", ".join(words)


def _table(
    body: str, chain: Chain, decisions: tuple[Decision | None, ...], told: Sequence[str] | None = None
) -> str:
    told = [""] * len(decisions) if told is None else told
    left = iter(zip(rows(body), decisions, told, strict=True))
    width = max((len(row.packet) for row in rows(body) if len(row.packet) < 90), default=0)
    out = []
    for line in body.splitlines():
        if not line.strip() or line.startswith("#"):
            out.append(line)
            continue
        row, decision, more = next(left)
        assert decision is not None
        name = label(chain, decision)
        name = f"{name:9}  {more}" if more else name
        out.append(f"{row.packet:{width}}   {decision.verdict:6}  {name}".rstrip())
    return "\n".join(out) + "\n"


def disagree(opened: engines.Opened, found: list[engines.Difference]) -> None:
    """Raise when there are differences, with the packets in words."""
    if not found:
        return
    lines = []
    for difference in found[:5]:
        where = "the counters"
        if difference.packet is not None:
            packet = opened.case.packets[difference.packet]
            where = f"{packettext.write(packet)}  {opened.facts[difference.packet]}"
        lines.append(
            f"{difference.engine}: {where}\n  expected {difference.expected}\n  got      {difference.got}"
        )
    raise engines.DisagreementError("the engines disagree\n" + "\n".join(lines))


def keep(case: engines.Case, folder: Path = CORPUS) -> Path:
    """Store a counterexample of the law as a file test, named by its contents."""
    policy = case.source
    sections = [Section("policy", policy + "\n")]
    sections += [Section(f"file {name}", text + "\n") for name, text in case.files.items()]
    live = "".join(
        f"{name} = {', '.join(map(str, engines.networks_of(prefixes)))}\n"
        for name, prefixes in case.live.items()
    )
    sections += [Section("live", live + "\n")] if live else []
    if case.structures is not None:
        sections.append(Section("structures", " ".join(sorted(case.structures)) + "\n\n"))
    if case.profile is not None:
        counts = "".join(f"{count} {label}\n" for label, count in case.profile.items())
        sections.append(Section("profile", counts + "\n"))
    if case.part_insns != PART_INSNS:
        sections.append(Section("parts", f"{case.part_insns}\n\n"))
    opened = engines.Opened(case)
    table = _table(
        "".join(packettext.write(p) + "\n" for p in case.packets), opened.chain, opened.interp().decisions
    )
    sections.append(Section("packets", table))
    digest = hashlib.sha256(repr(sections).encode()).hexdigest()[:12]
    folder.mkdir(exist_ok=True)
    path = folder / f"law-{digest}.ft"
    path.write_text(
        FileTest("Found and shrunk by the law: the engines did not agree.\n\n", tuple(sections)).text
    )
    return path


# ---- collection ----


class File(pytest.File):
    """One `.ft` file: up to two items."""

    def collect(self) -> Iterator[pytest.Item]:
        """Expectations; and, for packets, the kernel."""
        yield Expectations.from_parent(self, name="expectations")
        if read(self.path.read_text()).get("packets") is not None:
            item = InKernel.from_parent(self, name="kernel")
            item.add_marker(pytest.mark.kernel)
            yield item


class Expectations(pytest.Item):
    """All sections, all engines of user space."""

    def runtest(self) -> None:
        """Compare, or bless."""
        before = read(self.path.read_text())
        after = actual(before)
        if before.text == after.text:
            return
        if self.config.getoption("--bless"):
            self.path.write_text(after.text)
            return
        diff = difflib.unified_diff(
            before.text.splitlines(True), after.text.splitlines(True), "expected", "got", n=2
        )
        raise AssertionError(f"{self.path.name} expects something else\n{''.join(diff)}{HINT}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> str:  # type: ignore[override]
        """Without a traceback where the message says it all."""
        if isinstance(excinfo.value, AssertionError | ValueError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))


class InKernel(Expectations):
    """The packets, by the kernel."""

    def runtest(self) -> None:
        """Compare with the reference."""
        with engines.Opened(read(self.path.read_text()).case()) as opened:
            answer = opened.kernel()
            disagree(opened, list(opened.differences(opened.interp(kernel=True), answer)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--bless`."""
    parser.addoption("--bless", action="store_true", help="rewrite expectations of file tests")


def pytest_collect_file(parent: pytest.Collector, file_path: Path) -> File | None:
    """Every `.ft` file."""
    return File.from_parent(parent, path=file_path) if file_path.suffix == ".ft" else None
