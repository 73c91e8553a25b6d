"""Balanced services as load balancers of HNS: for each family of a service the request that makes one.

The form is hcsshim's HostComputeLoadBalancer (hcn/hcnloadbalancer.go). It names backends by the identifiers
of HNS endpoints, which only Windows knows, so `Backends` has their addresses, in the order in which the
identifiers go into `HostComputeEndpoints`. What cannot be said is refused here, too. Knows services and the
form.
"""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.stdlib_bpf.balance.services import LOCAL_FIRST, PASS, Backend, Service, families

from ..otherwise import Refusal
from ..policy.model import Balancer

PER_CONNECTION, PER_CLIENT = 0, 2  # LoadBalancerDistribution
SCHEMA = {"Major": 2, "Minor": 0}
EVERYBODY = ("/",)  # cgroups that hold every process
Request = dict[str, object]


def documents(balancers: tuple[Balancer, ...]) -> Iterator[Request]:
    """One object for each service and family."""
    for balancer in balancers:
        for service in balancer.services:
            for family in families(service):
                yield _document(service, family)


def _document(service: Service, family: int) -> Request:
    backends = of_family(service, family)
    mappings = [
        {
            "Protocol": front.protocol,
            "InternalPort": backends[0].port or front.target,
            "ExternalPort": front.port,
            "DistributionType": PER_CLIENT if service.affinity_ms else PER_CONNECTION,
        }
        for front in service.fronts
    ]
    vips = [vip for vip in service.vips if (":" in vip) == (family == 6)]
    return {
        "Name": f"{service.name}-{family}",
        "Backends": [backend.address for backend in backends],
        "Request": {
            "HostComputeEndpoints": [],
            "FrontendVIPs": vips,
            "PortMappings": mappings,
            "SchemaVersion": SCHEMA,
        },
    }


def of_family(service: Service, family: int) -> list[Backend]:
    """The backends that clients of a family are spread over."""
    return [backend for backend in service.backends if backend.family == family]


def refused(balancers: tuple[Balancer, ...]) -> Iterator[Refusal]:
    """What load balancers of HNS cannot say."""
    for balancer in balancers:
        if balancer.targets != EVERYBODY:
            reason = "a load balancer is for everybody on the host, and Windows has no cgroups"
            yield Refusal(balancer.span, "services for some cgroups", reason, 'write `for cgroup "/"`')
        for service in balancer.services:
            for what, why, instead in _unsaid(service):
                yield Refusal(balancer.span, f"service `{service.name}`: {what}", why, instead)


def _unsaid(service: Service) -> Iterator[tuple[str, str, str]]:
    if service.exempt:
        yield "`exempt`", "a load balancer is for everybody on the host", "leave it out"
    if service.selected:
        yield "`backends` by labels", "no inventory is asked here", "write their addresses"
        return
    if service.spread == LOCAL_FIRST:
        yield "`spread local-first`", "a load balancer does not know who is on this host", "leave it out"
    if service.empty == PASS:
        yield "`empty pass`", "a load balancer without backends is none", "leave it out"
    if any(backend.draining for backend in service.backends):
        reason = "a backend is one of a load balancer's, or it is not"
        yield "`draining`", reason, "take the backend out once its clients are gone"
    for family in families(service):
        backends = of_family(service, family)
        if not backends:
            yield f"no backend of IPv{family}", "a load balancer names at least one", "leave its address out"
        if len({backend.weight for backend in backends}) > 1:
            yield "`weight`", "all backends of a load balancer weigh the same", "leave the weights out"
        if len({backend.port for backend in backends}) > 1:
            reason = "a load balancer has one port for all its backends"
            yield "backends with ports of their own", reason, "write the port behind `->`"
