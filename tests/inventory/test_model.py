"""Random acts of three holders, staff and time against a model in a dict, and against the mirror that the log feeds."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from drawn_halls import Hall
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from inventory_fixtures import inventory_dsn_fixture, scripts_keep_their_word  # noqa: F401
from inventory_house import SCRIPTS, House, seat_id

from lml_live import limits
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.handing import HandOvers
from lml_live.inventory.holds import is_staff_hold
from lml_live.inventory.returns import Returns
from lml_live.inventory.rooms import PUBLIC, STAFF, Room
from lml_live.inventory.staff_holds import StaffHolds, Undone
from lml_live.values import AVAILABLE

T = TypeVar("T")

SEATS, AREAS, MAX_SEATS = 10, {"pit": 5}, 6
HOLD_MS, LIFETIME_MS, EXTENSIONS = 100_000, 250_000, 2
REHOLD_MS = 400_000
WINDOWS = Hall("." * SEATS).plan.windows
"""All seats stand in one row."""
HOLDERS = ("anna", "ben", "cleo")
THROUGH = {"cleo": "agency"}
"""All others buy on the web."""
CHANNELS = ("web", "agency", "box-office")

seats = st.lists(st.integers(0, SEATS - 1), max_size=4, unique=True).map(sorted)
places = st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 3), max_size=2)
wishes = st.tuples(seats, places).filter(lambda wish: bool(wish[0] or wish[1]))
holders = st.sampled_from(HOLDERS)
numbers = st.integers(0, 20)


class Held:
    """One hold as the model knows it."""

    def __init__(self, holder: str, wish: tuple[list[int], dict[str, int]], now: int, through: str) -> None:
        self.holder, self.now, self.through = holder, now, through
        self.seats, self.places = set(wish[0]), dict(wish[1])
        self.lifetime = now + LIFETIME_MS
        self.deadline = now + HOLD_MS
        self.extensions = 0
        self.state = "active"
        self.booking = ""

    @property
    def size(self) -> int:
        return len(self.seats) + sum(self.places.values())


class Inventory(RuleBasedStateMachine):
    """The model. Its clock is the house's skew; the milliseconds that a rule takes are no time."""

    dsn = valkey = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 0
        self.holds: dict[str, Held] = {}
        self.order: list[str] = []
        self.requests: dict[str, tuple[str, str, tuple[list[int], dict[str, int]]]] = {}
        """The key, who asked and for what, by the hold that it made."""
        self.lost: dict[str, dict[int, int]] = {holder: {} for holder in HOLDERS}
        """Until when a holder does not get back what he let expire."""
        self.blocked: set[int] = set()
        self.killed: set[int] = set()
        """Those of them that staff may not sell from either."""
        self.blocked_places = 0
        self.channel_of: dict[int, str] = {}
        """Which channel alone sells a seat; absent where all do."""
        self.allotted = dict.fromkeys(CHANNELS, 0)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize(orphans=st.sampled_from(["off", "off", "strict"]))
    def open(self, orphans: str) -> None:
        self.orphans = orphans

        async def start() -> None:
            pool = await postgres.connect_pool(self.dsn, size_max=1)
            pipe = Pipe(self.valkey, SCRIPTS)
            await pipe.start()
            self.house = House(pipe, pool)
            self.event = await self.house.open_event(
                seats=SEATS,
                areas=AREAS,
                max_seats=MAX_SEATS,
                hold_seconds=HOLD_MS // 1000,
                lifetime_seconds=LIFETIME_MS // 1000,
                extensions=EXTENSIONS,
                channels=CHANNELS,
                rehold_seconds=REHOLD_MS // 1000,
            )
            await self.house.change_event(self.event, orphan_rule=orphans)
            await self.house.book.restamp(self.event)

        self.run(start())

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.run(self.house.pipe.close())
            self.run(self.house.pool.close())
        self.loop.close()

    # --- What the model knows

    def live(self) -> dict[str, Held]:
        return {name: hold for name, hold in self.holds.items() if hold.state != "gone"}

    def pick(self, number: int) -> str | None:
        """One of the holds there ever were, the newest first."""
        return self.order[-1 - number % len(self.order)] if self.order else None

    def free_seats(self, but: Held | None = None) -> set[int]:
        taken = {seat for hold in self.live().values() if hold is not but for seat in hold.seats}
        return set(range(SEATS)) - taken - self.blocked

    def sold_by(self, *channels: str) -> set[int]:
        """The seats that these channels sell, be they free or not."""
        return {seat for seat in range(SEATS) if self.channel_of.get(seat) in (None, *channels)}

    def taken_through(self, channel: str) -> int:
        return sum(sum(hold.places.values()) for hold in self.live().values() if hold.through == channel)

    def free_places(self, through: str | None, but: Held | None = None) -> int:
        """How many places a channel may still sell; for None, what no channel keeps for itself."""
        taken = sum(sum(hold.places.values()) for hold in self.live().values() if hold is not but)
        kept = sum(
            max(0, n - self.taken_through(channel)) for channel, n in self.allotted.items() if channel != through
        )
        return AREAS["pit"] - taken - self.blocked_places - kept

    def tally(self, holder: str, but: Held | None = None) -> int:
        return sum(hold.size for hold in self.live().values() if hold.holder == holder and hold is not but)

    def refusal_of_wish(
        self, holder: str, wish: tuple[list[int], dict[str, int]], through: str, but: Held | None = None
    ) -> str | None:
        own = but.seats if but else set()
        if self.tally(holder, but) + len(wish[0]) + sum(wish[1].values()) > MAX_SEATS:
            return "limit_exceeded"
        if any(self.lost[holder].get(seat, 0) > self.now for seat in set(wish[0]) - own):
            return "cooling_down"
        if not set(wish[0]) <= self.free_seats(but) & (self.sold_by(through) | own):
            return "seat_taken"
        if sum(wish[1].values()) > self.free_places(through, but):
            return "area_full"
        return "orphan_seat" if self.orphans == "strict" and self.left_alone(set(wish[0]), but) else None

    def left_alone(self, wished: set[int], but: Held | None) -> set[int]:
        """The neighbours of wished seats that would have nobody free beside them."""
        free = self.free_seats(but) - wished
        beside = {seat + step for seat in wished for step in (-1, 1)}
        return {seat for seat in beside & free if not {seat - 1, seat + 1} & free}

    def refusal_of_replace(self, holder: str, wish: tuple[list[int], dict[str, int]], hold: Held) -> str | None:
        return self.refusal_of_wish(holder, wish, hold.through, hold)

    def refusal_of_hold(self, name: str, holder: str, *, late: bool = False) -> str | None:
        """Why a holder may not change a hold. `late`: also past its deadline."""
        hold = self.holds[name]
        if hold.holder != holder or hold.state == "sold":
            return "hold_not_found"
        if hold.state == "gone":
            return hold.booking or "hold_not_found"  # a gone hold keeps there how it ended
        if hold.state == "checkout":
            return "hold_in_checkout"
        return "hold_expired" if not late and hold.deadline <= self.now else None

    def refusal_of_change(self, name: str, holder: str, *, late: bool = False) -> str | None:
        """The same of the acts that only staff may do to a customer's hold."""
        return "forbidden" if is_staff_hold(name) else self.refusal_of_hold(name, holder, late=late)

    def refusal_of_staffs_wish(
        self, wish: tuple[list[int], dict[str, int]], over_house: bool, but: Held | None = None
    ) -> str | None:
        through, own = (but.through, but.seats) if but else ("box-office", set[int]())
        kept_back = self.blocked - self.killed if over_house else set()
        if not set(wish[0]) <= (self.free_seats(but) | kept_back) & (self.sold_by(through, "box-office") | own):
            return "seat_taken"
        return "area_full" if sum(wish[1].values()) > self.free_places(through, but) else None

    def end(self, name: str, code: str = "") -> None:
        hold = self.holds[name]
        if code == "hold_expired":
            self.lost[hold.holder] |= dict.fromkeys(hold.seats, self.now + REHOLD_MS)
        hold.state, hold.booking, hold.seats, hold.places = "gone", code, set(), {}
        hold.lifetime = max(hold.lifetime, self.now)  # remembered a minute longer than this

    @staticmethod
    def judge(answer: Changed | Undone | Refusal, expected: str | None) -> bool:
        """Whether the act was granted; it is as the model says."""
        assert (answer.code if isinstance(answer, Refusal) else None) == expected, answer
        return expected is None

    # --- The holders' acts

    @rule(holder=holders, wish=wishes)
    def hold(self, holder: str, wish: tuple[list[int], dict[str, int]]) -> None:
        key = f"k{len(self.requests)}-{len(self.order)}"
        answer = self.run(self.ask_hold(holder, wish, key))
        self.judge_hold(answer, holder, wish)
        if isinstance(answer, Changed):
            self.requests[answer.hold] = (key, holder, wish)
            for another in (False, True):
                self.ask_again(0, another)

    def ask_hold(
        self, holder: str, wish: tuple[list[int], dict[str, int]], key: str | None = None
    ) -> Coroutine[Any, Any, Changed | Refusal]:
        through = THROUGH.get(holder, "web")
        return self.house.holds.hold_seats(self.event, holder, *asked(wish), key=key, through=through, windows=WINDOWS)

    def judge_hold(self, answer: Changed | Refusal, holder: str, wish: tuple[list[int], dict[str, int]]) -> None:
        through = THROUGH.get(holder, "web")
        expected = self.refusal_of_wish(holder, wish, through)
        if expected != "limit_exceeded" and len([h for h in self.live().values() if h.holder == holder]) >= 10:
            expected = "limit_exceeded"
        if self.judge(answer, expected):
            assert isinstance(answer, Changed)
            self.holds[answer.hold] = Held(holder, wish, self.now, through)
            self.order.append(answer.hold)

    @precondition(lambda self: self.requests)
    @rule(number=numbers, another=st.booleans())
    def ask_again(self, number: int, another: bool) -> None:
        """A key that was used finds its hold as it is now, takes nothing, and stands for no other wish."""
        name = list(self.requests)[-1 - number % len(self.requests)]
        hold, (key, holder, wish) = self.holds[name], self.requests[name]
        if hold.state == "gone" and hold.lifetime + limits.TOMBSTONE_MS - 2_000 < self.now:
            del self.requests[name]  # forgotten, or about to be
            return
        other: tuple[list[int], dict[str, int]] = ([1] if wish[0] == [0] else [0], {})
        answer = self.run(self.ask_hold(holder, other if another else wish, key))
        expected = "idempotency_mismatch" if another else None
        if not another and hold.holder != holder:
            expected = "hold_not_found"  # he has signed in
        elif not another and hold.state == "gone":
            expected = hold.booking or "hold_not_found"
        if self.judge(answer, expected):
            assert isinstance(answer, Changed)
            assert (answer.hold, answer.record is not None) == (name, True)

    @precondition(lambda self: self.order)
    @rule(number=numbers, holder=holders, own=st.sampled_from([True, True, True, False]), wish=wishes)
    def add(self, number: int, holder: str, own: bool, wish: tuple[list[int], dict[str, int]]) -> None:
        name, holder = self.target(number, holder, own)
        answer = self.run(self.ask_change(self.house.holds.add_to_hold, holder, name, wish))
        hold = self.holds[name]
        expected = self.refusal_of_change(name, holder) or self.refusal_of_wish(holder, wish, hold.through)
        if self.judge(answer, expected):
            hold.seats |= set(wish[0])
            for kind, n in wish[1].items():
                hold.places[kind] = hold.places.get(kind, 0) + n

    @precondition(lambda self: self.order)
    @rule(number=numbers, holder=holders, own=st.sampled_from([True, True, True, False]), wish=wishes)
    def replace(self, number: int, holder: str, own: bool, wish: tuple[list[int], dict[str, int]]) -> None:
        name, holder = self.target(number, holder, own)
        answer = self.run(self.ask_change(self.house.holds.replace_hold, holder, name, wish))
        expected = self.refusal_of_change(name, holder) or self.refusal_of_replace(holder, wish, self.holds[name])
        if self.judge(answer, expected):
            self.holds[name].seats, self.holds[name].places = set(wish[0]), dict(wish[1])

    def ask_change(
        self, act: Any, holder: str, name: str, wish: tuple[list[int], dict[str, int]]
    ) -> Coroutine[Any, Any, Changed | Refusal]:
        answer: Coroutine[Any, Any, Changed | Refusal] = act(
            self.event, holder, name, *asked(wish), key=None, windows=WINDOWS
        )
        return answer

    @precondition(lambda self: self.order)
    @rule(number=numbers, part=st.booleans())
    def release(self, number: int, part: bool) -> None:
        asked = self.part_of_hold(number, part)
        self.judge_release(self.run(self.ask_release(*asked)), *asked)

    def part_of_hold(self, number: int, part: bool) -> tuple[str, list[int], list[tuple[str, int]]]:
        """A hold, and what of it is to be given back."""
        name, _ = self.target(number, "", own=True)
        hold = self.holds[name]
        out = sorted(hold.seats)[:2] if part else []
        return name, out, [(kind, n) for kind, n in sorted(hold.places.items())[:1]] if part else []

    def ask_release(
        self, name: str, out: list[int], kinds: list[tuple[str, int]]
    ) -> Coroutine[Any, Any, Changed | Refusal]:
        areas = [("pit", kind, n) for kind, n in kinds]
        return self.house.holds.release_hold(self.event, self.holds[name].holder, name, out, areas)

    def judge_release(self, answer: Changed | Refusal, name: str, out: list[int], kinds: list[tuple[str, int]]) -> None:
        hold = self.holds[name]
        expected = self.refusal_of_change(name, hold.holder, late=True)
        areas = [kind for kind, _ in kinds]
        if expected is None and not set(out) <= hold.seats:
            expected = "unknown_seat"  # given back by one that was decided before it
        elif expected is None and not set(areas) <= hold.places.keys():
            expected = "invalid_message"
        if not self.judge(answer, expected):
            return
        hold.seats -= set(out)
        for kind, _ in kinds:
            del hold.places[kind]
        if not (out or areas) or not hold.size:
            self.end(name)
        assert isinstance(answer, Changed)
        assert (answer.record is None) == (hold.state == "gone")

    @rule(
        acts=st.lists(st.one_of(st.tuples(holders, wishes), st.tuples(numbers, st.booleans())), min_size=2, max_size=8)
    )
    def decide_together(self, acts: list[Any]) -> None:
        """Holds and releases that wait in one loop tick are as if they had come one by one."""
        asked: list[tuple[bool, Any]] = []
        for one, other in acts:
            if isinstance(one, str):
                asked.append((True, (one, other)))
            elif self.order:
                asked.append((False, self.part_of_hold(one, other)))

        async def ask() -> list[Changed | Refusal]:
            calls = [self.ask_hold(*what) if is_hold else self.ask_release(*what) for is_hold, what in asked]
            return await asyncio.gather(*calls)

        for (is_hold, what), answer in zip(asked, self.run(ask()), strict=True):
            (self.judge_hold if is_hold else self.judge_release)(answer, *what)

    @precondition(lambda self: self.order)
    @rule(number=numbers)
    def extend(self, number: int) -> None:
        name, holder = self.target(number, "", own=True)
        hold = self.holds[name]
        deadline = min(self.now + HOLD_MS, hold.lifetime)
        expected = self.refusal_of_change(name, holder)
        if expected is None and self.now < hold.now + 1_000:
            return  # whether a millisecond passed since decides
        if expected is None and (hold.extensions >= EXTENSIONS or deadline <= hold.deadline):
            expected = "limit_exceeded"
        if self.judge(self.run(self.house.holds.extend_hold(self.event, holder, name)), expected):
            hold.deadline, hold.extensions, hold.now = deadline, hold.extensions + 1, self.now

    # --- The bookings' acts

    @precondition(lambda self: self.order)
    @rule(number=numbers, part=st.booleans())
    def checkout(self, number: int, part: bool) -> None:
        name, holder = self.target(number, "", own=True)
        answer = self.run(self.house.holds.checkout_hold(self.event, holder, name, f"b-{name}"))
        expected = self.refusal_of_hold(name, holder)
        if expected == "hold_in_checkout":
            expected = None  # the same booking again
        if self.judge(answer, expected):
            self.holds[name].state, self.holds[name].booking = "checkout", f"b-{name}"
            if part:
                self.give_part_back(name, 1, 0 if self.holds[name].seats else 1, right=True)

    @precondition(lambda self: self.order)
    @rule(number=numbers, act=st.sampled_from(["sell", "free", "restore"]), right=st.sampled_from([True, True, False]))
    def settle(self, number: int, act: str, right: bool) -> None:
        name, _ = self.target(number, "", own=True)
        hold, booking = self.holds[name], f"b-{name}" if right else "b-other"
        works = right and (hold.state == "checkout" or (act == "free" and hold.state == "sold"))
        match act:
            case "sell":
                answer = self.run(self.house.holds.sell_hold(self.event, name, booking))
            case "free":
                answer = self.run(self.house.holds.free_booking(self.event, name, booking, "expired"))
            case _:
                answer = self.run(self.house.holds.restore_hold(self.event, name, booking))
        assert (answer is not None) == works
        if works and act == "sell":
            hold.state = "sold"
        elif works and act == "free":
            self.end(name, "hold_expired")
        elif works:
            hold.state, hold.booking, hold.now = "active", "", self.now
            hold.deadline = min(max(hold.deadline, self.now + limits.CHECKOUT_GRACE_MS), hold.lifetime)

    @precondition(lambda self: self.order)
    @rule(number=numbers, seats_left=st.integers(0, 2), places_left=st.integers(0, 2), right=st.booleans())
    def keep_places(self, number: int, seats_left: int, places_left: int, right: bool) -> None:
        """A booking gives a part back, but never all: that ends it."""
        booked = [name for name, hold in self.live().items() if hold.state in ("checkout", "sold")]
        name = booked[number % len(booked)] if booked else self.target(number, "", own=True)[0]
        self.give_part_back(name, seats_left, places_left, right)

    def give_part_back(self, name: str, seats_left: int, places_left: int, right: bool) -> None:
        hold, booking = self.holds[name], f"b-{name}" if right else "b-other"
        seats = sorted(hold.seats)[:seats_left]
        places = {kind: min(n, places_left) for kind, n in hold.places.items() if places_left}
        if not seats and not places:
            return
        areas = [("pit", kind, n) for kind, n in places.items()]
        kept = self.run(Returns(self.house.book).keep_places(self.event, name, booking, [*map(seat_id, seats)], areas))
        works = right and hold.state in ("checkout", "sold") and (set(seats), places) != (hold.seats, hold.places)
        assert kept == works
        if works:
            hold.seats, hold.places = set(seats), places

    def ask_for_lost(self, holder: str) -> None:
        """Whatever he lost he asks for, one seat alone: for a while it is not his."""
        for seat in sorted(self.lost[holder])[:2]:
            self.hold(holder, ([seat], {}))

    # --- Signing in

    @precondition(lambda self: self.order)
    @rule(holder=holders, to=holders, known=st.booleans())
    def hand_over(self, holder: str, to: str, known: bool) -> None:
        """`known`: whether PostgreSQL has given the bookings to the account."""
        if holder == to:
            return
        theirs = {name: hold for name, hold in self.live().items() if hold.holder == holder}
        bookings = [hold.booking for hold in theirs.values() if hold.booking] if known else []
        moved: list[str] = []
        kept: dict[str, str] = {}
        for name, hold in sorted(theirs.items(), key=lambda item: item[1].state == "active"):
            if hold.state != "active" and not known:
                kept[name] = "hold_in_checkout"
            elif hold.state == "active" and hold.deadline <= self.now:
                kept[name] = "hold_expired"
            elif hold.state == "active" and self.tally(to) + hold.size > MAX_SEATS:
                kept[name] = "limit_exceeded"
            else:
                hold.holder = to
                moved.append(name)
                self.holds[name] = self.holds.pop(name)  # the account's latest
        for seat, until in self.lost[holder].items():
            self.lost[to][seat] = max(until, self.lost[to].get(seat, 0))
        answer = self.run(HandOvers(self.house.book).hand_over(self.event, holder, to, bookings))
        assert (list(answer.holds), answer.kept) == (moved, kept)
        self.ask_for_lost(to)

    # --- Staff and time

    @rule(chosen=seats, n=st.integers(0, 2), back=st.booleans(), kill=st.booleans())
    def block(self, chosen: list[int], n: int, back: bool, kill: bool) -> None:
        if back:
            done = self.blocked & set(chosen)
            refused = self.run(self.house.holds.unblock_seats(self.event, chosen))
            self.blocked -= done
            self.killed -= done
        else:
            kind = seatmap.BYTE_KILL if kill else seatmap.BYTE_HOUSE
            answer = self.run(self.house.holds.block_seats(self.event, chosen, {"pit": n}, kind))
            done = (self.free_seats() | self.blocked) & set(chosen)
            fits = n <= max(self.blocked_places, self.blocked_places + self.free_places(None))
            self.blocked |= done
            self.killed = self.killed | done if kill else self.killed - done
            for seat in sorted(done)[:1]:
                self.hold_for_customer("anna", ([seat], {}), over_house=kill)  # a killed one is nobody's
            assert bool(answer.refused_areas) == (not fits)
            if fits:
                self.blocked_places = n
            refused = answer.refused_seats
        assert set(refused) == set(chosen) - done

    @rule(channel=st.sampled_from(["", *CHANNELS]), chosen=seats, n=st.none() | st.integers(0, 4))
    def assign(self, channel: str, chosen: list[int], n: int | None) -> None:
        areas = {"pit": n} if n is not None and channel else {}
        answer = self.run(self.house.channels.assign_seats(self.event, channel, chosen, areas))
        owner = channel or None
        fast = {
            seat for seat in set(range(SEATS)) - self.free_seats() - self.blocked if self.channel_of.get(seat) != owner
        }
        assert set(answer.refused_seats) == set(chosen) & fast
        for seat in set(chosen) - fast:
            self.channel_of.pop(seat, None)
            if channel:
                self.channel_of[seat] = channel
        if areas and n is not None:
            most = self.taken_through(channel) + self.free_places(channel)
            fits = n <= self.taken_through(channel) or n <= most
            assert answer.refused_areas == ({} if fits else {"pit": most})
            if fits:
                self.allotted[channel] = n

    @rule(channel=st.sampled_from(CHANNELS))
    def open_channel(self, channel: str) -> None:
        self.run(self.house.channels.open_seats(self.event, channel, None, 0, SEATS, ["pit"]))
        self.channel_of = {seat: owner for seat, owner in self.channel_of.items() if owner != channel}
        self.allotted[channel] = 0

    @rule(holder=holders, wish=wishes, over_house=st.booleans())
    def hold_for_customer(self, holder: str, wish: tuple[list[int], dict[str, int]], over_house: bool) -> None:
        staff = StaffHolds(self.house.book)
        name = self.run(staff.hold_id(self.event, f"{len(self.order):020x}"))
        answer = self.run(staff.hold_for_customer(self.event, holder, name, *asked(wish), over_house=over_house))
        expected = self.refusal_of_staffs_wish(wish, over_house)
        if len([hold for hold in self.live().values() if hold.holder == holder]) >= limits.HOLDS_PER_HOLDER_MAX:
            expected = "limit_exceeded"
        if self.judge(answer, expected):
            hold = self.holds[name] = Held(holder, wish, self.now, "box-office")
            hold.deadline = hold.lifetime = limits.UNTIL_RELEASED_MS
            self.order.append(name)
            self.blocked -= hold.seats

    @precondition(lambda self: self.order)
    @rule(number=numbers, wish=wishes, over_house=st.booleans())
    def move(self, number: int, wish: tuple[list[int], dict[str, int]], over_house: bool) -> None:
        name, holder = self.target(number, "", own=True)
        staff, hold = StaffHolds(self.house.book), self.holds[name]
        answer = self.run(staff.move_hold(self.event, name, *asked(wish), over_house=over_house))
        expected = self.refusal_of_hold(name, holder) or self.refusal_of_staffs_wish(wish, over_house, hold)
        if self.judge(answer, expected):
            hold.seats, hold.places = set(wish[0]), dict(wish[1])
            self.blocked -= hold.seats

    @precondition(lambda self: self.order)
    @rule(number=numbers)
    def withdraw(self, number: int) -> None:
        name, holder = self.target(number, "", own=True)
        answer = self.run(StaffHolds(self.house.book).withdraw_hold(self.event, name))
        if self.judge(answer, self.refusal_of_hold(name, holder, late=True)):
            if is_staff_hold(name):
                self.holds[name].lifetime = self.now
            self.end(name)

    @rule(time_ms=st.sampled_from([2_000, 40_000, 101_000, 320_000]))
    def wait(self, time_ms: int) -> None:
        # A margin of a second: the real clock goes on, too, and no deadline may fall into it.
        moments = {moment for hold in self.live().values() for moment in (hold.deadline, hold.lifetime)}
        moments |= {until for lost in self.lost.values() for until in lost.values()}
        while any(abs(self.now + time_ms - moment) < 1_000 for moment in moments):
            time_ms += 1_500
        self.now += time_ms
        self.house.pass_ms(time_ms)

    @rule(batch=st.integers(1, 3), time_ms=st.sampled_from([0, 101_000, 101_000]))
    def sweep(self, batch: int, time_ms: int) -> None:
        if time_ms:
            self.wait(time_ms)
        losers = {hold.holder for hold in self.live().values() if hold.state == "active" and hold.deadline <= self.now}
        while self.run(self.house.sweep(self.event, batch))[1]:
            pass
        for name, hold in self.live().items():
            if hold.state == "active" and hold.deadline <= self.now:
                self.end(name, "hold_expired")
        for hold in self.holds.values():
            if hold.state == "gone" and hold.lifetime + limits.TOMBSTONE_MS + 1_000 < self.now:
                hold.booking = "forgotten"
        for holder in sorted(losers):
            self.ask_for_lost(holder)

    def target(self, number: int, holder: str, own: bool) -> tuple[str, str]:
        """A hold, and who acts on it: its holder, or just anybody."""
        known = [name for name in self.order if self.holds[name].booking != "forgotten"] or self.order
        name = known[-1 - number % len(known)]
        if self.holds[name].booking == "forgotten":
            self.holds[name].booking = ""
        return name, self.holds[name].holder if own else holder

    # --- What always holds

    @invariant()
    def everything_agrees(self) -> None:
        if not hasattr(self, "house"):
            return
        self.run(self.house.audit(self.event))  # bytes, records, areas, tallies, deadlines, keys, and the log's mirror
        records = self.run(self.house.records(self.event))
        live = {name: record for name, record in records.items() if record.state != "gone"}
        assert live.keys() == self.live().keys()
        for name, hold in self.live().items():
            record = live[name]
            assert (record.holder, record.state, record.booking) == (hold.holder, hold.state, hold.booking)
            assert {seat for seat, _ in record.seat_types()} == hold.seats
            assert {kind: n for _, kind, n in record.area_types()} == hold.places
            assert record.extensions == hold.extensions
        sale, seq, raw, areas, allotments = self.run(self.house.book.read_inventory(self.event))
        numbers = [sale.channel(self.channel_of.get(seat, "")) for seat in range(SEATS)]
        assert [byte >> seatmap.CHANNEL_SHIFT for byte in raw] == numbers
        room = Room(sale, seq, raw, areas, allotments)
        for view, channel in ((PUBLIC, "web"), ("agency", "agency"), ("box-office", "box-office"), (STAFF, None)):
            counts = room.areas(view)["pit"]
            assert (sum(counts), min(counts) >= 0) == (AREAS["pit"], True)
            shown = {seat for seat, state in enumerate(room.states(view)) if state == AVAILABLE}
            if channel is None:
                assert (shown, counts) == (self.free_seats(), areas["pit"])
            else:
                assert shown == self.free_seats() & self.sold_by(channel)
                assert counts[0] == self.free_places(channel)
        states = [byte & seatmap.STATE_MASK for byte in raw]
        assert {seat for seat, state in enumerate(states) if state == seatmap.BYTE_KILL} == self.killed
        assert {seat for seat, state in enumerate(states) if state == seatmap.BYTE_HOUSE} == self.blocked - self.killed
        assert areas["pit"][3] == self.blocked_places


