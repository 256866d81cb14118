"""The orphan rule inside the atomic step, on real Valkey: the tables of `drawn_halls`, and the same as in Python."""

import random
from collections.abc import AsyncIterator, Iterable

import pytest
from drawn_halls import ALONE, Hall
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held, refused

from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed
from lml_live.inventory.plan import Plan, left_alone


async def open_hall(house: House, hall: Hall, rule: str) -> str:
    """An event on the drawn hall under this rule; what is not free in the drawing is blocked."""
    event = await house.open_event(seats=len(hall.seats))
    taken = [seat for seat, byte in enumerate(hall.seats) if byte != seatmap.BYTE_AVAILABLE]
    if taken:
        await house.holds.block_seats(event, taken, {}, seatmap.BYTE_HOUSE)
    await set_rule(house, event, rule)
    return event


async def set_rule(house: House, event: str, rule: str) -> None:
    await house.change_event(event, orphan_rule=rule)
    await house.book.restamp(event)


def nothing(_seats: Iterable[int], _rule: str) -> list[list[int]]:
    """Nobody sits beside anybody: how a test makes a hold that the rule would refuse."""
    return []


@pytest.mark.parametrize(("line", "wished", "rule", "alone"), [row[1:] for row in ALONE], ids=[row[0] for row in ALONE])
async def test_the_table(house: House, line: str, wished: list[int], rule: str, alone: list[int]) -> None:
    hall = Hall(line)
    event = await open_hall(house, hall, rule)
    before = await house.inventory(event), await house.book_fields(event)
    answer = await house.holds.hold_seats(event, "anna", adults(*wished), [], key="k", windows=hall.plan.windows)
    if alone:
        assert refused(answer, "orphan_seat").seats == tuple(alone)
        assert before == (await house.inventory(event), await house.book_fields(event))
    else:
        held(answer)
    await house.audit(event)


@pytest.fixture
async def event(house: House) -> AsyncIterator[str]:
    """A row of eight free seats under the strict rule."""
    event = await open_hall(house, ROW, "strict")
    yield event
    await house.audit(event)


ROW = Hall("........")
BESIDE = {"key": None, "windows": ROW.plan.windows}


async def test_off_leaves_whom_it_likes(house: House, event: str) -> None:
    await set_rule(house, event, "off")
    held(await house.holds.hold_seats(event, "anna", adults(1, 3), [], key=None))


async def test_what_is_added_is_judged_with_what_is_there(house: House, event: str) -> None:
    first = held(await house.holds.hold_seats(event, "anna", adults(0, 1), [], **BESIDE))
    add = house.holds.add_to_hold
    assert refused(await add(event, "anna", first.hold, adults(3, 4), [], **BESIDE), "orphan_seat").seats == (2,)
    held(await add(event, "anna", first.hold, adults(2, 3), [], **BESIDE))
    assert refused(await add(event, "anna", first.hold, adults(4, 5, 6), [], **BESIDE), "orphan_seat").seats == (7,)
    held(await add(event, "anna", first.hold, adults(4, 5, 6, 7), [], **BESIDE))


async def test_a_replacement_is_judged_as_if_the_hold_were_not_there(house: House, event: str) -> None:
    first = held(await house.holds.hold_seats(event, "anna", adults(2, 3, 4), [], **BESIDE))
    replace = house.holds.replace_hold
    # 2 becomes free and has 1 beside it; alone, 3 … 5 would be as good.
    held(await replace(event, "anna", first.hold, adults(3, 4, 5), [], **BESIDE))
    assert refused(await replace(event, "anna", first.hold, adults(3, 5), [], **BESIDE), "orphan_seat").seats == (4,)
    assert refused(await replace(event, "anna", first.hold, adults(1, 2), [], **BESIDE), "orphan_seat").seats == (0,)
    assert (await house.states(event))[3:6] == [seatmap.BYTE_HELD] * 3


async def test_lenient_lets_pass_who_was_alone_before(house: House, event: str) -> None:
    first = held(await house.holds.hold_seats(event, "anna", adults(1, 2), [], key=None, windows=nothing))
    replace = house.holds.replace_hold
    assert refused(await replace(event, "anna", first.hold, adults(1, 2, 3), [], **BESIDE), "orphan_seat").seats == (0,)
    await set_rule(house, event, "lenient")
    held(await replace(event, "anna", first.hold, adults(1, 2, 3), [], **BESIDE))
    again = refused(await replace(event, "anna", first.hold, adults(1, 3), [], **BESIDE), "orphan_seat")
    assert again.seats == (2,), "0 was alone before, 2 was not"


