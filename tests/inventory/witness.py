"""Asks the inventory for things, and notes what it was told, for `acts` to judge."""

import itertools
import time
from collections.abc import Awaitable, Sequence
from typing import Any

from acts import Act, History, Hold, Rest, Verb, in_order
from inventory_house import House, adults
from msgspec import structs

from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed
from lml_live.inventory.groups import EventWish, GroupChanged, GroupRefusal
from lml_live.inventory.handing import HandOvers
from lml_live.inventory.records import Record
from lml_live.inventory.staff_holds import StaffHolds, Undone

SEATS, PIT, MAX_SIZE, EXTENSIONS, HOLD_SECONDS, LIFETIME_SECONDS = 12, 5, 4, 1, 100, 150


class Witness:
    """Every act on these events, one after the other, and what became of it."""

    def __init__(self, house: House, events: Sequence[str]) -> None:
        self.house, self.events, self.event = house, list(events), events[0]
        self.staff = StaffHolds(house.book)
        self.acts: list[Act] = []
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

    async def hold(self, client: str, *seats: int, pit: int = 0, key: str | None = None) -> str:
        work = self.house.holds.hold_seats(self.event, client, adults(*seats), places(pit), key=key)
        return await self.note(client, "hold", work, *seats, pit=pit, key=key or "")

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

    async def give(self, client: str, *seats: int, pit: int = 0, over_house: bool = False, again: int = 0) -> str:
        """A hold for a customer; `again` is the number of a request that is told twice."""
        number = again or next(self._numbers) + 1
        name = await self.staff.hold_id(self.event, f"{number:020x}")
        wish = adults(*seats), places(pit)
        work = self.staff.hold_for_customer(self.event, client, name, *wish, over_house=over_house)
        return await self.note("", "hold", work, *seats, pit=pit, over_house=over_house, key=f"staff {client} {number}")

    async def block(self, *seats: int, pit: int = 0, state: int = seatmap.BYTE_HOUSE) -> None:
        began = self.now()
        done = await self.house.holds.block_seats(self.event, seats, {"pit": pit}, state)
        blocked = frozenset(seats) - set(done.refused_seats)
        before = next((act.places for act in reversed(self.acts) if act.verb == "block"), 0)
        self._note_block("block", began, blocked, before if done.refused_areas else pit)

    async def unblock(self, *seats: int) -> None:
        began = self.now()
        refused = await self.house.holds.unblock_seats(self.event, seats)
        self._note_block("unblock", began, frozenset(seats) - set(refused), 0)

    def _note_block(self, verb: Verb, began: float, seats: frozenset[int], pit: int) -> None:
        times = {"began_ms": began, "ended_ms": self.now()}
        self.acts.append(Act(client="", verb=verb, event=self.event, seats=seats, places=pit, granted=True, **times))

    async def hand_over(self, client: str, to: str) -> None:
        """Of each hold that went over, both are told that it is the other's now, and nothing else of it changed."""
        began = self.now()
        handed = await HandOvers(self.house.book).hand_over(self.event, client, to, [])
        times = {"began_ms": began, "ended_ms": self.now()}
        for hold in handed.holds:
            known = next(act.got for act in reversed(self.acts) if act.hold == hold and act.got)
            got, more = structs.replace(known, holder=to), {"event": self.event, "hold": hold}
            self.acts.append(Act(client=client, verb="hand_over", granted=True, got=got, **more, **times))

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
            _, seats, areas = await self.house.inventory(event)
            records = await self.house.records(event)
            found[event] = Rest(
                seats=bytes(byte & seatmap.STATE_MASK for byte in seats),
                counts=areas["pit"],
                capacity=PIT,
                holds={name: hold_of(record) for name, record in records.items() if record.state != "gone"},
                now_ms=self.now(),
                lifetime_ms=LIFETIME_SECONDS * 1000,
                extensions=EXTENSIONS,
                max_size=MAX_SIZE,
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
