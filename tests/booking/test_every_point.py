"""A worker dies after each call of a purchase and of a cancelling, and PostgreSQL and Valkey after some (style.md, 29).

The engines at every point: `make faults`.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from booking_fixtures import booking_dsn_fixture, house_fixture, inventory_dsn_fixture  # noqa: F401
from booking_house import BookingHouse
from every_point import BUYING, CALLS_MAX, GIVING_BACK, Loss, Stand, live_through, own_stand, walk

from lml_live.devstack.stripe.process import StripeDouble


@pytest.mark.parametrize("ending", BUYING)
async def test_whatever_call_was_a_workers_last_the_booking_ends_as_it_should(house: BookingHouse, ending: str) -> None:
    met = await walk(Stand(house), ending, "worker", range(1, CALLS_MAX))
    assert len(met) > 12, "a purchase has more calls than that"
    assert {"claim", "checkout_hold", "create"} <= set(met)


@pytest.mark.parametrize("ending", GIVING_BACK)
async def test_whatever_call_was_a_workers_last_the_money_goes_back_once(house: BookingHouse, ending: str) -> None:
    met = await walk(Stand(house), ending, "worker", range(1, CALLS_MAX))
    last = {"refunded": "free_booking", "partially_refunded": "keep_places"}[ending]
    assert {"begin", "refund", "found", last} <= set(met)


# All of them: `make faults`.
PAYING = [
    *(("paid_out", call) for call in ("decide_due", "lease_work", "transfer", "made")),
    *(("taken_back", call) for call in ("reverse", "reversed")),
]


@pytest.mark.parametrize(("ending", "call"), PAYING)
async def test_whatever_call_was_a_workers_last_an_organisation_is_paid_once(
    house: BookingHouse, ending: str, call: str
) -> None:
    assert await live_through(Stand(house), call, ending, "worker") == call


@pytest.fixture(name="stand")
async def stand_fixture(run_directory: Path, stripe_double: StripeDouble) -> AsyncIterator[Stand]:
    async with own_stand(run_directory, stripe_double) as stand:
        yield stand


POINTS: list[tuple[Loss, str, str]] = [
    ("postgres", "confirmed", "checkout_hold"),
    ("postgres, unheard", "confirmed", "claim"),
    ("postgres", "confirmed", "create"),
    ("postgres, unheard", "confirmed", "intent_found"),
    ("postgres", "confirmed", "capture"),
    ("postgres, unheard", "cancelled", "give_up"),
    ("valkey, unheard", "confirmed", "checkout_hold"),
    ("valkey", "confirmed", "claim"),
    ("valkey, unheard", "confirmed", "sell_hold"),
    ("valkey", "cancelled", "intent_found"),
    ("postgres, unheard", "refunded", "begin"),
    ("postgres, unheard", "partially_refunded", "found"),
    ("valkey, unheard", "partially_refunded", "keep_places"),
    ("postgres, unheard", "paid_out", "decide_due"),
    ("postgres", "paid_out", "transfer"),
    ("postgres, unheard", "taken_back", "reversed"),
]


async def test_an_engine_dies_at_a_point_of_no_return(stand: Stand) -> None:
    """One stand for all of them: starting one takes as long as three of them."""
    for loss, ending, call in POINTS:
        assert await live_through(stand, call, ending, loss) == call
