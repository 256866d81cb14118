"""What an inventory must answer, in dicts and sets, written from the contract: nothing here knows a script.

Times are milliseconds of the model's own clock. `story` asks the real thing and compares.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field

from lml_live import limits

SeatsAndPlaces = tuple[list[int], dict[str, int]]
"""Seats, and places of the pit by price type."""

PIT, MAX_SEATS = 5, 6
HOLD_MS, LIFETIME_MS, EXTENSIONS, MARK_MS = 100_000, 250_000, 2, 30_000
REHOLD_MS, COOLDOWN_MS, EXPIRED_HOLDS = 400_000, 30_000, 2
ADDRESS_HOLDS, ADDRESS_SEATS = 3, 7
HOLDERS = ("anna", "ben", "cleo")
THROUGH = {"cleo": "agency"}
"""All others buy on the web."""
ADDRESS = {"anna": "cafe", "ben": "cafe", "cleo": "home"}
CHANNELS = ("web", "agency", "box-office")

# --- The room: a row of six, a wheelchair place and its companion beside three seats, and a table of two.

ROWS = ((0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10), (11, 12))
SEATS = range(13)
DRAWN = ("......", "WC...", "TT")
CATEGORIES = "AAAAAABBBBBBB"
WHEELCHAIR, COMPANION, TABLE = frozenset({6}), frozenset({7}), frozenset({11, 12})
POOL = WHEELCHAIR | COMPANION
COMPANY = tuple(tuple(seat for seat in row if seat not in POOL | TABLE) for row in ROWS)
"""Who counts as somebody's neighbour for the orphan rule: neither the accessible pool nor a table."""


def neighbours(seat: int) -> set[int]:
    return {seat + step for row in COMPANY for step in (-1, 1) if seat in row and seat + step in row}


def alone_in(free: Set[int]) -> set[int]:
    """The free seats beside which nobody is free, though somebody could be or has been."""
    return {seat for row in COMPANY for seat in row if seat in free and not neighbours(seat) & free}


def orphans(rule: str, free: Set[int], own: Set[int], wished: Set[int]) -> set[int]:
    """Whom the rule keeps from being left alone where `wished` are taken; `own` are given back for them."""
    if rule == "off":
        return set()
    beside = {other for seat in wished for other in neighbours(seat)}
    found = alone_in((free | own) - wished) & beside
    if rule == "strict":
        return found
    refused: set[int] = set()
    for row in COMPANY:
        fresh = {seat for seat in found & set(row) if seat not in alone_in(free)}
        many = len(wished & set(row))
        here = (free | own) & set(row)
        blocks = (set(row[at : at + many]) for at in range(len(row) - many + 1))
        better = any(block <= here and not alone_in(here - block) - alone_in(here) for block in blocks)
        refused |= fresh if better else set()
    return refused


@dataclass
class Held:
    """One hold."""

    holder: str
    seats: set[int]
    places: dict[str, int]
    through: str
    deadline: int
    lifetime: int
    changed: int
    """When it was made, or last put off."""
    extensions: int = 0
    state: str = "active"
    reason: str = "own"
    """Why it is as it is; empty where nobody can tell."""
    booking: str = ""
    asked: int | None = None
    """When the sweep asks whether there is a claim, of a hold in checkout."""
    claimed: bool = False
    """Whether PostgreSQL has its booking."""
    ended: str = "hold_not_found"
    """What its holder hears when it is gone."""
    forget: int | None = None
    """When it is forgotten that there was such a hold."""

    @property
    def size(self) -> int:
        return len(self.seats) + sum(self.places.values())

    @property
    def due(self) -> int | None:
        """When the sweep is to look at it."""
        return self.deadline if self.state == "active" else self.forget if self.state == "gone" else None


@dataclass
class Losses:
    """What a holder let expire."""

    count: int = 0
    resting: int = 0
    """Until when he makes no new hold."""
    barred: dict[int, int] = field(default_factory=dict)
    """Until when a seat is not his again."""