def asked(wish: tuple[list[int], dict[str, int]]) -> tuple[list[tuple[int, str]], list[tuple[str, str, int]]]:
    return [(seat, "adult") for seat in wish[0]], [("pit", kind, n) for kind, n in wish[1].items()]


def test_random_acts(valkey_url: str, inventory_dsn: str) -> None:
    """Twenty stories of thirty acts; a failure prints the shortest story that shows it."""

    class Story(Inventory):
        dsn, valkey = inventory_dsn, valkey_url

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Story,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def test_the_auditor_sees_a_leak(valkey_url: str, inventory_dsn: str) -> None:
    """A checker that never fails proves nothing: a seat is freed, or taken, behind the book's back."""

    async def work() -> None:
        pool = await postgres.connect_pool(inventory_dsn, size_max=1)
        pipe = Pipe(valkey_url, SCRIPTS)
        await pipe.start()
        house = House(pipe, pool)
        event = await house.open_event(areas=AREAS)
        sale = await house.sale(event)
        answer = await house.holds.hold_seats(event, "anna", [(1, "a")], [("pit", "a", 1)], key="k")
        assert isinstance(answer, Changed)
        await house.audit(event)
        for broken, mended in (
            (("SETRANGE", sale.key("seats"), 1, b"\0"), ("SETRANGE", sale.key("seats"), 1, b"\1")),
            (("SETRANGE", sale.key("seats"), 2, b"\1"), ("SETRANGE", sale.key("seats"), 2, b"\0")),
            (
                ("HINCRBY", sale.key("areas"), "pit/held", 1),
                ("HINCRBY", sale.key("areas"), "pit/held", -1),
            ),
            (("ZADD", sale.key("deadlines"), 1, "1-x"), ("ZREM", sale.key("deadlines"), "1-x")),
            (("HSET", sale.key("book"), "k:leaked", b"x"), ("HDEL", sale.key("book"), "k:leaked")),
            (("HSET", sale.key("book"), "o:ben", b"\x91\x01"), ("HDEL", sale.key("book"), "o:ben")),
        ):
            await pipe.call(*broken)
            with pytest.raises(AssertionError):
                await house.audit(event)
            await pipe.call(*mended)
            await house.audit(event)
        await pipe.close()
        await pool.close()

    asyncio.run(work())
