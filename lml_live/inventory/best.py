"""Best available: which free seats to offer for a wish. Pure: a plan, the room's bytes and a wish in, seats out.

In this order, and of 1 and 2 the nearest to the focal point (least sum of distances; of equals the first by position).
A split is the nearest of those that were grown, each part next to the first: one in twenty is farther than another
with as few rows (measured against all that there are, in small halls).

1. side by side in one run, leaving nobody alone, or a whole table or box of just so many seats,
2. side by side, where the lenient orphan rule lets pass what they leave,
3. in as few parts as can be found over neighbouring rows, none of them leaving a seat alone, and if that fails
4. the same where the lenient rule lets it pass. (3 and 4 not where the wish says that adjacent is required.)

Seats of the accessible pool are offered only for wishes that name them, and only as many as these name. Such wishes
take 1 and 2 in one: there are too few places of the pool to prefer one that leaves nobody alone.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from lml_live.inventory import seatmap
from lml_live.inventory.plan import ACCESSIBLE, COMPANION, GENERAL, LENIENT, OFF, Plan, available, lanes, left_alone

NEAR_ROWS: Final = 64
"""Rows looked into before those without an answer are sorted out."""
LENIENT_RUNS_MAX: Final = 200
"""Runs in which the lenient rule is asked about one wish. Each takes about 30 µs, and the answer is the run's."""
SPLIT_SEEDS_MAX: Final = 160
"""Runs from which a split is grown, the nearest to the focal point first; each takes 20 to 50 µs."""
SPLIT_SEEDS_ENOUGH: Final = 64
"""So many seeds are compared; more are tried only where these all failed."""
SPLIT_TRIES_MAX: Final = 1_000
SPLIT_SEED_TRIES_MAX: Final = 100
"""Parts that are tried, in all and from one run, where no seed grew: each takes some 3 µs."""
SPLIT_PARTS_MAX: Final = 10
"""A party in more rows than this does not sit together in any sense of the word."""
POOL_SEEDS_MAX: Final = 160
"""Accessible places from which a split group is looked for."""

_IS_FREE: Final = tuple(
    bytes(wire_state == 0 for wire_state in seatmap.view_table(channel)) for channel in range(seatmap.CHANNEL_MAX + 1)
)


class Wish(Struct, frozen=True, kw_only=True):
    """What is wanted: `quantity` seats in all, of them `accessible` places and `companions` seats from the pool.

    The caller has checked that the counts agree (accessible + companions ≤ quantity, no companions without accessible)
    and that `section` is one of the plan's. `categories` None means all.
    """

    quantity: int
    accessible: int = 0
    companions: int = 0
    categories: frozenset[str] | None = None
    section: str | None = None
    adjacent: bool = False
    """Whether seats in several rows are no answer."""
    rule: str = OFF
    channel: int = seatmap.CHANNEL_OPEN
    """The sales channel: offered is what is open, and what is its own."""


def pick_seats(
    plan: Plan, seats: bytes | bytearray, wish: Wish, *, taken: Collection[int] = (), own: Collection[int] = ()
) -> tuple[int, ...] | None:
    """The best free seats for `wish`, rising, or None.

    `seats` are the inventory bytes by index; `taken` are known to be gone though the bytes do not show it yet, and
    `own`, those of the hold to be replaced, count as free. Costs 0.3 ms for 40,000 seats, a split some ms.
    """
    return _Search(plan, seats, wish, taken, own).run()