@dataclass
class Reference:
    """One event: who holds what, and what anybody is told who asks for more."""

    orphan_rule: str = "off"
    expired_holds: int = 0
    address_holds: int = 0
    address_seats: int = 0
    now: int = 0
    holds: dict[str, Held] = field(default_factory=dict)
    lost: dict[str, Losses] = field(default_factory=lambda: {holder: Losses() for holder in HOLDERS})
    handed: list[tuple[int, str, bool]] = field(default_factory=list)
    """Losses that an account took over: when they are forgotten, whose they are, whether they count."""
    listed: dict[str, dict[str, int]] = field(default_factory=lambda: {where: {} for where in ADDRESS.values()})
    """What was taken from an address: places by hold, as they were when it last took some."""
    blocked: set[int] = field(default_factory=set)
    killed: set[int] = field(default_factory=set)
    """Those of them that staff may not sell from either."""
    blocked_places: int = 0
    killed_places: int = 0
    """Those of them that staff may not sell from either."""
    channel_of: dict[int, str] = field(default_factory=dict)
    """Which channel alone sells a seat; absent where all do."""
    allotted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHANNELS, 0))

    # --- What there is

    def live(self) -> dict[str, Held]:
        return {name: hold for name, hold in self.holds.items() if hold.state != "gone"}

    def moments(self) -> set[int]:
        """When something begins or ends."""
        moments = {moment for hold in self.live().values() for moment in (hold.deadline, hold.lifetime)}
        moments |= {hold.asked for hold in self.live().values() if hold.asked is not None}
        moments |= {hold.forget for hold in self.holds.values() if hold.forget is not None}
        moments |= {until for lost in self.lost.values() for until in (lost.resting, *lost.barred.values())}
        return moments | {moment for moment, _, _ in self.handed}

    def free_seats(self, but: Held | None = None) -> set[int]:
        taken = {seat for hold in self.live().values() if hold is not but for seat in hold.seats}
        return set(SEATS) - taken - self.blocked

    def sold_by(self, *channels: str) -> set[int]:
        """The seats that these channels sell, be they free or not."""
        return {seat for seat in SEATS if self.channel_of.get(seat) in (None, *channels)}

    def taken_through(self, channel: str) -> int:
        return sum(sum(hold.places.values()) for hold in self.live().values() if hold.through == channel)

    def free_places(self, through: str | None, but: Held | None = None) -> int:
        """How many places a channel may still sell; for None, what no channel keeps for itself."""
        taken = sum(sum(hold.places.values()) for hold in self.live().values() if hold is not but)
        kept = sum(
            max(0, n - self.taken_through(channel)) for channel, n in self.allotted.items() if channel != through
        )
        return PIT - taken - self.blocked_places - kept

    def tally(self, holder: str, but: Held | None = None) -> int:
        return sum(hold.size for hold in self.live().values() if hold.holder == holder and hold is not but)

    # --- Refusals, in the order in which they are told

    def refusal_of_wish(
        self, holder: str, wish: SeatsAndPlaces, name: str = "", *, instead: bool = False
    ) -> str | None:
        """Of a new hold, or of one that grows (`name`) or has its contents exchanged (`instead`)."""
        known = self.holds.get(name)
        but = known if instead else None
        through = known.through if known else THROUGH.get(holder, "web")
        own, wished, many = but.seats if but else set[int](), set(wish[0]), sum(wish[1].values())
        lost = self.lost[holder]
        if self.tally(holder, but) + len(wished) + many > MAX_SEATS:
            return "limit_exceeded"
        theirs = [hold for hold in self.live().values() if hold.holder == holder]
        if known is None and len(theirs) >= limits.HOLDS_PER_HOLDER_MAX:
            return "limit_exceeded"
        if known is None and lost.resting > self.now:
            return "cooling_down"
        if any(lost.barred.get(seat, 0) > self.now for seat in wished - own):
            return "cooling_down"
        if not wished <= self.free_seats(but) & (self.sold_by(through) | own):
            return "seat_taken"
        if many > self.free_places(through, but):
            return "area_full"
        size = len(wished) + many + (known.size if known and not instead else 0)
        if (not but or size > but.size) and self.listing(holder, name, size) is None:
            return "limit_exceeded"
        return "orphan_seat" if orphans(self.orphan_rule, self.free_seats(), own, wished) else None

    def listing(self, holder: str, name: str, size: int) -> dict[str, int] | None:
        """What is on the list of the holder's address beside this hold, with this size; None where that is too much.

        A hold counts as what it was when it last took something from there, or, were that too much, as what it is.
        """
        if not self.address_holds:
            return {}
        most = self.address_holds, self.address_seats
        others = {other: n for other, n in self.listed[ADDRESS[holder]].items() if other != name}
        for look_again in (False, True):
            if look_again:
                paying = {other: self.holds[other] for other in others}
                others = {other: one.size for other, one in paying.items() if one.state in ("active", "checkout")}
            if len(others) + 1 <= most[0] and sum(others.values()) + size <= most[1]:
                return others
        return None

    def refusal_of_hold(self, name: str, holder: str, *, late: bool = False) -> str | None:
        """Why a holder may not change a hold. `late`: also past its deadline."""
        hold = self.holds[name]
        if hold.holder != holder or hold.state == "sold":
            return "hold_not_found"
        if hold.state == "gone":
            return hold.ended
        if hold.state == "checkout":
            return "hold_in_checkout"
        return "hold_expired" if not late and hold.deadline <= self.now else None

    def refusal_of_staffs_wish(self, wish: SeatsAndPlaces, over_house: bool, but: Held | None = None) -> str | None:
        through, own = (but.through, but.seats) if but else ("box-office", set[int]())
        kept_back = self.blocked - self.killed if over_house else set()
        if not set(wish[0]) <= (self.free_seats(but) | kept_back) & (self.sold_by(through, "box-office") | own):
            return "seat_taken"
        # A move is no sale over a house hold: its places are from what is for sale.
        lent = self.blocked_places - self.killed_places if over_house and not but else 0
        return "area_full" if sum(wish[1].values()) > self.free_places(through, but) + lent else None

    def lend(self, wish: SeatsAndPlaces) -> int:
        """How many of the places that staff are about to take the house has: what is for sale goes first."""
        lent = max(0, sum(wish[1].values()) - self.free_places("box-office"))
        self.blocked_places -= lent
        return lent

    # --- What happens

    def make(self, name: str, holder: str, wish: SeatsAndPlaces, through: str, deadline: int, lifetime: int) -> Held:
        hold = Held(holder, set(wish[0]), dict(wish[1]), through, deadline, lifetime, self.now)
        self.holds[name] = hold
        return hold

    def count_address(self, holder: str, name: str, size: int) -> None:
        found = self.listing(holder, name, size)
        if self.address_holds and found is not None:
            self.listed[ADDRESS[holder]] = {name: size, **found}

    def end(self, name: str, *, since: int | None = None) -> None:
        """A hold is over, and remembered from its last possible moment, or from `since` where that is later."""
        hold = self.holds[name]
        last = hold.lifetime if since is None else max(hold.lifetime, since)
        hold.state, hold.seats, hold.places, hold.claimed = "gone", set(), {}, False
        hold.forget = last + limits.TOMBSTONE_MS

    def expire(self, name: str) -> None:
        """A hold that its holder let run out: the seats are others' first, and he may have to rest."""
        hold = self.holds[name]
        lost = self.lost[hold.holder]
        lost.count += 1
        self.rest(lost, lost.count)
        lost.barred |= dict.fromkeys(hold.seats, self.now + REHOLD_MS)
        hold.ended = "hold_expired"
        self.end(name, since=max(self.now, lost.resting))

    def rest(self, lost: Losses, count: int) -> None:
        if self.expired_holds and count >= self.expired_holds:
            times = 2 ** (count - self.expired_holds)
            pause = min(COOLDOWN_MS * times, limits.COOLDOWN_SECONDS_MAX * 1000)
            lost.resting = max(lost.resting, self.now + pause)

    def ask_for_claims(self, again_ms: int) -> set[str]:
        """The holds in checkout of which the sweep asks now whether there is a claim."""
        due = {
            name
            for name, hold in self.holds.items()
            if hold.state == "checkout" and (hold.asked or math.inf) <= self.now
        }
        for name in due:
            self.holds[name].asked = self.now + again_ms
        return due

    def sweep(self, ranks: dict[str, int]) -> set[str]:
        """Everything that is due happens, one thing after the other; answers who lost something. `ranks` tells which of
        two is first that the model's clock cannot tell apart."""
        losers: set[str] = set()
        due = [(hold.due, ranks.get(name, 0), name) for name, hold in self.holds.items() if hold.due is not None]
        due += [(moment, math.inf, f"handed to {holder}") for moment, holder, _ in self.handed]  # type: ignore[misc]
        for moment, _, name in sorted(due):  # type: ignore[type-var]
            if moment > self.now:  # type: ignore[operator]
                break
            if name not in self.holds:
                one = next(one for one in self.handed if f"handed to {one[1]}" == name)
                self.handed.remove(one)
                self.forgive(one[1], expired=one[2])
            elif self.holds[name].state == "active":
                losers.add(self.holds[name].holder)
                self.expire(name)
            else:
                hold = self.holds[name]
                self.forgive(hold.holder, expired=hold.ended == "hold_expired")
                hold.ended, hold.forget = "hold_not_found", None
        return losers

    def forgive(self, holder: str, *, expired: bool) -> None:
        # Not below none: what was handed over counts elsewhere, and is forgotten here, too.
        self.lost[holder].count = max(0, self.lost[holder].count - expired)

    def hand_losses(self, holder: str, to: str) -> None:
        """What he let expire counts for the account from here on, and its pauses hold for both."""
        his, mine = self.lost[holder], self.lost[to]
        before = mine.count
        mine.count, count, his.count = mine.count + his.count, his.count, 0
        mine.resting = max(mine.resting, his.resting)
        if count:
            self.rest(mine, before + count)
        for seat, until in his.barred.items():
            mine.barred[seat] = max(until, mine.barred.get(seat, 0))
        latest = max([mine.resting, *(until for until in mine.barred.values() if until > self.now)])
        if count or latest > self.now:
            forget = max(self.now + LIFETIME_MS, latest) + limits.TOMBSTONE_MS
            self.handed += [(forget, to, count > 0)] * max(count, 1)
            self.handed.sort()

    def adopt(self, kept: dict[str, Held], ranks: dict[str, int]) -> None:
        """A new epoch: what PostgreSQL knows, and of what Redis had (`kept`, `ranks` by age) whatever still fits."""
        before, self.holds = self.holds, {}
        facts = {name: hold for name, hold in before.items() if hold.state == "sold" or hold.claimed}
        for hold in facts.values():
            hold.deadline, hold.extensions, hold.asked = hold.lifetime, 0, None
        staff = {
            name: hold
            for name, hold in before.items()
            if "-s-" in name and hold.state in ("active", "checkout") and name not in facts
        }
        for hold in staff.values():
            hold.state, hold.booking = "active", ""
        self.holds = {**facts, **staff}
        for name, old in sorted(kept.items(), key=lambda item: (ranks[item[0]], item[0])):
            hold = copy.deepcopy(old)
            room = PIT - self.blocked_places - sum(sum(one.places.values()) for one in self.live().values())
            fits = hold.seats <= self.free_seats() and sum(hold.places.values()) <= room
            if name in self.holds or hold.state not in ("active", "checkout") or not fits:
                continue
            if "-c-" in name:
                continue  # it came into being with its sale, which nobody knows of
            if hold.state == "checkout":
                hold.deadline = min(max(hold.deadline, self.now + limits.CHECKOUT_GRACE_MS), hold.lifetime)
            hold.state, hold.booking, hold.claimed = "active", "", False
            self.holds[name] = hold
        for hold in self.holds.values():
            hold.reason = ""
        left = PIT - self.blocked_places - sum(sum(one.places.values()) for one in self.live().values())
        for channel, n in self.allotted.items():
            used = self.taken_through(channel)
            keeps = max(0, min(n - used, left))
            left -= keeps
            self.allotted[channel] = min(n, used + keeps)
        for name, hold in before.items():
            if name not in self.holds:
                self.holds[name] = hold
                self.end(name)
                hold.ended, hold.forget = "hold_not_found", None
        self.lost = {holder: Losses() for holder in HOLDERS}
        self.listed = {where: {} for where in ADDRESS.values()}
        self.handed = []

    # --- The best seats

    def best_block(
        self, wished: "BestWish", distances: list[int], own: Set[int] = frozenset(), through: str = "web"
    ) -> tuple[int, ...] | None:
        """The seats side by side, or the whole table, that are nearest: first those that leave nobody alone, then those
        that the rule lets pass."""
        offered = self.offered(wished, own, through)
        free = self.free_seats()
        found: list[tuple[bool, int, tuple[int, ...]]] = []
        for block in self._blocks(wished, offered):
            rude = bool(orphans("strict", free, own, set(block))) and self.orphan_rule != "off"
            if wished.accessible:
                rude = False  # there are too few such places to prefer one
            if not orphans(self.orphan_rule, free, own, set(block)):
                found.append((rude, sum(distances[seat] for seat in block), block))
        return min(found)[2] if found else None

    def offered(self, wished: "BestWish", own: Set[int], through: str) -> set[int]:
        seats = (self.free_seats() & self.sold_by(through)) | own
        return {seat for seat in seats if wished.category in (None, CATEGORIES[seat])}

    def _blocks(self, wished: "BestWish", offered: set[int]) -> Iterator[tuple[int, ...]]:
        for row in ROWS:
            for at in range(len(row) - wished.quantity + 1):
                block = row[at : at + wished.quantity]
                if set(block) <= offered and fits_wish(block, wished):
                    yield block

    def can_be_split(self, wished: "BestWish", own: Set[int] = frozenset(), through: str = "web") -> bool:
        """Whether plain seats side by side in each of two rows are what is wished for, and the rule lets them pass."""
        offered, free = self.offered(wished, own, through) - POOL - TABLE, self.free_seats()
        blocks = [
            {row[at : at + n] for n in range(1, wished.quantity) for at in range(len(row) - n + 1)} for row in COMPANY
        ]
        pairs = ({*one, *other} for one in blocks[0] for other in blocks[1])
        return any(
            len(seats) == wished.quantity and seats <= offered and not orphans(self.orphan_rule, free, own, seats)
            for seats in pairs
        )

    def explains_split(
        self, seats: Iterable[int], wished: "BestWish", own: Set[int] = frozenset(), through: str = "web"
    ) -> bool:
        """Whether seats in several places are an answer: offered, as many of each kind as were asked for, and let pass
        by the rule."""
        chosen = set(seats)
        right = chosen <= self.offered(wished, own, through) and fits_wish(chosen, wished)
        return right and not orphans(self.orphan_rule, self.free_seats(), own, chosen)


@dataclass(frozen=True)
class BestWish:
    """What is wanted where the server chooses the seats."""

    quantity: int
    accessible: int = 0
    companions: int = 0
    category: str | None = None
    adjacent: bool = False


def fits_wish(seats: Iterable[int], wished: BestWish) -> bool:
    """As many seats of each kind as are wished for; a table whole, or not at all."""
    chosen = set(seats)
    table = chosen & TABLE
    return (
        len(chosen) == wished.quantity
        and (len(chosen & WHEELCHAIR), len(chosen & COMPANION)) == (wished.accessible, wished.companions)
        and (not table or chosen == TABLE)
    )
