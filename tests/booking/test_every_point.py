"""A worker dies after each call of a purchase and of a refund that changes something, after some of others; so do the
engines (style.md, 29).

All of them at every point: `make faults`.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from booking_fixtures import booking_dsn_fixture, house_fixture, inventory_dsn_fixture  # noqa: F401
from booking_house import BookingHouse
from every_point import CALLS_MAX, Loss, Stand, live_through, own_stand, walk

from lml_live.devstack.stripe.process import StripeDouble


@pytest.mark.parametrize(
    ("ending", "calls"),
    [
        ("confirmed", {"checkout_hold", "claim", "create", "intent_made", "intent_found", "lease_work"}),
        ("refunded", {"begin", "lease_work", "refund", "found", "finish_work", "free_booking"}),
    ],
)
async def test_whatever_call_was_a_workers_last_all_ends_as_it_should(
    house: BookingHouse, ending: str, calls: set[str]
) -> None:
    met = await walk(Stand(house), ending, "worker", range(1, CALLS_MAX), idle=False)
    assert calls <= set(met)


# What these have of their own. All of their calls: `make faults`.
POINTS_OF_OTHERS = [
    # Two acts that go on at once: which of their calls is the next to count is chance.
    *(("confirmed", call) for call in ("capture", "sell_hold")),
    *(("cancelled", call) for call in ("give_up", "cancel", "free_booking")),
    *(("at_once", call) for call in ("retrieve", "intent_found", "sell_hold")),
    *(("returned", call) for call in ("intent_made", "surplus_paid", "refund", "surplus_returned")),
    *(("partially_refunded", call) for call in ("begin", "refund", "keep_places")),
    *(("paid_out", call) for call in ("decide_due", "lease_work", "transfer", "made")),
    *(("taken_back", call) for call in ("reverse", "reversed")),
]


@pytest.mark.parametrize(("ending", "call"), POINTS_OF_OTHERS)
async def test_this_call_was_a_workers_last(house: BookingHouse, ending: str, call: str) -> None:
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
