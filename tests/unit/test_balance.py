"""Tables of services: shares follow weights, few clients move, and the choice is what is written down."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.stdlib_bpf.balance import choice, maglev
from lockgate.stdlib_bpf.balance.services import Backend, Service, address_of, pools, raw
from lockgate.stdlib_bpf.balance.turns import turns
from lockgate.stdlib_bpf.state import balance as layout

weights = st.lists(st.integers(1, 20), min_size=1, max_size=12)


def names(count: int) -> list[bytes]:
    return [raw(f"10.244.0.{n + 1}") for n in range(count)]


def moved(before: list[bytes], after: list[bytes]) -> int:
    return sum(a != b for a, b in zip(before, after, strict=True))


def owners(hosts: list[bytes], shares: list[int], size: int) -> list[bytes]:
    return [hosts[place] for place in maglev.table(hosts, shares, size)]


@given(weights)
def test_each_backend_has_its_share_of_the_table(shares: list[int]) -> None:
    """Within a turn: a backend of the largest weight takes one entry a turn, and all take part in it."""
    size = maglev.size(shares)
    got = Counter(maglev.table(names(len(shares)), shares, size))
    total = sum(shares)
    for place, share in enumerate(shares):
        assert abs(got[place] - size * share / total) <= 1 + share / max(shares) + 1e-9 + share / total


@given(weights, st.randoms(use_true_random=False))
def test_the_order_of_a_list_says_nothing(shares: list[int], rng: random.Random) -> None:
    hosts = names(len(shares))
    order = list(range(len(shares)))
    rng.shuffle(order)
    size = maglev.SIZES[1]
    again = owners([hosts[i] for i in order], [shares[i] for i in order], size)
    assert again == owners(hosts, shares, size)


@pytest.mark.parametrize("count", [3, 10, 50, 100])
def test_few_entries_move_when_a_backend_comes_or_goes(count: int) -> None:
    """Ideal: only those of the one that went. Maglev moves some others (NSDI 2016, §5.3): at most as many
    again. Shown on the table that a service with so many backends has."""
    hosts, size = names(count), maglev.size([1] * count)
    whole = owners(hosts, [1] * count, size)
    worst = 0.0
    for gone in range(0, count, max(1, count // 10)):
        rest = hosts[:gone] + hosts[gone + 1 :]
        without = owners(rest, [1] * (count - 1), size)
        ideal = Counter(whole)[hosts[gone]]
        worst = max(worst, moved(whole, without) / ideal)
    print(f"{count} backends, {size} entries: {worst:.2f} times the ideal")
    assert worst <= 2


def test_a_change_of_weight_moves_little_more_than_it_must() -> None:
    hosts, size = names(10), maglev.SIZES[4]
    before = owners(hosts, [4] * 10, size)
    after = owners(hosts, [4] * 9 + [2], size)
    ideal = Counter(before)[hosts[9]] - Counter(after)[hosts[9]]
    assert ideal > 0 and moved(before, after) <= 4 * ideal


@given(weights)
def test_turns_come_as_often_as_weights_say_and_evenly(shares: list[int]) -> None:
    round_ = turns(shares)
    got = Counter(round_)
    assert all(got[place] * sum(shares) == share * len(round_) for place, share in enumerate(shares))
    half = Counter(round_[: len(round_) // 2])
    assert all(abs(half[place] - got[place] / 2) <= 1 for place in got)


def test_nobody_is_chosen_where_nobody_takes_clients() -> None:
    service = Service("s", ("10.0.0.1",), (), (Backend("10.0.0.2", draining=True),), size=251)
    assert choice.table(service, service.backends) == []
    assert choice.maglev_choice(1, 0, []) is None
    assert layout.blocks([]) == bytes(layout.BLOCK_BYTES), "a table of length 0"


def test_clients_are_spread_by_weight() -> None:
    """Chi-square with two degrees of freedom: 13.8 is passed once in a thousand."""
    seed = 20_261_129
    rng, shares = random.Random(seed), [5, 3, 2]
    backends = tuple(Backend(f"10.244.0.{n}", weight=w) for n, w in enumerate(shares))
    service = Service("s", ("10.0.0.1",), (), backends, size=maglev.size(shares))
    table = choice.table(service, backends)
    for what, keys in (
        ("random keys", [rng.getrandbits(64) for _ in range(20_000)]),
        ("cookies in a row", range(20_000)),
    ):
        got = Counter(choice.maglev_choice(key, 7, table) for key in keys)
        chi = sum((got[i] - 2000 * w) ** 2 / (2000 * w) for i, w in enumerate(shares))
        print(f"{what}, seed {seed}: {dict(sorted(got.items(), key=str))}, chi-square {chi:.2f}")
        assert chi < 13.8, (what, seed)


def test_clients_that_share_a_hash_for_one_service_do_not_for_another() -> None:
    table = list(range(100))
    pairs = [[choice.maglev_choice(key, pool, table) for pool in (0, 1)] for key in range(5000)]
    assert sum(a == b for a, b in pairs) < 100  # 50 by chance


@settings(max_examples=50)
@given(st.integers(0, (1 << 64) - 1), st.integers(1, 70_000))
def test_every_entry_can_be_reached_and_none_beyond(bits: int, size: int) -> None:
    assert 0 <= choice.entry(bits, size) < size
    assert choice.entry((1 << 64) - 1, size) == size - 1
    assert choice.entry(0, size) == 0


def test_mixing_loses_nothing() -> None:
    assert len({choice.mixed(n) for n in range(10_000)}) == 10_000
    assert choice.mixed(choice.GOLDEN) == 0xE220A8397B1DCDAF, "the first output of SplitMix64 with seed 0"


def test_addresses_of_both_families_and_pools_of_a_service() -> None:
    for text in ("10.96.0.40", "fd00:96::40", "::"):
        assert address_of(raw(text)) == text
    both = Service("a", ("10.0.0.1", "fd00::1", "10.0.0.2"), (), ())
    six = Service("b", ("fd00::2",), (), ())
    assert [(p.number, p.service.name, p.family) for p in pools([both, six])] == [
        (0, "a", 4),
        (1, "a", 6),
        (2, "b", 6),
    ]


def test_a_table_lies_in_blocks_behind_its_length() -> None:
    data = layout.blocks(list(range(100, 120)))
    words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
    assert len(data) % layout.BLOCK_BYTES == 0 and words[0] == 20
    assert words[layout.BLOCK_WORDS : layout.BLOCK_WORDS + 20] == list(range(100, 120))
