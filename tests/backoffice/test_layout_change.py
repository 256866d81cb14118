"""An event on another version of its layout: what somebody has keeps its place, or nothing is changed."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from databases import past_guards
from halls import new_event
from theatres import theatre

from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.layout_change import Held, LayoutChange, what_is_held
from lml_live.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from lml_live.infra import postgres
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import Event, LayoutChoice
from lml_live.pricing.quote import Price
from lml_live.venues.layout import Layout, seal_layout, seat_id
from lml_live.venues.library import Library


def without_first_seat() -> Layout:
    stalls, *others = theatre().sections
    [row] = stalls.rows
    rows = (msgspec.structs.replace(row, seats=row.seats[1:]),)
    return theatre(sections=(msgspec.structs.replace(stalls, rows=rows), *others))


def pit(**fields: Any) -> Layout:
    *others, area = theatre().sections
    return theatre(sections=(*others, msgspec.structs.replace(area, **fields)))


FIRST = seat_id("theatre", "Stalls", "A", "1")
SECOND = seat_id("theatre", "Stalls", "A", "2")


class House:
    """An event on version 1 of a theatre, and what the inventory says is held."""

    def __init__(self, pool: postgres.Pool, library: Library) -> None:
        self.pool = pool
        self.library = library
        self.layouts = DeployedLayouts(library)
        self.catalogue = Catalogue(pool, self.layouts)
        self.held: tuple[int, ...] = ()
        self.places: dict[str, int] = {}
        self.distrusted: list[str] = []
        self.change = LayoutChange(pool, self.catalogue, self.layouts, self._held, self._distrust)

    async def _held(self, _: str, layout: str) -> Held:
        return Held(self.held, self.places)

    async def _distrust(self, event: str) -> None:
        self.distrusted.append(event)
        raise Unavailable("Redis is away.")

    async def deploy(self, layout: Layout) -> int:
        await self.library.save_draft(seal_layout(layout))
        await self.library.publish("theatre")
        return (await self.library.deploy("theatre")).version

    async def event(self) -> Event:
        return await self.catalogue.load_event("show")


@pytest.fixture
async def house(mongo_database: Any, postgres_dsn: str) -> AsyncIterator[House]:
    pool = await postgres.connect_pool(postgres_dsn)
    house = House(pool, Library(mongo_database))
    await house.deploy(theatre())
    concert = msgspec.structs.replace(
        new_event(id="show"),
        layout=LayoutChoice("theatre"),
        prices=tuple(Price(category=name, amount=100) for name in ("I", "II", "III")),
    )
    await house.catalogue.create_event(concert)
    await pool.execute("UPDATE event SET epoch = 3, state = 'open'")
    yield house
    await pool.close()


async def test_seats_that_somebody_has_keep_their_place(house: House) -> None:
    smaller = await house.deploy(without_first_seat())
    before = await house.event()
    sold = "INSERT INTO booking_seat VALUES ('b', 'show', $1, 'standard', $2)"
    staff = """INSERT INTO staff_hold
        VALUES ('h', 'show', 'c', 'C', 'r', 's', 'held', ARRAY[$1], ARRAY['standard'], '{}', '{}', '{}')"""
    for word, statement, arguments in (
        ("is sold", sold, (FIRST, "sold")),
        ("is in a checkout", sold, (FIRST, "claimed")),
        ("is held", staff, (FIRST,)),
        ("is held", None, ()),
    ):
        if statement is None:
            house.held = (0,)
        else:
            await past_guards(house.pool, statement, *arguments)
        with pytest.raises(Conflict) as refusal:
            await house.change.change("show", smaller)
        assert [(each.path, word in each.message) for each in refusal.value.errors] == [(FIRST, True)]
        assert await house.event() == before
        await past_guards(house.pool, "DELETE FROM booking_seat")
        await past_guards(house.pool, "DELETE FROM staff_hold")
        house.held = ()
    # What was given back is in nobody's way, nor is a seat that stays.
    await past_guards(house.pool, sold, FIRST, "released")
    await past_guards(house.pool, sold, SECOND, "sold")
    house.held = (1, 2)
    after = await house.change.change("show", smaller)
    assert (after.layout_version, after.seat_count, after.epoch) == (2, before.seat_count - 1, before.epoch + 1)
    assert after.layout_hash != before.layout_hash
    assert after.revision == before.revision + 1
    assert house.distrusted == ["show"], "Redis may be away: the epoch has moved all the same"
    assert await house.change.change("show", smaller) == after


@pytest.mark.parametrize(
    ("layout", "places", "fits"),
    [
        (pit(capacity=40), 40, True),
        (pit(capacity=40), 41, False),
        (pit(area_id="moat"), 1, False),
        (pit(area_id="moat"), 0, True),
        (pit(name="Orchestra pit", capacity=60), 50, True),
    ],
)
async def test_places_that_are_taken_keep_their_area(house: House, layout: Layout, places: int, fits: bool) -> None:
    version = await house.deploy(layout)
    half = places // 2
    await past_guards(house.pool, "UPDATE event_area SET taken = $1", places - half)
    if half:
        block = "INSERT INTO area_block VALUES ('show', 'pit', 'house', $1, 'r', 's')"
        await past_guards(house.pool, block, half)
    if not fits:
        with pytest.raises(Conflict) as refusal:
            await house.change.change("show", version)
        assert [each.path for each in refusal.value.errors] == ["pit"]
        assert [area.capacity for area in (await house.event()).areas] == [50]
        return
    after = await house.change.change("show", version)
    area = layout.sections[-1]
    assert [(each.area_id, each.name, each.capacity) for each in after.areas] == [
        (area.area_id, area.name, area.capacity)
    ]
    assert await house.pool.fetchval("SELECT taken FROM event_area") == (0 if area.area_id == "moat" else places - half)


async def test_what_cannot_be_is_refused(house: House) -> None:
    version = await house.deploy(without_first_seat())
    with pytest.raises(NotFound):
        await house.change.change("none", version)
    with pytest.raises(InvalidInput):
        await house.change.change("show", 9)
    categories = await house.deploy(theatre(sections=theatre().sections[:1], categories=(), type="seated"))
    with pytest.raises(InvalidInput, match="prices"):
        await house.change.change("show", categories)
    await house.library.retire("theatre", version)
    with pytest.raises(InvalidInput):
        await house.change.change("show", version)
    await house.pool.execute("UPDATE event SET state = 'closed'")
    with pytest.raises(Refused) as refusal:
        await house.change.change("show", categories)
    assert refusal.value.code == "sale_closed"


async def test_an_event_without_an_inventory_needs_no_new_epoch(house: House) -> None:
    version = await house.deploy(without_first_seat())
    await house.pool.execute("UPDATE event SET epoch = 0, state = 'draft'")
    house.held = (0,)
    after = await house.change.change("show", version)
    assert (after.layout_version, after.epoch, house.distrusted) == (version, 0, [])


def test_what_is_held_is_read_from_the_inventory() -> None:
    seats, areas = bytes([0, 1, 2, 3, 1 | 5 << 3, 4]), {"pit": (40, 5, 3, 2), "moat": (9, 0, 0, 0)}
    assert what_is_held(seats, areas, {}) == Held((1, 4), {"pit": 10, "moat": 0})
    # Of a channel's 20 places 4 are used, and count as taken already; another has used more than it was given.
    assert what_is_held(seats, areas, {"pit": (1, 20, 4, 2, 3, 5)}).places == {"pit": 26, "moat": 0}


@pytest.mark.parametrize(
    ("layout", "held", "fits"),
    [
        (pit(capacity=3), 7, False),
        (pit(area_id="moat"), 3, False),
        (pit(capacity=7), 7, True),
        (pit(area_id="moat"), 0, True),
    ],
)
async def test_places_that_a_browser_holds_keep_their_area(house: House, layout: Layout, held: int, fits: bool) -> None:
    """PostgreSQL knows nothing of these: they vanished in silence."""
    version, house.places = await house.deploy(layout), {"pit": held}
    if fits:
        assert (await house.change.change("show", version)).layout_version == version
        return
    with pytest.raises(Conflict) as refusal:
        await house.change.change("show", version)
    assert [(each.path, f"has {held} places taken, blocked" in each.message) for each in refusal.value.errors] == [
        ("pit", True)
    ]
