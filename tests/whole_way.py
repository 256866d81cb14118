"""A layout's whole way: saved, published, deployed, at the edge, sold on, changed behind our back, and caught."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.booking.bookings import Bookings
from lml_live.booking.claims import Claimed, Line, NewBooking
from lml_live.infra import postgres
from lml_live.infra.config import Settings
from lml_live.infra.stores import open_store
from lml_live.inventory.answers import Changed
from lml_live.inventory.records import Record
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.events import LayoutChoice, NewEvent
from lml_live.pricing.quote import Price
from lml_live.values import new_id
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.backups import Backups
from lml_live.venues.copies import Copies
from lml_live.venues.edge import object_key
from lml_live.venues.layout import Layout, canonical_bytes, count_seats
from lml_live.venues.library import Library
from lml_live.venues.publishing import open_edge, push_version
from lml_live.venues.stored import SECTIONS, LayoutVersion

_LARGE = 10_000
"""What is stored of these is read and hashed as often as a step needs it, and no more: each takes a second here."""


@dataclass(frozen=True)
class Road:
    """The engines that the way goes through: MongoDB, PostgreSQL, the S3 double, and a folder for backups."""

    database: Any
    pool: postgres.Pool
    settings: Settings


@pytest.fixture(name="road")
async def road_fixture(mongo_database: Any, postgres_dsn: str, s3_endpoint_url: str, tmp_path: Path) -> Any:
    """Engines of a test's own."""
    pool = await postgres.connect_pool(postgres_dsn, size_max=2)
    bucket = f"layouts-{secrets.token_hex(6)}"
    yield Road(mongo_database, pool, Settings(s3_bucket=bucket, s3_endpoint_url=s3_endpoint_url, data_dir=tmp_path))
    await pool.close()


async def go_the_whole_way(layout: Layout, road: Road) -> None:
    """Takes a sealed layout all the way, and sees that nobody sells on what it was changed into."""
    backups = Backups(lambda: open_store(road.settings, None))
    library, copies = Library(road.database, backups=backups), Copies(road.settings, backups)
    await library.save_draft(layout)
    await library.publish(layout.layout_id)
    version = await library.deploy(layout.layout_id)
    content = canonical_bytes(layout)
    assert (version.state, version.hash, version.size_bytes) == ("deployed", layout.hash, len(content))

    async with open_edge(road.settings) as edge:
        done = await push_version(library, edge, version)
        assert [each.did for each in done] == ["uploaded", "uploaded", "uploaded", "moved"]
        assert await edge.regions[0].objects.get_object(object_key(version.layout_id, version.hash)) == content

    layouts = DeployedLayouts(library, copies)
    catalogue = Catalogue(road.pool, layouts)
    event = await catalogue.create_event(show(layout))
    await catalogue.set_state(event.id, "open")
    await sell_a_place(road.pool, event.id, layout)

    await change_behind_our_back(road.database, version)
    assert not await library.scrub(version), "the periodic look finds it"
    assert [each.key for each in await library.damaged_versions()] == [version.key]
    with pytest.raises(LayoutDamaged):
        await catalogue.create_event(show(layout))
    if count_seats(layout) < _LARGE:
        async with open_edge(road.settings) as edge:
            with pytest.raises(LayoutDamaged):
                await push_version(library, edge, version)
        with pytest.raises(LayoutDamaged):
            await DeployedLayouts(library).index(version.layout_id, version.version, event.layout_hash)
    # Who bought keeps the seat: the sale goes on with the copy that has the hash it was made on.
    found = await DeployedLayouts(library, copies).index(version.layout_id, version.version, event.layout_hash)
    assert (found.hash, found.seat_count) == (version.hash, version.seat_count)
    await backups.close()


def show(layout: Layout) -> NewEvent:
    """An event on a layout, its places all at one price."""
    categories = {seat.category for section in layout.sections for row in section.rows for seat in row.seats}
    categories |= {section.category for section in layout.sections if section.category is not None}
    return NewEvent(
        name="Show",
        venue=layout.name,
        starts_at=datetime(2030, 5, 1, 19, 30, tzinfo=UTC),
        currency="EUR",
        layout=LayoutChoice(layout.layout_id),
        prices=tuple(Price(category=category, amount=100) for category in sorted(categories)),
    )


async def sell_a_place(pool: postgres.Pool, event: str, layout: Layout) -> None:
    """Sells the first seat, or a place of the first area, as a gift: what costs nothing is sold at once."""
    seat = next((seat.seat_id for section in layout.sections for row in section.rows for seat in row.seats), None)
    area = None if seat is not None else layout.sections[0].area_id
    record = Record("", "checkout", 1, "", (), (), "own", (), 0, 1, 1, 1, 1)
    new = NewBooking(
        id=new_id("b"),
        event=event,
        holder="holder",
        mark=Changed(f"1-{secrets.token_hex(12)}", record, 0, 1, 1),
        buyer_name="Anna",
        buyer_email="anna@example.org",
        currency="EUR",
        prices_version=1,
        lines=(Line(1, seat, area, "adult", 0, 0, 0),),
        pay_seconds=600,
        origin="test",
    )
    assert isinstance(await Bookings(pool).claim(new), Claimed)
    assert await pool.fetchval("SELECT state FROM booking WHERE id = $1", new.id) == "confirmed"


async def change_behind_our_back(database: Any, version: LayoutVersion) -> None:
    """One seat, or one area, of what is stored is another: as somebody with MongoDB's shell would do it."""
    [part] = await database[SECTIONS].find({"upload": version.upload}).sort("position", 1).limit(1).to_list(length=1)
    if part["section"].get("rows"):
        change: dict[str, Any] = {"section.rows.0.seats.0.category": "Changed"}
    else:
        change = {"section.capacity": part["section"]["capacity"] + 1}
    await database[SECTIONS].update_one({"_id": part["_id"]}, {"$set": change})
