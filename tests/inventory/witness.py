"""Asks the inventory for things, and notes what it was told, for `acts` to judge."""

import itertools
import time
from collections.abc import Awaitable, Collection, Sequence
from contextlib import suppress
from math import inf
from typing import Any

from acts import Act, History, Hold, Rest, Verb, in_order
from inventory_house import House, Worker, adults, seat_id
from msgspec import structs

from lml_live.errors import Unavailable
from lml_live.inventory import seatmap
from lml_live.inventory.addresses import Addresses
from lml_live.inventory.answers import Changed
from lml_live.inventory.groups import EventWish, GroupChanged, GroupRefusal
from lml_live.inventory.handing import HandOvers
from lml_live.inventory.records import WEB, Record, pack
from lml_live.inventory.returns import Returns
from lml_live.inventory.staff_holds import ActNote, StaffHolds, Undone
from lml_live.inventory.wishes import AreaBlock

SEATS, PIT, MAX_SIZE, EXTENSIONS = 12, 5, 4, 1
HOLD_SECONDS, LIFETIME_SECONDS = 6_000, 9_000
"""So long that nothing runs out because the machine is slow, as a mark of 30 s did. Time is passed by the tests."""
AGENCY = "agency"
"""The one sales channel that an event may have."""


class Witness:
    """Every act on these events, one after the other, and what became of it."""

    def __init__(self, house: House, events: Sequence[str]) -> None:
        self.house, self.events, self.event = house, list(events), events[0]
        self.staff = StaffHolds(house.book)
        self.acts: list[Act] = []
        self.blocks: dict[str, AreaBlock] = {}
        """What PostgreSQL has as blocked of the pit."""
        self._numbers = itertools.count()

    def now(self) -> float:
        return time.time() * 1000 + self.house.book.skew_ms

    async def note(self, client: str, verb: Verb, work: Awaitable[Any], *seats: int, pit: int = 0, **more: Any) -> str:
        """An act on one hold; answers the hold's id."""
        began, answer = self.now(), await work
        granted = isinstance(answer, Changed | Undone)
        if granted:
            more["hold"] = answer.hold
        asked = {"seats": frozenset(seats), "places": pit, "event": self.event, **more}
        times = {"began_ms": began, "ended_ms": self.now()}
        got = hold_of(answer.record) if granted and answer.record else None
        self.acts.append(Act(client=client, verb=verb, granted=granted, got=got, **asked, **times))
        return str(more.get("hold", ""))

    async def hold(
        self,
        client: str,
        *seats: int,
        pit: int = 0,
        key: str | None = None,
        through: str = WEB,
        address: str = "",
    ) -> str:
        more = {"key": key, "through": through, "address": address}
        work = self.house.holds.hold_seats(self.event, client, adults(*seats), places(pit), **more)  # type: ignore[arg-type]
        channel = through if through == AGENCY else ""
        return await self.note(client, "hold", work, *seats, pit=pit, key=key or "", channel=channel, address=address)

    async def add(self, client: str, hold: str, *seats: int, pit: int = 0, key: str | None = None) -> None:
        work = self.house.holds.add_to_hold(self.event, client, hold, adults(*seats), places(pit), key=key)
        await self.note(client, "add", work, *seats, pit=pit, hold=hold, key=key or "")

    async def replace(self, client: str, hold: str, *seats: int, pit: int = 0, key: str | None = None) -> None:
        work = self.house.holds.replace_hold(self.event, client, hold, adults(*seats), places(pit), key=key)
        await self.note(client, "replace", work, *seats, pit=pit, hold=hold, key=key or "")

    async def extend(self, client: str, hold: str) -> None:
        await self.note(client, "extend", self.house.holds.extend_hold(self.event, client, hold), hold=hold)

    async def release(self, client: str, hold: str) -> None:
        await self.note(client, "release", self.house.holds.release_hold(self.event, client, hold), hold=hold)

    # --- Staff

    async def move(self, hold: str, *seats: int, pit: int = 0, over_house: bool = False) -> None:
        work = self.staff.move_hold(self.event, hold, adults(*seats), places(pit), over_house=over_house)
        await self.note("", "replace", work, *seats, pit=pit, hold=hold, over_house=over_house)

    async def move_and_die(self, hold: str, *seats: int) -> None:
        """Nobody hears of it, but whoever settles it, and goes by what he is told."""
        note = ActNote(next(self._numbers) + 1, (await self.house.sale(self.event)).epoch)
        await self.staff.move_hold(self.event, hold, adults(*seats), [], over_house=False, note=note)

        async def settle() -> Undone | None:
            return (await self.staff.settle_act(self.event, note.number))[1]

        await self.note("", "replace", settle(), *seats, hold=hold)

    async def move_late(self, hold: str, *seats: int) -> None:
        """It is on record as not done, and then it comes: nobody hears of it."""
        note = ActNote(next(self._numbers) + 1, (await self.house.sale(self.event)).epoch)
        assert (await self.staff.settle_act(self.event, note.number))[1] is None
        with suppress(Unavailable):
            await self.staff.move_hold(self.event, hold, adults(*seats), [], over_house=False, note=note)

    async def give(self, client: str, *seats: int, pit: int = 0, over_house: bool = False, again: int = 0) -> str:
        """A hold for a customer; `again` is the number of a request that is told twice."""
        number = again or next(self._numbers) + 1
        name = await self.staff.hold_id(self.event, f"{number:020x}")
        wish = adults(*seats), places(pit)
        more = {"over_house": over_house, "house": self.blocks if over_house else {}}
        work = self.staff.hold_for_customer(self.event, client, name, *wish, **more)  # type: ignore[arg-type]
        return await self.note("", "hold", work, *seats, pit=pit, over_house=over_house, key=f"staff {client} {number}")

    async def give_late(self, client: str, *seats: int, settled: int, asked: int) -> None:
        """It is on record as not taken, by one number, and then it comes, by another: nobody hears of it."""
        name, sale = await self.staff.hold_id(self.event, f"{asked:020x}"), await self.house.sale(self.event)
        assert (await self.staff.settle_hold(self.event, name, settled))[0] is None
        note = ActNote(asked, sale.epoch)
        with suppress(Unavailable):
            await self.staff.hold_for_customer(
                self.event, client, name, adults(*seats), [], over_house=False, note=note
            )

    async def sell(self, client: str, *seats: int, pit: int = 0) -> str:
        """Taken at the counter, over house holds, too."""
        name = await self.staff.counter_hold_id(self.event, f"{next(self._numbers) + 1:020x}")
        wish = adults(*seats), places(pit)
        more = {"over_house": True, "mark_seconds": HOLD_SECONDS, "house": self.blocks}
        work = self.staff.take_for_sale(self.event, client, name, "b", *wish, **more)  # type: ignore[arg-type]
        return await self.note("", "hold", work, *seats, pit=pit, over_house=True)

    async def undo(self, hold: str, *house: int) -> None:
        """What was taken at the counter is what it was: these seats the house's, and the places that it lent."""
        began = self.now()
        if await self.staff.undo_taking(self.event, hold, "b", house, self.blocks) is not None:
            self._note_back(hold, began, house)

    def _note_back(self, hold: str, began: float, house: Collection[int]) -> None:
        self._note_staff("release", began, hold=hold)
        off_sale = self.blocks["pit"].off_sale if self.blocks else 0
        self._note_block("block", self.now(), frozenset(house), off_sale)

    async def withdraw_what_nobody_knows(self, hold: str, *house: int) -> None:
        """A customer's hold over which a worker died ends: these seats are the house's, and the places that it lent."""
        began = self.now()
        assert isinstance(await self.staff.withdraw_hold(self.event, hold, house, self.blocks), Undone)
        self._note_back(hold, began, house)

    async def block(self, *seats: int, pit: int = 0, killed: int = 0, state: int = seatmap.BYTE_HOUSE) -> None:
        """So many places are blocked then, `killed` of them for good and the others for the house."""
        began = self.now()
        done = await self.house.holds.block_seats(self.event, seats, {"pit": pit}, state)
        blocked = frozenset(seats) - set(done.refused_seats)
        if not done.refused_areas:
            self.blocks = {"pit": AreaBlock(pit, pit - killed)}
        before = self.blocks.get("pit", AreaBlock(0, 0))
        self._note_block("block", began, blocked, before.off_sale, killed=before.off_sale - before.house)

    async def unblock(self, *seats: int) -> None:
        began = self.now()
        refused = await self.house.holds.unblock_seats(self.event, seats)
        self._note_block("unblock", began, frozenset(seats) - set(refused), 0)

    def _note_block(self, verb: Verb, began: float, seats: frozenset[int], pit: int, *, killed: int = 0) -> None:
        self._note_staff(verb, began, seats=seats, places=pit, killed=killed)

    async def hand_over(self, client: str, to: str) -> None:
        """Of each hold that went over, both are told that it is the other's now, and nothing else of it changed."""
        began = self.now()
        handed = await HandOvers(self.house.book).hand_over(self.event, client, to, [])
        times = {"began_ms": began, "ended_ms": self.now()}
        for hold in handed.holds:
            known = next(act.got for act in reversed(self.acts) if act.hold == hold and act.got)
            got, more = structs.replace(known, holder=to), {"event": self.event, "hold": hold}
            self.acts.append(Act(client=client, verb="hand_over", granted=True, got=got, **more, **times))

    async def withdraw(self, hold: str) -> None:
        await self.note("", "release", self.staff.withdraw_hold(self.event, hold), hold=hold)

    async def close(self) -> None:
        """The sale is over: of every hold that is in no checkout its holder is told that it is gone."""
        began, offset, freed = self.now(), 0, 1
        while freed:
            offset, freed, seen = 0, 0, 1
            while seen:
                seen, ended = await self.house.close_some(self.event, offset=offset)
                offset, freed = offset + seen, freed + ended
        marked = {act.hold for act in self.acts if act.verb == "checkout"}
        for hold in {act.hold for act in self.acts if act.granted and act.got} - marked:
            self._note_staff("release", began, hold=hold)

    async def assign(self, *seats: int, pit: int) -> None:
        """To the agency, which has `pit` places then."""
        began = self.now()
        done = await self.house.channels.assign_seats(self.event, AGENCY, seats, {"pit": pit})
        before = next((act.places for act in reversed(self.acts) if act.verb in ("assign", "open")), 0)
        more = {"seats": frozenset(seats) - set(done.refused_seats), "places": before if done.refused_areas else pit}
        self._note_staff("assign", began, channel=AGENCY, **more)

    async def open_agency(self) -> None:
        began = self.now()
        await self.house.channels.open_seats(self.event, AGENCY, None, 0, SEATS, ["pit"])
        self._note_staff("open", began, channel=AGENCY, seats=frozenset(range(SEATS)))

    async def forget_addresses(self) -> None:
        await Addresses(self.house.book).step(self.events)

    def _note_staff(self, verb: Verb, began: float, **more: Any) -> None:
        times = {"began_ms": began, "ended_ms": self.now()}
        self.acts.append(Act(client="", verb=verb, event=self.event, granted=True, **more, **times))

    # --- Bookings

    async def checkout(self, client: str, hold: str) -> None:
        await self.note(client, "checkout", self.house.holds.checkout_hold(self.event, client, hold, "b"), hold=hold)

    async def keep(self, hold: str, *seats: int, pit: int = 0, booking: str = "b") -> None:
        """What a booking keeps of its hold; a note of another booking bears that one's name."""
        began = self.now()
        ids = [*map(seat_id, seats)]
        granted = await Returns(self.house.book).keep_places(self.event, hold, booking, ids, places(pit))
        if granted:
            got = hold_of((await self.house.records(self.event))[hold])
            times = {"began_ms": began, "ended_ms": self.now()}
            more = {"event": self.event, "hold": hold, "seats": frozenset(seats), "places": pit, "got": got}
            client = "" if booking == "b" else booking
            self.acts.append(Act(client=client, verb="keep", granted=True, **more, **times))

    # --- The book changes hands

    async def pause(self) -> None:
        """Another worker's doing; this one is not told, and what it asked for earlier arrives late."""
        sale, began = await self.house.sale(self.event), self.now()
        await self.house.change_event(self.event, state="paused")
        other = Worker(self.house.pipe, self.house.pool)
        await other.book.restamp(self.event)
        self._note_staff("pause", began)
        late = [str(sale.epoch), str(sale.revision)]
        await self.house.pipe.run("stamp_event", [sale.key("book"), sale.key("log")], late)

    async def adopt(self, *, until: str = "", meanwhile: Awaitable[object] | None = None) -> None:
        """Another Redis process was seen: the event is adopted. `meanwhile` comes just before a script of it."""
        run = type(self.house.pipe).run

        async def after(script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
            nonlocal meanwhile
            if script == until and meanwhile is not None:
                work, meanwhile = meanwhile, None
                try:
                    await work
                except Unavailable:  # nothing was changed, as it ought to be
                    self.house.book.known(self.event)
            return await run(self.house.pipe, script, keys, args)

        await self.house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", self.event)
        other = Worker(self.house.pipe, self.house.pool)
        self.house.pipe.run = after  # type: ignore[method-assign]
        try:
            await other.book.recover(self.event, wait=True)
        finally:
            del self.house.pipe.run  # type: ignore[method-assign]
        if until:
            assert meanwhile is None, "nothing came in between"

    async def finish_late(self) -> None:
        """The last step of an adopter that slept while another one was faster, and knows nobody's holds."""
        sale = await self.house.sale(self.event)
        names = ("seats", "book", "deadlines", "areas", "log", "new_book", "new_deadlines")
        areas = ["pit/available", PIT, *(part for name in ("held", "sold", "blocked") for part in (f"pit/{name}", 0))]
        args = ["1", str(sale.revision), bytes(SEATS), pack([*areas, "pit/allotments", []])]
        await self.house.pipe.run("adopt_finish", [sale.key(name) for name in names], args)
        await self.house.book.recover(self.event, wait=True)

    async def look(self, script: str) -> None:
        """Whether this script calls an inventory whole, a part of which was lost."""
        sale, began = await self.house.sale(self.event), self.now()
        await self.house.pipe.call("HDEL", sale.key("areas"), "pit/sold", "pit/blocked")
        seq = [0] if script == "check_book" else []
        keys = [sale.key(name) for name in ("seats", "book", "areas", "log")]
        answer = await self.house.pipe.run(script, keys, [sale.stamp, sale.seat_count, sale.area_fields, *seq])
        if answer[0] in (b"whole", b"inventory"):
            lost = sale.area_fields - await self.house.pipe.call("HLEN", sale.key("areas"))
            self._note_staff("look", began, places=lost)
        if await self.house.pipe.call("HEXISTS", sale.key("book"), "stamp"):
            await self.house.pipe.call("HDEL", sale.key("book"), "stamp")
        await self.house.book.recover(self.event, wait=True)

    # --- Over both events

    async def both(
        self, client: str, verb: Verb, work: Awaitable[GroupChanged | GroupRefusal], *seats: int, **more: Any
    ) -> dict[str, str]:
        """An act over all events that asks the same of each; answers the holds by event."""
        began, answer, request = self.now(), await work, f"request {next(self._numbers)}"
        times = {"began_ms": began, "ended_ms": self.now()}
        holds: dict[str, str] = more.pop("holds", {})
        for event in more.pop("of", self.events):
            change = answer.changes[event] if isinstance(answer, GroupChanged) else None
            hold = change.hold if change else holds.get(event, "")
            got = hold_of(change.record) if change and change.record else None
            wish = {"seats": frozenset(seats), "event": event, "hold": hold, "request": request}
            self.acts.append(
                Act(client=client, verb=verb, granted=change is not None, got=got, **wish, **times, **more)
            )
            holds = {**holds, event: hold}
        return holds

    async def hold_both(self, client: str, *seats: int, key: str | None = None) -> dict[str, str]:
        wishes = [EventWish(event, adults(*seats), []) for event in self.events]
        work = self.house.groups.hold_group(client, wishes, key=key)
        return await self.both(client, "hold", work, *seats, key=key or "")

    async def move_to(self, client: str, hold: str, event: str, *seats: int) -> None:
        """Moves a hold of the first event to another one."""
        wish = [EventWish(event, adults(*seats), [])]
        began = self.now()
        answer = await self.house.groups.move_group(client, {self.event: hold}, wish, key=None)
        granted = isinstance(answer, GroupChanged)
        times = {"began_ms": began, "ended_ms": self.now(), "client": client, "granted": granted, "request": f"{began}"}
        made = answer.changes[event] if isinstance(answer, GroupChanged) else None
        new = {"hold": made.hold, "got": hold_of(made.record)} if made and made.record else {}
        if granted:
            self.acts.append(Act(verb="release", event=self.event, hold=hold, **times))
        self.acts.append(
            Act(verb="hold", event=event, seats=frozenset(seats), instead_of=(hold,), **new, **times)  # type: ignore[arg-type]
        )

    async def release_both(self, client: str, holds: dict[str, str]) -> None:
        work = self.house.groups.release_group(client, holds)
        await self.both(client, "release", work, holds=holds, of=list(holds))

    async def extend_both(self, client: str, holds: dict[str, str]) -> None:
        work = self.house.groups.extend_group(client, holds)
        await self.both(client, "extend", work, holds=holds, of=list(holds))

    # --- At rest

    async def rest(self) -> History:
        found = {}
        for event in self.events:
            await self.house.sweep(event)
            sale, _, seats, areas, allotments = await self.house.book.read_inventory(event)
            given = allotments["pit"]
            names = {channel.number: name for name, channel in sale.channels.items()}
            records = await self.house.records(event)
            found[event] = Rest(
                seats=bytes(byte & seatmap.STATE_MASK for byte in seats),
                counts=areas["pit"],
                capacity=PIT,
                owners={seat: names[byte >> 3] for seat, byte in enumerate(seats) if byte >> 3},
                allotted={names[number]: n for number, n in zip(given[::3], given[1::3], strict=True) if n},
                holds={name: hold_of(record) for name, record in records.items() if record.state != "gone"},
                now_ms=self.now(),
                lifetime_ms=LIFETIME_SECONDS * 1000,
                extensions=EXTENSIONS,
                max_size=MAX_SIZE,
                max_from_address=sale.address_holds or inf,
            )
        return History(in_order(self.acts), found)


def hold_of(record: Record) -> Hold:
    return Hold(
        holder=record.holder,
        seats=frozenset(seat for seat, _ in record.seat_types()),
        places=sum(n for _, _, n in record.area_types()),
        until_ms=record.deadline_ms,
        cap_ms=record.lifetime_ms,
        extensions=record.extensions,
    )


def places(pit: int) -> list[tuple[str, str, int]]:
    return [("pit", "adult", pit)] if pit else []