class _Search:
    def __init__(
        self, plan: Plan, seats: bytes | bytearray, wish: Wish, taken: Collection[int], own: Collection[int]
    ) -> None:
        self.plan, self.wish, self.own = plan, wish, own
        known = bytearray(seats)
        for seat in taken:
            known[seat] = seatmap.BYTE_HELD
        self.seats = bytes(known)
        for seat in own:
            known[seat] = seatmap.BYTE_AVAILABLE
        standing = plan.by_position(known)
        offered = lanes(standing.translate(_IS_FREE[wish.channel]))
        if wish.categories is not None:
            offered &= plan.in_categories(wish.categories)
        self.offered = offered
        """1 where a seat is free to this channel and answers the filters, the accessible pool included."""
        self.eligible = offered & plan.general
        free = lanes(available(standing)) & plan.general
        before = (free & plan.linked) << 8
        after = plan.linked & (free >> 8)
        self._lonely_before = before ^ (before & (before << 8))
        """1 where the position before is free and would be alone if this one were taken."""
        self._lonely_after = after ^ (after & (after >> 8))
        self._side_by_side: dict[int, int] = {1: self.eligible}
        self._starts: dict[int, bytes] = {}
        self.judged = wish.rule != OFF

    def run(self) -> tuple[int, ...] | None:
        wish = self.wish
        found: Sequence[int] | None
        if wish.accessible:
            found = self._group() or (None if wish.adjacent else self._split_group())
        else:
            found = self._block_or_whole() or self._lenient_block()
            if found is None and not wish.adjacent and wish.quantity > 1:
                found = self._split()
                if found is None and wish.rule == LENIENT:
                    self.judged = False
                    self._starts.clear()
                    found = self._split()
        return None if found is None else tuple(sorted(self.plan.seat_at[position] for position in found))

    # --- Side by side

    def _blocks(self, count: int, among: int, memo: dict[int, int]) -> int:
        """1 where `count` seats of `among` stand side by side from this position on; `memo` has 1 → among."""
        known = memo.get(count)
        if known is None:
            half = count // 2
            rest = count - half
            first, second = self._blocks(half, among, memo), self._blocks(rest, among, memo)
            known = memo[count] = first & (self.plan.joined >> 8 * (half - 1)) & (second >> 8 * half)
        return known

    def _good(self, count: int) -> int:
        """As `_blocks` of eligible seats, without those that leave a seat alone."""
        blocks = self._blocks(count, self.eligible, self._side_by_side)
        if not self.judged:
            return blocks
        return blocks ^ (blocks & (self._lonely_before | (self._lonely_after >> 8 * (count - 1))))

    def _starts_of(self, count: int) -> bytes:
        """`_good` as bytes by position."""
        known = self._starts.get(count)
        if known is None:
            known = self._starts[count] = self._bytes(self._good(count))
        return known

    def _bytes(self, facts: int) -> bytes:
        """A byte a position."""
        return facts.to_bytes(len(self.plan.seat_at), "little")

    def _block(self) -> range | None:
        count = self.wish.quantity
        start = self._nearest(self._starts_of(count), count)
        return None if start is None else range(start, start + count)

    def _block_or_whole(self) -> Sequence[int] | None:
        block, whole = self._block(), self._whole()
        if whole is None:
            return block
        if block is None:
            return whole[1]
        far = self.plan.sums[block.stop] - self.plan.sums[block.start]
        return whole[1] if (whole[0], whole[1][0]) < (far, block.start) else block

    def _whole(self) -> tuple[int, tuple[int, ...]] | None:
        """The nearest table or box of as many seats as are wanted, all of them offered."""
        wholes = self.plan.wholes_of(self.wish.quantity)
        if not wholes:
            return None
        offered, (first, end) = self._bytes(self.offered), self._section_span()
        for far, positions in wholes:
            if first <= positions[0] < end and all(offered[position] for position in positions):
                return far, positions
        return None

    def _nearest(self, starts: bytes | bytearray, count: int) -> int | None:
        """The start with the least sum of distances. Rows that begin too far off to win are never looked into."""
        if 1 not in starts:
            return None
        sums = self.plan.sums
        best: int | None = None
        least = 0
        for nearest, first, end in self._promising(starts):
            if best is not None and nearest * count > least:
                break
            start = starts.find(1, first, end)
            while start >= 0:
                distance = sums[start + count] - sums[start]
                if best is None or (distance, start) < (least, best):
                    best, least = start, distance
                start = starts.find(1, start + 1, end)
        return best

    def _promising(self, starts: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
        """Rows by their least distance. After the first few, those without a start are left out: where the best are
        sold, passing over a thousand sold-out rows would take longer than all the rest."""
        rows = self.plan.rows_of(self.wish.section)
        yield from rows[:NEAR_ROWS]
        first, last = self._section_span()
        later: list[tuple[int, int, int]] = []
        start = starts.find(1, first, last)
        while start >= 0:
            row = self.plan.row_of(start)
            later.append(row)
            start = starts.find(1, row[2], last)
        later.sort()
        yield from later

    def _lenient_block(self) -> range | None:
        """What strictness refused and leniency may allow: the nearest block for which the rule has no other choice."""
        if self.wish.rule != LENIENT:
            return None
        count = self.wish.quantity
        blocks = bytearray(self._bytes(self._blocks(count, self.eligible, self._side_by_side)))
        for _ in range(LENIENT_RUNS_MAX):
            start = self._nearest(blocks, count)
            if start is None:
                return None
            block = range(start, start + count)
            if self._allowed(block):
                return block
            # A window is the whole run in all but the longest, so that its other blocks would hear the same; the own
            # seats of a hold to be replaced make a difference from block to block.
            run = self.plan.run_of(start)
            if self.own:
                blocks[start] = 0
            else:
                first, end = self.plan.run_starts[run], self.plan.run_ends[run]
                blocks[first:end] = bytes(end - first)
        return None

    def _allowed(self, positions: Iterable[int]) -> bool:
        if self.wish.rule == OFF:
            return True
        wished = {self.plan.seat_at[position] for position in positions}
        windows = self.plan.windows(wished, self.wish.rule)
        return not left_alone(self.wish.rule, windows, self.seats, wished, set(self.own))

    # --- In parts

    def _split(self) -> list[int] | None:
        """Parts in neighbouring runs: the fewest, then the nearest, of those grown from the nearest runs."""
        plan, count = self.plan, self.wish.quantity
        longest = self._longest(count - 1)
        if longest * SPLIT_PARTS_MAX < count:
            return None
        singles = self._bytes(self.eligible)
        best: tuple[int, int, list[int]] | None = None
        seeds = 0
        for _, first, end in plan.rows_of(self.wish.section):
            start = singles.find(1, first, end)
            while start >= 0 and seeds < (SPLIT_SEEDS_MAX if best is None else SPLIT_SEEDS_ENOUGH):
                run = plan.run_of(start)
                seeds += 1
                parts = self._grow(run, count, longest)
                if parts is not None:
                    positions = [position for part in parts for position in part]
                    grown = (len(parts), sum(plan.distances[position] for position in positions), positions)
                    if (best is None or grown < best) and self._allowed(positions):
                        best = grown
                start = singles.find(1, plan.run_ends[run], end)
        return self._tried(longest) if best is None else best[2]

    def _tried(self, longest: int) -> list[int] | None:
        """Parts of any sizes, where those that begin with the largest come to nothing: the fewest, then the nearest, of
        so many that are tried."""
        plan, singles = self.plan, self._bytes(self.eligible)
        best: tuple[int, int, list[int]] | None = None
        tries = 0

        def fill(parts: list[range], frontier: list[int], missing: int, most: int) -> None:
            nonlocal best, tries
            if not missing:
                positions = [position for part in parts for position in part]
                found = (len(parts), sum(plan.distances[position] for position in positions), positions)
                if (best is None or found < best) and self._allowed(positions):
                    best = found
                return
            if len(parts) >= (SPLIT_PARTS_MAX if best is None else best[0]):
                return
            centre = parts[0][len(parts[0]) // 2] if parts else None
            used = {plan.run_of(part[0]) for part in parts}
            for at, run in enumerate(frontier):
                known = {*frontier, *used}
                more = [other for other in plan.neighbours(run) if other not in known]
                for size in range(min(missing, longest), 0, -1):
                    if tries >= most:
                        return
                    tries += 1
                    start = self._near(self._starts_of(size), run, size, centre)
                    if start is not None:
                        fill([*parts, range(start, start + size)], [*frontier[at + 1 :], *more], missing - size, most)

        for _, first, end in plan.rows_of(self.wish.section):
            start = singles.find(1, first, end)
            while start >= 0 and tries < SPLIT_TRIES_MAX:
                run = plan.run_of(start)
                fill([], [run], self.wish.quantity, min(tries + SPLIT_SEED_TRIES_MAX, SPLIT_TRIES_MAX))
                start = singles.find(1, plan.run_ends[run], end)
        return None if best is None else best[2]

    def _longest(self, most: int) -> int:
        """How many eligible seats stand side by side anywhere, `most` at most."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self._blocks(middle, self.eligible, self._side_by_side):
                low = middle
            else:
                high = middle - 1
        return low

    def _grow(self, seed: int, count: int, longest: int) -> list[range] | None:
        """A split that begins in the run `seed`. No part can have more than `longest` seats, the first less than all:
        a run with room for all was looked for before."""
        parts: list[range] = []
        used: set[int] = set()
        frontier = [seed]
        missing = count
        while missing:
            if missing > longest * (SPLIT_PARTS_MAX - len(parts)):
                return None
            centre = parts[0][len(parts[0]) // 2] if parts else None
            part = self._largest_part(frontier, min(missing, longest), missing, centre)
            if part is None:
                return None
            run = self.plan.run_of(part[0])
            parts.append(part)
            used.add(run)
            missing -= len(part)
            frontier = [*(known for known in frontier if known != run), *self.plan.neighbours(run)]
            frontier = [known for known in dict.fromkeys(frontier) if known not in used]
        return parts

    def _largest_part(self, runs: Sequence[int], most: int, missing: int, centre: int | None) -> range | None:
        """The longest block of at most `most` seats in one of `runs`; one seat fewer where else somebody sat alone."""
        sizes = list(range(most, 0, -1))
        if missing - most == 1 and most > 2:
            sizes[0], sizes[1] = sizes[1], sizes[0]
        for size in sizes:
            starts = self._starts_of(size)
            if 1 not in starts:
                continue
            for run in runs:
                start = self._near(starts, run, size, centre)
                if start is not None:
                    return range(start, start + size)
        return None

    def _near(self, starts: bytes, run: int, size: int, centre: int | None) -> int | None:
        """The start in a run that is nearest to the first part's middle, or to the focal point for the first part."""
        plan = self.plan
        best: int | None = None
        least = 0.0
        end = plan.run_ends[run]
        start = starts.find(1, plan.run_starts[run], end)
        while start >= 0:
            if centre is None:
                distance: float = plan.sums[start + size] - plan.sums[start]
            else:
                distance = _squared(plan.places[start + size // 2], plan.places[centre])
            if best is None or distance < least:
                best, least = start, distance
            start = starts.find(1, start + 1, end)
        return best

    # --- Wheelchair users and those with them

    def _group(self) -> range | None:
        """One block with exactly the places asked for of the pool and for the rest seats that are not of it."""
        plan, wish = self.plan, self.wish
        count = wish.quantity
        starts = self._bytes(self._blocks(count, self.offered, {1: self.offered}))
        first, end = self._section_span()
        best: tuple[int, int] | None = None
        looked_at = -1
        for place in plan.accessible:
            if not first <= place < end:
                continue
            start = starts.find(1, max(place - count + 1, looked_at + 1, 0), place + 1)
            while start >= 0:
                looked_at = start
                kinds = plan.kinds[start : start + count]
                if kinds.count(ACCESSIBLE) == wish.accessible and kinds.count(COMPANION) == wish.companions:
                    found = (plan.sums[start + count] - plan.sums[start], start)
                    if (best is None or found < best) and self._allowed(range(start, start + count)):
                        best = found
                start = starts.find(1, start + 1, place + 1)
        return None if best is None else range(best[1], best[1] + count)

    def _split_group(self) -> list[int] | None:
        """The places of the pool that are nearest to one another in neighbouring runs, and seats near them."""
        plan = self.plan
        offered = self._bytes(self.offered)
        first, end = self._section_span()
        seeds = [place for place in plan.accessible if first <= place < end and offered[place]]
        seeds.sort(key=lambda place: (plan.distances[place], place))
        best: tuple[int, list[int]] | None = None
        for seed in seeds[:POOL_SEEDS_MAX]:
            positions = self._around(seed, offered)
            if positions is not None:
                found = (sum(plan.distances[position] for position in positions), positions)
                if (best is None or found < best) and self._allowed(positions):
                    best = found
        return None if best is None else best[1]

    def _around(self, seed: int, offered: bytes) -> list[int] | None:
        plan, wish = self.plan, self.wish
        run = plan.run_of(seed)
        runs = dict.fromkeys((run, *plan.neighbours(run)))
        for known in tuple(runs):
            runs.update(dict.fromkeys(plan.neighbours(known)))
        near = [
            position
            for known in runs
            for position in range(plan.run_starts[known], plan.run_ends[known])
            if offered[position]
        ]
        near.sort(key=lambda position: (_squared(plan.places[position], plan.places[seed]), position))
        chosen: list[int] = []
        general = wish.quantity - wish.accessible - wish.companions
        for kind, count in ((ACCESSIBLE, wish.accessible), (COMPANION, wish.companions)):
            chosen += [position for position in near if plan.kinds[position] == kind][:count]
        if len(chosen) < wish.accessible + wish.companions:
            return None
        if general:
            starts = self._starts_of(general)
            blocks = ((self._near(starts, known, general, seed)) for known in runs)
            start = min(
                (start for start in blocks if start is not None),
                key=lambda start: _squared(plan.places[start + general // 2], plan.places[seed]),
                default=None,
            )
            if start is None:
                singles = [position for position in near if plan.kinds[position] == GENERAL][:general]
                if len(singles) < general:
                    return None
                return chosen + singles
            chosen += range(start, start + general)
        return chosen

    def _section_span(self) -> tuple[int, int]:
        """First position and end of the section asked for, or of everything: a section's rows follow one another."""
        if self.wish.section is None:
            return 0, len(self.plan.seat_at)
        rows = self.plan.rows_of(self.wish.section)
        return min(row[1] for row in rows), max(row[2] for row in rows)


def _squared(a: tuple[float, float], b: tuple[float, float]) -> float:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
