"""A season: two evenings of one group, each a whole story of its own (`story_house`), and the acts over both.

An act over both is all or nothing, and every evening that refuses is named. In between anything may happen to one of
them: its rules change, its sale is paused, Redis loses it, a hold of it is paid for or handed over.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from inventory_house import SCRIPTS, House
from reference import (
    ADDRESS,
    ADDRESS_HOLDS,
    ADDRESS_SEATS,
    EXPIRED_HOLDS,
    EXTENSIONS,
    HOLD_MS,
    LIFETIME_MS,
    THROUGH,
    Held,
    Reference,
    SeatsAndPlaces,
)
from story import WINDOWS, holders, mostly, numbers, seats
from story_house import HouseRules

from lml_live.infra import postgres
from lml_live.infra.redis import Pipe
from lml_live.inventory.groups import EventWish, GroupChanged, GroupRefusal
from lml_live.inventory.holds import is_staff_hold

T = TypeVar("T")

EVENINGS = (0, 1)
Ask = Callable[[bool], Coroutine[Any, Any, GroupChanged | GroupRefusal]]
"""Asks for the same again, or for something else with the same key."""

one_wish = st.tuples(
    seats.map(lambda chosen: chosen[:3]), st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 2), max_size=1)
).filter(lambda wish: bool(wish[0] or wish[1]))
wishes = st.dictionaries(st.sampled_from(EVENINGS), one_wish, min_size=1)
several = st.lists(numbers, min_size=1, max_size=len(EVENINGS))


def something_else(wished: Mapping[int, SeatsAndPlaces]) -> dict[int, SeatsAndPlaces]:
    """Another wish of the same evenings."""
    return {at: ([1] if wish[0] == [0] else [0], {}) for at, wish in wished.items()}


class Evening(HouseRules):
    """One event of the season. Its engines are the season's, and time passes for all of them."""

    def __init__(self, season: "Season") -> None:
        super().__init__()
        self.loop.close()
        self.season, self.loop, self.house, self.began = season, season.loop, season.house, season.began

    def wait(self, time_ms: int) -> None:
        self.season.wait(time_ms)


