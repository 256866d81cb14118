"""Tickets: with the sale, once through the door, printed anew, and void with the money; on real PostgreSQL."""

import asyncio
import re

import asyncpg
import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import BookingHouse
from waiting import eventually

from lml_live.booking.bookings import Booking
from lml_live.booking.tickets import TICKET_MOVES, TICKET_STATES, NotReprinted, Scanned, Ticket
from lml_live.infra.postgres import statements


async def codes(house: BookingHouse, booking: Booking) -> list[str]:
    return [ticket.id for ticket in await house.tickets.of_booking(booking.id)]


async def scan(house: BookingHouse, ticket: str, event: str, key: str = "k", gate: str = "north") -> Scanned:
    found = await house.tickets.scan(ticket, event, gate, "s-1", key)
    assert found is not None
    return found


async def test_tickets_come_with_the_confirmed_sale(house: BookingHouse, event: str) -> None:
    booking = await house.claimed(event, await house.take(event, 3, 4, floor=1))
    await house.pay(booking)
    assert await codes(house, booking) == []
    await house.completer.look_at(booking.id)
    assert await house.state(booking) == "authorized"
    assert await codes(house, booking) == [], "not paid yet"
    await house.rest()
    tickets = await house.tickets.of_booking(booking.id)
    assert [(one.line, one.state, one.area_id, one.type) for one in tickets] == [
        (1, "valid", None, "adult"),
        (2, "valid", None, "adult"),
        (3, "valid", "floor", "adult"),
    ]
    assert len({one.id for one in tickets}) == 3
    assert all(re.fullmatch(r"t-[0-9a-f]{32}", one.id) for one in tickets)
    await house.completer.look_at(booking.id)
    assert await house.tickets.of_booking(booking.id) == tickets, "looked at again"
    await house.assert_right(event)


async def test_the_first_scan_wins_and_the_others_hear_of_it(house: BookingHouse, event: str) -> None:
    [code] = await codes(house, await house.sold(event, 3))
    gates = ["north", "south", "east", "west"]
    found = await asyncio.gather(*(scan(house, code, event, key=gate, gate=gate) for gate in gates))
    [first] = [one for one in found if one.outcome == "admitted"]
    assert {one.outcome for one in found} == {"admitted", "used"}
    assert {(one.ticket.used_gate, one.ticket.used_at) for one in found} == {
        (first.ticket.used_gate, first.ticket.used_at)
    }
    assert first.ticket.used_gate is not None
    again = await scan(house, code, event, key=first.ticket.used_gate, gate="elsewhere")
    assert again == first, "the request that was admitted, sent again"


async def test_what_lets_nobody_in(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, 4)
    one, two = await codes(house, booking)
    other = await scan(house, one, "another-event")
    assert (other.outcome, other.ticket.state) == ("other_event", "valid")
    assert await house.tickets.scan("t-none", event, "north", "s-1", "k") is None
    await house.refund(booking, lines=[1])
    assert (await scan(house, one, event, key="early")).outcome == "admitted", "the refund is not made yet"
    await house.rest()
    assert (await scan(house, one, event, key="late")).outcome == "void"
    assert await codes(house, booking) == [two]
    await house.pool.execute("UPDATE ticket SET state = 'flagged' WHERE id = $1", two)
    assert (await scan(house, two, event)).outcome == "flagged"
    await house.refund(booking, "rest")
    await house.rest()
    assert await codes(house, booking) == []
    await house.assert_right(event)


async def test_a_reprint_ends_the_old_codes_once(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, 4)
    one, two = await codes(house, booking)

    async def reprint(lines: list[int] | None, key: str) -> list[Ticket] | NotReprinted | None:
        return await house.tickets.reprint(booking.id, lines, "wet", "s-1", key)

    answers = await asyncio.gather(*(reprint([1], "p1") for _ in range(3)))
    fresh = await codes(house, booking)
    assert all(isinstance(answer, list) and [each.id for each in answer] == fresh for answer in answers)
    assert fresh[0] != one
    assert fresh[1] == two
    assert (await scan(house, one, event)).outcome == "void"
    assert (await scan(house, fresh[0], event)).outcome == "admitted"
    assert isinstance(await reprint([1], "p2"), NotReprinted), "somebody is in on it"
    assert isinstance(await reprint([9], "p3"), NotReprinted)
    assert isinstance(await reprint(None, "p4"), list)
    last = await codes(house, booking)
    assert last[0] == fresh[0]
    assert last[1] != two
    assert await house.tickets.reprint("b-none", None, "wet", "s-1", "p5") is None
    await house.assert_right(event)


async def test_nobody_comes_in_on_a_ticket_that_is_being_printed_anew(house: BookingHouse, event: str) -> None:
    """A scan between the reprint's look and its act let one in, and the new code another."""
    booking = await house.sold(event, 3)
    [code] = await codes(house, booking)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with house.pool.acquire() as door:
        admitted = door.transaction()
        await admitted.start()
        await door.execute(statements("tickets")["admit"], code, event, "north", "s-1", "k")
        reprint = asyncio.create_task(house.tickets.reprint(booking.id, None, "wet", "s-1", "p"))
        await eventually(lambda: house.pool.fetchval(waiting))
        await admitted.commit()
    assert isinstance(await reprint, NotReprinted)
    assert await codes(house, booking) == [code]


async def test_a_ticket_moves_as_the_table_says(house: BookingHouse, event: str) -> None:
    [code] = await codes(house, await house.sold(event, 3))
    for before in sorted(TICKET_STATES):
        for after in sorted(TICKET_STATES):
            async with house.pool.acquire() as connected, connected.transaction():
                await connected.execute("SET LOCAL session_replication_role = replica")
                await connected.execute(
                    "UPDATE ticket SET state = $2, used_at = now(), used_gate = 'n', used_by = 's', used_key = 'k'"
                    " WHERE id = $1",
                    *(code, before),
                )
            move = house.pool.execute("UPDATE ticket SET state = $2 WHERE id = $1", code, after)
            if before == after or after in TICKET_MOVES[before]:
                await move
            else:
                with pytest.raises(asyncpg.CheckViolationError) as refused:
                    await move
                assert refused.value.constraint_name == "ticket_moves_legally"
    for change in ("line = 2", "event_id = 'x'", "used_at = now()", "used_gate = 'other'"):
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            await house.pool.execute(f"UPDATE ticket SET {change} WHERE id = $1", code)
        assert refused.value.constraint_name == "ticket_moves_legally", change
