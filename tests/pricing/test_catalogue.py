"""Events and blocks in a real PostgreSQL: made, changed, opened, announced, listed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import pytest
from halls import Hall, Halls, new_event

from lml_live.errors import Conflict, InvalidInput, LmlError, NotFound, Refused
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.pricing import events
from lml_live.pricing.blocks import BlockKind, Blocks, SeatBlock
from lml_live.pricing.catalogue import CHANNEL, Catalogue
from lml_live.pricing.events import EventAct, EventChanges, EventState, LayoutChoice, LimitChanges, SaleLimits
from lml_live.pricing.quote import Price, PriceTable, Quote, Wish

# Each table is gone through in one test, for a fresh database takes longer than all of its rows.
MOVES: Final[list[tuple[list[EventAct], EventAct, EventState | str]]] = [
    ([], "open", "open"),
    ([], "pause", "conflict"),
    ([], "close", "conflict"),
    (["open"], "open", "open"),
    (["open"], "pause", "paused"),
    (["open"], "close", "closed"),
    (["open", "pause"], "open", "open"),
    (["open", "pause"], "pause", "paused"),
    (["open", "pause"], "close", "closed"),
    (["open", "close"], "open", "sale_closed"),
    (["open", "close"], "pause", "sale_closed"),
    (["open", "close"], "close", "closed"),
]
CHANGES: Final = [
    (EventChanges(), 1, 1),
    (EventChanges(name="Aida", venue="Opera"), 1, 1),
    (EventChanges(starts_at=datetime(2030, 5, 2, tzinfo=UTC)), 1, 1),
    (EventChanges(on_sale_at=datetime(2026, 2, 1, tzinfo=UTC)), 2, 1),
    (EventChanges(on_sale_at=datetime(2026, 1, 1, tzinfo=UTC)), 1, 1),
    (EventChanges(limits=LimitChanges(max_seats=2)), 2, 1),
    (EventChanges(limits=LimitChanges(orphan_rule="lenient")), 2, 1),
    (EventChanges(prices=new_event().prices), 1, 1),
    (EventChanges(prices=tuple(reversed(new_event().prices))), 1, 2),
]
BROKEN_CHANGES: Final = [
    (EventChanges(starts_at=datetime(2025, 1, 1, tzinfo=UTC)), "on_sale_at"),
    (EventChanges(limits=LimitChanges(hold_seconds=3600)), "limits.lifetime_seconds"),
    (EventChanges(prices=(Price(category="Stalls", amount=1),)), "prices"),
]
NO_EVENTS: Final = ["none", "", "a b", "x" * 65, "nul\0", "{tag}", "line\n"]
NO_CURSORS: Final = ["", "x", "!", "W10", "WyIyMDMwIiwiYSJd", "ä", "WyI5OTk5LTEyLTMxVDIzOjU5OjU5WiIsImEiXQ"]


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[Pool]:
    pool = await postgres.connect_pool(postgres_dsn)
    yield pool
    await pool.close()


@pytest.fixture
def catalogue(pool: Pool) -> Catalogue:
    return Catalogue(pool, Halls())


async def test_an_event_is_made_as_a_draft_with_prices_and_areas(catalogue: Catalogue) -> None:
    event = await catalogue.create_event(new_event())
    assert event == await catalogue.load_event(event.id)
    assert (event.id, event.group) == ("die-zauberfloete-2030-05-01", event.id)
    assert (event.state, event.revision, event.prices_version, event.epoch) == ("draft", 1, 1, 0)
    assert (event.layout_version, event.seat_count) == (2, 9)
    assert event.limits == SaleLimits(
        max_seats=8, hold_seconds=300, extensions=2, lifetime_seconds=1800, orphan_rule="off"
    )
    assert [(price.category, price.tax_rate) for price in event.prices] == [
        ("Stalls", "7.00"),
        ("Stalls", "0.00"),
        ("Balcony", "0.00"),
        ("Standing", "0.00"),
    ]
    assert [(area.area_id, area.category, area.capacity) for area in event.areas] == [("floor", "Standing", 100)]
    quote = PriceTable(event.price_list()).quote([Wish("Stalls"), Wish("Standing")])
    assert isinstance(quote, Quote)
    assert quote.amount == 4750 + 1500


async def test_an_event_is_shown_as_the_contract_says(catalogue: Catalogue) -> None:
    event = await catalogue.create_event(new_event(id="e1"))
    shown = msgspec.json.decode(msgspec.json.encode(events.public_event(event, "/layouts/hall/x")))
    assert shown["starts_at"] == "2030-05-01T19:30:00Z"
    assert shown["layout"] == {
        "id": "hall",
        "version": 2,
        "hash": Hall(version=2).hash,
        "url": "/layouts/hall/x",
        "seat_count": 9,
    }
    assert shown["limits"] == {
        "max_seats": 8,
        "hold_seconds": 300,
        "extensions": 2,
        "lifetime_seconds": 1800,
        "orphan_rule": "off",
        "expired_holds": 3,
        "cooldown_seconds": 120,
        "rehold_seconds": 60,
        "release_jitter_seconds": 0,
        "address_holds": 100,
        "address_seats": 500,
    }
    assert set(shown) == {
        *("id", "group", "name", "venue", "starts_at", "on_sale_at", "state"),
        *("currency", "prices", "areas", "limits", "layout"),
    }


async def test_equal_names_get_different_ids_and_a_given_id_is_taken_once(catalogue: Catalogue) -> None:
    first, second = await catalogue.create_event(new_event()), await catalogue.create_event(new_event())
    assert second.id.startswith(f"{first.id}-")
    assert second.number > first.number
    await catalogue.create_event(new_event(id="mine"))
    with pytest.raises(Conflict):
        await catalogue.create_event(new_event(id="mine"))


async def test_a_repetition_after_a_crash_finds_the_event_that_the_first_attempt_made(catalogue: Catalogue) -> None:
    first = await catalogue.create_event(new_event(), seed="0123456789abcdef")
    assert await catalogue.create_event(new_event(), seed="0123456789abcdef") == first
    assert (await catalogue.create_event(new_event(), seed="fedcba9876543210")).id != first.id


async def test_every_violation_comes_at_once(catalogue: Catalogue) -> None:
    wrong = new_event(
        currency="XXX",
        on_sale_at=datetime(2031, 1, 1, tzinfo=UTC),
        prices=(
            Price(category="Loge", amount=1),
            Price(category="Stalls", amount=1),
            Price(category="Stalls", amount=2),
        ),
        limits=SaleLimits(hold_seconds=600, lifetime_seconds=60),
    )
    with pytest.raises(InvalidInput) as caught:
        await catalogue.create_event(wrong)
    assert sorted(violation.path for violation in caught.value.errors) == [
        "currency", "limits.lifetime_seconds", "on_sale_at", "prices", "prices", "prices[0].category", "prices[2]",
    ]  # fmt: skip


@pytest.mark.parametrize("layout", [LayoutChoice("hall", 3), LayoutChoice("elsewhere")])
async def test_events_are_sold_on_deployed_layouts_only(catalogue: Catalogue, layout: LayoutChoice) -> None:
    with pytest.raises(InvalidInput) as caught:
        await catalogue.create_event(new_event(layout=layout))
    assert caught.value.errors[0].path == "layout"


async def test_the_sale_moves_as_it_may(catalogue: Catalogue) -> None:
    for before, act, after in MOVES:
        event = await catalogue.create_event(new_event())
        for step in before:
            event = await catalogue.set_state(event.id, step)
        if after in ("conflict", "sale_closed"):
            with pytest.raises(LmlError) as caught:
                await catalogue.set_state(event.id, act)
            assert caught.value.code == after
            assert await catalogue.load_event(event.id) == event
            continue
        moved = await catalogue.set_state(event.id, act)
        assert moved.state == after
        assert moved.revision == event.revision + (moved.state != event.state)


async def test_a_change_raises_the_versions_that_it_concerns(catalogue: Catalogue) -> None:
    for changes, revision, prices_version in CHANGES:
        event = await catalogue.create_event(new_event())
        changed = await catalogue.update_event(event.id, changes)
        assert (changed.revision, changed.prices_version) == (revision, prices_version)
        assert changed.limits.hold_seconds == 300
        assert changed == await catalogue.load_event(event.id)


async def test_a_change_that_breaks_a_rule_changes_nothing(catalogue: Catalogue) -> None:
    for changes, path in BROKEN_CHANGES:
        event = await catalogue.create_event(new_event())
        with pytest.raises(InvalidInput) as caught:
            await catalogue.update_event(event.id, changes)
        assert caught.value.errors[0].path == path
        assert await catalogue.load_event(event.id) == event


async def test_a_closed_event_may_be_renamed_but_not_repriced(catalogue: Catalogue) -> None:
    event = await catalogue.create_event(new_event())
    await catalogue.set_state(event.id, "open")
    await catalogue.set_state(event.id, "close")
    assert (await catalogue.update_event(event.id, EventChanges(name="Aida"))).name == "Aida"
    with pytest.raises(Refused, match="closed"):
        await catalogue.update_event(event.id, EventChanges(limits=LimitChanges(max_seats=1)))


async def test_what_is_not_there_is_not_found(catalogue: Catalogue) -> None:
    for event_id in NO_EVENTS:
        with pytest.raises(NotFound):
            await catalogue.load_event(event_id)
        with pytest.raises(NotFound):
            await catalogue.update_event(event_id, EventChanges(name="x"))
        with pytest.raises(NotFound):
            await catalogue.set_state(event_id, "open")


async def test_changes_are_announced_at_their_commit(catalogue: Catalogue, postgres_dsn: str) -> None:
    listener = await postgres.connect(postgres_dsn)
    heard: asyncio.Queue[str] = asyncio.Queue()
    await listener.add_listener(CHANNEL, lambda *told: heard.put_nowait(str(told[3])))
    event = await catalogue.create_event(new_event(id="e1"))
    await catalogue.set_state(event.id, "open")
    await catalogue.set_state(event.id, "open")
    await catalogue.update_event(event.id, EventChanges(name=event.name))
    await catalogue.update_event(event.id, EventChanges(name="Aida"))
    await catalogue.create_event(new_event(id="e2"))
    assert [await asyncio.wait_for(heard.get(), 5) for _ in range(4)] == ["e1", "e1", "e1", "e2"]
    await listener.close()


async def test_two_managers_change_one_event_one_after_the_other(catalogue: Catalogue) -> None:
    event = await catalogue.create_event(new_event())
    await asyncio.gather(
        *(catalogue.update_event(event.id, EventChanges(limits=LimitChanges(max_seats=n))) for n in range(1, 6))
    )
    assert (await catalogue.load_event(event.id)).revision == 6


async def test_pages_of_events_hold_each_once_by_start(catalogue: Catalogue) -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    for number in range(7):
        await catalogue.create_event(new_event(id=f"e{number}", starts_at=start + timedelta(days=number // 3)))
    for number in range(6):
        await catalogue.set_state(f"e{number}", "open")
    seen, cursor = [], None
    while True:
        page = await catalogue.list_events(limit=2, cursor=cursor)
        seen += [event.id for event in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == [f"e{number}" for number in range(6)]
    assert len((await catalogue.list_events(drafts=True)).items) == 7


async def test_a_cursor_that_is_none_is_refused(catalogue: Catalogue) -> None:
    for cursor in NO_CURSORS:
        with pytest.raises(InvalidInput) as caught:
            await catalogue.list_events(cursor=cursor)
        assert caught.value.errors[0].path == "cursor"


async def test_a_name_may_be_any_text(catalogue: Catalogue) -> None:
    event = await catalogue.create_event(new_event(name="<b>';DROP TABLE event;-- 🎭"))
    assert (await catalogue.load_event(event.id)).name == "<b>';DROP TABLE event;-- 🎭"
    assert (await catalogue.create_event(new_event(name="愛"))).id == "event-2030-05-01"


# --- Blocks


async def test_seats_are_blocked_but_not_those_in_checkout(catalogue: Catalogue, pool: Pool) -> None:
    event, blocks, seats = await catalogue.create_event(new_event()), Blocks(pool), Hall().seat_ids
    async with postgres.transaction(pool) as connected:
        await connected.execute(
            "INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end,"
            " buyer_name, buyer_email, amount, currency, prices_version, expires_at)"
            " VALUES ('b', $1, 'h', 'x', 1, 'pending_payment', now(), now(),"
            " 'Anna', 'anna@example.org', 0, 'EUR', 1, now() + interval '1 hour')",
            event.id,
        )
        await connected.execute(
            "INSERT INTO booking_seat VALUES ('b', $1, $2, 'standard', 'claimed')", event.id, seats[0]
        )
    assert await blocks.block_seats(event.id, seats[:3], "house", "press", "s1") == dict.fromkeys(seats[1:3])
    assert await blocks.block_seats(event.id, seats[1:2], "kill", "camera", "s1") == {
        seats[1]: SeatBlock("house", "press", "s1")
    }
    await blocks.unblock_seats(event.id, seats[2:5], "s2", "sold out")
    await blocks.withdraw_seats(event.id, {seats[5]: None}, "s2", "press")
    assert await blocks.block_seats(event.id, seats[6:7], "house", "press", "s1") == {seats[6]: None}
    await blocks.withdraw_seats(event.id, {seats[6]: None}, "s1", "press")
    async with postgres.connection(pool) as connected:
        rows = await connected.fetch("SELECT seat_id, kind FROM seat_block WHERE event_id = $1", event.id)
        told = await connected.fetch(
            "SELECT act, seat_id, status, staff_id, reason FROM status_change WHERE event_id = $1 ORDER BY number",
            event.id,
        )
    assert [tuple(row) for row in rows] == [(seats[1], "kill")]
    assert sorted(tuple(row) for row in told[:2]) == sorted(
        ("block", seat, "house", "s1", "press") for seat in seats[1:3]
    )
    assert [tuple(row) for row in told[2:]] == [
        ("block", seats[1], "kill", "s1", "camera"),
        ("unblock", seats[2], "available", "s2", "sold out"),
        ("block", seats[6], "house", "s1", "press"),
        ("withdraw", seats[6], None, "s1", "press"),
    ]
    # What was blocked before the block that was refused is so again, unless it was claimed meanwhile.
    refused = await blocks.block_seats(event.id, seats[1:2], "house", "guests", "s3")
    await blocks.withdraw_seats(event.id, refused, "s3", "guests")
    rows = await pool.fetch("SELECT seat_id, kind, reason, staff_id FROM seat_block WHERE event_id = $1", event.id)
    assert [tuple(row) for row in rows] == [(seats[1], "kill", "camera", "s1")]
    refused = await blocks.block_seats(event.id, seats[1:2], "house", "guests", "s3")
    await pool.execute("INSERT INTO booking_seat VALUES ('b', $1, $2, 'standard', 'claimed')", event.id, seats[1])
    await blocks.withdraw_seats(event.id, refused, "s3", "guests")
    assert await pool.fetchval("SELECT count(*) FROM seat_block WHERE event_id = $1", event.id) == 0


async def test_places_are_blocked_up_to_the_areas_capacity(catalogue: Catalogue, pool: Pool) -> None:
    event, blocks = await catalogue.create_event(new_event()), Blocks(pool)

    async def block(places: int, kind: BlockKind, why: str) -> tuple[dict[str, int], dict[str, int]]:
        counted = await blocks.block_areas(event.id, {"floor": places}, kind, why, "s1", None)
        return dict(counted.short), dict(counted.off_sale)

    async def unblock(places: int) -> tuple[dict[str, int], dict[str, int]]:
        counted = await blocks.unblock_areas(event.id, {"floor": places}, "house", "s2", None, None)
        return dict(counted.short), dict(counted.off_sale)

    assert await block(60, "house", "press") == ({}, {"floor": 60})
    assert await block(41, "kill", "mixer") == ({"floor": 40}, {})
    assert await block(40, "kill", "mixer") == ({}, {"floor": 100})
    assert await unblock(61) == ({"floor": 60}, {})
    assert await unblock(10) == ({}, {"floor": 90})
    await blocks.withdraw_areas(event.id, {"floor": 50}, "house", "s2", "x", None)
    assert await unblock(1) == ({"floor": 0}, {})
    async with postgres.connection(pool) as connected:
        told = await connected.fetch(
            "SELECT act, quantity, status, reason FROM status_change WHERE event_id = $1 ORDER BY number", event.id
        )
    assert [tuple(row) for row in told] == [
        ("block", 60, "house", "press"),
        ("block", 40, "kill", "mixer"),
        ("unblock", 10, "available", None),
        ("withdraw", 50, None, "x"),
    ]
