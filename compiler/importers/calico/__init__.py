"""Calico's network policies: tiers, policies of namespaces and of the cluster, network sets.

`selectors.py` reads expressions, `policies.py` what rules ask, `schema.py` knows the kinds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from lockgate.stdlib_bpf.labels import NAME, LabelTest, Selector

from ... import errors
from ...diagnostics import Sink
from ...source import Source
from .. import endpoints
from ..documents import Node, WrongShapeError, listed, read
from ..endpoints import EndpointFile, EndpointPolicy, EndpointRule, slug
from ..kubernetes import known, selecting
from ..kubernetes.cluster import text_of
from ..refusals import REFUSALS, NotSayableError, tell
from . import policies, schema, selectors
from .policies import NetworkSet, Reader, Sets

DEFAULT_TIER, PROFILES = "default", "profiles"
LAST = float("inf")
POLICIES = ("NetworkPolicy", "GlobalNetworkPolicy")
REFUSED = {
    "HostEndpoint": "a host has one set of labels for all its interfaces here, and other failsafes",
    "Profile": "its rules are asked where no policy is; what no policy selects is allowed here",
}
DEFAULTS = {"Deny": "drop", "Pass": "pass"}


def imported(
    sources: Sequence[Source], namespace: str, sink: Sink, say: Callable[[str], None] = lambda text: None
) -> str | None:
    """The policy's text; None where there is none. `namespace`: of objects that name none. Findings go to the
    sink."""
    sets, tiers, nodes = Sets(), dict[str, tuple[float, str]](), list[Node]()
    left: Counter[str] = Counter()
    example: dict[str, Node] = {}
    for source in sources:
        say(f"reading {source.shown}")
        for node in read(source, sink):
            kind = node.value.get("kind") if isinstance(node.value, dict) else None
            try:
                if kind == "Namespace":
                    labels = node.at("metadata", "labels")
                    sets.namespaces[text_of(node, "metadata", "name")] = (
                        {} if labels is None else labels.texts()
                    )
                elif kind not in schema.KINDS:
                    what = kind if isinstance(kind, str) else "object without a kind"
                    left[what] += 1
                    example.setdefault(what, node)
                elif known(node, kind, schema.KINDS, sink):
                    _add(node, kind, namespace, sets, tiers, nodes)
            except WrongShapeError as error:
                selecting.wrong(sink, error)
            except REFUSALS as error:
                tell(sink, node.span, error)
    for what, count in left.items():
        sink.add(errors.NotPolicy(example[what].span, what, count).diagnostic())
    say("making policies")
    made = _made(nodes, namespace, sets, tiers, sink)
    if not made:
        return None
    file = EndpointFile([f"Imported from {', '.join(source.name for source in sources)}."])
    file.policies, file.tiers = made
    return endpoints.write(file)


def _add(
    node: Node, kind: str, namespace: str, sets: Sets, tiers: dict[str, tuple[float, str]], nodes: list[Node]
) -> None:
    """Take an object in."""
    name = text_of(node, "metadata", "name")
    if kind == "Profile" and _allows_all(node):
        return  # as do policies here, of what none selects
    if kind in REFUSED:
        raise NotSayableError(f"{kind} {name}", REFUSED[kind])
    if kind in POLICIES:
        nodes.append(node)
    elif kind == "Tier":
        action = node.at("spec", "defaultAction")
        word = "Deny" if action is None else action.text
        if word not in DEFAULTS:
            raise WrongShapeError(action or node, "must be `Deny` or `Pass`")
        tiers[name] = (_order(node), DEFAULTS[word])
    else:
        labels, space = node.at("metadata", "labels"), node.at("metadata", "namespace")
        inside = "" if kind == "GlobalNetworkSet" else namespace if space is None else space.text
        spec = node.get("spec")
        nets = [] if spec is None else [selecting.network(n) for n in policies.cidrs(spec, "nets")]
        sets.sets.append(NetworkSet(inside, {} if labels is None else labels.texts(), tuple(nets)))


def _allows_all(node: Node) -> bool:
    """Whether a profile lets everything through in both directions, as those of Kubernetes' namespaces do."""
    rules = [node.at("spec", direction) for direction in ("ingress", "egress")]
    return all(one is not None and one.value == [{"action": "Allow"}] for one in rules)


def _order(node: Node) -> float:
    order = node.at("spec", "order")
    if order is None:
        return LAST
    try:
        return float(order.value)
    except (TypeError, ValueError):
        raise WrongShapeError(order, "must be a number") from None


