"""Guards of money that goes back, taken away one by one: the checker turns red, so it would see the guard fail."""

from collections.abc import Awaitable, Callable
from types import MappingProxyType, ModuleType
from typing import Any

import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import BookingHouse
from checker import check
from counter_house import Counter
from every_point import charge_again
from payout_house import organised, paid_out, their_event

from lml_live.booking import accounts, bookings, claims, outbox, refunds, surplus, tickets, transfers
from lml_live.booking.bookings import Bookings
from lml_live.booking.organisations import Organisations
from lml_live.booking.stripe_connect import StripeConnect
from lml_live.booking.stripe_payments import StripePayments
from lml_live.booking.surplus import Surplus
from lml_live.booking.surplus_disputes import SurplusDisputes
from lml_live.inventory.returns import Returns

Act = Callable[[BookingHouse, str], Awaitable[None]]
Mutate = Callable[[pytest.MonkeyPatch], None]


async def given_back_in_part(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, 4, floor=2)
    await house.refund(booking, lines=[1, 3])
    await house.rest()


async def given_back(house: BookingHouse, event: str) -> None:
    await house.refund(await house.sold(event, 3))
    await house.rest()


async def made_and_never_heard(house: BookingHouse, event: str) -> None:
    """A worker died after the call, and a day later the key is forgotten."""
    booking = await house.sold(event, 3)
    refund = await house.refund(booking, amount=1_000)
    [work] = await house.bookings.lease_work(1, 30, booking=booking.id)
    assert booking.intent_id is not None
    await house.payments.refund(booking.intent_id, 1_000, "EUR", booking.id, refund.id, f"{work.key}:{work.attempt}")
    await house.double.steering.advance(25 * 3600)
    await house.rest()


async def paid_for_nothing(house: BookingHouse, event: str) -> None:
    """Somebody charges a card for a booking once more."""
    intent = await charge_again(house, await house.sold(event, 3))
    await house.bookings.keep_notice("evt_2", "payment_intent.succeeded", intent)
    await house.rest()
    await house.rest()


