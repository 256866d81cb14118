"""Seats and places that belong to sales channels: who may take them, what each view shows, and what adopt keeps."""

from collections.abc import Sequence

import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, adults, held, refused, seat_id
from msgspec.structs import replace

from lml_live.errors import Refused
from lml_live.inventory import seatmap
from lml_live.inventory.groups import EventWish, GroupChanged, GroupRefusal
from lml_live.inventory.records import Entry, SalesChannel, kept_from
from lml_live.inventory.rooms import PUBLIC, STAFF, Room
from lml_live.inventory.staff_holds import StaffHolds
from lml_live.values import AVAILABLE, BLOCKED, HELD

CHANNELS = ("web", "agency", "box-office")
PIT = {"pit": 10}


async def open_event(house: House) -> str:
    """Seats 0 and 1 are the web's, 2 and 3 an agency's, 4 and 5 the box office's; 4 places of the pit the agency's."""
    event = await house.open_event(areas=PIT, channels=CHANNELS)
    for channel, seats in zip(CHANNELS, ([0, 1], [2, 3], [4, 5]), strict=True):
        await house.channels.assign_seats(event, channel, seats, {})
    await house.channels.assign_seats(event, "agency", [], {"pit": 4})
    return event


@pytest.mark.parametrize(
    ("through", "seats", "in_the_way"),
    [
        ("web", [0, 6], []),
        ("web", [0, 2, 4, 6], [2, 4]),
        ("agency", [2, 3, 6], []),
        ("agency", [1, 2], [1]),
        ("nobody-we-know", [6, 7], []),
        ("nobody-we-know", [0, 2, 6], [0, 2]),
    ],
)
async def test_a_channels_seats_sell_through_it_only(
    house: House, through: str, seats: Sequence[int], in_the_way: Sequence[int]
) -> None:
    event = await open_event(house)
    answer = await house.holds.hold_seats(event, "anna", adults(*seats), [], key=None, through=through)
    if in_the_way:
        assert list(refused(answer, "seat_taken").seats) == in_the_way
    else:
        assert held(answer).record is not None
    await house.audit(event)


async def test_a_hold_goes_on_through_its_channel(house: House) -> None:
    """Added to or replaced, a hold takes what its channel sells; moved by staff, what the box office sells as well."""
    event = await open_event(house)
    agency = held(await house.holds.hold_seats(event, "cleo", adults(2), [], key=None, through="agency"))
    held(await house.holds.add_to_hold(event, "cleo", agency.hold, adults(3), [("pit", "adult", 5)], key=None))
    assert refused(await house.holds.add_to_hold(event, "cleo", agency.hold, adults(0), [], key=None), "seat_taken")
    web = held(await house.holds.hold_seats(event, "anna", adults(0), [], key=None))
    assert refused(await house.holds.replace_hold(event, "anna", web.hold, adults(4), [], key=None), "seat_taken")
    moved = await StaffHolds(house.book).move_hold(event, web.hold, adults(4, 1), [], over_house=False)
    assert not hasattr(moved, "code"), moved
    await house.audit(event)
    await house.holds.release_hold(event, "cleo", agency.hold)
    assert (await house.allotments(event))["pit"] == (2, 4, 0)
    raw = (await house.inventory(event))[1]
    assert raw[2] == 2 << seatmap.CHANNEL_SHIFT, "what is given back is the agency's again"
    await house.audit(event)


async def test_a_step_over_several_events_goes_through_one_channel(house: House) -> None:
    """Each event knows the channel under a number of its own."""
    event = await open_event(house)
    other = await house.open_event(areas=PIT, channels=("agency",), group=event)
    await house.channels.assign_seats(other, "agency", [2], {"pit": 10})
    for through, code in (("web", "seat_taken"), ("agency", None)):
        wishes = [EventWish(name, adults(2), [("pit", "adult", 1)], None, through) for name in (event, other)]
        answer = await house.groups.hold_group("cleo", wishes, key=None)
        assert (answer.code if isinstance(answer, GroupRefusal) else None) == code
    assert isinstance(answer, GroupChanged)
    records = [change.record for change in answer.changes.values()]
    assert [record.channel for record in records if record] == [2, 1]
    assert await house.groups.release_group("cleo", {name: change.hold for name, change in answer.changes.items()})
    for name in (event, other):
        await house.audit(name)


