"""Grows the decision trees of `rule_tree`, level by level, all nodes of a level at once.

Of a node it knows the boxes that a packet there can meet, each cut to what is left of it. Boxes behind one
that holds all that is left of the others are hidden and dropped; a node of few boxes becomes a leaf; any
other takes the window, below the bits that all its boxes share, after which a box has the fewest others
beside it. Children of the same boxes are one node. Boxes have random names, by which equal children are told
from others, from a fixed seed: the same boxes give the same trees.

Knows arrays only, (box, dimension) of int64: nothing of fields, nor of how trees lie in memory beyond the
words of nodes (`rule_tree`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..numeric import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

# A word's parts, by their lowest bits: of an inner node first child, shift, the window's width in bits and
# dimension; of a leaf first entry and number of entries. What lies below is nothing.
LEAF = 1 << 63
FIRST, SHIFT, BITS, DIMENSION, COUNT = 24, 49, 54, 59, 49
SMALL_LEAF = 10  # so many entries are compared rather than told apart by another node
MAX_DEPTH = 12
WINDOWS = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16)  # bits to try
CELLS_PER_BOX = 4  # children that a node may have for each of its boxes
GROWTH = 2.0  # copies in all children that a node may have for each of its boxes
TOTAL_GROWTH = 8.0  # and that a level may have for each box of its tree
CELL_COST = 0.4  # of a child, in copies
WORTH = 1.0  # boxes fewer that a box must find beside it


class Forest:
    """A tree for each of `groups` of boxes. `nodes`: words of all children (u64); `roots`: words of the
    roots; `members`: boxes in the order of the leaves' entries; `depths`: inner nodes on the longest way
    of each tree; `longest`: entries of the largest leaf of each."""

    def __init__(self, lows: Ints, highs: Ints, groups: list[Ints]) -> None:
        self.lows, self.highs, self.groups = lows, highs, groups
        self._names = np.random.default_rng(1).integers(1, 1 << 30, size=(2, len(lows))).astype(np.float64)
        self._cells = len(groups)  # of which the first are the roots
        self._leaves: list[Ints] = []
        self._entries = 0
        self.depths, self.longest = [0] * len(groups), [0] * len(groups)
        self._found: dict[bytes, int] = {}  # boxes of a leaf → its word
        self._places: list[tuple[Ints, NDArray[np.uint64]]] = []  # cells, words
        for number, group in enumerate(groups):
            self._grow(number, group)
        words = np.full(self._cells, LEAF, dtype=np.uint64)
        for cells, put in self._places:
            words[cells] = put
        self.roots = [int(word) for word in words[: len(groups)]]
        self.nodes = words
        self.members = np.concatenate([*self._leaves, np.zeros(0, dtype=np.int64)])

    def _grow(self, number: int, group: Ints) -> None:
        """Grow one tree."""
        level = _Level(
            np.zeros(len(group), dtype=np.int64),
            group,
            self.lows[group],
            self.highs[group],
            np.array([number]),
            np.zeros(1, dtype=np.int64),
        ).without_hidden()
        for depth in range(MAX_DEPTH + 1):
            sizes = level.sizes
            cuts = _Cuts.none(len(sizes))
            if depth < MAX_DEPTH:
                growth = max(1.05, min(GROWTH, TOTAL_GROWTH * (len(group) + 64) / len(level.node)))
                cuts = _best_cuts(level, self._names, growth)
            ends = cuts.bits == 0
            self._end(level, ends)
            self.longest[number] = max(self.longest[number], int(sizes[ends].max(initial=0)))
            if ends.all():
                break
            self.depths[number] = depth + 1
            level = self._descend(level, cuts)

    def _end(self, level: _Level, ends: Flags) -> None:
        """Make leaves of some nodes."""
        words = np.zeros(len(ends), dtype=np.uint64)
        for node in np.flatnonzero(ends):
            words[node] = self._leaf(level.boxes[level.starts[node] : level.starts[node + 1]])
        mine = ends[level.cell_node]
        self._places.append((level.cells[mine], words[level.cell_node[mine]]))

    def _leaf(self, boxes: Ints) -> int:
        """The word of a leaf; of the same boxes once."""
        key = boxes.tobytes()
        if key not in self._found:
            self._found[key] = LEAF | len(boxes) << COUNT | self._entries << FIRST
            self._leaves.append(boxes)
            self._entries += len(boxes)
        return self._found[key]

    def _descend(self, level: _Level, cuts: _Cuts) -> _Level:
        """Write the inner nodes of a level; their children."""
        inner = np.flatnonzero(cuts.bits)
        counts = np.int64(1) << cuts.bits[inner]
        bases = np.zeros(len(cuts.bits), dtype=np.int64)
        bases[inner] = self._cells + np.cumsum(counts) - counts
        self._cells += int(counts.sum())
        parts_of = ((bases, FIRST), (cuts.shift, SHIFT), (cuts.bits, BITS), (cuts.dimension, DIMENSION))
        words = np.bitwise_or.reduce([part << at for part, at in parts_of]).astype(np.uint64)
        mine = cuts.bits[level.cell_node] > 0
        self._places.append((level.cells[mine], words[level.cell_node[mine]]))
        parts = []
        pairs = zip(cuts.dimension.tolist(), cuts.bits.tolist(), strict=True)
        for dimension, bits in sorted({pair for pair in pairs if pair[1]}):
            nodes = np.flatnonzero((cuts.dimension == dimension) & (cuts.bits == bits))
            parts.append(_dealt(level, nodes, dimension, bits, cuts.shift[nodes], bases[nodes], self._names))
        return _Level.joined(parts).without_hidden()


@dataclass(frozen=True)
class _Cuts:
    """For each node the window it takes; `bits` 0: none, it is a leaf."""

    dimension: Ints
    shift: Ints
    bits: Ints

    @classmethod
    def none(cls, nodes: int) -> _Cuts:
        return cls(*(np.zeros(nodes, dtype=np.int64) for _ in range(3)))


class _Level:
    """Nodes of one depth. Of each copy of a box, by node and then by box: `node`, `boxes`, `lo`, `hi` (copy,
    dimension). `cells`: children of the level above, each with the node that it is (`cell_node`)."""

    def __init__(self, node: Ints, boxes: Ints, lo: Ints, hi: Ints, cells: Ints, cell_node: Ints) -> None:
        self.node, self.boxes, self.lo, self.hi = node, boxes, lo, hi
        self.cells, self.cell_node = cells, cell_node
        begins = np.flatnonzero(np.diff(node, prepend=-1))
        self.starts = np.append(begins, len(node))  # of each node, and the end
        self.sizes = np.diff(self.starts)
        self.floor = np.minimum.reduceat(lo, begins, axis=0)
        self.ceiling = np.maximum.reduceat(hi, begins, axis=0)

    def without_hidden(self) -> _Level:
        """The level without boxes that another one before them hides: it holds all that is left of every
        box of the node."""
        covers = ((self.lo <= self.floor[self.node]) & (self.hi >= self.ceiling[self.node])).all(axis=1)
        if not covers.any():
            return self
        at = np.arange(len(self.node))
        first = np.minimum.reduceat(np.where(covers, at, len(at)), self.starts[:-1])
        keep = at <= first[self.node]
        if keep.all():
            return self
        node, boxes, lo, hi = (part[keep] for part in (self.node, self.boxes, self.lo, self.hi))
        return _Level(node, boxes, lo, hi, self.cells, self.cell_node)

    @classmethod
    def joined(cls, parts: list[_Level]) -> _Level:
        """Levels side by side."""
        offsets = np.cumsum([0, *(len(part.sizes) for part in parts)])
        return cls(
            np.concatenate([part.node + at for part, at in zip(parts, offsets, strict=False)]),
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.lo for part in parts]),
            np.concatenate([part.hi for part in parts]),
            np.concatenate([part.cells for part in parts]),
            np.concatenate([part.cell_node + at for part, at in zip(parts, offsets, strict=False)]),
        )

    def copies(self, nodes: Ints) -> tuple[Ints, Ints]:
        """Of some nodes: (numbers of their copies, of each the place of its node among `nodes`)."""
        sizes = self.sizes[nodes]
        owner = np.repeat(np.arange(len(nodes)), sizes)
        step = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return self.starts[nodes][owner] + step, owner


@dataclass(frozen=True)
class _Deal:
    """How the boxes of some nodes go to children. Children in a row that have the same boxes are a run, runs
    of a node with the same boxes are a kind. Of each copy, run numbers `first` to `last`; of each run its
    `node` (a place), `size` in boxes, first child `cell`, and `kind`; of each kind its size and a run."""

    copies: Ints
    first: Ints
    last: Ints
    run_node: Ints
    run_cell: Ints
    run_size: Ints
    run_kind: Ints
    kind_run: Ints


def _deal(
    level: _Level, nodes: Ints, dimension: int, bits: int, shifts: Ints, names: NDArray[np.float64]
) -> _Deal:
    """Deal the boxes of `nodes` to the 2**bits children of a window. `shifts`: of each node."""
    copies, owner = level.copies(nodes)
    width = (1 << bits) + 1  # a place behind the last child, where boxes end
    mask = (1 << bits) - 1
    shift = shifts[owner]
    first = (level.lo[copies, dimension] >> shift & mask) + owner * width
    behind = (level.hi[copies, dimension] >> shift & mask) + owner * width + 1
    total = len(nodes) * width
    begins, ends = np.bincount(first, minlength=total), np.bincount(behind, minlength=total)
    sizes = np.cumsum(begins - ends)
    changes = (begins + ends) > 0
    changes[::width] = True
    changes[width - 1 :: width] = False
    run_at = np.flatnonzero(changes)
    number = np.cumsum(changes) - 1
    hashes = []
    for name in names:
        of = name[level.boxes[copies]]
        steps = np.bincount(first, of, total) - np.bincount(behind, of, total)
        hashes.append(np.cumsum(steps)[run_at].astype(np.int64))
    run_node = run_at // width
    order = np.lexsort((hashes[1], hashes[0], run_node))
    same = np.ones(len(order), dtype=bool)
    for key in (run_node, *hashes):
        same[1:] &= key[order[1:]] == key[order[:-1]]
    same[:1] = False
    kind = np.empty(len(order), dtype=np.int64)
    kind[order] = np.cumsum(~same) - 1
    return _Deal(
        copies,
        number[first],
        number[behind - 1],
        run_node,
        run_at - run_node * width,
        sizes[run_at],
        kind,
        order[~same],
    )


def _best_cuts(level: _Level, names: NDArray[np.float64], growth: float) -> _Cuts:
    """For each node the window after which a box has the fewest others beside it, of those that copy few."""
    count, sizes = len(level.sizes), level.sizes
    best = _Cuts.none(count)
    score = np.full(count, np.inf)
    room = growth * sizes + 8
    open_ = sizes > SMALL_LEAF
    for dimension in range(level.lo.shape[1]):
        free = np.frexp((level.floor[:, dimension] ^ level.ceiling[:, dimension]).astype(np.float64))[1]
        for bits in WINDOWS:
            nodes = np.flatnonzero(open_ & (free >= bits) & (CELLS_PER_BOX * sizes >= 1 << bits))
            if not len(nodes):
                continue
            shifts = free[nodes].astype(np.int64) - bits
            deal = _deal(level, nodes, dimension, bits, shifts, names)
            size, of = deal.run_size[deal.kind_run].astype(np.float64), deal.run_node[deal.kind_run]
            copies = np.bincount(of, size, len(nodes))
            beside = np.bincount(of, size * size, len(nodes)) / copies
            cells = CELL_COST * (1 << bits)
            fits = (copies + cells <= room[nodes]) & (beside <= sizes[nodes] - WORTH)
            price = np.log2(beside) + 0.5 * np.log2((copies + cells) / sizes[nodes])
            better = fits & (price < score[nodes])
            chosen = nodes[better]
            score[chosen] = price[better]
            best.dimension[chosen], best.bits[chosen], best.shift[chosen] = dimension, bits, shifts[better]
    return best


def _dealt(
    level: _Level,
    nodes: Ints,
    dimension: int,
    bits: int,
    shifts: Ints,
    bases: Ints,
    names: NDArray[np.float64],
) -> _Level:
    """The children of `nodes`, whose cells begin at `bases`; those without a box are left out."""
    deal = _deal(level, nodes, dimension, bits, shifts, names)
    shown = np.zeros(len(deal.run_size), dtype=bool)  # the first run of each kind stands for all
    shown[deal.kind_run] = True
    shown &= deal.run_size > 0
    before = np.append(0, np.cumsum(shown))
    spans = before[deal.last + 1] - before[deal.first]
    runs = np.flatnonzero(shown)
    copy = np.repeat(np.arange(len(deal.copies)), spans)
    step = np.arange(len(copy)) - np.repeat(np.cumsum(spans) - spans, spans)
    run = runs[before[deal.first][copy] + step]
    order = np.argsort(run, kind="stable")
    run, copy = run[order], deal.copies[copy[order]]
    # What is left of a box: its part from the first to the last child of its kind.
    run_end = np.append(deal.run_cell[1:], 0)
    last = np.append(deal.run_node[1:] != deal.run_node[:-1], True)
    run_end[last] = 1 << bits
    kinds = len(deal.kind_run)
    least, most = np.full(kinds, 1 << bits), np.zeros(kinds, dtype=np.int64)
    np.minimum.at(least, deal.run_kind, deal.run_cell)
    np.maximum.at(most, deal.run_kind, run_end - 1)
    kind = deal.run_kind[run]
    shift = shifts[deal.run_node[run]]
    node_floor = level.floor[nodes[deal.run_node[run]], dimension]
    head = node_floor >> (shift + bits) << (shift + bits)
    lo, hi = level.lo[copy], level.hi[copy]
    lo[:, dimension] = np.maximum(lo[:, dimension], head + (least[kind] << shift))
    hi[:, dimension] = np.minimum(hi[:, dimension], head + ((most[kind] + 1) << shift) - 1)
    number = np.full(kinds, -1)
    number[deal.run_kind[runs]] = np.arange(len(runs))
    lengths = run_end - deal.run_cell
    filled = deal.run_size > 0
    cell_run = np.repeat(np.flatnonzero(filled), lengths[filled])
    begin = np.cumsum(lengths[filled]) - lengths[filled]
    inside = np.arange(len(cell_run)) - np.repeat(begin, lengths[filled])
    cells = bases[deal.run_node[cell_run]] + deal.run_cell[cell_run] + inside
    return _Level(number[kind], level.boxes[copy], lo, hi, cells, number[deal.run_kind[cell_run]])
