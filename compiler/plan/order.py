"""In which order the tests of one match are asked: cheap and selective first, guards before what they guard.

For independent tests of cost c that pass with probability p, ascending c / (1 - p) is optimal (the pipelined
filter ordering of query optimisers). The probabilities are rough guesses about traffic; they change speed
only.
"""

from __future__ import annotations

from lockgate.stdlib_bpf import fields
from lockgate.stdlib_bpf.sets import IntervalSet

from .choose import Form
from .specialise import L4_PROTO

PROTOCOL_SHARE = {fields.IPPROTO_TCP: 0.6, fields.IPPROTO_UDP: 0.3}
OTHER_PROTOCOL_SHARE = 0.03
FAMILY_SHARE = {fields.ETH_P_IP: 0.6, fields.ETH_P_IPV6: 0.35}
LIVE_SHARE = 0.1

Planned = tuple[str, IntervalSet, Form]


def ordered(tests: list[Planned]) -> list[Planned]:
    """The tests in the order to ask them. Equal ranks keep the order of `fields.sort_key`."""
    left = sorted(tests, key=lambda test: (_rank(test), fields.sort_key(test[0])))
    guard = next((test for test in left if test[0] == L4_PROTO), None)
    if guard is None:
        return left
    # The guard moves just before the first test that needs it, if it does not stand before it anyway.
    first = next((i for i, test in enumerate(left) if fields.lookup(test[0]).transport), len(left))
    if left.index(guard) > first:
        left.remove(guard)
        left.insert(first, guard)
    return left


def chance(field: str, values: IntervalSet) -> float:
    """Guess of the share of packets that pass the test."""
    if fields.split_live(field) is not None:
        return LIVE_SHARE if 1 in values else 1 - LIVE_SHARE
    row = fields.lookup(field)
    if field in ("ip.proto", L4_PROTO):
        known = sum(share for protocol, share in PROTOCOL_SHARE.items() if protocol in values)
        return min(1.0, known + OTHER_PROTOCOL_SHARE * min(3, values.count))
    if field == "eth.type":
        return sum(share for eth_type, share in FAMILY_SHARE.items() if eth_type in values) + 0.01
    share = values.count / (1 << row.width_bits)
    # Traffic is concentrated where rules look: less so than uniform packets would be.
    power = {16: 0.5, 32: 0.25, 128: 0.06}.get(row.width_bits, 1.0)
    return min(1.0, float(share**power))


def _rank(test: Planned) -> float:
    field, values, form = test
    return form.latency_ns / max(1e-9, 1.0 - chance(field, values))
