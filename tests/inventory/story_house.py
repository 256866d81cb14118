"""What staff and time do in a story: blocks, channels, customers' holds, the sale's rules and hours, the sweep."""

import itertools
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from reference import CHANNELS, MARK_MS, SEATS, SeatsAndPlaces
from story import WINDOWS, holders, numbers, seats, wishes
from story_bookings import Bookings

from lml_live import limits
from lml_live.clock import to_datetime
from lml_live.errors import Unavailable
from lml_live.inventory import seatmap
from lml_live.inventory.addresses import Addresses
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.holds import is_staff_hold
from lml_live.inventory.staff_holds import ActNote, Taken, Undone
from lml_live.inventory.upkeep import Upkeep
from lml_live.inventory.wishes import AreaBlock

seldom = st.sampled_from([False, False, False, True])
NUMBERS = itertools.count(2, 2)
"""Of staff's noted acts; between two of them there is one that never was."""
refused_acts = st.sampled_from(["hold", "add", "replace", "extend", "checkout"])


class HouseRules(Bookings):
    """The rules of staff and time."""

    @rule(chosen=seats, n=st.integers(0, 2), back=st.booleans(), kill=st.booleans())
    def block(self, chosen: list[int], n: int, back: bool, kill: bool) -> None:
        ref = self.ref
        if back:
            done = ref.blocked & set(chosen)
            refused = self.run(self.house.holds.unblock_seats(self.event, chosen))
            ref.blocked -= done
            ref.killed -= done
        else:
            kind = seatmap.BYTE_KILL if kill else seatmap.BYTE_HOUSE
            answer = self.run(self.house.holds.block_seats(self.event, chosen, {"pit": n}, kind))
            done = (ref.free_seats() | ref.blocked) & set(chosen)
            fits = n <= max(ref.blocked_places, ref.blocked_places + ref.free_places(None))
            assert bool(answer.refused_areas) == (not fits)
            ref.blocked |= done
            ref.killed = ref.killed | done if kill else ref.killed - done
            if fits:
                ref.blocked_places, ref.killed_places = n, n if kill else 0
            refused = answer.refused_seats
            for seat in sorted(done)[:1]:
                self.hold_for_customer("anna", ([seat], {}), over_house=kill)  # a killed one is nobody's
        assert set(refused) == set(chosen) - done

    @rule(channel=st.sampled_from(["", *CHANNELS]), chosen=seats, n=st.none() | st.integers(0, 4))
    def assign(self, channel: str, chosen: list[int], n: int | None) -> None:
        ref = self.ref
        areas = {"pit": n} if n is not None and channel else {}
        answer = self.run(self.house.channels.assign_seats(self.event, channel, chosen, areas))
        owner = channel or None
        fast = {seat for seat in set(SEATS) - ref.free_seats() - ref.blocked if ref.channel_of.get(seat) != owner}
        assert set(answer.refused_seats) == set(chosen) & fast
        for seat in set(chosen) - fast:
            ref.channel_of.pop(seat, None)
            if channel:
                ref.channel_of[seat] = channel
        if areas and n is not None:
            most = ref.taken_through(channel) + ref.free_places(channel)
            fits = n <= ref.taken_through(channel) or n <= most
            assert answer.refused_areas == ({} if fits else {"pit": most})
            if fits:
                ref.allotted[channel] = n

    @rule(channel=st.sampled_from(CHANNELS))
    def open_channel(self, channel: str) -> None:
        self.run(self.house.channels.open_seats(self.event, channel, None, 0, len(SEATS), ["pit"]))
        self.ref.channel_of = {seat: owner for seat, owner in self.ref.channel_of.items() if owner != channel}
        self.ref.allotted[channel] = 0

    # --- Customers' holds

    @rule(holder=holders, wish=wishes, over_house=st.booleans(), died=seldom)
    def hold_for_customer(
        self,
        holder: str,
        wish: SeatsAndPlaces,
        over_house: bool,
        died: bool = False,
        moved: SeatsAndPlaces | None = None,
    ) -> None:
        """Who takes it may have `died` before PostgreSQL knew of it: released, it was never there. `moved` meanwhile it
        gives the house what it still has."""
        ref, was = self.ref, set(self.ref.blocked)
        name = self.run(self.staff.hold_id(self.event, f"{len(self.order):020x}"))
        more = {"over_house": over_house, "house": self.house_blocks(over_house), "note": self.note()}
        answer = self.run(self.staff.hold_for_customer(self.event, holder, name, *self.asked(wish), **more))  # type: ignore[arg-type]
        expected = ref.refusal_of_staffs_wish(wish, over_house)
        if len(self.holds_of(holder)) >= limits.HOLDS_PER_HOLDER_MAX:
            expected = "limit_exceeded"
        if self.judge(answer, expected):
            assert isinstance(answer, Taken)
            assert answer.lent == self.lent_of(wish)
            for_ever = limits.UNTIL_RELEASED_MS
            hold = ref.make(name, holder, wish, "box-office", for_ever, for_ever)
            hold.reason = "staff"
            self.order.append(name)
            ref.blocked -= hold.seats
            assert self.run(self.staff.settle_hold(self.event, name, more["note"].number))[0] == answer.record
            again = self.staff.hold_for_customer(self.event, holder, name, *self.asked(wish), over_house=over_house)
            self.is_told_again(answer, self.run(again))
            if died:
                if moved is not None:
                    self.move(self.at(name), moved, False)
                repeat = self.staff.hold_for_customer
                self.judge(self.run(repeat(self.event, "x", name, *self.asked(wish), **more)), "hold_not_found")  # type: ignore[arg-type]
                self.withdraw_what_nobody_knows(name, was, more["house"], answer.lent)
                self.judge(self.run(repeat(self.event, holder, name, *self.asked(wish), **more)), "hold_not_found")  # type: ignore[arg-type]
        else:
            assert self.run(self.staff.settle_hold(self.event, name, more["note"].number))[0] is None
            late = self.staff.hold_for_customer(self.event, holder, name, [(0, "adult")], [], **more)  # type: ignore[arg-type]
            assert self.is_unavailable(late), "it is taken after all"

    def withdraw_what_nobody_knows(
        self, name: str, house: set[int], blocks: dict[str, AreaBlock], lent: Mapping[str, int]
    ) -> None:
        hold = self.ref.holds[name]
        kept = house & hold.seats
        back = {area: least for area, n in lent.items() if (least := min(n, sum(hold.places.values())))}
        note = self.note()
        answer = self.run(self.staff.withdraw_hold(self.event, name, house, blocks, note=note))
        assert isinstance(answer, Undone)
        self.settle_act(note, answer)
        assert answer.lent == back
        hold.lifetime = self.ref.now
        self.ref.end(name, since=self.ref.now)
        self.ref.blocked |= kept
        self.ref.blocked_places += sum(back.values())

    def at(self, name: str) -> int:
        """How the rules call a hold."""
        return self.order[::-1].index(name)

    def house_blocks(self, over_house: bool = True) -> dict[str, AreaBlock]:
        """As PostgreSQL has it: what staff who sell over house holds may take."""
        every, killed = self.ref.blocked_places, self.ref.killed_places
        return {"pit": AreaBlock(every, every - killed)} if over_house and every else {}

    def lent_of(self, wish: SeatsAndPlaces) -> dict[str, int]:
        lent = self.ref.lend(wish)
        return {"pit": lent} if lent else {}

    @rule(holder=holders, wish=wishes, over_house=st.booleans(), undone=st.booleans())
    def sell_at_once(self, holder: str, wish: SeatsAndPlaces, over_house: bool, undone: bool) -> None:
        """Taken at the counter into a booking's checkout; `undone` all is what it was."""
        ref, was = self.ref, set(self.ref.blocked)
        name = self.run(self.staff.counter_hold_id(self.event, f"{len(self.order):020x}"))
        wished, booking = self.asked(wish), f"b-{name}"
        blocks = self.house_blocks(over_house)
        more = {"over_house": over_house, "mark_seconds": MARK_MS // 1000, "house": blocks}
        answer = self.run(self.staff.take_for_sale(self.event, holder, name, booking, *wished, **more))  # type: ignore[arg-type]
        if self.judge(answer, ref.refusal_of_staffs_wish(wish, over_house)):
            lent = self.lent_of(wish)
            assert isinstance(answer, Taken)
            assert answer.lent == lent
            hold = ref.make(name, holder, wish, "box-office", ref.now + MARK_MS, ref.now + MARK_MS)
            hold.state, hold.booking, hold.reason, hold.asked = "checkout", booking, "staff", ref.now + MARK_MS
            self.order.append(name)
            ref.blocked -= hold.seats
            if undone:
                house = was & hold.seats
                assert self.run(self.staff.undo_taking(self.event, name, booking, house, blocks)) is not None
                ref.end(name, since=ref.now)
                ref.blocked |= house
                ref.blocked_places += lent.get("pit", 0)

    @precondition(lambda self: self.order)
    @rule(number=numbers, wish=wishes, over_house=st.booleans())
    def move(self, number: int, wish: SeatsAndPlaces, over_house: bool) -> None:
        name, holder = self.target(number)
        hold = self.ref.holds[name]
        more = {"over_house": over_house, "note": self.note()}
        answer = self.run(self.staff.move_hold(self.event, name, *self.asked(wish), **more))  # type: ignore[arg-type]
        self.settle_act(more["note"], answer)  # type: ignore[arg-type]
        expected = self.ref.refusal_of_hold(name, holder)
        expected = expected or self.ref.refusal_of_staffs_wish(wish, over_house, hold)
        if self.judge(answer, expected):
            hold.seats, hold.places, hold.reason = set(wish[0]), dict(wish[1]), "staff"
            self.ref.blocked -= hold.seats

    @precondition(lambda self: self.order)
    @rule(number=numbers)
    def withdraw(self, number: int) -> None:
        name, holder = self.target(number)
        note = self.note()
        answer = self.run(self.staff.withdraw_hold(self.event, name, note=note))
        self.settle_act(note, answer)
        if self.judge(answer, self.ref.refusal_of_hold(name, holder, late=True)):
            if is_staff_hold(name):
                self.ref.holds[name].lifetime = self.ref.now
            self.ref.end(name, since=self.ref.now)

    def note(self) -> ActNote:
        """As PostgreSQL numbers an act."""
        return ActNote(next(NUMBERS), self.run(self.house.sale(self.event)).epoch)

    def settle_act(self, note: ActNote, answer: Changed | Undone | Refusal) -> None:
        """Whoever comes next hears what was done, as often as he asks, and it is not done again, or any more."""
        for _ in range(2):
            _, done = self.run(self.staff.settle_act(self.event, note.number))
            if isinstance(answer, Undone):
                assert done is not None
                assert msgspec.structs.replace(done, now_ms=answer.now_ms) == answer
            else:
                assert done is None
            _, other = self.run(self.staff.settle_act(self.event, note.number - 1))
            assert other == "ahead"
        hold, late = self.order[0], {"note": note}
        for act in (
            lambda: self.staff.move_hold(self.event, hold, [(0, "adult")], [], over_house=False, **late),
            lambda: self.staff.withdraw_hold(self.event, hold, **late),
        ):
            assert self.is_unavailable(act()), "it is done once more"

    def is_unavailable(self, act: Coroutine[Any, Any, object]) -> bool:
        try:
            self.run(act)
        except Unavailable:
            return True
        return False

    # --- The sale's rules and hours

    @rule(orphans=st.sampled_from(["off", "strict", "lenient"]))
    def change_rules(self, orphans: str) -> None:
        self.change_sale(orphan_rule=orphans)
        self.ref.orphan_rule = orphans

    def change_sale(self, **columns: object) -> None:
        async def change() -> None:
            await self.house.change_event(self.event, **columns)
            await self.house.book.restamp(self.event)
            await self.feed.catch_up(self.event)  # the tick that tells the room

        self.run(change())

    @precondition(lambda self: self.order)
    @rule(
        number=numbers,
        holder=holders,
        wish=wishes,
        act=refused_acts,
        early=st.booleans(),
    )
    def pause(self, number: int, holder: str, wish: SeatsAndPlaces, act: str, early: bool) -> None:
        """Paused, or put off after all, nothing is granted but that somebody gives something back."""
        if early and act in ("hold", "add", "replace"):
            now = self.run(self.house.book.redis_time_ms())
            self.change_sale(on_sale_at=to_datetime(now + 600_000))
            self.judge(self.run(self.ask_what_is_refused(act, number, holder, wish)), "sale_not_open")
            self.change_sale(on_sale_at=to_datetime(now - 600_000))
        self.change_sale(state="paused")
        self.judge(self.run(self.ask_what_is_refused(act, number, holder, wish)), "sale_paused")
        self.release(number, part=True)
        self.change_sale(state="open")

    async def ask_what_is_refused(self, act: str, number: int, holder: str, wish: SeatsAndPlaces) -> Refusal:
        name = next((name for name in self.order[::-1] if not is_staff_hold(name)), None)
        holds, args = self.house.holds, (self.event, holder, name or "")
        more = {"key": None, "windows": WINDOWS}
        match act if name else "hold":
            case "hold":
                answer = await self.ask_hold(holder, wish)
            case "extend":
                answer = await holds.extend_hold(*args)
            case "checkout":
                answer = await holds.checkout_hold(*args, "b")
            case _:
                change = holds.add_to_hold if act == "add" else holds.replace_hold
                answer = await change(*args, *self.asked(wish), **more)  # type: ignore[arg-type]
        assert isinstance(answer, Refusal), answer
        return answer

    @precondition(lambda self: len(self.order) > 3)
    @rule(holder=holders, wish=wishes)
    def close(self, holder: str, wish: SeatsAndPlaces) -> None:
        """Over, every hold ends that is not paid for; then it goes on after all."""
        self.change_sale(state="closed")
        self.judge(self.run(self.ask_hold(holder, wish)), "sale_closed")
        upkeep = Upkeep(self.house.book, self.house.pool, self.dsn, sweep_ms=500)
        active = [name for name, hold in self.ref.live().items() if hold.state == "active"]
        assert self.run(upkeep.close_holds(self.event)) == len(active)
        for name in active:
            if is_staff_hold(name):
                self.ref.holds[name].lifetime = self.ref.now
            self.ref.end(name, since=self.ref.now)
        self.change_sale(state="open")

    # --- Time

    @rule()
    def forget_addresses(self) -> None:
        """What is forgotten counted for nothing: whoever comes from there next is told the same."""
        self.run(Addresses(self.house.book).step([self.event]))
        live = {name for name, hold in self.ref.live().items() if hold.state != "sold"}
        fields = self.run(self.house.book_fields(self.event))
        listed = [msgspec.msgpack.decode(raw)[::2] for field, raw in fields.items() if field.startswith("a:")]
        assert all(live & set(names) for names in listed), "an address is kept from which nothing is held"

    @rule(time_ms=st.sampled_from([10_000, 40_000, 110_000, 320_000]))
    def wait(self, time_ms: int) -> None:
        # A margin: a call takes its time, and no deadline may fall into it.
        while any(abs(self.ref.now + time_ms - moment) < 2_000 for moment in self.ref.moments()):
            time_ms += 3_000
        self.ref.now += time_ms

    @rule(batch=st.integers(1, 3), time_ms=st.sampled_from([0, 110_000, 110_000]))
    def sweep(self, batch: int, time_ms: int) -> None:
        if time_ms:
            self.wait(time_ms)
        due = self.run(self.house.deadlines(self.event))
        ranks = {name: rank for rank, name in enumerate(sorted(due, key=lambda name: (due[name], name)))}
        named, seen = set[str](), 1
        while seen:
            _, seen, _, _, *marked = self.run(self.house.sweep(self.event, batch))
            named |= {name.decode() for name in marked}
        assert named == self.ref.ask_for_claims(30_000)
        for holder in sorted(self.ref.sweep(ranks)):
            self.ask_for_lost(holder)
