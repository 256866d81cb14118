"""Random steps over the evenings of a season, among single ones and the passing of time, against a model in a dict.

`test_model` has every act on one event; here are those that change several in one step, all of them or none.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
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
from inventory_house import SCRIPTS, House, adults, held

from lml_live import limits
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.groups import EventWish, GroupChanged, GroupRefusal

T = TypeVar("T")

EVENINGS, SEATS, PIT, MAX_SEATS = 2, 6, 3, 3
HOLD_MS, LIFETIME_MS, EXTENSIONS = 100_000, 250_000, 1
HOLDERS = ("anna", "ben")

Wish = tuple[frozenset[int], int]
"""Seats, and places in the pit."""

one_wish = st.tuples(st.frozensets(st.integers(0, SEATS - 1), max_size=2), st.integers(0, 1)).filter(any)
wishes = st.dictionaries(st.integers(0, EVENINGS - 1), one_wish, min_size=1)
holders = st.sampled_from(HOLDERS)
numbers = st.lists(st.integers(0, 20), min_size=1, max_size=EVENINGS)
whose = st.sampled_from([True] * 7 + [False])


class Held:
    """One hold as the model knows it."""

    def __init__(self, evening: int, holder: str, wish: Wish, now: int) -> None:
        self.evening, self.holder, self.wish = evening, holder, wish
        self.deadline, self.lifetime, self.extensions = now + HOLD_MS, now + LIFETIME_MS, 0
        self.state, self.ended = "active", "hold_not_found"

    @property
    def size(self) -> int:
        return len(self.wish[0]) + self.wish[1]


class Season(RuleBasedStateMachine):
    """The model. Its clock is the house's skew, as in `test_model`."""

    dsn = valkey = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 0
        self.holds: dict[str, Held] = {}
        self.keys = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def open(self) -> None:
        async def start() -> None:
            pool = await postgres.connect_pool(self.dsn, size_max=1)
            pipe = Pipe(self.valkey, SCRIPTS)
            await pipe.start()
            self.house = House(pipe, pool)
            rules = {"hold_seconds": HOLD_MS // 1000, "lifetime_seconds": LIFETIME_MS // 1000}
            first = await self.house.open_event(
                seats=SEATS, areas={"pit": PIT}, max_seats=MAX_SEATS, extensions=EXTENSIONS, **rules
            )
            rest = [
                await self.house.open_event(
                    group=first, seats=SEATS, areas={"pit": PIT}, max_seats=MAX_SEATS, extensions=EXTENSIONS, **rules
                )
                for _ in range(EVENINGS - 1)
            ]
            self.events = [first, *rest]

        self.run(start())

    def teardown(self) -> None:
        if hasattr(self, "house"):
            for event in getattr(self, "events", ()):
                self.run(self.house.audit(event))  # bytes, tallies, deadlines, keys, and the log's mirror
            self.run(self.house.pipe.close())
            self.run(self.house.pool.close())
        self.loop.close()

    # --- What the model knows

    def live(self, evening: int) -> dict[str, Held]:
        return {n: hold for n, hold in self.holds.items() if hold.evening == evening and hold.state != "gone"}

    def refusal_of_wish(self, evening: int, holder: str, wish: Wish, own: Held | None = None) -> str | None:
        others = [hold for hold in self.live(evening).values() if hold is not own]
        mine = sum(hold.size for hold in others if hold.holder == holder)
        if mine + len(wish[0]) + wish[1] > MAX_SEATS:
            return "limit_exceeded"
        if any(wish[0] & hold.wish[0] for hold in others):
            return "seat_taken"
        return "area_full" if sum(hold.wish[1] for hold in others) + wish[1] > PIT else None

    def refusal_of_hold(self, name: str, holder: str, *, late: bool = False) -> str | None:
        hold = self.holds[name]
        if hold.holder != holder:
            return "hold_not_found"
        if hold.state == "gone":
            return hold.ended
        if hold.state == "checkout":
            return "hold_in_checkout"
        return "hold_expired" if not late and hold.deadline <= self.now else None

    def pick(self, chosen: Sequence[int], holder: str, own: bool) -> tuple[str, dict[int, str]]:
        """Who acts on which holds, one an evening: the first one's holder's own, or whoever it is."""
        names = list(self.holds)
        first = names[-1 - chosen[0] % len(names)]
        holder = self.holds[first].holder if own else holder
        found = {self.holds[first].evening: first}
        for number in chosen[1:]:
            name = names[-1 - number % len(names)]
            if not own or self.holds[name].holder == holder:
                found.setdefault(self.holds[name].evening, name)
        return holder, found

    def named(self, by_evening: Mapping[int, str]) -> dict[str, str]:
        return {self.events[evening]: name for evening, name in by_evening.items()}

    def asked(self, wished: Mapping[int, Wish]) -> list[EventWish]:
        return [
            EventWish(self.events[evening], adults(*sorted(seats)), [("pit", "adult", n)] if n else [])
            for evening, (seats, n) in wished.items()
        ]

    def judge(self, answer: GroupChanged | GroupRefusal, expected: Mapping[int, str | None]) -> GroupChanged | None:
        """The answer where it was granted; every evening that refuses is named, and no other."""
        refused = {self.events[evening]: code for evening, code in expected.items() if code}
        if not refused:
            assert isinstance(answer, GroupChanged), answer
            return answer
        assert isinstance(answer, GroupRefusal), (answer, refused)
        assert {event: one.code for event, one in answer.events.items()} == refused
        return None

    # --- Over several evenings

    @rule(holder=holders, wished=wishes)
    def hold_group(self, holder: str, wished: dict[int, Wish]) -> None:
        self.keys += 1
        key, hold = f"k{self.keys}", self.house.groups.hold_group
        answer = self.run(hold(holder, self.asked(wished), key=key))
        expected = {evening: self.refusal_of_wish(evening, holder, wish) for evening, wish in wished.items()}
        if done := self.judge(answer, expected):
            assert len({change.hold.partition("-")[2] for change in done.changes.values()}) == 1
            for evening, wish in wished.items():
                self.holds[done.changes[self.events[evening]].hold] = Held(evening, holder, wish, self.now)
            again = self.run(hold(holder, self.asked(wished), key=key))
            assert isinstance(again, GroupChanged)
            assert again.changes.keys() == done.changes.keys()
            assert [one.record for one in again.changes.values()] == [one.record for one in done.changes.values()]

    @precondition(lambda self: self.holds)
    @rule(chosen=numbers, holder=holders, own=whose, wished=wishes)
    def move_group(self, chosen: list[int], holder: str, own: bool, wished: dict[int, Wish]) -> None:
        self.wait(2_000, sweep=False)  # so that a hold which wins time is seen
        holder, old = self.pick(chosen, holder, own)
        before = [self.holds[name] for name in old.values()]
        stale: dict[int, str | None] = {evening: self.refusal_of_hold(name, holder) for evening, name in old.items()}
        expected = dict.fromkeys({*old, *wished}) | stale
        for evening, wish in wished.items():
            own_hold = self.holds[old[evening]] if evening in old else None
            expected[evening] = expected[evening] or self.refusal_of_wish(evening, holder, wish, own_hold)
        answer = self.run(self.house.groups.move_group(holder, self.named(old), self.asked(wished), key=None))
        done = self.judge(answer, expected)
        if done is None:
            return
        least = min(one.deadline for one in before), min(one.lifetime for one in before)
        most = max(one.extensions for one in before)
        for evening, wish in wished.items():
            if evening in old:
                self.holds[old[evening]].wish = wish
            else:
                hold = self.holds[done.changes[self.events[evening]].hold] = Held(evening, holder, wish, self.now)
                (hold.deadline, hold.lifetime), hold.extensions = least, most
        for evening, name in old.items():
            if evening not in wished:
                self.holds[name].state = "gone"

    @precondition(lambda self: self.holds)
    @rule(chosen=numbers, holder=holders, own=whose)
    def release_group(self, chosen: list[int], holder: str, own: bool) -> None:
        holder, old = self.pick(chosen, holder, own)
        answer = self.run(self.house.groups.release_group(holder, self.named(old)))
        expected = {evening: self.refusal_of_hold(name, holder, late=True) for evening, name in old.items()}
        if self.judge(answer, expected):
            for name in old.values():
                self.holds[name].state = "gone"

    @precondition(lambda self: self.holds)
    @rule(chosen=numbers, holder=holders, own=whose)
    def extend_group(self, chosen: list[int], holder: str, own: bool) -> None:
        self.wait(2_000, sweep=False)  # within a millisecond there is nothing to put off
        holder, old = self.pick(chosen, holder, own)
        expected = {evening: self.refusal_of_hold(name, holder) for evening, name in old.items()}
        for evening, name in old.items():
            hold = self.holds[name]
            if expected[evening] is None and (
                hold.extensions >= EXTENSIONS or min(self.now + HOLD_MS, hold.lifetime) <= hold.deadline
            ):
                expected[evening] = "limit_exceeded"
        if self.judge(self.run(self.house.groups.extend_group(holder, self.named(old))), expected):
            for name in old.values():
                hold = self.holds[name]
                hold.deadline = min(self.now + HOLD_MS, hold.lifetime)
                hold.extensions += 1

    # --- In between

    @rule(evening=st.integers(0, EVENINGS - 1), holder=holders, wish=one_wish)
    def hold(self, evening: int, holder: str, wish: Wish) -> None:
        [asked] = self.asked({evening: wish})
        answer = self.run(self.house.holds.hold_seats(asked.event, holder, asked.seats, asked.areas, key=None))
        assert (answer.code if isinstance(answer, Refusal) else None) == self.refusal_of_wish(evening, holder, wish)
        if isinstance(answer, Changed):
            self.holds[answer.hold] = Held(evening, holder, wish, self.now)

    @precondition(lambda self: self.holds)
    @rule(number=st.integers(0, 20), back=st.booleans())
    def checkout(self, number: int, back: bool) -> None:
        name = list(self.holds)[-1 - number % len(self.holds)]
        hold = self.holds[name]
        if self.refusal_of_hold(name, hold.holder) is None:
            event = self.events[hold.evening]
            held(self.run(self.house.holds.checkout_hold(event, hold.holder, name, f"b-{name}")))
            hold.state = "checkout"
            if back:
                held(self.run(self.house.holds.restore_hold(event, name, f"b-{name}")))
                hold.state = "active"
                hold.deadline = min(max(hold.deadline, self.now + limits.CHECKOUT_GRACE_MS), hold.lifetime)

    @rule(time_ms=st.sampled_from([20_000, 40_000, 101_000]))
    def time_passes(self, time_ms: int) -> None:
        self.wait(time_ms, sweep=time_ms > 40_000)

    def wait(self, time_ms: int, *, sweep: bool) -> None:
        # A margin of a second: the real clock goes on, too, and no deadline may fall into it.
        moments = {moment for hold in self.holds.values() for moment in (hold.deadline, hold.lifetime)}
        moments |= {hold.lifetime + limits.TOMBSTONE_MS for hold in self.holds.values()}
        while any(abs(self.now + time_ms - moment) < 1_500 for moment in moments):
            time_ms += 2_000
        self.now += time_ms
        self.house.pass_ms(time_ms)
        if not sweep:
            return
        for event in self.events:
            self.run(self.house.sweep(event))
        for hold in self.holds.values():
            if hold.state == "active" and hold.deadline <= self.now:
                hold.state, hold.ended = "gone", "hold_expired"
            if hold.state == "gone" and hold.lifetime + limits.TOMBSTONE_MS < self.now:
                hold.ended = "hold_not_found"

    # --- What always holds

    @invariant()
    def everything_agrees(self) -> None:
        if not hasattr(self, "events"):
            return
        for evening, event in enumerate(self.events):
            records = self.run(self.house.records(event))
            live = {name: record for name, record in records.items() if record.state != "gone"}
            assert live.keys() == self.live(evening).keys()
            for name, hold in self.live(evening).items():
                record = live[name]
                assert (record.holder, record.state, record.extensions) == (hold.holder, hold.state, hold.extensions)
                places = sum(n for _, _, n in record.area_types())
                assert ({seat for seat, _ in record.seat_types()}, places) == hold.wish
                assert abs(record.lifetime_ms - record.deadline_ms - (hold.lifetime - hold.deadline)) < 1_500


def test_random_steps_over_a_season(valkey_url: str, inventory_dsn: str) -> None:
    """Fifteen stories of twenty steps; a failure prints the story."""

    class Story(Season):
        dsn, valkey = inventory_dsn, valkey_url

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Story,
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=[Phase.generate],  # a shorter story is not worth two minutes
        ),
    )
