"""Whether a match program is well formed. Runs on what lowering makes and after every pass.

A refusal is a bug of ours, never of a policy: the sentence is for us, and says which match.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from operator import ge, gt, itemgetter, sub

from lockgate.stdlib_bpf import fields, hooks
from lockgate.stdlib_bpf.sets import IntervalSet
from lockgate.stdlib_bpf.state.cgroups import ROOT
from lockgate.stdlib_bpf.state.flows import FORWARD, STACK
from lockgate.stdlib_bpf.state.fragments import DEFAULT_MODE, MODES

from .ir import Match, MatchProgram, RuleInfo

FEW_RANGES = 4  # sets that are looked up by what they hold, others by identity


class VerifyError(Exception):
    """An IR that breaks its own rules; the message is one clear sentence."""


def verify(program: MatchProgram) -> None:
    """Raise VerifyError for the first rule of the IR that the program breaks."""
    hook = hooks.ALL.get(program.hook)
    if hook is None:
        raise VerifyError(f"there is no hook `{program.hook}`")
    if program.direction not in hook.points:
        raise VerifyError(f"the hook {hook.name} has no direction `{program.direction}`")
    check_rules(program.default, program.rules, program.devices, hook)
    check_cgroups(program.cgroups, hook)
    check_modes(program.fragments, program.forward, hook)
    if any(map(gt, (m.rule for m in program.matches), (m.rule for m in islice(program.matches, 1, None)))):
        raise VerifyError("matches must be in the order of their rules")
    names = [name for name, _ in program.live]
    if names != sorted(set(names)):
        raise VerifyError("dynamic sets must be sorted by name, none twice")
    checked = _Checked()
    for index, match in enumerate(program.matches):
        try:
            _check_match(match, program, checked)
        except VerifyError as reason:
            raise VerifyError(f"match {index} (rule {match.rule}): {reason}") from None


def check_rules(
    default: str, rules: tuple[RuleInfo, ...], devices: tuple[str, ...], hook: hooks.Hook
) -> None:
    """Raise VerifyError for the first verdict that the hook has not, or that is passing and does not say so,
    or that sends packets to what is no device of the program."""
    if default not in hook.verdicts:
        raise VerifyError(f"the hook {hook.name} has no verdict `{default}`")
    for index, rule in enumerate(rules):
        if rule.verdict not in (hook.passing if rule.passing else hook.verdicts):
            raise VerifyError(f"rule {index}: the hook {hook.name} has no such verdict `{rule.verdict}`")
        if rule.resume is not None and not (rule.passing and index < rule.resume <= len(rules)):
            raise VerifyError(f"rule {index}: it cannot go on at rule {rule.resume}")
        if not set(rule.effects.into) <= set(devices):
            raise VerifyError(f"rule {index}: it sends packets to a device that is not declared")
        sends = rule.verdict in ("redirect", "mirror")
        if sends and not (rule.effects.via if hook.proxies else rule.effects.into):
            raise VerifyError(f"rule {index}: it sends packets nowhere")
    if len(devices) != len(set(devices)):
        raise VerifyError("a device is there twice")


def check_cgroups(cgroups: tuple[str, ...], hook: hooks.Hook) -> None:
    """Raise VerifyError for a list of cgroups whose places mean nothing."""
    if cgroups and hook.name not in fields.lookup("sock.cgroup").hooks:
        raise VerifyError(f"the hook {hook.name} knows no cgroups")
    if list(cgroups) != sorted(set(cgroups)) or ROOT in cgroups:
        raise VerifyError("cgroups must be sorted, none twice, and none the root")


def check_places(ranges: Iterable[tuple[int, int]], count: int) -> None:
    """Raise VerifyError for values of `sock.cgroup` that tell apart places beyond the list."""
    top = fields.lookup("sock.cgroup").full.ranges[0][1]
    if any(low > count + 1 or count < high < top for low, high in ranges):
        raise VerifyError(f"there is no such place among {count} cgroups")


def check_selected(name: str, number: int, count: int, hook: str) -> None:
    """Raise VerifyError for a field of a selection that does not exist."""
    if hook not in fields.lookup(name).hooks:
        raise VerifyError(f"{name} does not exist at {hook}")
    if number >= count:
        raise VerifyError(f"there is no selection {number}")


def check_modes(fragments: str, forward: str, hook: hooks.Hook) -> None:
    """Raise VerifyError for a mode that does not exist, or that the hook cannot have."""
    if fragments not in MODES or (fragments != DEFAULT_MODE and hook.fragments is None):
        raise VerifyError(f"the hook {hook.name} has no mode `{fragments}` for fragments")
    if forward not in FORWARD or (forward != STACK and hook.target != "endpoint"):
        raise VerifyError(f"the hook {hook.name} cannot forward `{forward}`")


@dataclass
class _Checked:
    """What was found good already in this program, whose sets live on: a thousand matches share few."""

    fields: set[str] = field(default_factory=set)
    sets: set[tuple[str, int]] = field(default_factory=set)  # field, id of the set
    guards: set[tuple[str, str, object]] = field(default_factory=set)  # field, its guard, the guard's values


def _check_match(match: Match, program: MatchProgram, checked: _Checked) -> None:
    known = range(len(program.rules))
    if match.rule not in known:
        raise VerifyError("its rule does not exist")
    if match.rule not in match.origins or list(match.origins) != sorted(set(match.origins)):
        raise VerifyError("origins must be ascending and name the rule")
    if any(origin not in known for origin in match.origins):
        raise VerifyError("an origin does not exist")
    for name, values in match.tests:
        if name not in checked.fields:
            _check_field(name, program)
            checked.fields.add(name)
        if (name, id(values)) not in checked.sets:
            _check_set(name, values)
            width = fields.lookup(name).width_bits
            if values.ranges[-1][1] >> width:
                raise VerifyError(f"{name} has values of more than {width} bits")
            if name == "sock.cgroup":
                check_places(values, len(program.cgroups))
            checked.sets.add((name, id(values)))
        _check_guards(name, match, checked)
    order = [fields.sort_key(name) for name, _ in match.tests]
    if any(map(ge, order, islice(order, 1, None))):
        raise VerifyError("tests must be in the order of the field table, no field twice")


def _check_field(name: str, program: MatchProgram) -> None:
    hook, live = program.hook, {name for name, _ in program.live}
    if (selected := fields.split_selected(name)) is not None:
        check_selected(name, selected[1], len(program.selections), hook)
        return
    base, _, set_name = name.partition("@")
    if base not in fields.BY_NAME or base == fields.L4_PROTO.name:
        raise VerifyError(f"there is no field `{base}` in this IR")
    if hook not in fields.BY_NAME[base].hooks:
        raise VerifyError(f"{base} does not exist at {hook}")
    if set_name and set_name not in live:
        raise VerifyError(f"the dynamic set `{set_name}` is not declared")


def _check_set(name: str, values: IntervalSet) -> None:
    if not values:
        raise VerifyError(f"the set of {name} is empty")
    if len(values) == 1:
        low, high = values.ranges[0]
        if not 0 <= low <= high:
            raise VerifyError(f"the set of {name} has a range that is not one")
        return
    # Sweeps without a Python frame per range: sets may hold a hundred thousand.
    lows, highs = (list(map(itemgetter(end), values.ranges)) for end in (0, 1))
    if lows[0] < 0 or any(map(gt, lows, highs)):
        raise VerifyError(f"the set of {name} has a range that is not one")
    if min(map(sub, islice(lows, 1, None), highs)) < 2:
        raise VerifyError(f"the set of {name} is not canonical")


def _check_guards(name: str, match: Match, checked: _Checked) -> None:
    for guard, allowed in fields.lookup(name).guards:
        required = match.get(guard)
        few = required is not None and len(required) <= FEW_RANGES
        key = (name, guard, required if few else id(required))
        if key in checked.guards:
            continue
        if required is None or not required.issubset(allowed):
            raise VerifyError(f"{name} is tested, but {guard} is not held within its guard")
        checked.guards.add(key)
