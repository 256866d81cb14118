"""What becomes of holds that are paid for in a story, and of all when Redis is lost, goes back or is another."""

import copy
from collections.abc import Awaitable, Callable

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from inventory_house import SWEEP_KEYS
from reference import Held
from story import ids, mostly, numbers
from story_holders import Holders

from lml_live import limits
from lml_live.inventory.checker import Checker
from lml_live.inventory.returns import Returns


class Bookings(Holders):
    """The bookings' rules, and adopt's."""

    @precondition(lambda self: self.order)
    @rule(number=numbers, claim=mostly, part=st.booleans())
    def checkout(self, number: int, claim: bool, part: bool) -> None:
        """`claim`: the booking is in PostgreSQL, too."""
        name, holder = self.target(number)
        hold, booking = self.ref.holds[name], f"b-{name}"
        answer = self.run(self.house.holds.checkout_hold(self.event, holder, name, booking))
        expected = self.ref.refusal_of_hold(name, holder)
        if expected == "hold_in_checkout":
            expected = None  # the same booking again
        if self.judge(answer, expected):
            if hold.state != "checkout":
                hold.asked = self.ref.now + limits.MARK_SECONDS * 1000
                hold.reason = "own"
            hold.state, hold.booking, hold.claimed = "checkout", booking, hold.claimed or claim
            if part:
                self.give_part_back(name, 1, 0 if hold.seats else 1, right=True)

    @precondition(lambda self: self.order)
    @rule(number=numbers, act=st.sampled_from(["sell", "free", "restore"]), right=mostly)
    def settle(self, number: int, act: str, right: bool) -> None:
        """Confirmed, cancelled, or never claimed; told of this booking or of another."""
        name, _ = self.target(number)
        if act == "restore" and "-c-" in name:
            return  # it was nobody's hold before: it is undone, never given back
        hold, booking = self.ref.holds[name], f"b-{name}" if right else "b-other"
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
            hold.state, hold.claimed, hold.reason, hold.asked = "sold", True, "booked", None
        elif works and act == "free":
            self.ref.expire(name)
        elif works:
            hold.state, hold.booking, hold.claimed, hold.changed = "active", "", False, self.ref.now
            hold.deadline = min(max(hold.deadline, self.ref.now + limits.CHECKOUT_GRACE_MS), hold.lifetime)
            hold.reason, hold.asked = "payment_failed", None

    @precondition(lambda self: self.order)
    @rule(number=numbers, seats_left=st.integers(0, 2), places_left=st.integers(0, 2), right=mostly)
    def keep_places(self, number: int, seats_left: int, places_left: int, right: bool) -> None:
        """A booking gives a part back, but never all: that ends it."""
        booked = [name for name, hold in self.ref.live().items() if hold.state in ("checkout", "sold")]
        name = booked[number % len(booked)] if booked else self.target(number)[0]
        self.give_part_back(name, seats_left, places_left, right)

    def give_part_back(self, name: str, seats_left: int, places_left: int, right: bool) -> None:
        hold, booking = self.ref.holds[name], f"b-{name}" if right else "b-other"
        seats = sorted(hold.seats)[:seats_left]
        places = {kind: min(n, places_left) for kind, n in hold.places.items() if places_left}
        if not seats and not places:
            return
        areas = self.areas(([], places))
        kept = self.run(Returns(self.house.book).keep_places(self.event, name, booking, ids(seats), areas))
        works = right and hold.state in ("checkout", "sold") and (set(seats), places) != (hold.seats, hold.places)
        assert kept == works
        if works:
            hold.seats, hold.places = set(seats), places

    # --- Redis is another

    @rule()
    def save(self) -> None:
        """A replica that stays behind from here on."""

        async def dump() -> list[tuple[str, bytes | None]]:
            sale = await self.house.sale(self.event)
            keys = [sale.key(name) for name in SWEEP_KEYS]
            return [(key, await self.house.pipe.call("DUMP", key)) for key in keys]

        self.saved = self.run(dump()), copy.deepcopy(self.ref.live()), self.ages()

    def ages(self) -> dict[str, int]:
        """When each hold was made, by the record."""
        return {name: record.created_ms for name, record in self.run(self.house.records(self.event)).items()}

    @rule(how=st.sampled_from(["lost", "older", "older", "another"]))
    def adopt(self, how: str) -> None:
        """Redis is emptied, an older copy of it promoted, or another process with all there."""
        kept, ages = self.ref.live(), self.ages()
        if how == "older" and self.saved is not None:
            _, kept, ages = self.saved

        async def lose() -> None:
            sale, pipe = await self.house.sale(self.event), self.house.pipe
            if how == "lost":
                await pipe.call("DEL", *(sale.key(name) for name in SWEEP_KEYS))
                return
            for key, raw in self.saved[0] if self.saved is not None and how == "older" else ():
                await pipe.call("DEL", key)
                if raw is not None:
                    await pipe.call("RESTORE", key, 0, raw)
            await self.house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", self.event)
            await self.house.book.reload(self.event)

        self.build_anew(lose, {} if how == "lost" else kept, ages)

    @rule(part=st.sampled_from(["seats", "book", "areas", "log"]), checked=st.booleans())
    def damage(self, part: str, checked: bool) -> None:
        """Redis loses one of its keys, which is seen by the check of books or by whoever reads the inventory."""

        async def lose() -> None:
            sale = await self.house.sale(self.event)
            await self.house.pipe.call("DEL", sale.key(part))
            if checked:
                keys, sizes = ("seats", "book", "areas", "log"), [sale.seat_count, sale.area_fields]
                await self.house.book.run(self.event, "check_book", keys, lambda _: [*sizes, 0], wait=True)
            else:
                await self.house.book.read_inventory(self.event)

        self.build_anew(lose, {} if part == "book" else self.ref.live(), self.ages())

    def build_anew(self, lose: Callable[[], Awaitable[None]], kept: dict[str, Held], ages: dict[str, int]) -> None:
        """A new epoch from what PostgreSQL knows and what Redis kept."""

        async def work() -> None:
            await self.write_facts()
            epoch = (await self.house.sale(self.event)).epoch
            await lose()
            sale = await self.house.book.recover(self.event, wait=True)
            assert sale.epoch == epoch + 1
            await self.house.remember_start(self.event)

        self.run(work())
        self.requests.clear()
        self.ref.adopt(kept, ages)

    @rule()
    def compare(self) -> None:
        """Redis and PostgreSQL say the same, whose everything is included."""

        async def drift() -> object:
            await self.write_facts()
            look = await Checker(self.house.book, self.house.holds, self.house.pool).look(self.event)
            assert look is not None
            return look.found

        assert self.run(drift()) == ()
