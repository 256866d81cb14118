"""Sales at the counter on real engines: what is sold and for what, each death in between, each refusal, money back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
    scripts_keep_their_word,
)
from booking_house import PLACE, PRICE, BookingHouse
from checker import check
from counter_house import Counter
from databases import locks_waited_for
from every_point import charge_again
from inventory_house import refused
from waiting import eventually

from lml_live.backoffice import holding
from lml_live.booking.bookings import Booking
from lml_live.booking.ledger import Tender
from lml_live.booking.refunding import NotRefundable
from lml_live.errors import Unavailable
from lml_live.inventory.answers import Refusal
from lml_live.inventory.records import is_counter_hold

FREE, HELD, SOLD, HOUSE, KILL = range(5)
KEPT = {"house": 5, "kill": 2}


@pytest.fixture
async def counter(house: BookingHouse, event: str) -> Counter:
    return await Counter(house, event).open()


async def another(counter: Counter) -> Counter:
    """The same counter at an event of its own: a table's rows cost less so than tests of their own."""
    house = counter.house
    return await Counter(house, await house.open_event(areas={"floor": 10})).open()


def sold(answer: Booking | Refusal) -> Booking:
    assert isinstance(answer, Booking), answer
    return answer


# --- Sold


TENDERS: list[tuple[Tender, dict[str, int]]] = [
    ("cash", {"cash_drawer": PRICE + PLACE, "venue_payable": -PRICE - PLACE}),
    ("card_terminal", {"card_terminal": PRICE + PLACE, "venue_payable": -PRICE - PLACE}),
    ("comp", {}),
]


async def test_places_are_sold_over_a_house_hold_in_one_call(counter: Counter) -> None:
    house = counter.house
    for tender, books in TENDERS:
        counter = await another(counter)
        event = counter.event
        made = sold(
            await counter.sell(20, floor=1, tender=tender, name="Anna", email="anna@example.org", request=tender)
        )
        amount = 0 if tender == "comp" else PRICE + PLACE
        assert (made.state, made.amount, made.tender) == ("confirmed", amount, tender)
        assert made.forgone == (PRICE + PLACE if tender == "comp" else None)
        assert (await house.states(event))[20:23] == [SOLD, HOUSE, KILL], "told before it is answered"
        assert await counter.floor() == ((2, 0, 1, 7), KEPT), "those for sale go first"
        assert await counter.blocks() == {21: "house", 22: "kill"}
        assert await house.acts(made) == {"sell_hold": False}
        assert await counter.books(made) == books
        assert await counter.sales() == [("clara", tender)] * 2
        assert await house.pool.fetchval("SELECT kind FROM mail WHERE booking_id = $1", made.id) == "confirmed"
        assert await house.history(made) == ["pending_payment", "confirmed"]
        await house.rest()
        await house.assert_right(event)
    assert await house.pool.fetchval("SELECT count(*) FROM payment") == 0


async def test_places_of_an_area_are_sold_over_a_house_hold(counter: Counter) -> None:
    """Unblocking first and selling then were two steps, and in between the places were anybody's."""
    house, event = counter.house, counter.event
    made = await counter.sold(floor=5, reason="the mayor's guests")
    assert await counter.floor() == ((0, 0, 5, 5), {"house": 3, "kill": 2})
    told = await house.pool.fetch("SELECT act, quantity, status, booking_id, reason FROM status_change ORDER BY number")
    assert ("unblock", 2, "sold", made.id, "the mayor's guests") in [tuple(row) for row in told]
    assert sold(await counter.sell(floor=5, reason="the mayor's guests")).id == made.id
    answers = await asyncio.gather(*(counter.sell(floor=2, request=str(n), staff=f"clerk-{n}") for n in (2, 3)))
    assert sorted(isinstance(answer, Booking) for answer in answers) == [False, True], "the house has three, and kills"
    await house.rest()
    assert (await counter.floor(), await counter.drift()) == (((0, 0, 7, 3), {"house": 1, "kill": 2}), ())
    await counter.sold(floor=1, request="4")
    assert await counter.floor() == ((0, 0, 8, 2), {"kill": 2})
    refused(await counter.sell(floor=1, request="5"), "area_full")
    await house.refund(made)
    await house.rest()
    assert (await counter.floor(), await counter.drift()) == (((5, 0, 3, 2), {"kill": 2}), ()), "refunded, for sale"
    await house.assert_right(event)


