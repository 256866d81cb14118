"""Claims that wait together: one transaction, in which each is decided for itself."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import BookingHouse
from inventory_house import seat_id
from waiting import eventually

from lml_live import limits
from lml_live.booking import together
from lml_live.booking.bookings import Bookings
from lml_live.booking.claims import Claimed, Known, Line, NewBooking, NotClaimed, Outcome
from lml_live.booking.together import Together
from lml_live.errors import Overloaded, Unavailable
from lml_live.infra.acting import Acting, acting_ends
from lml_live.inventory.answers import Changed
from lml_live.inventory.records import Record

TAKEN = NotClaimed("seat_taken", "A seat of this hold is somebody else's.")
FULL = NotClaimed("area_full", "There are not enough places left.")
MOVED = NotClaimed("unavailable", "The seat map is being restored.", epoch_moved=True)


def claim_of(event: str, name: str, *seats: int, floor: int = 0, price: int = 4_750, epoch: int = 1) -> NewBooking:
    """A marked hold that is to be claimed."""
    areas = ("floor", "adult", floor) if floor else ()
    record = Record("", "checkout", 2, "", (), areas, "own", (), 0, 9_000, 9_000, 1_000, 1)
    places = [(seat_id(seat), None) for seat in seats] + [(None, "floor")] * floor
    return NewBooking(
        id=f"b-{name}",
        event=event,
        holder=f"holder-{name}",
        mark=Changed(f"1-{name}", record, epoch, 1, 1_000),
        buyer_name=name,
        buyer_email=f"{name}@example.org",
        currency="EUR",
        prices_version=1,
        lines=tuple(Line(number, *place, "adult", price, 0, 0) for number, place in enumerate(places, 1)),
        pay_seconds=600,
        origin=f"from-{name}",
    )


async def claim_at_once(bookings: Bookings | Together, news: Sequence[NewBooking]) -> list[Outcome | BaseException]:
    """Claims that wait together, for they come in one tick."""
    return await asyncio.gather(*map(bookings.claim, news), return_exceptions=True)


@pytest.fixture(name="batches")
def batches_fixture(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the claims of every transaction that was begun."""
    batches: list[list[str]] = []
    claim_all, claim_one = together.claim_all, together.claim_one

    async def all_of(pool: Any, news: Sequence[NewBooking]) -> list[Outcome]:
        batches.append([new.buyer_name for new in news])
        return await claim_all(pool, news)

    async def one_of(pool: Any, new: NewBooking) -> Outcome:
        batches.append([new.buyer_name])
        return await claim_one(pool, new)

    monkeypatch.setattr(together, "claim_all", all_of)
    monkeypatch.setattr(together, "claim_one", one_of)
    return batches