async def test_an_allotment_is_kept_and_then_what_is_open_is_taken(house: House) -> None:
    event = await open_event(house)
    pit = [("pit", "adult", 7)]
    assert refused(await house.holds.hold_seats(event, "anna", [], pit, key=None), "area_full").areas == {"pit": 6}
    held(await house.holds.hold_seats(event, "anna", [], [("pit", "adult", 3)], key=None))
    agency = held(await house.holds.hold_seats(event, "cleo", [], pit, key=None, through="agency"))
    assert (await house.area(event, "pit"))[0] == 0
    await house.audit(event)
    held(await house.holds.release_hold(event, "cleo", agency.hold, [], [("pit", "", 2)]))
    assert kept_from(None, (await house.allotments(event))["pit"]) == 0, "five of four are taken: none is kept"
    held(await house.holds.hold_seats(event, "ben", [], [("pit", "adult", 2)], key=None))
    await house.audit(event)


async def test_what_is_refused_is_told_and_left_alone(house: House) -> None:
    event = await open_event(house)
    held(await house.holds.hold_seats(event, "anna", adults(0, 6), [("pit", "adult", 5)], key=None))
    await house.holds.block_seats(event, [7], {}, seatmap.BYTE_HOUSE)
    answer = await house.channels.assign_seats(event, "agency", [0, 2, 6, 7, 8, 99], {"pit": 6, "nowhere": 1})
    assert answer.refused_seats == (0, 6)
    assert answer.refused_areas == {"pit": 5, "nowhere": -1}
    raw = (await house.inventory(event))[1]
    assert [raw[seat] >> 3 for seat in (0, 2, 6, 7, 8)] == [1, 2, 0, 2, 2]
    full = await house.holds.block_seats(event, [], {"pit": 2}, seatmap.BYTE_HOUSE)
    assert full.refused_areas == {"pit": 1}, "what an allotment keeps is not blocked"
    with pytest.raises(Refused, match="no such channel"):
        await house.channels.assign_seats(event, "unheard-of", [9], {})
    await house.audit(event)


async def test_opening_gives_all_that_is_left_to_all(house: House) -> None:
    """Held seats as well: given back, they are open. A teller that slept must not open what was given anew."""
    event = await open_event(house)
    hold = held(
        await house.holds.hold_seats(event, "cleo", adults(2), [("pit", "adult", 1)], key=None, through="agency")
    )
    before = (await house.last_entry(event))[0]
    for first in (0, 3):
        await house.channels.open_seats(event, "agency", None, first, 3, ["pit"])
    seq, entry = await house.last_entry(event)
    assert (seq, entry.act, entry.seats) == (before + 2, "open", (3, 1, 0))
    await house.channels.open_seats(event, "agency", None, 0, 24, ["pit"])
    assert (await house.last_entry(event))[0] == seq, "twice is once"
    await house.audit(event)
    held(await house.holds.hold_seats(event, "anna", adults(3), [("pit", "adult", 5)], key=None))
    held(await house.holds.release_hold(event, "cleo", hold.hold))
    held(await house.holds.hold_seats(event, "ben", adults(2), [("pit", "adult", 5)], key=None))
    await house.audit(event)
    with pytest.raises(Refused, match="given seats again"):
        await house.channels.open_seats(event, "web", 4711, 0, 24, [])
    assert (await house.inventory(event))[1][0] == 1 << seatmap.CHANNEL_SHIFT


async def test_adopt_lays_channels_over_the_inventory(house: House) -> None:
    """Rows decide which seat is whose; holds keep their channel, and with it what they took of an allotment."""
    event = await open_event(house)
    await house.pool.execute(
        "INSERT INTO seat_channel SELECT $1, s.id, s.channel FROM unnest($2::text[], $3::int[]) AS s (id, channel)",
        event,
        [seat_id(seat) for seat in (0, 2, 3, 9, 500)],
        [1, 2, 2, 3, 3],
    )
    await house.pool.execute("INSERT INTO area_channel VALUES ($1, 'pit', 2, 4)", event)
    hold = held(
        await house.holds.hold_seats(event, "cleo", adults(2, 6), [("pit", "adult", 3)], key=None, through="agency")
    )
    sold = held(
        await house.holds.hold_seats(event, "dora", adults(7), [("pit", "adult", 2)], key=None, through="agency")
    )
    sold = held(await house.holds.checkout_hold(event, "dora", sold.hold, "b-1"))
    assert sold.record is not None
    await house.claim(event, sold.hold, sold.record, booking=f"b-1-{event}"[:60], sold=True)
    await house.pool.execute("UPDATE booking SET channel = 2 WHERE event_id = $1", event)
    await house.block_rows(event, {9: "house"}, {})
    await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", event)
    await house.book.recover(event, wait=True)
    await house.remember_start(event)
    await house.audit(event)
    _, raw, areas = await house.inventory(event)
    assert {seat: byte >> 3 for seat, byte in enumerate(raw) if byte >> 3} == {0: 1, 2: 2, 3: 2, 9: 3}
    assert raw[9] == 3 << seatmap.CHANNEL_SHIFT | seatmap.BYTE_HOUSE
    assert areas["pit"] == (5, 3, 2, 0)
    assert (await house.allotments(event))["pit"] == (2, 4, 5)
    held(await house.holds.add_to_hold(event, "cleo", hold.hold, adults(3), [], key=None))
    await house.audit(event)