async def test_a_customers_hold_is_sold(counter: Counter) -> None:
    house, event = counter.house, counter.event
    hold = await counter.hold(3, 21, over_house=True)
    made = sold(await counter.sell_hold(hold, "card_terminal", reason="paid in advance"))
    assert (made.buyer_name, made.buyer_email, made.holder, made.hold) == ("Kim", None, counter.customer, hold)
    assert (made.state, made.amount) == ("confirmed", 2 * PRICE)
    assert await counter.sales() == [("clara", "paid in advance")] * 2
    assert await house.pool.fetchval("SELECT count(*) FROM mail") == 0, "nobody left an address"
    assert [(await house.states(event))[seat] for seat in (3, 21)] == [SOLD, SOLD]
    assert sold(await counter.sell_hold(hold, "card_terminal", reason="paid in advance")) == made, "twice is once"
    refused(await counter.sell_hold(hold, "cash"), "idempotency_mismatch")
    refused(await counter.sell_hold(hold, "cash", request="2"), "hold_not_found")
    # One that the customer made alone is the counter's to sell, too; a stranger's is not.
    own = await house.take(event, 5, holder=counter.customer)
    assert sold(await counter.sell_hold(own, request="3")).buyer_name == "Box office"
    refused(await counter.sell_hold(await house.take(event, 6, holder="anna"), request="4"), "forbidden")
    refused(await counter.sell_hold("1-none", request="5"), "hold_not_found")
    await house.rest()
    await house.assert_right(event)


async def test_a_hold_in_checkout_or_over_is_not_sold(counter: Counter) -> None:
    house, event = counter.house, counter.event
    hold = await house.take(event, 3, holder=counter.customer)
    online = await house.claimed(event, hold, holder=counter.customer)
    refused(await counter.sell_hold(hold), "hold_in_checkout")
    await house.checkout.cancel(online)
    late = await house.take(event, 4, holder=counter.customer)
    house.pass_ms(24 * 3600 * 1000)
    refused(await counter.sell_hold(late, request="2"), "hold_expired")
    await house.rest()


async def test_the_same_request_is_one_sale_and_another_under_its_key_none(counter: Counter) -> None:
    answers = await asyncio.gather(*(counter.sell(20, 3) for _ in range(3)), return_exceptions=True)
    assert len({sold(answer).id for answer in answers if not isinstance(answer, BaseException)}) == 1
    refused(await counter.sell(3, 4), "idempotency_mismatch")
    refused(await counter.sell(20, 3, tender="comp"), "idempotency_mismatch")
    await counter.house.rest()
    await counter.house.assert_right(counter.event)


async def test_of_two_clerks_who_sell_one_house_seat_one_wins(counter: Counter) -> None:
    answers = await asyncio.gather(*(counter.sell(20, n, request=str(n), staff=f"clerk-{n}") for n in range(4)))
    assert sorted(isinstance(answer, Booking) for answer in answers) == [False, False, False, True]
    assert {(one.code, one.seats) for one in answers if isinstance(one, Refusal)} == {("seat_taken", (20,))}
    await counter.house.rest()
    await counter.house.assert_right(counter.event)


# --- Refused: all is as it was

Cut = Callable[[Counter], Awaitable[None]]


async def state(counter: Counter, to: str) -> None:
    """The sale's state in PostgreSQL, as the claim finds it; the inventory is not told yet."""
    await counter.house.pool.execute("UPDATE event SET state = $2 WHERE id = $1", counter.event, to)


async def owned(counter: Counter) -> None:
    """Seat 3 is sold in PostgreSQL, and Redis has forgotten it."""
    house = counter.house
    await house.sold(counter.event, 3)
    sale = await house.sale(counter.event)
    await house.pipe.call("SETRANGE", sale.key("seats"), 3, b"\x00")


CLAIMS: list[tuple[Cut, str]] = [
    (lambda counter: state(counter, "paused"), "sale_paused"),
    (lambda counter: state(counter, "closed"), "sale_closed"),
    (lambda counter: state(counter, "draft"), "sale_not_open"),
    (owned, "seat_taken"),
]


