"""What holders do in a story: hold, the best seats, add, replace, release, extend, ask again, sign in."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from reference import ADDRESS, EXTENSIONS, HOLD_MS, MAX_SEATS, SEATS, THROUGH, BestWish, SeatsAndPlaces
from story import HALL, WINDOWS, OneDesk, Story, holders, mostly, numbers, wishes

from lml_live import limits
from lml_live.gateway import wire
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.handing import HandOvers
from lml_live.inventory.holds import is_staff_hold

best_wishes = st.builds(
    BestWish,
    quantity=st.integers(1, 4),
    accessible=st.sampled_from([0, 0, 0, 1]),
    companions=st.sampled_from([0, 0, 0, 1]),
    category=st.sampled_from([None, None, "A", "B"]),
    adjacent=st.booleans(),
)


class Holders(Story):
    """The holders' rules."""

    @rule(holder=holders, wish=wishes)
    def hold(self, holder: str, wish: SeatsAndPlaces) -> None:
        key = self.new_key()
        answer = self.run(self.ask_hold(holder, wish, key))
        self.judge_hold(answer, holder, wish)
        if isinstance(answer, Changed):
            self.requests[answer.hold] = (key, holder, wish)
            for another in (False, True):
                self.ask_again(0, another)

    @precondition(lambda self: self.requests)
    @rule(number=numbers, another=st.booleans())
    def ask_again(self, number: int, another: bool) -> None:
        """A key that was used finds its hold as it is now, takes nothing, and stands for no other wish."""
        name = list(self.requests)[-1 - number % len(self.requests)]
        hold, (key, holder, wish) = self.ref.holds[name], self.requests[name]
        if hold.state == "gone" and hold.forget is None:
            del self.requests[name]
            return
        other: SeatsAndPlaces = ([1] if wish[0] == [0] else [0], {})
        answer = self.run(self.ask_hold(holder, other if another else wish, key))
        expected = "idempotency_mismatch" if another else None
        if not another and hold.holder != holder:
            expected = "hold_not_found"  # he has signed in
        elif not another and hold.state == "gone":
            expected = hold.ended
        if self.judge(answer, expected):
            assert isinstance(answer, Changed)
            assert (answer.hold, answer.record is not None) == (name, True)

    # --- The best seats

    @rule(holder=holders, wished=best_wishes, floor=st.sampled_from([0, 0, 1]), rival=st.none() | holders)
    def best(self, holder: str, wished: BestWish, floor: int, rival: str | None) -> None:
        self.choose(holder, wished, floor, rival)

    @precondition(lambda self: self.order)
    @rule(number=numbers, wished=best_wishes, instead=st.booleans(), rival=st.none() | holders)
    def best_of_a_hold(self, number: int, wished: BestWish, instead: bool, rival: str | None) -> None:
        """With `into`, or with `replace`."""
        name, holder = self.target(number)
        if not is_staff_hold(name):
            self.choose(holder, wished, 0, rival, name=name, instead=instead)

    def choose(
        self, holder: str, wished: BestWish, floor: int, rival: str | None, name: str = "", *, instead: bool = False
    ) -> None:
        ref, shown = self.ref, self.shown
        own = ref.holds[name].seats if instead else set[int]()
        through = ref.holds[name].through if instead else THROUGH.get(holder, "web")

        def block() -> tuple[int, ...] | None:
            return ref.best_block(wished, HALL.distances, own, through)

        def is_best(seats: set[int]) -> None:
            best = block()
            if best is not None:
                assert seats == set(best), "the nearest block was not what was shown"
            else:
                assert not wished.adjacent
                assert ref.explains_split(seats, wished, own, through)

        shown.seats, shown.judge = [], is_best

        async def be_faster(seat: int) -> None:
            assert rival is not None
            self.judge_hold(await self.ask_hold(rival, ([seat], {})), rival, ([seat], {}))

        shown.rival = be_faster if rival not in (None, holder) else None
        asked = wire.BestWish(
            quantity=wished.quantity,
            accessible=wished.accessible,
            companions=wished.companions,
            category=wished.category,
            adjacent="required" if wished.adjacent else "preferred",
            areas={"pit": floor} if floor else {},
            into=name if name and not instead else None,
            replace=name if instead else None,
        )
        more = {"through": THROUGH.get(holder, "web"), "address": ADDRESS[holder]}
        answer = self.run(self.best_seats.hold_best(OneDesk(self.event), holder, asked, **more))
        shown.rival = None
        none_left = isinstance(answer, Refusal) and answer.code == "no_best_seats"
        if not shown.seats or none_left:  # from the start, or once the rival had his
            self.judge(answer, self.refusal_of_choice(wished, floor, name, instead, block()))
            if none_left and not wished.adjacent and not wished.accessible:
                assert not ref.can_be_split(wished, own, through), "a party could have been split over the rows"
            return
        seats = shown.seats[-1]
        wish = sorted(seats), {"a": floor} if floor else {}
        expected = ref.refusal_of_hold(name, holder) if name else None
        expected = expected or ref.refusal_of_wish(holder, wish, name, instead=instead)
        if not self.judge(answer, expected):
            return
        assert isinstance(answer, Changed)
        assert answer.record is not None
        held = {seat for seat, _ in answer.record.seat_types()}
        if name:
            self.grow(name, wish, instead=instead)
        else:
            self.granted(answer.hold, holder, wish)
        assert held == ref.holds[answer.hold].seats, "what was shown is not what is held"

    def refusal_of_choice(
        self, wished: BestWish, floor: int, name: str, instead: bool, block: tuple[int, ...] | None
    ) -> str:
        """Why nothing was even asked for."""
        general = wished.quantity - wished.accessible - wished.companions
        if general < 0 or (wished.companions and not wished.accessible):
            return "invalid_message"
        if wished.quantity + floor > MAX_SEATS:
            return "limit_exceeded"
        if instead and self.ref.holds[name].state == "gone":
            return self.ref.holds[name].ended
        assert block is None, f"{block} was not shown"
        return "no_best_seats"

    # --- Changing a hold

    @precondition(lambda self: self.order)
    @rule(number=numbers, holder=holders, own=mostly, wish=wishes)
    def add(self, number: int, holder: str, own: bool, wish: SeatsAndPlaces) -> None:
        self.change(self.house.holds.add_to_hold, *self.target(number, holder, own=own), wish, instead=False)

    @precondition(lambda self: self.order)
    @rule(number=numbers, holder=holders, own=mostly, wish=wishes, step=st.sampled_from([None, None, -1, 0, 1]))
    def replace(self, number: int, holder: str, own: bool, wish: SeatsAndPlaces, step: int | None) -> None:
        """By something else, or by the hold's own seats a `step` along the row and one more."""
        name, holder = self.target(number, holder, own=own)
        near = {seat + step for seat in self.ref.holds[name].seats} if step is not None else set()
        if near:
            wish = sorted((near | set(wish[0][:1])) & set(SEATS))[:4], {}
        if wish[0] or wish[1]:
            self.change(self.house.holds.replace_hold, name, holder, wish, instead=True)

    def change(self, act: Any, name: str, holder: str, wish: SeatsAndPlaces, *, instead: bool) -> None:
        def ask(wish: SeatsAndPlaces) -> Coroutine[Any, Any, Changed | Refusal]:
            more = {"key": key, "windows": WINDOWS, "address": ADDRESS[holder]}
            return act(self.event, holder, name, *self.asked(wish), **more)  # type: ignore[no-any-return]

        key = self.new_key()
        answer = self.run(ask(wish))
        expected = self.refusal_of_change(name, holder) or self.ref.refusal_of_wish(holder, wish, name, instead=instead)
        if self.judge(answer, expected):
            self.grow(name, wish, instead=instead)
            self.is_told_again(answer, self.run(ask(wish)))
            other = self.run(ask(([1] if wish[0] == [0] else [0], {})))
            assert isinstance(other, Refusal)
            assert other.code == "idempotency_mismatch"

    def new_key(self) -> str:
        self.keys += 1
        return f"k{self.keys}"

    @staticmethod
    def is_told_again(answer: Changed | Refusal, again: Changed | Refusal) -> None:
        """The same request, and its hold as it is."""
        assert isinstance(answer, Changed)
        assert isinstance(again, Changed), again
        assert (again.hold, again.record) == (answer.hold, answer.record)

    def grow(self, name: str, wish: SeatsAndPlaces, *, instead: bool) -> None:
        hold = self.ref.holds[name]
        before = hold.size
        if instead:
            hold.seats, hold.places = set(), {}
        hold.reason = "own"
        hold.seats |= set(wish[0])
        for kind, n in wish[1].items():
            hold.places[kind] = hold.places.get(kind, 0) + n
        if not instead or hold.size > before:
            self.ref.count_address(hold.holder, name, hold.size)

    def refusal_of_change(self, name: str, holder: str, *, late: bool = False) -> str | None:
        """Of the acts that only staff may do to a customer's hold."""
        return "forbidden" if is_staff_hold(name) else self.ref.refusal_of_hold(name, holder, late=late)

    @precondition(lambda self: self.order)
    @rule(number=numbers, part=st.booleans())
    def release(self, number: int, part: bool) -> None:
        asked = self.part_of_hold(number, part)
        self.judge_release(self.run(self.ask_release(*asked)), *asked)

    def part_of_hold(self, number: int, part: bool) -> tuple[str, list[int], list[tuple[str, int]]]:
        """A hold, and what of it is to be given back."""
        name, _ = self.target(number)
        hold = self.ref.holds[name]
        out = sorted(hold.seats)[:2] if part else []
        return name, out, [(kind, n) for kind, n in sorted(hold.places.items())[:1]] if part else []

    def ask_release(
        self, name: str, out: list[int], kinds: list[tuple[str, int]]
    ) -> Coroutine[Any, Any, Changed | Refusal]:
        areas = [("pit", kind, n) for kind, n in kinds]
        return self.house.holds.release_hold(self.event, self.ref.holds[name].holder, name, out, areas)

    def judge_release(self, answer: Changed | Refusal, name: str, out: list[int], kinds: list[tuple[str, int]]) -> None:
        hold = self.ref.holds[name]
        expected = self.refusal_of_change(name, hold.holder, late=True)
        areas = [kind for kind, _ in kinds]
        if expected is None and not set(out) <= hold.seats:
            expected = "unknown_seat"  # given back by one that was decided before it
        elif expected is None and not set(areas) <= hold.places.keys():
            expected = "invalid_message"
        if not self.judge(answer, expected):
            return
        hold.reason = "own"
        hold.seats -= set(out)
        for kind, _ in kinds:
            del hold.places[kind]
        if not (out or areas) or not hold.size:
            self.ref.end(name)
        assert isinstance(answer, Changed)
        assert (answer.record is None) == (hold.state == "gone")

    @rule(
        acts=st.lists(st.one_of(st.tuples(holders, wishes), st.tuples(numbers, st.booleans())), min_size=2, max_size=8)
    )
    def decide_together(self, acts: list[Any]) -> None:
        """Holds and releases that wait in one loop tick are as if they had come one by one."""
        asked: list[tuple[bool, Any]] = []
        keys = [self.new_key() for _ in acts]
        for one, other in acts:
            if isinstance(one, str):
                asked.append((True, (one, other)))
            elif self.order:
                asked.append((False, self.part_of_hold(one, other)))

        async def ask() -> list[Changed | Refusal]:
            calls = [
                self.ask_hold(*what, key) if is_hold else self.ask_release(*what)
                for (is_hold, what), key in zip(asked, keys, strict=False)
            ]
            return await asyncio.gather(*calls)

        for (is_hold, what), key, answer in zip(asked, keys, self.run(ask()), strict=False):
            (self.judge_hold if is_hold else self.judge_release)(answer, *what)
            if is_hold and isinstance(answer, Changed):
                self.requests[answer.hold] = (key, *what)

    @precondition(lambda self: self.order)
    @rule(number=numbers)
    def extend(self, number: int) -> None:
        name, holder = self.target(number)
        hold, ref = self.ref.holds[name], self.ref
        deadline = min(ref.now + HOLD_MS, hold.lifetime)
        expected = self.refusal_of_change(name, holder)
        if expected is None and ref.now < hold.changed + 1_000:
            return  # whether a millisecond passed since decides
        if expected is None and (hold.extensions >= EXTENSIONS or deadline <= hold.deadline):
            expected = "limit_exceeded"
        key, extend = self.new_key(), self.house.holds.extend_hold
        answer = self.run(extend(self.event, holder, name, key=key))
        if self.judge(answer, expected):
            hold.deadline, hold.extensions, hold.changed, hold.reason = deadline, hold.extensions + 1, ref.now, "own"
            self.is_told_again(answer, self.run(extend(self.event, holder, name, key=key)))

    @precondition(lambda self: self.order)
    @rule(number=numbers, holder=holders, own=mostly)
    def look(self, number: int, holder: str, own: bool) -> None:
        """What a holder reads of his holds, of one and of all."""
        name, holder = self.target(number, holder, own=own)
        hold = self.ref.holds[name]
        answer = self.run(self.house.holds.read_hold(self.event, holder, name))
        gone = hold.ended if hold.state == "gone" else None
        self.judge(answer, gone if hold.holder == holder else "hold_not_found")
        mine = {one for one, known in self.ref.live().items() if known.holder == holder}
        assert self.run(self.house.holds.read_holds(self.event, holder)).holds.keys() == mine
        key = self.requests[name][0] if name in self.requests else None
        found = self.run(self.house.holds.find_key(self.event, holder, "", key=key, asked="what was never asked"))
        if key is not None and self.requests[name][1] == holder and not (gone and hold.forget is None):
            assert isinstance(found, Refusal)
            assert found.code == "idempotency_mismatch"
        else:
            assert found is None

    # --- Signing in

    @precondition(lambda self: self.order)
    @rule(holder=holders, to=holders, known=st.booleans())
    def hand_over(self, holder: str, to: str, known: bool) -> None:
        """`known`: whether PostgreSQL has given the bookings to the account."""
        if holder == to:
            return
        ref = self.ref
        # Which comes first the contract leaves open: it is the order of the book.
        names = [*self.run(self.house.holds.read_holds(self.event, holder)).holds]
        assert {*names} == {name for name, hold in ref.live().items() if hold.holder == holder}
        bookings = [ref.holds[name].booking for name in names if ref.holds[name].booking] if known else []
        moved: list[str] = []
        kept: dict[str, str] = {}
        ref.hand_losses(holder, to)
        for name in sorted(names, key=lambda name: ref.holds[name].state == "active"):
            hold = ref.holds[name]
            if hold.state != "active" and not known:
                kept[name] = "hold_in_checkout"
            elif hold.state == "active" and hold.deadline <= ref.now:
                kept[name] = "hold_expired"
            elif hold.state == "active" and self.is_too_much(to, hold.size):
                kept[name] = "limit_exceeded"
            else:
                hold.holder, hold.reason = to, "own"
                moved.append(name)
        answer = self.run(HandOvers(self.house.book).hand_over(self.event, holder, to, bookings))
        assert (list(answer.holds), answer.kept) == (moved, kept)
        self.ask_for_lost(to)

    def is_too_much(self, holder: str, size: int) -> bool:
        many = len(self.holds_of(holder)) >= limits.HOLDS_PER_HOLDER_MAX
        return many or self.ref.tally(holder) + size > MAX_SEATS

    def holds_of(self, holder: str) -> list[str]:
        return [name for name, hold in self.ref.live().items() if hold.holder == holder]

    def ask_for_lost(self, holder: str) -> None:
        """What he lost he asks for: for a while it is not his. And for another: he may have to rest."""
        barred = self.ref.lost[holder].barred
        for seat in [*sorted(barred)[:2], *sorted(self.ref.free_seats() - barred.keys())[:1]]:
            self.hold(holder, ([seat], {}))