async def test_an_allotment_that_was_never_applied_yields_to_what_is_taken(house: House) -> None:
    event = await house.open_event(areas=PIT, channels=CHANNELS)
    held(await house.holds.hold_seats(event, "anna", [], [("pit", "adult", 8)], key=None))
    await house.pool.execute("INSERT INTO area_channel VALUES ($1, 'pit', 1, 2), ($1, 'pit', 2, 5)", event)
    await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", event)
    await house.book.recover(event, wait=True)
    await house.remember_start(event)
    await house.audit(event)
    assert kept_from(None, (await house.allotments(event))["pit"]) == 2


# --- Views


async def test_a_view_shows_what_its_channel_sells(house: House) -> None:
    """One change, told to each view in its own words; a view is told nothing of what it does not see."""
    event = await open_event(house)
    sale = await house.sale(event)
    seq, raw, areas = await house.inventory(event)
    room = Room(sale, seq, raw, areas, await house.allotments(event))
    assert list(room.states(PUBLIC)[:7]) == [AVAILABLE] * 2 + [BLOCKED] * 4 + [AVAILABLE]
    assert list(room.states("agency")[:7]) == [BLOCKED] * 2 + [AVAILABLE] * 2 + [BLOCKED] * 2 + [AVAILABLE]
    assert (room.areas(PUBLIC)["pit"], room.areas("agency")["pit"]) == ((6, 0, 0, 4), (10, 0, 0, 0))
    await house.channels.assign_seats(event, "agency", [4, 7], {"pit": 1})
    found_seq, entry = await house.last_entry(event)
    room.apply(room.epoch, found_seq, entry)
    tick = room.tick()
    assert tick is not None
    assert room.change(tick, PUBLIC).seats == {7: BLOCKED}
    assert room.change(tick, "agency").seats == {4: AVAILABLE}
    assert room.change(tick, "box-office").seats == {4: BLOCKED, 7: BLOCKED}
    assert room.change(tick, STAFF).seats == {}
    assert tick.seats == {4: (24, 16), 7: (0, 16)}
    assert room.change(tick, PUBLIC).areas == {"pit": (9, 0, 0, 1)}
    held(await house.holds.hold_seats(event, "cleo", adults(4), [], key=None, through="agency"))
    found_seq, entry = await house.last_entry(event)
    room.apply(room.epoch, found_seq, entry)
    tick = room.tick()
    assert tick is not None
    assert {view: room.change(tick, view).seats for view in (PUBLIC, "agency", STAFF)} == {
        PUBLIC: {4: HELD},
        "agency": {4: HELD},
        STAFF: {4: HELD},
    }


async def test_a_room_notices_that_seats_came_before_the_news_of_their_channel(house: House) -> None:
    event = await open_event(house)
    seq, raw, areas = await house.inventory(event)
    known = await house.sale(event)
    before = replace(known, channels={"web": SalesChannel(1)})
    room = Room(before, seq, raw, areas)
    assert room.states("agency")[2] == BLOCKED
    room.sale = known
    assert [room.shows_more(view, before) for view in (PUBLIC, "agency", STAFF)] == [False, True, False]
    assert room.states("agency")[2] == AVAILABLE


def test_an_entry_tells_what_belongs_to_channels() -> None:
    entry = Entry("hold", "", (), ("pit", 1, 2, 3, 4, (2, 5, 1), "bar", 9, 0, 0, 0, ()), ())
    assert entry.area_counts() == {"pit": (1, 2, 3, 4), "bar": (9, 0, 0, 0)}
    assert entry.allotments() == {"pit": (2, 5, 1), "bar": ()}


@pytest.mark.parametrize(
    ("channel", "kept"), [(None, 7), (0, 7), (1, 3), (2, 4), (3, 7)], ids=["nobody", "open", "one", "two", "three"]
)
def test_what_allotments_keep(channel: int | None, kept: int) -> None:
    assert kept_from(channel, (1, 5, 1, 2, 3, 0, 3, 2, 9)) == kept
