"""An event's facts and inventory as PostgreSQL has them: rows read into values."""

import logging
from collections.abc import Mapping
from typing import Final

import asyncpg

from lml_live.clock import to_ms
from lml_live.infra import postgres
from lml_live.inventory import seatmap
from lml_live.inventory.records import BOX_OFFICE, Sale, SalesChannel
from lml_live.inventory.recovery import Claim, Overlay, StaffHold

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("inventory")


def read_sale(row: asyncpg.Record) -> Sale:
    """The facts that `load_sale` selects."""
    return Sale(
        event=row["id"],
        number=row["number"],
        group=row["group_id"],
        state=row["state"],
        on_sale_at_ms=to_ms(row["on_sale_at"]),
        max_seats=row["max_seats"],
        hold_seconds=row["hold_seconds"],
        extensions=row["extensions"],
        lifetime_seconds=row["lifetime_seconds"],
        orphan_rule=row["orphan_rule"],
        expired_holds=row["expired_holds"],
        cooldown_seconds=row["cooldown_seconds"],
        rehold_seconds=row["rehold_seconds"],
        release_jitter_seconds=row["release_jitter_seconds"],
        address_holds=row["address_holds"],
        address_seats=row["address_seats"],
        tick_ms=row["tick_ms"],
        revision=row["revision"],
        prices_version=row["prices_version"],
        epoch=row["epoch"],
        run_id=row["run_id"],
        layout_id=row["layout_id"],
        layout_version=row["layout_version"],
        layout_hash=row["layout_hash"],
        seat_count=row["seat_count"],
        areas=dict(zip(row["area_ids"], row["area_capacities"], strict=True)),
        channels={
            name: SalesChannel(number, None if opened is None else to_ms(opened))
            for name, number, opened in zip(
                row["channel_names"], row["channel_numbers"], row["channels_opened"], strict=True
            )
        },
    )


async def load_overlay(connection: postgres.Connection, sale: Sale, index_of: Mapping[str, int]) -> Overlay:
    """What an event's book must have, whatever Redis says; as this connection sees it."""
    event = sale.event
    seat_rows = await connection.fetch(_SQL["load_claimed_seats"], event)
    area_rows = await connection.fetch(_SQL["load_claimed_areas"], event)
    blocked = await connection.fetch(_SQL["load_blocked_seats"], event)
    blocked_areas = await connection.fetch(_SQL["load_blocked_areas"], event)
    staff_rows = await connection.fetch(_SQL["load_staff_holds"], event)
    channel_rows = await connection.fetch(_SQL["load_seat_channels"], event)
    area_channels: dict[str, dict[int, int]] = {}
    for row in await connection.fetch(_SQL["load_area_channels"], event):
        area_channels.setdefault(row["area_id"], {})[row["channel"]] = row["places"]
    bookings: dict[str, asyncpg.Record] = {row["id"]: row for row in (*seat_rows, *area_rows)}
    seats: dict[str, list[tuple[int, str]]] = {}
    areas: dict[str, list[tuple[str, str, int]]] = {}
    for row in seat_rows:
        seat = index_of.get(row["seat_id"])
        if seat is None:  # one seat too few is better than an event that can never be restored
            log.error("event %s: seat %s of booking %s is not in the layout", event, row["seat_id"], row["id"])
            continue
        seats.setdefault(row["id"], []).append((seat, row["type"]))
    for row in area_rows:
        areas.setdefault(row["id"], []).append((row["area_id"], row["type"], row["quantity"]))
    claims = tuple(
        Claim(
            booking=booking,
            hold=row["hold_id"],
            holder=row["holder"],
            sold=row["state"] == "sold",
            created_ms=to_ms(row["hold_created"]),
            lifetime_ms=to_ms(row["lifetime_end"]),
            seats=tuple(sorted(seats.get(booking, ()))),
            areas=tuple(areas.get(booking, ())),
            channel=row["channel"],
        )
        for booking, row in bookings.items()
        if booking in seats or booking in areas
    )
    kinds = {"house": seatmap.BYTE_HOUSE, "kill": seatmap.BYTE_KILL}
    return Overlay(
        claims=claims,
        staff_holds=tuple(_staff_hold(row, index_of) for row in staff_rows),
        # A changed layout need not have every seat that was blocked.
        blocked_seats={index_of[row["seat_id"]]: kinds[row["kind"]] for row in blocked if row["seat_id"] in index_of},
        blocked_areas={row["area_id"]: row["quantity"] for row in blocked_areas},
        seat_channels={index_of[row["seat_id"]]: row["channel"] for row in channel_rows if row["seat_id"] in index_of},
        area_channels=area_channels,
        counter=sale.channel(BOX_OFFICE),
    )


def _staff_hold(row: asyncpg.Record, index_of: Mapping[str, int]) -> StaffHold:
    seats = zip(row["seat_ids"], row["seat_types"], strict=True)
    return StaffHold(
        hold=row["hold_id"],
        holder=row["holder"],
        created_ms=to_ms(row["created"]),
        # A changed layout need not have every seat that was held.
        seats=tuple(sorted((index_of[seat_id], kind) for seat_id, kind in seats if seat_id in index_of)),
        areas=tuple(zip(row["area_ids"], row["area_types"], row["area_quantities"], strict=True)),
        channel=row["channel"],
    )