async def test_a_release_may_leave_anybody_alone(house: House, event: str) -> None:
    first = held(await house.holds.hold_seats(event, "anna", adults(0, 1, 2), [], **BESIDE))
    held(await house.holds.release_hold(event, "anna", first.hold, [1]))


async def test_who_is_taken_is_told_before_who_would_be_alone(house: House, event: str) -> None:
    held(await house.holds.hold_seats(event, "anna", adults(0, 1), [], **BESIDE))
    refused(await house.holds.hold_seats(event, "ben", adults(1, 3), [], **BESIDE), "seat_taken")


async def test_a_rule_without_the_layout_is_a_defect(house: House, event: str) -> None:
    with pytest.raises(AssertionError, match="orphan rule"):
        await house.holds.hold_seats(event, "anna", adults(0, 1), [], key=None)


@pytest.mark.parametrize("rule", ["strict", "lenient"])
async def test_lua_and_python_decide_alike(house: House, rule: str) -> None:
    """300 halls of taken and free seats, wishes and holds to be replaced: the script refuses what `left_alone` does."""
    chance = random.Random(rule)
    hall = Hall("...... .......", "W......C", ".. .....")
    # The last row's file lists its seats by number: 21 | 22 stand as 22 21, and five others as 25 23 24 27 26.
    runs = [*hall.runs[:-2], [22, 21], [25, 23, 24, 27, 26]]
    rows = [("S", 0, 13), ("S", 13, 8), ("S", 21, 7)]
    plan = Plan(runs, hall.distances, hall.places, rows, hall.categories, {13}, {20})
    event = await open_hall(house, hall, rule)
    sale = await house.sale(event)
    decided = {"held": 0, "orphan_seat": 0}
    for case in range(300):
        seats = bytearray(seatmap.BYTE_HELD * (chance.random() < 0.4) for _ in hall.seats)
        await house.pipe.call("SET", sale.key("seats"), bytes(seats))
        free = [seat for seat, byte in enumerate(seats) if not byte]
        own: list[int] = []
        holder, hold = f"holder-{case}", ""
        if case % 2 and free:
            own = sorted(chance.sample(free, min(len(free), chance.randint(1, 4))))
            made = held(await house.holds.hold_seats(event, holder, adults(*own), [], key=None, windows=nothing))
            hold = made.hold
            for seat in own:
                seats[seat] = seatmap.BYTE_HELD
        wished = sorted(chance.sample(free, min(len(free), chance.randint(1, 4))))
        if not wished:
            continue
        windows = plan.windows
        if hold:
            answer = await house.holds.replace_hold(event, holder, hold, adults(*wished), [], key=None, windows=windows)
        else:
            answer = await house.holds.hold_seats(event, holder, adults(*wished), [], key=None, windows=windows)
        alone = left_alone(rule, windows(wished, rule), seats, set(wished), set(own))
        if alone:
            assert refused(answer, "orphan_seat").seats == tuple(alone)
        else:
            assert isinstance(answer, Changed), (answer, bytes(seats), wished, own)
        decided["orphan_seat" if alone else "held"] += 1
    assert min(decided.values()) > 20, decided


async def test_a_key_is_found_without_holding_anything(house: House, event: str) -> None:
    find = house.holds.find_key
    assert await find(event, "anna", "", key="k", asked=("best", 2)) is None
    assert await find(event, "anna", "", key=None, asked=("best", 2)) is None
    made = held(
        await house.holds.hold_seats(
            event, "anna", adults(0, 1), [], key="k", asked=("best", 2), windows=ROW.plan.windows
        )
    )
    again = held(await find(event, "anna", "", key="k", asked=("best", 2)))
    assert (again.hold, again.record) == (made.hold, made.record)
    refused(await find(event, "anna", "", key="k", asked=("best", 3)), "idempotency_mismatch")
    refused(await find(event, "anna", "", key="k", asked=("best", 2), act="add_to_hold"), "idempotency_mismatch")
    assert await find(event, "ben", "", key="k", asked=("best", 2)) is None
    held(await house.holds.release_hold(event, "anna", made.hold))
    refused(await find(event, "anna", "", key="k", asked=("best", 2)), "hold_not_found")


async def test_a_key_is_not_looked_for_where_nothing_can_be_held(house: House) -> None:
    early = await house.open_event(opens_in_ms=60_000)
    refused(await house.holds.find_key(early, "anna", "", key="k", asked=1), "sale_not_open")
    paused = await house.open_event(state="paused")
    refused(await house.holds.find_key(paused, "anna", "", key="k", asked=1), "sale_paused")