async def test_a_claim_that_is_refused_leaves_the_seats_as_they_were(counter: Counter) -> None:
    house = counter.house
    for cut, code in CLAIMS:
        counter = await another(counter)
        event = counter.event
        before, blocks = await house.states(event), await counter.blocks()
        await cut(counter)
        refused(await counter.sell(3, 20, floor=4, request=code), code)
        assert (await house.states(event), await counter.blocks()) == (before, blocks)
        assert await counter.floor() == ((3, 0, 0, 7), KEPT)
        refused(await counter.sell(3, 20, floor=4, request=code), "conflict")
        left = {name: one.state for name, one in (await house.records(event)).items() if is_counter_hold(name)}
        assert set(left.values()) == {"gone"}
    assert await house.pool.fetchval("SELECT count(*) FROM ledger_transaction WHERE reason = 'cash_taken'") == 0


WISHES: list[tuple[tuple[int, ...], dict[str, Any], str, tuple[int, ...]]] = [
    ((20, 22), {}, "seat_taken", (22,)),
    ((3, 20), {"over_house": False}, "seat_taken", (20,)),
    ((20,), {"floor": 9}, "area_full", ()),
    ((3,), {"floor": 4, "over_house": False}, "area_full", ()),
]


async def test_what_cannot_be_taken_is_left_alone(counter: Counter) -> None:
    before = await counter.house.states(counter.event)
    for seats, wish, code, in_the_way in WISHES:
        assert refused(await counter.sell(*seats, **wish), code).seats == in_the_way
    assert await counter.house.states(counter.event) == before
    assert await counter.house.pool.fetchval("SELECT count(*) FROM booking") == 0


# --- Deaths


class Died(Exception):
    """A worker, in the middle."""


async def die(*_: Any, **__: Any) -> Any:
    raise Died


