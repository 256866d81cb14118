"""Each guard taken away in a copy of the SQL or Lua: the checker turns red, so it would see the guard fail.

Guards of the database's own: test_mutations_schema.
"""

import pytest
from booking_fixtures import booking_dsn_fixture, event_fixture, house_fixture, inventory_dsn_fixture  # noqa: F401
from booking_house import BookingHouse
from inventory_house import refused
from mutation_house import (
    Act,
    Mutate,
    assert_missed,
    bought,
    broken_rules,
    captured_at_once,
    change_statement,
    claimed_in_another_epoch,
    free_behind_its_back,
    given_back_in_checkout,
    late_free,
    late_restore,
    never_sold,
    one_hold,
    one_key_for_two_holds,
    paid_slowly,
    plain,
    script,
    statement,
    two_book_at_once,
    two_checkouts_of_a_hold,
    two_types_in_an_area,
    two_want_one_seat,
    two_want_one_seat_at_once,
)


async def test_with_the_index_redis_may_forget_what_it_likes(house: BookingHouse, event: str) -> None:
    first = await house.claimed(event, await house.take(event, 3))
    await free_behind_its_back(house, event, 3)
    hold = await house.take(event, 3, holder="ben")
    refused(await house.buy(event, hold, holder="ben"), "seat_taken")
    await house.pay(first)
    await house.rest()
    await house.rest()
    assert not await broken_rules(house, event) & {"I1", "I10", "I11", "I13"}


async def test_a_sale_that_leaves_its_seats_claimed_is_seen(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_statement(monkeypatch, "sell_seats", "AND state = 'claimed'", "AND state = 'sold'")
    await bought(house, event)
    assert {"I2", "I7"} & await broken_rules(house, event)


async def test_places_that_are_never_given_back_are_seen(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_statement(monkeypatch, "give_places_back", "taken - sums.quantity", "taken")
    await house.checkout.cancel(await house.claimed(event, await house.take(event, 3, floor=2)))
    await house.rest()
    assert "I5" in await broken_rules(house, event)


SEAT_TEST = "if #taken > 0 then"
OWNER = " or record[BOOKING] ~= ARGV[4]"
DUE_LATER = "CASE WHEN $3 = 'capture_intent' THEN now() + interval '1 hour' ELSE now() END"

# what is taken away · how · the acts that need it · the rule that is broken then
MUTATIONS: list[tuple[str, Mutate, Act, str]] = [
    ("the seat test of a hold", script("hold_seats", SEAT_TEST, "if false then"), two_want_one_seat, "I3"),
    (
        "the seat test of a hold that is decided with others",
        script("hold_together", SEAT_TEST, "if false then"),
        two_want_one_seat_at_once,
        "I3",
    ),
    (
        "a checkout keeps its hold from being given back",
        script("release_hold", "if record[STATE] == 'checkout' then return nil, {'in_checkout'} end"),
        given_back_in_checkout,
        "I3",
    ),
    (
        "a hold has one checkout",
        script("checkout_hold", "  return {'in_checkout', record[BOOKING]}\n"),
        two_checkouts_of_a_hold,
        "I3",
    ),
    (
        "the sweep spares marks",
        script("expire_holds", "record[STATE] == 'active'", "record[STATE] ~= 'gone' and record[STATE] ~= 'sold'"),
        paid_slowly,
        "I3",
    ),
    (
        "a grant says so",
        script("hold_seats", "return 'held' .. times .. ending", "return {'taken', act[17]}"),
        one_hold,
        "I4",
    ),
    ("all seats are claimed", statement("claim", "ORDER BY seat_id", "ORDER BY seat_id LIMIT 1"), plain, "I4"),
    (
        "all types of an area are sold",
        statement("sell_areas", "AND state = 'claimed'", "AND state = 'claimed' AND type = 'adult'"),
        two_types_in_an_area,
        "I4",
    ),
    (
        "the places of all that are claimed together are counted",
        statement("take_places", "sum(quantity)", "max(quantity)"),
        two_book_at_once,
        "I5",
    ),
    (
        "the seats of all that are claimed together are",
        statement("claim", "FROM quoted WHERE", "FROM quoted WHERE id = (SELECT max(id) FROM claimed) AND"),
        two_book_at_once,
        "I4",
    ),
    (
        "the fence of a claim",
        statement("claim", "SELECT epoch, state FROM event", "SELECT 1::bigint AS epoch, state FROM event"),
        claimed_in_another_epoch,
        "I2",
    ),
    (
        "a capture is due at once",
        statement(
            "write_work", "act, key) VALUES ($1, $2, $3, $4)", f"act, key, due) VALUES ($1, $2, $3, $4, {DUE_LATER})"
        ),
        captured_at_once,
        "I12",
    ),
    (
        "one key names one request",
        script("hold_seats", "if marker[2] ~= request_hash then return {'mismatch'} end"),
        one_key_for_two_holds,
        "I24",
    ),
    ("a free is its booking's", script("free_booking", f"{OWNER} or ", " or "), late_free, "I7"),
    ("a restore is its booking's", script("restore_hold", OWNER), late_restore, "I7"),
    (
        "a sale is shown",
        script("sell_hold", "set_seats(KEYS[1], runs_of(record[SEATS], 2), SOLD, changed_seats)"),
        never_sold,
        "I7",
    ),
]


@pytest.mark.parametrize(("mutate", "act", "rule"), [row[1:] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS])
async def test_a_guard_that_is_taken_away_is_missed(
    house: BookingHouse, event: str, monkeypatch: pytest.MonkeyPatch, mutate: Mutate, act: Act, rule: str
) -> None:
    await assert_missed(house, event, monkeypatch, mutate, act, rule)