def _made(
    nodes: Sequence[Node], namespace: str, sets: Sets, tiers: dict[str, tuple[float, str]], sink: Sink
) -> tuple[list[EndpointPolicy], tuple[str, ...]] | None:
    """All policies in their order, and the tiers."""
    found: list[tuple[str, float, str, list[EndpointPolicy]]] = []
    taken: set[str] = set()
    for node in nodes:
        try:
            name = text_of(node, "metadata", "name")
            tier_node = node.at("spec", "tier")
            tier = DEFAULT_TIER if tier_node is None else tier_node.text
            if tier != DEFAULT_TIER and tier not in tiers:
                sink.add(errors.MissingReference((tier_node or node).span, "tier", tier).diagnostic())
                continue
            found.append((tier, _order(node), name, _policy(node, name, namespace, sets, taken)))
        except WrongShapeError as error:
            selecting.wrong(sink, error)
        except REFUSALS as error:
            tell(sink, node.span, error)
    if not found:
        return None
    tiers.setdefault(DEFAULT_TIER, (LAST, "drop"))
    order = sorted({tier for tier, *_ in found}, key=lambda t: (tiers[t][0], t))
    passes = any(tiers[tier][1] == "pass" for tier in order) or any(
        rule.action == "pass"
        for *_, made in found
        for one in made
        for _, rules in one.blocks
        for rule in rules
    )
    tiered = len(order) > 1 or passes
    result: list[EndpointPolicy] = []
    for tier in order:
        ranked = sorted((p for p in found if p[0] == tier), key=lambda p: (p[1], p[2]))
        for rank, (_, _, _, made) in enumerate(ranked, 1):
            attributes = (("order", str(10 * rank)), ("default", tiers[tier][1]))
            own = ((("tier", slug(tier)),) if tiered else ()) + attributes
            result += [EndpointPolicy(p.name, p.subject, own, p.blocks, p.head) for p in made]
    names = tuple(slug(tier) for tier in order)
    if tiered:
        empty: tuple[EndpointRule, ...] = ()
        head = ("What every tier passes is allowed, as the profiles of Kubernetes' namespaces do.",)
        attributes = (("tier", PROFILES), ("default", "allow"))
        blocks = (("ingress", empty), ("egress", empty))
        result.append(EndpointPolicy("undecided", Selector(), attributes, blocks, head))
        names = (*names, PROFILES)
    return result, names if tiered else ()


def _policy(node: Node, name: str, namespace: str, sets: Sets, taken: set[str]) -> list[EndpointPolicy]:
    """One for each alternative of the selector: they have the same rules at the same place."""
    spec = node.get("spec")
    if spec is None:
        raise WrongShapeError(node, "must have `spec`")
    for key in ("doNotTrack", "preDNAT", "applyOnForward", "serviceAccountSelector"):
        if (asked := spec.get(key)) is not None and asked.value not in (False, ""):
            raise NotSayableError(key, "policies for endpoints have no such place or subject")
    is_global = node.value["kind"] == "GlobalNetworkPolicy"
    space = node.at("metadata", "namespace")
    inside = "" if is_global else namespace if space is None else space.text
    spaces = policies.expression(spec.get("namespaceSelector")) if is_global else selectors.ALWAYS
    if inside:
        spaces = [(LabelTest(NAME, (inside,)),)]
    subjects = policies.workloads(policies.expression(spec.get("selector")), spaces)
    if not subjects:
        raise NotSayableError("selector", "it selects nobody")
    reader = Reader(inside, sets)
    blocks = tuple(
        (direction, tuple(reader.rule(rule) for rule in listed(spec.get(direction))))
        for direction in _directions(spec)
    )
    title = f"{node.value['kind']} {f'{inside}/' if inside else ''}{name}"
    head = (f"{title}, {node.document.source.name}:{node.span.line}",)
    made = []
    for subject in subjects:
        wish = slug(f"{inside}-{name}" if inside else name)
        free, number = wish, 2
        while free in taken:
            free, number = f"{wish}-{number}", number + 1
        taken.add(free)
        made.append(EndpointPolicy(free, subject, (), blocks, head))
    return made


def _directions(spec: Node) -> list[str]:
    types = spec.get("types")
    if types is not None and types.items:
        if any(item.value not in ("Ingress", "Egress") for item in types.items):
            raise WrongShapeError(types, "must be `Ingress` or `Egress`")
        return [word.lower() for word in ("Ingress", "Egress") if word in types.value]
    has_in, has_out = bool(listed(spec.get("ingress"))), bool(listed(spec.get("egress")))
    return (["ingress"] if has_in or not has_out else []) + (["egress"] if has_out else [])
