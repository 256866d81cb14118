"""What PostgreSQL has of staff's holds, and of what staff did to seats: the rows that their acts share."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection
from lml_live.inventory.records import Record
from lml_live.inventory.wishes import AreaWishes

_SQL: Final = postgres.statements("staff_holds")

SeatTypes = Sequence[tuple[int, str]]
"""(seat index, price type)"""


class Act(Struct, frozen=True):
    """Who does something, and why."""

    staff: str
    reason: str


async def house_seats(connected: Connection, event: str, seat_ids: Collection[str]) -> set[str]:
    """Which of these seats the house keeps back, as PostgreSQL has it."""
    return {row["seat_id"] for row in await connected.fetch(_SQL["house_seats"], event, list(seat_ids))}


async def expect_epoch(connected: Connection, event: str, epoch: int) -> None:
    """Keeps adopt out until the transaction ends; raises `Unavailable` where one came since the inventory's step.

    It did not know what is about to be put on record: the request is sent again, and done in the new epoch.
    """
    await connected.execute(_SQL["lock_event_shared"], event)
    if await connected.fetchval(_SQL["load_epoch"], event) != epoch:
        raise Unavailable("The seat map is being restored.", retry_after_ms=limits.RETRY_AFTER_MS)


async def has_layout(connected: Connection, event: str, layout: str) -> bool:
    """Whether the event is on the layout of this hash, which it then is until the transaction ends."""
    await connected.execute(_SQL["lock_event_shared"], event)
    return bool(await connected.fetchval(_SQL["load_layout"], event) == layout)


async def write_changes(
    connected: Connection,
    event: str,
    act_name: str,
    status: str,
    hold: str,
    holder: str,
    act: Act,
    seats: Sequence[str],
    areas: Mapping[str, int],
) -> None:
    """Writes the status-change log."""
    told = (status, hold, holder, act.staff, act.reason)
    if seats:
        await connected.execute(_SQL["write_seat_changes"], event, act_name, list(seats), *told)
    if areas:
        named = (list(areas), list(areas.values()))
        await connected.execute(_SQL["write_area_changes"], event, act_name, *named, *told)


def columns_of(
    seat_ids: Sequence[str], seats: SeatTypes, areas: AreaWishes
) -> tuple[list[str], list[str], list[str], list[str], list[int]]:
    """What a hold names, as the row's arrays."""
    return (
        [seat_ids[seat] for seat, _ in seats],
        [kind for _, kind in seats],
        [area for area, _, _ in areas],
        [kind for _, kind, _ in areas],
        [quantity for _, _, quantity in areas],
    )


def contents_of(
    row: asyncpg.Record | None, record: Record | None, seat_ids: Sequence[str]
) -> tuple[list[str], dict[str, int]]:
    """What a hold named before: as the inventory had it when it was changed, or by its row where it has it no more."""
    if record is not None:
        return [seat_ids[seat] for seat, _ in record.seat_types()], count_places(record.area_types())
    assert row is not None, "a hold that the inventory does not have is on record"
    return list(row["seat_ids"]), count_places(area_types(row))


def area_types(row: asyncpg.Record) -> list[tuple[str, str, int]]:
    return list(zip(row["area_ids"], row["area_types"], row["area_quantities"], strict=True))


def count_places(areas: AreaWishes) -> dict[str, int]:
    """Places per area, whatever their types."""
    counts: dict[str, int] = {}
    for area, _, quantity in areas:
        counts[area] = counts.get(area, 0) + quantity
    return counts


def differences(
    old: Sequence[str], old_areas: Mapping[str, int], new: Sequence[str], new_areas: Mapping[str, int]
) -> list[tuple[str, list[str], dict[str, int]]]:
    """What a move changed: (status from here on, seats, places per area)."""
    left = {area: n - new_areas.get(area, 0) for area, n in old_areas.items() if n > new_areas.get(area, 0)}
    taken = {area: n - old_areas.get(area, 0) for area, n in new_areas.items() if n > old_areas.get(area, 0)}
    return [
        ("available", [seat for seat in old if seat not in set(new)], left),
        ("held", [seat for seat in new if seat not in set(old)], taken),
    ]