class Season(RuleBasedStateMachine):
    """The rules over both evenings, and those of one that `alone` draws."""

    dsn = valkey = ""
    scripts = SCRIPTS

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.began = time.time() * 1000
        self.evenings: list[Evening] = []
        self.requests: list[tuple[str, str, dict[int, SeatsAndPlaces], dict[int, str]]] = []
        """Key, holder, wishes, and the holds that were made, of each request that was granted."""
        self.changes: list[tuple[str, dict[int, str], Ask]] = []
        """The holder, the holds and the asking of each change that was granted, and whose key is known yet."""
        self.keys = 0
        self.adopted: set[int] = set()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if self.evenings:
            self.house.book.skew_ms = round(self.began + self.now - time.time() * 1000)
        return self.loop.run_until_complete(work)

    @initialize(orphans=st.sampled_from(["off", "strict", "lenient"]), budget=st.booleans(), addresses=st.booleans())
    def open(self, orphans: str, budget: bool, addresses: bool) -> None:
        async def start() -> House:
            pipe = Pipe(self.valkey, self.scripts)
            await pipe.start()
            return House(pipe, await postgres.connect_pool(self.dsn, size_max=1))

        self.house = self.run(start())
        for _ in EVENINGS:
            evening = Evening(self)
            evening.ref = Reference(
                orphan_rule=orphans,
                expired_holds=EXPIRED_HOLDS if budget else 0,
                address_holds=ADDRESS_HOLDS if addresses else 0,
                address_seats=ADDRESS_SEATS if addresses else 0,
            )
            self.run(evening.begin(self.evenings[0].event if self.evenings else None))
            self.evenings.append(evening)

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.run(self.house.pipe.close())
            self.run(self.house.pool.close())
        self.loop.close()

    # --- Asking and judging

    @property
    def now(self) -> int:
        return self.evenings[0].ref.now

    def anything(self) -> list[tuple[int, str]]:
        """Every hold that there ever was: its evening, its name."""
        return [(at, name) for at, evening in enumerate(self.evenings) for name in evening.order]

    def held(self, evening: int, name: str) -> Held:
        return self.evenings[evening].ref.holds[name]

    def pick(self, chosen: Sequence[int], holder: str, own: bool) -> tuple[str, dict[int, str]]:
        """Who acts on which holds, one an evening: the first one's holder's own, or whoever it is."""
        found: dict[int, str] = {}
        for number in chosen:
            some = [(at, name) for at, name in self.anything() if at not in found]
            if found and own:
                some = [(at, name) for at, name in some if self.held(at, name).holder == holder] or some
            if some:
                at, name = some[-1 - number % len(some)]
                holder = self.held(at, name).holder if own and not found else holder
                found[at] = name
        return holder, found

    def named(self, by_evening: Mapping[int, str]) -> dict[str, str]:
        return {self.evenings[at].event: name for at, name in by_evening.items()}

    def asked(self, holder: str, wished: Mapping[int, SeatsAndPlaces]) -> list[EventWish]:
        through = THROUGH.get(holder, "web")
        return [
            EventWish(evening.event, *evening.asked(wish), WINDOWS, through)
            for evening, wish in ((self.evenings[at], wish) for at, wish in wished.items())
        ]

    def judge(self, answer: GroupChanged | GroupRefusal, expected: Mapping[int, str | None]) -> GroupChanged | None:
        """The answer where it was granted; every evening that refuses is named, and no other."""
        refused = {self.evenings[at].event: code for at, code in expected.items() if code}
        if not refused:
            assert isinstance(answer, GroupChanged), answer
            return answer
        assert isinstance(answer, GroupRefusal), (answer, refused)
        assert {event: one.code for event, one in answer.events.items()} == refused
        return None

    def refusal(self, at: int, name: str, holder: str, *, late: bool = False) -> str | None:
        return self.evenings[at].ref.refusal_of_hold(name, holder, late=late)

    def staffs(self, named: Mapping[int, str], answer: GroupChanged | GroupRefusal) -> bool:
        """Whether one of them is a hold that only staff may change, which is said of the whole."""
        if not any(map(is_staff_hold, named.values())):
            return False
        assert isinstance(answer, GroupRefusal)
        assert answer.code == "forbidden"
        return True

    # --- Over several evenings

    @rule(holder=holders, wished=wishes)
    def hold_group(self, holder: str, wished: dict[int, SeatsAndPlaces]) -> None:
        key = f"g{len(self.requests)}-{len(self.anything())}"
        answer = self.run(self.ask_hold(holder, wished, key))
        expected = {at: self.evenings[at].ref.refusal_of_wish(holder, wish) for at, wish in wished.items()}
        if done := self.judge(answer, expected):
            assert len({change.hold.partition("-")[2] for change in done.changes.values()}) == 1
            made = {at: done.changes[self.evenings[at].event].hold for at in wished}
            for at, wish in wished.items():
                self.evenings[at].granted(made[at], holder, wish)
            self.requests.append((key, holder, wished, made))
            for another in (False, True):
                self.ask_again(0, another)

    def ask_hold(
        self, holder: str, wished: Mapping[int, SeatsAndPlaces], key: str | None
    ) -> Coroutine[Any, Any, GroupChanged | GroupRefusal]:
        return self.house.groups.hold_group(holder, self.asked(holder, wished), key=key, address=ADDRESS[holder])

    @precondition(lambda self: self.requests)
    @rule(number=numbers, another=st.booleans())
    def ask_again(self, number: int, another: bool) -> None:
        """A key that was used, also where an adopt has forgotten it, takes nothing again."""
        at = -1 - number % len(self.requests)
        key, holder, wished, made = self.requests[at]
        known = {evening: self.held(evening, name) for evening, name in made.items()}
        if any(hold.state == "gone" and hold.forget is None for hold in known.values()):
            del self.requests[at]
            return
        if another and self.adopted & made.keys():
            return  # its key may be forgotten, and only the holds remind of it
        answer = self.run(self.ask_hold(holder, something_else(wished) if another else wished, key))
        self.is_known(answer, made, known, holder, another)

    def is_known(
        self,
        answer: GroupChanged | GroupRefusal,
        made: Mapping[int, str],
        known: Mapping[int, Held],
        holder: str,
        another: bool,
    ) -> None:
        """The holds as they are now, or that they are gone; to another request that the key is taken."""
        mine = {one for one, hold in known.items() if hold.holder == holder and hold.state != "gone"}
        if another:
            assert isinstance(answer, GroupRefusal)
            assert answer.code == "idempotency_mismatch"
        elif mine:
            assert isinstance(answer, GroupChanged), answer
            found = {change.hold for change in answer.changes.values() if change.record}
            assert found == {made[one] for one in mine}
        else:
            assert isinstance(answer, GroupRefusal), answer
            assert answer.code in ("hold_expired", "hold_not_found")

    @precondition(lambda self: self.anything())
    @rule(chosen=several, holder=holders, own=mostly, wished=wishes)
    def move_group(self, chosen: list[int], holder: str, own: bool, wished: dict[int, SeatsAndPlaces]) -> None:
        self.wait(3_000)  # so that a hold which wins time is seen
        holder, old = self.pick(chosen, holder, own)
        before = [self.held(at, name) for at, name in old.items()]
        expected: dict[int, str | None] = {at: self.refusal(at, name, holder) for at, name in old.items()}
        for at, wish in wished.items():
            ref, name = self.evenings[at].ref, old.get(at, "")
            refusal = expected.get(at) or ref.refusal_of_wish(holder, wish, name, instead=bool(name))
            expected[at] = refusal
        key = self.new_key()

        def ask(another: bool) -> Coroutine[Any, Any, GroupChanged | GroupRefusal]:
            wish = self.asked(holder, something_else(wished) if another else wished)
            return self.house.groups.move_group(holder, self.named(old), wish, key=key, address=ADDRESS[holder])

        answer = self.run(ask(False))
        if self.staffs(old, answer):
            return
        done = self.judge(answer, expected)
        if done is None:
            return
        least = min(one.deadline for one in before), min(one.lifetime for one in before)
        most = max(one.extensions for one in before)
        for at, wish in wished.items():
            evening = self.evenings[at]
            if at in old:
                evening.grow(old[at], wish, instead=True)
            else:
                name = done.changes[evening.event].hold
                evening.granted(name, holder, wish)
                hold = evening.ref.holds[name]
                hold.lifetime = min(least[1], self.now + LIFETIME_MS)
                hold.deadline, hold.extensions = min(least[0], self.now + HOLD_MS, hold.lifetime), most
        for at, name in old.items():
            if at not in wished:
                self.evenings[at].ref.end(name)
        made = {at: change.hold for at in wished if (change := done.changes[self.evenings[at].event])}
        self.is_known_again(holder, old | made, ask)

    @precondition(lambda self: self.anything())
    @rule(chosen=several, holder=holders, own=mostly)
    def release_group(self, chosen: list[int], holder: str, own: bool) -> None:
        holder, old = self.pick(chosen, holder, own)
        answer = self.run(self.house.groups.release_group(holder, self.named(old)))
        if self.staffs(old, answer):
            return
        if self.judge(answer, {at: self.refusal(at, name, holder, late=True) for at, name in old.items()}):
            for at, name in old.items():
                self.evenings[at].ref.end(name)

    @precondition(lambda self: self.anything())
    @rule(chosen=several, holder=holders, own=mostly)
    def extend_group(self, chosen: list[int], holder: str, own: bool) -> None:
        self.wait(3_000)  # within a millisecond there is nothing to put off
        holder, old = self.pick(chosen, holder, own)
        expected = {at: self.refusal(at, name, holder) for at, name in old.items()}
        for at, name in old.items():
            hold = self.held(at, name)
            late = min(self.now + HOLD_MS, hold.lifetime) <= hold.deadline
            if expected[at] is None and (hold.extensions >= EXTENSIONS or late):
                expected[at] = "limit_exceeded"
        key = self.new_key()

        def ask(another: bool) -> Coroutine[Any, Any, GroupChanged | GroupRefusal]:
            holds = {at: f"{name}x" for at, name in old.items()} if another else old
            return self.house.groups.extend_group(holder, self.named(holds), key=key)

        answer = self.run(ask(False))
        if not self.staffs(old, answer) and self.judge(answer, expected):
            for at, name in old.items():
                hold = self.held(at, name)
                hold.deadline, hold.changed = min(self.now + HOLD_MS, hold.lifetime), self.now
                hold.extensions, hold.reason = hold.extensions + 1, "own"
            self.is_known_again(holder, old, ask)

    def new_key(self) -> str:
        self.keys += 1
        return f"c{self.keys}"

    def is_known_again(self, holder: str, holds: dict[int, str], ask: Ask) -> None:
        """Whoever has not heard the answer may ask again, and gets nothing twice."""
        self.changes.append((holder, holds, ask))
        for another in (False, True):
            self.ask_for_a_change_again(0, another)

    @precondition(lambda self: self.changes)
    @rule(number=numbers, another=st.booleans())
    def ask_for_a_change_again(self, number: int, another: bool) -> None:
        at = -1 - number % len(self.changes)
        holder, named, ask = self.changes[at]
        known = {evening: self.held(evening, name) for evening, name in named.items()}
        if any(hold.state == "gone" and hold.forget is None for hold in known.values()):
            del self.changes[at]
            return
        self.is_known(self.run(ask(another)), named, known, holder, another)

    # --- In between

    @rule(at=st.sampled_from(EVENINGS), holder=holders, wish=one_wish)
    def hold(self, at: int, holder: str, wish: SeatsAndPlaces) -> None:
        self.evenings[at].hold(holder, wish)

    @precondition(lambda self: self.anything())
    @rule(at=st.sampled_from(EVENINGS), number=numbers, act=st.sampled_from(["sell", "free", "restore", ""]))
    def checkout(self, at: int, number: int, act: str) -> None:
        evening = self.evenings[at]
        if evening.order:
            evening.checkout(number, True, part=False)
            if act:
                evening.settle(number, act, right=True)

    @precondition(lambda self: self.anything())
    @rule(at=st.sampled_from(EVENINGS), holder=holders, to=holders)
    def hand_over(self, at: int, holder: str, to: str) -> None:
        if self.evenings[at].order:
            self.evenings[at].hand_over(holder, to, known=True)

    @rule(at=st.sampled_from(EVENINGS), holder=holders, wished=wishes, number=numbers)
    def pause(self, at: int, holder: str, wished: dict[int, SeatsAndPlaces], number: int) -> None:
        """An evening that is paused stops what is wished of it, and nothing that is given back."""
        paused = self.evenings[at]
        paused.change_sale(state="paused")
        wished = {at: ([0], {}), **wished}
        refused = {at: "sale_paused"}
        self.judge(self.run(self.ask_hold(holder, wished, None)), refused)
        own = [name for name in paused.order if not is_staff_hold(name)]
        if own:
            name = own[-1 - number % len(own)]
            whose, groups = paused.ref.holds[name].holder, self.house.groups
            self.judge(self.run(groups.extend_group(whose, {paused.event: name})), refused)
            moved = groups.move_group(whose, {paused.event: name}, self.asked(whose, {at: ([0], {})}), key=None)
            self.judge(self.run(moved), refused)
            given = self.run(groups.release_group(whose, {paused.event: name}))
            if self.judge(given, {at: self.refusal(at, name, whose, late=True)}):
                paused.ref.end(name)
        paused.change_sale(state="open")

    @rule(at=st.sampled_from(EVENINGS), how=st.sampled_from(["lost", "another"]))
    def adopt(self, at: int, how: str) -> None:
        self.adopted.add(at)
        self.changes = [change for change in self.changes if at not in change[1]]  # it has forgotten their keys
        self.evenings[at].adopt(how)
        for number in range(len(self.requests)):
            if number < len(self.requests):
                self.ask_again(number, another=False)

    @rule(at=st.sampled_from(EVENINGS), orphans=st.sampled_from(["off", "strict", "lenient"]))
    def change_rules(self, at: int, orphans: str) -> None:
        self.evenings[at].change_rules(orphans)

    @rule(at=st.sampled_from(EVENINGS), channel=st.sampled_from(["", "web", "agency"]), chosen=seats)
    def assign(self, at: int, channel: str, chosen: list[int]) -> None:
        self.evenings[at].assign(channel, chosen, 2)

    @rule(time_ms=st.sampled_from([20_000, 40_000, 110_000, 110_000, 320_000]))
    def time_passes(self, time_ms: int) -> None:
        self.wait(time_ms)
        if time_ms > 40_000:
            for evening in self.evenings:
                evening.sweep(3, 0)

    def wait(self, time_ms: int) -> None:
        # A margin: a call takes its time, and no deadline may fall into it.
        moments = set().union(*(evening.ref.moments() for evening in self.evenings))
        while any(abs(self.now + time_ms - moment) < 2_000 for moment in moments):
            time_ms += 3_000
        for evening in self.evenings:
            evening.ref.now += time_ms

    @invariant()
    def everything_agrees(self) -> None:
        for evening in self.evenings:
            evening.everything_agrees()
