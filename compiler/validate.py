"""Translation validation: whether a program still means the same after each pass, and after planning.

Where boxes are few it is proved for every packet (`match.equal`, `plan.reach`); in any case packets at the
boundaries are judged by both, and their verdict, deciding rule, rules that let them go on, and limits must
agree. What a rule does beside its verdict (counters, events, effects) is one record that both share, and is
compared as such. A box in which a proof leaves a doubt proves nothing: packets of it are judged.

Knows the two intermediate forms by their meanings; must never know how a pass or the planner works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain as joined
from typing import Any

from lockgate.stdlib_bpf.decode.frame import Facts
from lockgate.stdlib_bpf.decode.frame import decode as decode_frame
from lockgate.stdlib_bpf.decode.sock_addr import SocketCall
from lockgate.stdlib_bpf.decode.sock_addr import decode as decode_call
from lockgate.stdlib_bpf.state.limits import Buckets

from . import packet, proof
from .decision import NO_RULE, Decision
from .match import equal, samples
from .match import run as match_run
from .match.boxes import Box
from .match.ir import MatchProgram
from .match.prove import TooMuchWork
from .match.samples import Live, Sample
from .match.text import write as match_text
from .plan import reach
from .plan import run as plan_run
from .plan.ir import Plan
from .plan.text import write as plan_text
from .policy.model import Chain, Prefixes

PROVED_PACKETS = 256  # judged besides a proof, which knows no table's image
MAX_PACKETS = 4_096
MATCHES_LOOKED_AT = 4_000_000  # by all packets together; some seconds
MAX_SUSPECTS = 200  # boxes tried for a packet that tells the programs apart
MAX_REPEATS = 64  # of one packet, so that limits run out
SAME = (
    "name",
    "hook",
    "direction",
    "default",
    "rules",
    "devices",
    "cgroups",
    "fragments",
    "forward",
    "selections",
)

Judge = Callable[[Facts, Live, Buckets], Decision]


@dataclass(frozen=True)
class Witness:
    """A packet that two forms answer differently. `text`: as `packet.parse` reads it, None where a packet has
    no words; `repeat`: how often it comes, 1 unless a limit must run out."""

    text: str | None
    sample: Sample
    repeat: int
    expected: Decision
    got: Decision


@dataclass(frozen=True)
class Validated:
    """What was found good. `proved`: for every packet; `judged`: packets that both forms answered."""

    proved: bool
    judged: int

    def __str__(self) -> str:
        return f"{'proved, and ' if self.proved else ''}{self.judged:,} packets judged alike"


class Miscompiled(Exception):  # noqa: N818 - reads as what happened
    """Two forms of one rule list mean different things: a bug of ours. `witness`: the packet that shows
    it, as a test would say what is right; `before`, `after`: the two forms as text."""

    def __init__(self, witness: str, before: str, after: str) -> None:
        self.witness, self.before, self.after = witness, before, after
        super().__init__(f"the meaning changed: {witness}")


def match_pass(chain: Chain, before: MatchProgram, after: MatchProgram) -> Validated:
    """Whether a pass kept the meaning. Miscompiled when it did not."""

    def texts() -> tuple[str, str]:
        return match_text(before), match_text(after)

    _same_frame(before, after, texts)
    count = _affordable(len(before.matches) + len(after.matches))
    return _compared(
        chain,
        _judge_of(before),
        _judge_of(after),
        equal.suspects(before, after),
        lambda n: joined(samples.boundary(before, n // 2), samples.boundary(after, n - n // 2)),
        count,
        texts,
    )


def planning(chain: Chain, program: MatchProgram, plan: Plan) -> Validated:
    """Whether a plan means what its program says. Miscompiled when it does not."""

    def texts() -> tuple[str, str]:
        return match_text(program), plan_text(plan)

    _same_frame(program, plan, texts)
    runner = plan_run.Runner(plan)
    return _compared(
        chain,
        _judge_of(program),
        runner.run,
        reach.suspects(program, plan),
        lambda n: samples.boundary(program, n),
        _affordable(len(program.matches)),
        texts,
    )


def _judge_of(program: MatchProgram) -> Judge:
    return lambda facts, live, buckets: match_run.run(program, facts, live, buckets)


def _affordable(matches: int) -> int:
    return max(16, min(MAX_PACKETS, MATCHES_LOOKED_AT // max(1, matches)))


def _same_frame(
    before: MatchProgram, after: MatchProgram | Plan, texts: Callable[[], tuple[str, str]]
) -> None:
    """What no pass may touch: rules with all that they do, and what holds for the whole list."""
    changed = [name for name in SAME if getattr(before, name) != getattr(after, name)]
    if changed:
        raise Miscompiled(f"no packet is needed to see it: {', '.join(changed)} changed", *texts())


def _compared(
    chain: Chain,
    before: Judge,
    after: Judge,
    doubts: Iterator[Box],
    boundary: Callable[[int], Iterator[Sample]],
    count: int,
    texts: Callable[[], tuple[str, str]],
) -> Validated:
    repeats = 1 + min(MAX_REPEATS, max((rule.limit.burst for rule in chain.rules if rule.limit), default=0))
    rows = samples.rows(chain.hook, len(chain.selections))
    doubtful, enough = 0, True
    try:
        for box in doubts:
            doubtful += 1
            for sample in samples.inside(box, rows):
                _alike(chain, before, after, sample, repeats, texts)
            if doubtful == MAX_SUSPECTS:
                break
    except TooMuchWork:
        enough = False
    proved = enough and not doubtful
    judged, buckets = 0, (Buckets(), Buckets())
    for sample in boundary(PROVED_PACKETS if proved else count):
        judged += 1
        if before(sample.facts, sample.live, buckets[0]) != after(sample.facts, sample.live, buckets[1]):
            _alike(chain, before, after, sample, repeats, texts)
            raise Miscompiled("only a sequence of packets shows it: limits differ", *texts())
    return Validated(proved, judged)


def _alike(
    chain: Chain,
    before: Judge,
    after: Judge,
    sample: Sample,
    repeats: int,
    texts: Callable[[], tuple[str, str]],
) -> None:
    """Miscompiled when the two differ on a packet, or on the same packet coming again."""

    def differing(shown: Sample) -> tuple[int, Decision, Decision] | None:
        """(how often the packet has come, both answers) when they first differ."""
        ours, theirs = Buckets(), Buckets()
        for number in range(1, repeats + 1):
            expected = before(shown.facts, shown.live, ours)
            got = after(shown.facts, shown.live, theirs)
            if expected != got:
                return number, expected, got
        return None

    if differing(sample) is None:
        return
    text, shown = _shortest(chain, sample, differing)
    found = differing(shown)
    assert found is not None  # what is shortened still differs
    raise Miscompiled(sentence(chain, Witness(text, shown, *found)), *texts())


def _shortest(
    chain: Chain, sample: Sample, differing: Callable[[Sample], object | None]
) -> tuple[str | None, Sample]:
    """The packet in the fewest words that still shows the difference; as it is, without words, where a frame
    cannot have what it has."""
    facts = {name: value for name, value in sample.facts.items() if name != samples.L4_PROTO}
    text, best = None, sample
    for name in (None, *reversed(facts)):
        fewer = {field: value for field, value in facts.items() if field != name}
        words, real = _worded(chain, replace(sample, facts=fewer))
        if real is not None and differing(real) is not None:
            facts, text, best = fewer, words, real
        elif text is None:
            break
    return text, best


def _worded(chain: Chain, sample: Sample) -> tuple[str, Sample | None]:
    """The packet in words, and what a decoder says of it; None where the words make no packet."""
    describe = packet.describe_call if chain.hook == "connect" else packet.describe
    text = describe(sample.facts, chain.lists)
    try:
        parsed = packet.parse(text, chain.lists)
    except ValueError:
        return text, None
    decoded: Any = decode_call(parsed) if isinstance(parsed, SocketCall) else decode_frame(parsed)
    if not isinstance(decoded, dict) or sample.facts.keys() - decoded.keys() - {samples.L4_PROTO}:
        return text, None
    return text, replace(sample, facts=decoded)


def sentence(chain: Chain, witness: Witness) -> str:
    """The witness as a test would say what is right, one line, and what comes instead."""
    given = "".join(f"given {name} = {_listed(held)}; " for name, held in witness.sample.live.items())
    often = f"repeat {witness.repeat} " if witness.repeat > 1 else ""
    by, facts = _decider(chain, witness.expected), witness.sample.facts
    line = None
    if witness.text is not None:
        example = proof.Counterexample(witness.text, facts, witness.expected, chain.lists)
        line = proof.sentence(example, by)
    if line is None:
        words = witness.text or " ".join(f"{name}={value}" for name, value in facts.items())
        line = f"expect {witness.expected.verdict} {words} by {by}"
    was, became = (_answer(chain, decision) for decision in (witness.expected, witness.got))
    return f"{given}{often}{line}; it became {became}, was {was}"


def _decider(chain: Chain, decision: Decision) -> str:
    return NO_RULE.get(decision.rule) or chain.rules[decision.rule].label


def _answer(chain: Chain, decision: Decision) -> str:
    passed = "".join(f", past {chain.rules[rule].label}" for rule in decision.passed)
    return f"{decision.verdict} by {_decider(chain, decision)}{passed}"


def _listed(held: Prefixes) -> str:
    ranges: Mapping[int, tuple[tuple[int, int], ...]] = {4: held.v4.ranges, 6: held.v6.ranges}
    ends = [(family, end) for family, pairs in ranges.items() for low, high in pairs for end in {low, high}]
    return ", ".join(packet.address_text(family, end) for family, end in sorted(ends)) or "nothing"