async def disputed(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    assert booking.intent_id is not None
    await house.double.steering.open_dispute(booking.intent_id)
    await house.bookings.keep_notice("evt_1", "charge.dispute.created", booking.intent_id)
    await house.rest()


async def paid_for_nothing_and_disputed(house: BookingHouse, event: str) -> None:
    """It had gone back by then."""
    intent = await charge_again(house, await house.sold(event, 3))
    await house.bookings.keep_notice("evt_2", "payment_intent.succeeded", intent)
    await house.rest()
    await house.rest()
    await house.double.steering.open_dispute(intent, refunded=True)
    await house.bookings.keep_notice("evt_3", "charge.dispute.created", intent)
    await house.rest()


async def sold_at_the_counter(house: BookingHouse, event: str) -> None:
    """Over a house hold, and given back in part."""
    counter = await Counter(house, event).open()
    await house.refund(await counter.sold(3, 20), lines=[1])
    await house.rest()


async def given_away(house: BookingHouse, event: str) -> None:
    await (await Counter(house, event).open()).sold(3, tender="comp")


async def refused_at_the_counter(house: BookingHouse, event: str) -> None:
    """The sale is paused between take and claim: the house has its seat again."""
    counter = await Counter(house, event).open()
    await house.pool.execute("UPDATE event SET state = 'paused' WHERE id = $1", event)
    await counter.sell(3, 20)
    await house.rest()


def statement(module: ModuleType, name: str, old: str, new: str) -> Mutate:
    """A copy of a module's statements with a part of one changed."""

    def mutate(monkeypatch: pytest.MonkeyPatch) -> None:
        statements = dict(module._SQL)  # type: ignore[attr-defined]
        assert old in statements[name]
        statements[name] = statements[name].replace(old, new)
        monkeypatch.setattr(module, "_SQL", MappingProxyType(statements))

    return mutate


def unbooked(reason: str) -> Mutate:
    """Postings of one kind have no entries."""
    return statement(
        accounts,
        "post",
        "AS entry (account, debit, credit)",
        f"AS entry (account, debit, credit) WHERE $2 <> '{reason}'",
    )


def nothing(owner: type | ModuleType, name: str, answer: object = None) -> Mutate:
    """A method that does nothing, and answers this."""

    async def does_nothing(*_: Any) -> object:
        return answer

    return lambda monkeypatch: monkeypatch.setattr(owner, name, does_nothing)


async def paid_and_given_back(house: BookingHouse, event: str) -> None:
    """To an organisation, in an event of its own; the rules are asked about that one."""
    booking = await house.sold(event, 3)
    await paid_out(house)
    await house.refund(booking, amount=1_000)
    await house.rest()


async def sent_and_never_heard(house: BookingHouse, event: str) -> None:
    """A worker died after the call, and a day later the key is forgotten. Most is ours: there is room for two."""
    owner = await house.pool.fetchval("SELECT venue_id FROM event WHERE id = $1", event)
    await Organisations(house.pool).change(owner, {"fee_basis_points": 6_000})
    booking = await house.sold(event, 3)
    await house.paying.turn()
    [work] = await house.bookings.lease_work(1, 30, booking=booking.id)
    transfer, intent = await house.transfers.load(booking.id), await house.payments.retrieve(booking.intent_id or "")
    assert transfer.account is not None
    assert intent.charge is not None
    await house.connect.transfer(transfer.account, transfer.sent, "EUR", intent.charge, booking.id, work.stripe_key)
    await house.double.steering.advance(25 * 3600)
    await house.rest()


async def paid_out_by_other_terms(house: BookingHouse, event: str) -> None:
    """The house takes more since, of what is sold from now on."""
    await house.sold(event, 3)
    owner = await house.pool.fetchval("SELECT venue_id FROM event WHERE id = $1", event)
    await Organisations(house.pool).change(owner, {"fee_basis_points": 900})
    await paid_out(house)


async def a_line_given_back_and_paid_out(house: BookingHouse, event: str) -> None:
    """A place, of whose price our fee is more than of the seat's."""
    house.fee, house.tax = 250, 330
    await house.refund(await house.sold(event, 3, floor=1), lines=[2])
    await house.rest()
    await paid_out(house)


async def taken_back_by_hand(house: BookingHouse, event: str) -> None:
    """A part of a transfer, at Stripe's dashboard."""
    booking = await house.sold(event, 3)
    await paid_out(house)
    transfer = (await house.transfers.load(booking.id)).stripe_id
    assert transfer is not None
    params: Any = {"amount": 1_000}
    await house.payments.client.v1.transfers.reversals.create_async(transfer, params)
    await house.paying.surplus.suspect([booking.id], "match")
    await house.rest()


# what is taken away · how · the acts that need it · the rule that is broken then
MUTATIONS: list[tuple[str, Mutate, Act, str]] = [
    ("a capture is booked", unbooked("captured"), given_back, "I15"),
    ("a refund is booked", unbooked("refund_paid"), given_back, "I15"),
    ("a dispute is booked", unbooked("disputed"), disputed, "I15"),
    ("what buys nothing goes back", nothing(Bookings, "surplus_paid"), paid_for_nothing, "I11"),
    ("a dispute of it is found", nothing(SurplusDisputes, "found"), paid_for_nothing_and_disputed, "I11, surplus"),
    ("a dispute of it is booked", unbooked("disputed"), paid_for_nothing_and_disputed, "I15"),
    ("what a dispute of it costs is booked", unbooked("dispute_fee"), paid_for_nothing_and_disputed, "I15"),
    ("what buys nothing is booked", unbooked("surplus_taken"), paid_for_nothing, "I15"),
    (
        "a second intent ends",
        statement(bookings, "write_surplus", "WHERE id = $1", "WHERE id = $1 AND false"),
        paid_for_nothing,
        "I13",
    ),
    (
        "that it goes back is decided with it",
        statement(bookings, "write_surplus_refund", "WHERE id = $1", "WHERE id = $1 AND false"),
        paid_for_nothing,
        "I11, surplus",
    ),
    (
        "an attempt is on record before it is sent",
        statement(outbox, "lease_work", "WHERE act IN ('capture_intent', ", "WHERE act IN ("),
        given_back,
        "I13, attempts",
    ),
    (
        "what was quoted is what is charged",
        statement(claims, "claim", "buyer_email,\n           amount,", "buyer_email,\n           amount + 100,"),
        given_back,
        "I17",
    ),
    ("a refund is looked for", nothing(StripePayments, "find_refunds", ()), made_and_never_heard, "I14"),
    ("Redis is told what is kept", nothing(Returns, "keep_places"), given_back_in_part, "I7"),
    (
        "the seats of lines go free",
        statement(refunds, "release_line_seats", "state = 'sold'", "state = 'claimed'"),
        given_back_in_part,
        "I2",
    ),
    (
        "the places of lines go free",
        statement(refunds, "release_line_places", "a.state = 'sold'", "a.state = 'claimed'"),
        given_back_in_part,
        "I5",
    ),
    (
        "an area counts them out",
        statement(refunds, "give_line_places_back", "taken - n.places", "taken"),
        given_back_in_part,
        "I5",
    ),
    (
        "tickets end with the money",
        statement(tickets, "void", "state <> 'void'", "state = 'void'"),
        given_back,
        "I7, tickets",
    ),
    (
        "tickets come with the sale",
        statement(tickets, "issue", "WHERE b.id = ANY ($1::text[])", "WHERE b.id = ANY ($1::text[]) AND false"),
        given_back_in_part,
        "I7, tickets",
    ),
]
# The same of what is sold at the counter.
COUNTER: list[tuple[str, Mutate, Act, str]] = [
    ("what the counter takes is booked", unbooked("cash_taken"), sold_at_the_counter, "I11, counter"),
    ("what it gives back is booked", unbooked("cash_returned"), sold_at_the_counter, "I11, counter"),
    (
        "a house hold is used up with the sale",
        statement(
            claims, "use_up_house_blocks", "(SELECT seat_id FROM kept)", "(SELECT seat_id FROM kept WHERE false)"
        ),
        sold_at_the_counter,
        "I7",
    ),
    ("a house hold is back without the sale", nothing(Bookings, "house_blocks", set()), refused_at_the_counter, "I7"),
    (
        "what is given away is on record",
        statement(claims, "forgo", "$5::bigint[])", "$5::bigint[]) LIMIT 0"),
        given_away,
        "I11, counter",
    ),
]
MUTATIONS += COUNTER
# The same of what is paid to organisations.
PAYOUTS: list[tuple[str, Mutate, Act, str]] = [
    (
        "what is given back is not due",
        statement(transfers, "load_payables", "accepted IS NOT NULL) AS r", "false) AS r"),
        paid_and_given_back,
        "I16, as due",
    ),
    (
        "the terms are those of the sale",
        statement(transfers, "load_payables", "AND since <= b.created", ""),
        paid_out_by_other_terms,
        "I16, as due",
    ),
    (
        "a line takes its own tax along",
        statement(
            transfers,
            "load_payables",
            "(refund.venue, refund.fees, refund.tax) = (of_lines.venue,",
            "false AND (refund.venue, refund.fees, refund.tax) = (of_lines.venue,",
        ),
        a_line_given_back_and_paid_out,
        "I16, as due",
    ),
    ("what is given back is taken back", nothing(refunds, "take_back"), paid_and_given_back, "I16"),
    ("a transfer is looked for", nothing(StripeConnect, "find_transfers", ()), sent_and_never_heard, "I16, as decided"),
    ("a transfer is booked", unbooked("transferred"), paid_and_given_back, "I15"),
    ("a reversal is booked", unbooked("reversed"), paid_and_given_back, "I16, as decided"),
    ("what came back besides is found", nothing(Surplus, "_take_in"), taken_back_by_hand, "I15"),
    ("what came back besides is booked", unbooked("surplus_reversed"), taken_back_by_hand, "I15"),
    ("what came back besides is sent again", nothing(surplus, "send_back"), taken_back_by_hand, "I16, as due"),
]


@pytest.mark.parametrize(("mutate", "act", "rule"), [row[1:] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS])
async def test_a_guard_of_money_that_is_taken_away_is_missed(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch, mutate: Mutate, act: Act, rule: str
) -> None:
    mutate(monkeypatch)
    await act(house, event)
    assert rule in {violation.rule for violation in check(await house.read_run(event))}


@pytest.mark.parametrize(("mutate", "act", "rule"), [row[1:] for row in PAYOUTS], ids=[row[0] for row in PAYOUTS])
async def test_a_guard_of_money_that_is_paid_out_is_missed(
    house: BookingHouse, monkeypatch: pytest.MonkeyPatch, mutate: Mutate, act: Act, rule: str
) -> None:
    event = await their_event(house, await organised(house))
    mutate(monkeypatch)
    await act(house, event)
    assert rule in {violation.rule for violation in check(await house.read_run(event))}


@pytest.mark.parametrize(
    "act",
    [
        given_back_in_part,
        given_back,
        made_and_never_heard,
        disputed,
        paid_for_nothing_and_disputed,
        given_away,
        refused_at_the_counter,
    ],
)
async def test_the_same_acts_are_clean_with_everything_as_it_is(house: BookingHouse, event: str, act: Act) -> None:
    await act(house, event)
    await house.assert_right(event)


@pytest.mark.parametrize("act", [paid_out_by_other_terms, taken_back_by_hand])
async def test_payouts_are_clean_with_everything_as_it_is(house: BookingHouse, act: Act) -> None:
    event = await their_event(house, await organised(house))
    await act(house, event)
    await house.assert_right(event)
