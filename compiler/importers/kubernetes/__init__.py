"""Kubernetes network policies, from manifests or `kubectl get -o json`, with pods, namespaces and nodes as
the inventory.

`schema.py` knows the kinds, `selecting.py` their common parts, `network_policy.py` and `admin.py` what
policies mean, `cluster.py` who is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lockgate.stdlib_bpf.labels import Selector

from ... import errors
from ...diagnostics import Sink
from ...source import Source
from .. import endpoints
from ..documents import Node, WrongShapeError, read
from ..endpoints import EndpointFile, EndpointPolicy, EndpointRule, Prefix, slug
from . import admin, network_policy, schema, selecting
from .cluster import Cluster, text_of
from .selecting import RefusedError

PEOPLE = frozenset({"Pod", "Namespace", "Node"})
OWN, LAST, NODES = "kubernetes", "rest", "nodes"


@dataclass(frozen=True)
class Result:
    """`text`: the policy, None where there is none; `inventory`: for `--endpoints`."""

    text: str | None
    inventory: str


def imported(
    sources: Sequence[Source],
    namespace: str,
    allow_nodes: bool,
    sink: Sink,
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """The policies of some files. `namespace`: of objects that name none; `allow_nodes`: nodes reach every
    pod. Findings go to the sink."""
    cluster, policies = Cluster(), list[Node]()
    left: Counter[str] = Counter()
    example: dict[str, Node] = {}
    for source in sources:

        def reached(line: int, source: Source = source) -> None:
            say(f"reading {source.shown}: line {line:,}")

        for node in read(source, sink, reached):
            kind = node.value.get("kind") if isinstance(node.value, dict) else None
            if kind not in schema.KINDS:
                what = kind if isinstance(kind, str) else "object without a kind"
                left[what] += 1
                example.setdefault(what, node)
            elif known(node, kind, schema.KINDS, sink):
                try:
                    if kind in PEOPLE:
                        cluster.add(node, namespace)
                    else:
                        policies.append(node)
                except WrongShapeError as error:
                    selecting.wrong(sink, error)
    for what, count in left.items():
        sink.add(errors.NotPolicy(example[what].span, what, count).diagnostic())
    say("making policies")
    made = _policies(policies, namespace, cluster, sink)
    if not made:
        return Result(None, cluster.inventory())
    file = EndpointFile(_head(sources, allow_nodes))
    file.policies = _placed(made, allow_nodes)
    file.tiers = _tiers(file.policies)
    say("writing the policy")
    return Result(endpoints.write(file), cluster.inventory())


def known(node: Node, kind: str, kinds: Mapping[str, schema.Kind], sink: Sink) -> bool:
    """Whether an object's version is one that is known; reports fields that are not."""
    row, version = kinds[kind], node.value.get("apiVersion")
    if version not in row.versions:
        where = node.get("apiVersion") or node
        sink.add(errors.UnknownImportVersion(where.span, kind, str(version), row.versions).diagnostic())
        return False
    spec = node.get("spec")
    if spec is not None and row.spec is not None:
        for field in schema.unknown(spec, row.spec):
            sink.add(errors.UnknownImportField(field.span, field.shown, kind).diagnostic())
    return True


def _policies(nodes: Sequence[Node], namespace: str, cluster: Cluster, sink: Sink) -> list[EndpointPolicy]:
    made: list[EndpointPolicy] = []
    admins = any(node.value["kind"] in admin.FORMS for node in nodes)
    taken: set[str] = set()
    for node in nodes:
        kind = node.value["kind"]
        try:
            called = text_of(node, "metadata", "name")
            space = node.at("metadata", "namespace")
            inside = namespace if space is None else space.text
            wish = slug(called) if kind in admin.FORMS else slug(f"{inside}-{called}")
            name, number = wish, 2
            while name in taken:
                name, number = f"{wish}-{number}", number + 1
            taken.add(name)
            if kind in admin.FORMS:
                one, title = admin.policy(node, name, cluster), f"{kind} {called}"
            else:
                tier = OWN if admins else ""
                one = network_policy.policy(node, name, inside, tier, cluster)
                title = f"{kind} {inside}/{called}"
        except WrongShapeError as error:
            selecting.wrong(sink, error)
        except RefusedError as error:
            selecting.refuse(sink, error)
        else:
            where = f"{node.document.source.name}:{node.span.line}"
            made.append(replace(one, head=(f"{title}, {where}",)))
    return made


def _head(sources: Sequence[Source], allow_nodes: bool) -> list[str]:
    files = ", ".join(source.name for source in sources)
    head = [f"Imported from {files}."]
    if not allow_nodes:
        head.append("A node's own traffic to its pods is judged like any other: see --allow-nodes.")
    return head


def _placed(made: list[EndpointPolicy], allow_nodes: bool) -> list[EndpointPolicy]:
    """With the policies that say what the API says of traffic that none of its objects decides."""
    tiered = any("tier" in dict(policy.attributes) for policy in made)
    if allow_nodes:
        own = tuple((*((("tier", OWN),) if not tiered else ()), *policy.attributes) for policy in made)
        made = [replace(policy, attributes=attributes) for policy, attributes in zip(made, own, strict=True)]
        blocks = (
            ("ingress", (EndpointRule("allow", source=Prefix("nodes")),)),
            ("egress", (EndpointRule("allow", target=Prefix("nodes")),)),
        )
        made.insert(0, EndpointPolicy("node-traffic", Selector(), (("tier", NODES),), blocks))
    if allow_nodes or tiered:
        attributes = (("tier", LAST), ("default", "allow"))
        empty: tuple[EndpointRule, ...] = ()
        rest = EndpointPolicy("undecided", Selector(), attributes, (("ingress", empty), ("egress", empty)))
        made.append(replace(rest, head=("What no policy decides is allowed.",)))
    return made


def _tiers(policies: Sequence[EndpointPolicy]) -> tuple[str, ...]:
    used = {dict(policy.attributes).get("tier") for policy in policies}
    return tuple(name for name in (NODES, admin.ADMIN, OWN, admin.BASELINE, LAST) if name in used)