@asynccontextmanager
async def locked(house: BookingHouse, event: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The event's claims wait, as while it is adopted."""
    connected = await asyncpg.connect(house.dsn)
    try:
        async with connected.transaction():
            number = await connected.fetchval("SELECT number FROM event WHERE id = $1", event)
            await connected.execute("SELECT pg_advisory_xact_lock(7202, $1::int)", number)
            yield connected
    finally:
        await connected.close()


async def waiting_for_locks(house: BookingHouse) -> list[int]:
    """The backends of this database that wait for a lock."""
    rows = await house.pool.fetch(
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return [row["pid"] for row in rows]


async def owners(house: BookingHouse, event: str) -> dict[str, str]:
    """Whose each seat is."""
    rows = await house.pool.fetch("SELECT * FROM booking_seat WHERE event_id = $1 AND state <> 'released'", event)
    assert len({row["seat_id"] for row in rows}) == len(rows), "a seat is two buyers'"
    return {row["seat_id"]: row["booking_id"] for row in rows}


# --- What becomes of each

Wish = tuple[str, tuple[int, ...], int, int]
HALVES = ["abc", "a", "bc", "b", "c"]

# Seat 9 is taken, and a checkout k was refused.
# name, seats, places and epoch of each that waits · what becomes of it · the transactions
ENDS: dict[str, tuple[list[Wish], list[Outcome], list[str]]] = {
    "alone": ([("a", (0, 1), 2, 1)], [Claimed()], ["a"]),
    "nothing in the way": (
        [("a", (0, 5), 3, 1), ("b", (1, 4), 0, 1), ("c", (), 4, 1)],
        [Claimed(), Claimed(), Claimed()],
        ["abc"],
    ),
    "a seat that is taken": (
        [("a", (0,), 0, 1), ("b", (9, 1), 0, 1), ("c", (2,), 0, 1)],
        [Claimed(), TAKEN, Claimed()],
        HALVES,
    ),
    "each other": (
        [("a", (0, 1), 0, 1), ("b", (1, 2), 0, 1), ("c", (2,), 0, 1)],
        [Claimed(), TAKEN, Claimed()],
        HALVES,
    ),
    "a full area": ([("a", (), 3, 1), ("b", (), 4, 1), ("c", (3,), 4, 1)], [Claimed(), Claimed(), FULL], HALVES),
    "an id that is there": (
        [("a", (0,), 0, 1), ("k", (1,), 2, 1), ("c", (1,), 0, 1)],
        [Claimed(), Known(), Claimed()],
        ["akc"],
    ),
    "another epoch": (
        [("a", (0,), 0, 1), ("b", (0, 9), 99, 2), ("c", (1,), 0, 1)],
        [Claimed(), MOVED, Claimed()],
        ["abc"],
    ),
    "another epoch of all": ([("a", (0,), 0, 2), ("b", (0, 9), 1, 2)], [MOVED, MOVED], ["ab"]),
    "the same booking": ([("a", (0,), 1, 1), ("a", (0,), 1, 1)], [Claimed(), Known()], ["a", "a"]),
}


@pytest.mark.parametrize("case", ENDS)
async def test_each_of_those_that_wait_together_is_decided_for_itself(
    house: BookingHouse, event: str, batches: list[list[str]], case: str
) -> None:
    wishes, ends, transactions = ENDS[case]
    assert await house.bookings.claim(claim_of(event, "before", 9)) == Claimed()
    assert await house.bookings.refuse("b-k", event, "holder-k", claim_of(event, "k", 1).mark)
    batches.clear()
    news = [claim_of(event, name, *seats, floor=floor, epoch=epoch) for name, seats, floor, epoch in wishes]
    assert await claim_at_once(house.bookings, news) == ends
    assert ["".join(names) for names in batches] == transactions
    won = {new.id: new for new, end in zip(news, ends, strict=True) if end == Claimed()}
    for new in won.values():
        made = await house.bookings.load(new.id)
        assert made is not None
        assert (made.holder, made.buyer_email, made.lines, made.state) == (
            *(new.holder, new.buyer_email, new.lines, "pending_payment"),
        )
        assert await house.acts(made) == {"create_intent": False}
        assert await house.history(made) == ["pending_payment"]
    places = {seat_id(9): "b-before"}
    places |= {line.seat_id: new.id for new in won.values() for line in new.lines if line.seat_id}
    assert await owners(house, event) == places
    assert await house.taken(event) == sum(not line.seat_id for new in won.values() for line in new.lines)


async def test_what_costs_nothing_is_sold_beside_what_does(
    house: BookingHouse, event: str, batches: list[list[str]]
) -> None:
    free = claim_of(event, "free", 1, 2, floor=2, price=0), claim_of(event, "too", 3, price=0)
    news = [claim_of(event, "paid", 0), *free]
    assert await claim_at_once(house.bookings, news) == [Claimed()] * 3
    assert len(batches) == 1
    rows = await house.pool.fetch("SELECT id, state FROM booking ORDER BY id")
    assert dict(map(tuple, rows)) == {"b-free": "confirmed", "b-paid": "pending_payment", "b-too": "confirmed"}
    acts = await house.pool.fetch("SELECT booking_id, act FROM outbox ORDER BY 1")
    assert [tuple(row) for row in acts] == [
        ("b-free", "sell_hold"),
        ("b-paid", "create_intent"),
        ("b-too", "sell_hold"),
    ]
    tickets = await house.pool.fetch("SELECT booking_id, count(*) FROM ticket GROUP BY 1 ORDER BY 1")
    assert dict(map(tuple, tickets)) == {"b-free": 4, "b-too": 1}
    seats = await house.pool.fetch("SELECT booking_id, state FROM booking_seat ORDER BY 1")
    assert [tuple(row) for row in seats] == [
        *(("b-free", "sold"), ("b-free", "sold")),
        ("b-paid", "claimed"),
        ("b-too", "sold"),
    ]


async def test_a_defect_is_its_own(house: BookingHouse, event: str) -> None:
    """A name that PostgreSQL cannot keep; the gateway lets none through."""
    news = [claim_of(event, "a", 0), claim_of(event, "b", 1), claim_of(event, "c", 2)]
    news[1] = msgspec.structs.replace(news[1], buyer_name="b\0")
    first, second, third = await claim_at_once(house.bookings, news)
    assert (first, third) == (Claimed(), Claimed())
    assert isinstance(second, asyncpg.CharacterNotInRepertoireError)


@pytest.mark.parametrize(("state", "code"), [("paused", "sale_paused"), ("closed", "sale_closed")])
async def test_a_sale_that_is_over_refuses_all(house: BookingHouse, event: str, state: str, code: str) -> None:
    await house.pool.execute("UPDATE event SET state = $2 WHERE id = $1", event, state)
    ends = await claim_at_once(house.bookings, [claim_of(event, "a", 0), claim_of(event, "b", 1)])
    assert [end.code for end in ends if isinstance(end, NotClaimed)] == [code, code]
    assert await house.pool.fetchval("SELECT count(*) FROM booking") == 0


async def test_each_is_on_record_as_its_own_buyers(house: BookingHouse, event: str) -> None:
    """A clerk's claim says who acts, and so does not go with those of holders, who act for themselves."""

    async def claim(new: NewBooking, who: Acting | None) -> Outcome:
        with acting_ends(who):
            return await house.bookings.claim(new)

    clerk = Acting("staff", "s-1", "the counter")
    news = [claim_of(event, name, number) for number, name in enumerate("abcd")]
    await asyncio.gather(*(claim(new, clerk if new.id == "b-c" else None) for new in news))
    rows = await house.pool.fetch("SELECT booking_id, actor_kind, actor_id, origin FROM booking_history ORDER BY 1")
    assert [tuple(row) for row in rows] == [
        ("b-a", "holder", "holder-a", "from-a"),
        ("b-b", "holder", "holder-b", "from-b"),
        ("b-c", "staff", "s-1", "from-c"),
        ("b-d", "holder", "holder-d", "from-d"),
    ]


# --- Who waits for whom


async def test_while_commits_are_under_way_the_rest_gathers(
    house: BookingHouse, event: str, batches: list[list[str]]
) -> None:
    queue = Together(house.bookings._pool, at_once=3, commits_max=2)
    async with locked(house, event):
        ends = []
        for number, name in enumerate("abcdefghi"):
            ends.append(asyncio.create_task(queue.claim(claim_of(event, name, number))))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await eventually(lambda: len(batches) == 2)
        assert batches == [["a"], ["b"]]
    assert await asyncio.gather(*ends) == [Claimed()] * 9
    assert sorted(batches[2:]) == [["c", "d", "e"], ["f", "g", "h"], ["i"]]
    assert not queue._queues, "nothing is kept of an event that rests"


async def test_no_claim_waits_for_another_event(house: BookingHouse, event: str) -> None:
    other = await house.open_event()
    async with locked(house, event):
        waits = asyncio.create_task(house.bookings.claim(claim_of(event, "a", 0)))
        await eventually(lambda: waiting_for_locks(house))
        assert await house.bookings.claim(claim_of(other, "b", 0)) == Claimed()
        assert not waits.done()
    assert await waits == Claimed()


@pytest.mark.parametrize(
    "shared",
    [
        "INSERT INTO booking_seat SELECT 'b-x', $1, lpad(to_hex($2::int), 64, '0'), 'adult', 'claimed'",
        "INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end, currency)"
        " SELECT 'b-' || $2::int, $1, 'h', 'x', 1, 'failed', now(), now(), 'EUR'",
    ],
    ids=["seats", "bookings"],
)
async def test_a_batch_takes_what_others_want_in_the_order_of_its_ids(
    house: BookingHouse, event: str, shared: str
) -> None:
    """Whatever came first: another worker's batch that has the lower one would wait for the higher one in a ring."""
    connected = await asyncpg.connect(house.dsn)
    await house.bookings.refuse("b-x", event, "x", claim_of(event, "x").mark)
    try:
        held = connected.transaction()
        await held.start()
        await connected.execute(shared, event, 3)
        ends = asyncio.create_task(claim_at_once(house.bookings, [claim_of(event, str(n), n) for n in (5, 4, 3)]))
        await eventually(lambda: waiting_for_locks(house))
        await connected.execute("SET LOCAL lock_timeout = '1s'")
        await connected.execute(shared, event, 5)
        await held.rollback()
        assert await ends == [Claimed()] * 3
    finally:
        await connected.close()


async def test_two_workers_that_want_the_same_seats_and_places_never_wait_in_a_ring(
    house: BookingHouse, event: str
) -> None:
    """Both have all seats in their batches, one forwards, one backwards; each seat is sold once, by either."""
    workers = [Bookings(house.bookings._pool), Bookings(house.bookings._pool)]
    for turn in range(3):
        first = [claim_of(event, f"a{turn}{n}", 8 * turn + n, floor=1) for n in range(8)]
        second = [claim_of(event, f"b{turn}{n}", 8 * turn + 7 - n, floor=1) for n in range(8)]
        ends = await asyncio.gather(*map(claim_at_once, workers, (first, second)))
        found = [end for both in ends for end in both]
        assert all(end in (Claimed(), TAKEN, FULL) for end in found), found
    assert await house.taken(event) == 10
    claimed = await house.pool.fetchval("SELECT count(*) FROM booking WHERE buyer_name IS NOT NULL")
    assert claimed == len(await owners(house, event)) == 10


# --- Who goes, and what is lost


async def test_who_gives_up_before_his_claim_is_begun_has_claimed_nothing(
    house: BookingHouse, event: str, batches: list[list[str]]
) -> None:
    queue = Together(house.bookings._pool, commits_max=1)
    async with locked(house, event):
        tasks = [asyncio.create_task(queue.claim(claim_of(event, "a", 0)))]
        await eventually(lambda: waiting_for_locks(house))
        tasks += [asyncio.create_task(queue.claim(claim_of(event, name, n))) for n, name in enumerate("bcd", 1)]
        await asyncio.sleep(0)
        tasks[0].cancel()  # too late: what is under way goes on
        tasks[2].cancel()
    assert await asyncio.gather(tasks[1], tasks[3]) == [Claimed()] * 2
    assert batches == [["a"], ["b", "d"]]
    assert sorted((await owners(house, event)).values()) == ["b-a", "b-b", "b-d"]
    assert queue._waiting == 0


async def test_a_connection_that_is_lost_is_told_to_all_of_its_batch_and_to_nobody_else(
    house: BookingHouse, event: str
) -> None:
    queue = Together(house.bookings._pool, at_once=2, commits_max=1)
    async with locked(house, event):
        ends = asyncio.create_task(claim_at_once(queue, [claim_of(event, name, n) for n, name in enumerate("abcd")]))
        [pid] = await eventually(lambda: waiting_for_locks(house))
        await house.pool.execute("SELECT pg_terminate_backend($1)", pid)
        await eventually(lambda: _waits_for_another(house, pid))
    lost, also, *others = await ends
    assert isinstance(lost, Unavailable)
    assert isinstance(also, Unavailable)
    assert lost is not also
    assert others == [Claimed()] * 2
    assert sorted((await owners(house, event)).values()) == ["b-c", "b-d"]
    assert await claim_at_once(queue, [claim_of(event, "a", 0), claim_of(event, "b", 1)]) == [Claimed()] * 2


async def _waits_for_another(house: BookingHouse, pid: int) -> bool:
    return bool(set(await waiting_for_locks(house)) - {pid})


async def test_a_commit_whose_answer_is_lost_is_unknown_to_all_and_found_by_the_same_claim(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_all = together.claim_all

    async def unheard(pool: Any, news: Sequence[NewBooking]) -> list[Outcome]:
        await claim_all(pool, news)
        raise Unavailable("The connection was lost before the answer.")

    news = [claim_of(event, "a", 0), claim_of(event, "b", 1)]
    with monkeypatch.context() as patched:
        patched.setattr(together, "claim_all", unheard)
        assert all(isinstance(end, Unavailable) for end in await claim_at_once(house.bookings, news))
    assert await claim_at_once(house.bookings, news) == [Known()] * 2


async def test_who_has_waited_for_too_long_hears_so(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "POSTGRES_ACQUIRE_SECONDS", 0.05)
    queue = Together(house.bookings._pool, at_once=1, commits_max=1)
    async with locked(house, event):
        ends = asyncio.create_task(claim_at_once(queue, [claim_of(event, name, n) for n, name in enumerate("ab")]))
        await eventually(lambda: waiting_for_locks(house))
        await asyncio.sleep(0.06)  # what is tested is that it is too long
    first, second = await ends
    assert first == Claimed()
    assert isinstance(second, Unavailable)
    assert await house.state("b-b") is None


async def test_what_waits_is_bounded(house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLAIMS_WAITING_MAX", 2)
    ends = await claim_at_once(house.bookings, [claim_of(event, name, n) for n, name in enumerate("abc")])
    assert ends[:2] == [Claimed()] * 2
    assert isinstance(ends[2], Overloaded)


async def test_a_worker_that_ends_tells_everybody(house: BookingHouse, event: str) -> None:
    """One whose transaction is under way, one that waits for it, and one that came in this very tick."""
    queue, other = Together(house.bookings._pool, at_once=1, commits_max=1), await house.open_event()
    async with locked(house, event):
        ends = asyncio.create_task(claim_at_once(queue, [claim_of(event, name, n) for n, name in enumerate("ab")]))
        await eventually(lambda: waiting_for_locks(house))
        late = asyncio.create_task(claim_at_once(queue, [claim_of(other, "c", 0)]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert queue._waiting == 2
        await queue.close()
        async with asyncio.timeout(10):
            assert all(isinstance(end, Unavailable) for end in (*await ends, *await late))
    assert await house.pool.fetchval("SELECT count(*) FROM booking") == 0
    assert queue._waiting == 0