@pytest.mark.parametrize("whole", [False, True], ids=["a hold", "places"])
async def test_a_death_before_the_claim_leaves_nothing(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    house, event = counter.house, counter.event
    hold = "" if whole else await counter.hold(3, 20, over_house=True)
    before, blocks = await house.states(event), await counter.blocks()
    with monkeypatch.context() as broken:
        broken.setattr(house.bookings, "claim", die)
        with pytest.raises(Died):
            await (counter.sell(3, 20, floor=5) if whole else counter.sell_hold(hold))
    assert (await house.states(event))[20] == HELD
    assert await counter.floor() == ((0, 5, 0, 5) if whole else (3, 0, 0, 7), KEPT)
    await house.settle_old_marks(event)
    assert (await house.states(event), await counter.blocks()) == (before, blocks)
    assert await counter.floor() == ((3, 0, 0, 7), KEPT)
    refused(await (counter.sell(3, 20, floor=5) if whole else counter.sell_hold(hold)), "conflict")
    again = await (counter.sell(3, 20, floor=5, request="2") if whole else counter.sell_hold(hold, request="2"))
    assert sold(again).state == "confirmed"
    await house.rest()
    await house.assert_right(event)


@pytest.mark.parametrize("online", [False, True], ids=["at the counter", "by the customer"])
async def test_a_hold_that_a_dead_worker_left_uses_its_blocks_up_when_it_is_sold(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, online: bool
) -> None:
    """It was sold with the house's block still in PostgreSQL: given back, the seat was blocked after the next adopt and
    for sale before, and the floor had two places fewer than it has."""
    house, event = counter.house, counter.event
    with monkeypatch.context() as broken:
        broken.setattr(holding, "expect_epoch", die)
        with pytest.raises(Died):
            await counter.hold(3, 20, floor=4, over_house=True)
    [hold] = await house.pool.fetch("SELECT hold_id FROM staff_hold WHERE event_id = $1", event)
    if online:
        made = await house.claimed(event, hold["hold_id"], holder=counter.customer)
    else:
        made = sold(await counter.sell_hold(hold["hold_id"]))
    await house.rest()
    assert made.hold == hold["hold_id"]
    assert await counter.blocks() == {21: "house", 22: "kill"}
    assert (await counter.floor())[1] == {"house": 4, "kill": 2}
    assert await counter.drift() == ()


async def test_a_block_that_is_refused_while_a_sale_is_undone_leaves_the_house_hold(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manager who blocked a seat between the death of a sale and its undoing ended the house hold: its row went with
    the refused block's, and the seat was for sale."""
    house, event = counter.house, counter.event
    before, blocks = await house.states(event), await counter.blocks()
    with monkeypatch.context() as broken:
        broken.setattr(house.bookings, "claim", die)
        with pytest.raises(Died):
            await counter.sell(3, 20)
    await counter.block(3, 20, kind="kill")
    await house.settle_old_marks(event)
    assert (await house.states(event), await counter.blocks()) == (before, blocks)
    await house.assert_right(event)


async def test_who_blocks_and_unblocks_while_a_sale_is_undone_has_said_what_is_so(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sale of five died with two of the house's places. What is blocked afterwards is what was said last."""
    acts = [
        (counter.unblock, 4, ((7, 0, 0, 3), 1)),
        (counter.unblock, 1, ((4, 0, 0, 6), 4)),
        (counter.block, 1, ((3, 0, 0, 7), 5)),  # no room for one more, with five in checkout
    ]
    for number, (act, places, (floor, kept)) in enumerate(acts):
        counter = await another(counter)
        with monkeypatch.context() as broken:
            broken.setattr(counter.house.bookings, "claim", die)
            with pytest.raises(Died):
                await counter.sell(floor=5, request=str(number))
        await getattr(counter, act.__name__)(floor=places)
        await counter.house.settle_old_marks(counter.event)
        assert await counter.floor() == (floor, {"house": kept, "kill": 2})
        assert await counter.drift() == ()


async def test_who_unblocks_waits_for_a_claim_of_what_the_house_lent(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, claim = counter.house, counter.house.bookings.claim
    manager = Counter(house, counter.event)
    unblocking: list[asyncio.Task[None]] = []

    async def waits_for_a_turn() -> bool:
        return unblocking[0].done() or await locks_waited_for(house.pool, 7204) > 0

    async def claim_late(*args: Any) -> Any:
        unblocking.append(asyncio.create_task(manager.unblock(floor=1)))
        await eventually(waits_for_a_turn)
        return await claim(*args)

    monkeypatch.setattr(house.bookings, "claim", claim_late)
    sold(await counter.sell(floor=5))
    await unblocking[0]
    await house.rest()
    assert (await counter.floor(), await counter.drift()) == (((1, 0, 5, 4), {"house": 2, "kill": 2}), ())


async def gone(*_: Any, **__: Any) -> Any:
    raise Unavailable("It does not answer.")


async def test_where_a_store_is_gone_the_same_request_sells_later(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, event = counter.house, counter.event
    for owner, name in ((counter.inventory, "take_for_sale"), (house.bookings, "claim"), (house.bookings, "load")):
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, gone)
            with pytest.raises(Unavailable):
                await counter.sell(3, 20, floor=4)
        if name == "claim":
            # What was taken was sold to the next request under this key, which heard that it was another booking's.
            refused(await counter.sell(3), "idempotency_mismatch")
            refused(await counter.sell(3, 20, floor=1), "idempotency_mismatch")
            assert await house.pool.fetchval("SELECT count(*) FROM booking") == 0
    made = sold(await counter.sell(3, 20, floor=4))
    assert await house.pool.fetchval("SELECT count(*) FROM booking") == 1
    amount = 2 * PRICE + 4 * PLACE
    assert await counter.books(made) == {"cash_drawer": amount, "venue_payable": -amount}
    await house.rest()
    assert await counter.floor() == ((0, 0, 4, 6), {"house": 4, "kill": 2})
    await house.assert_right(event)


async def test_a_death_after_the_claim_is_finished_by_another(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, event = counter.house, counter.event
    with monkeypatch.context() as broken:
        broken.setattr(house.completer, "hurry", die)
        with pytest.raises(Died):
            await counter.sell(3, 20)
    assert (await house.states(event))[20] == HELD
    await house.rest()
    assert (await house.states(event))[20] == SOLD
    assert sold(await counter.sell(3, 20)).state == "confirmed", "the same request hears of it"
    await house.assert_right(event)


async def test_a_death_after_the_refusal_is_undone_by_another(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, event = counter.house, counter.event
    before = await house.states(event)
    await state(counter, "paused")
    with monkeypatch.context() as broken:
        broken.setattr(house.completer, "hurry", die)
        with pytest.raises(Died):
            await counter.sell(3, 20)
    assert (await house.states(event))[20] == HELD
    await house.rest()
    assert await house.states(event) == before


async def test_redis_lost_between_take_and_claim_and_the_same_request_sells(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adopt comes in between: the claim bears an old fence, and what the house kept back is the house's again."""
    house, event = counter.house, counter.event
    take = counter.inventory.take_for_sale

    async def lose(*args: Any, **more: Any) -> Any:
        taken = await take(*args, **more)
        sale = await house.book.sale(event)
        await house.pipe.call("HDEL", sale.key("book"), "stamp")
        await house.book.recover(event, wait=True)
        return taken

    with monkeypatch.context() as broken:
        broken.setattr(counter.inventory, "take_for_sale", lose)
        with pytest.raises(Unavailable):
            await counter.sell(3, 20, floor=4)
    assert [(await house.states(event))[seat] for seat in (3, 20)] == [FREE, HOUSE]
    assert await counter.floor() == ((3, 0, 0, 7), KEPT)
    assert sold(await counter.sell(3, 20, floor=4)).state == "confirmed"
    await house.rest()
    assert check(await house.read_run(event)) == []


# --- Money back


BACK: list[tuple[Tender, dict[str, Any], str, dict[str, int], list[int]]] = [
    ("cash", {}, "refunded", {}, [FREE, FREE]),
    (
        *("card_terminal", {"lines": [1]}, "partially_refunded"),
        *({"card_terminal": PRICE, "venue_payable": -PRICE}, [FREE, SOLD]),
    ),
    (
        *("cash", {"amount": 1_000}, "partially_refunded"),
        *({"cash_drawer": 2 * PRICE - 1_000, "venue_payable": 1_000 - 2 * PRICE}, [SOLD, SOLD]),
    ),
    ("comp", {}, "refunded", {}, [FREE, FREE]),
    ("comp", {"lines": [2]}, "partially_refunded", {}, [SOLD, FREE]),
]


async def test_what_was_paid_at_the_counter_is_given_back_there(counter: Counter) -> None:
    house = counter.house
    for number, (tender, wish, after, books, seats) in enumerate(BACK):
        counter = await another(counter)
        event = counter.event
        made = await counter.sold(3, 20, tender=tender, request=str(number), email="anna@example.org")
        refund = await house.refund(made, **wish)
        assert (refund.state, refund.stripe_id, refund.accepted is not None) == ("succeeded", None, True)
        assert await house.state(made) == after
        assert "refund" not in await house.acts(made), "Stripe is not asked"
        assert await counter.books(made) == books
        await house.rest()
        # What was over a house hold is for sale, as after every sale.
        assert [(await house.states(event))[seat] for seat in (3, 20)] == seats
        assert await house.refunds.begin(made.id, "r", "the band is ill", "s-1", **wish) == refund, "twice is once"
        assert isinstance(await house.refunds.begin(made.id, "r2", "again", "s-1", amount=10_000), NotRefundable)
        await house.assert_right(event)


async def test_a_counter_sale_is_not_cancelled_and_never_looked_for(counter: Counter) -> None:
    house = counter.house
    made = await counter.sold(3)
    assert (await house.checkout.cancel(made)).state == "confirmed"
    assert await house.bookings.give_up(made.id, "expiring") == "confirmed"
    assert await house.bookings.to_look_at(10, 0, 0) == []
    assert await house.bookings.to_expire(10, 0) == []
    # Somebody's intent names it: it has no payment whose second that could be, and no round of the loop came to an end.
    intent = await charge_again(house, made)
    await house.bookings.keep_notice("evt_1", "payment_intent.succeeded", intent)
    await house.completer.turn()
    assert await house.bookings.open_notices(10) == []


# --- What the schema refuses


NO_SALE = [
    ("UPDATE booking SET tender = 'barter'", "booking_tender_is_known"),
    ("UPDATE booking SET staff_id = NULL", "counter_sale_has_a_clerk"),
    ("UPDATE booking SET tender = 'comp'", "comp_costs_nothing"),
    ("UPDATE booking SET tender = NULL, buyer_email = 'a@b'", "counter_sale_has_a_clerk"),
    ("UPDATE booking SET state = 'disputed'", "counter_sale_is_paid_at_once"),
    ("UPDATE booking SET buyer_name = NULL", "booking_is_whole"),
    ("INSERT INTO comp_line SELECT id, 1, 1, 0, 0 FROM booking", "comp_lines_are_of_comps"),
    ("INSERT INTO payment (booking_id) SELECT id FROM booking", "payment_begins_with_its_booking"),
    (
        "INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end, buyer_name,"
        " amount, currency, prices_version, expires_at, tender, staff_id) SELECT 'b-1', event_id, hold_id, holder, 1,"
        " 'pending_payment', now(), now(), 'Kim', 5, 'EUR', 1, now(), 'cash', 'clara' FROM booking",
        "counter_sale_is_sold",
    ),
]


async def test_what_no_counter_sale_can_be(counter: Counter) -> None:
    await counter.sold(3)
    for statement, constraint in NO_SALE:
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as error:
            await counter.house.pool.execute(statement)
        assert error.value.constraint_name == constraint, statement
