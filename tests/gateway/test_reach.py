"""Staff who are an organisation's reach what is theirs, and nothing else: by every route that is documented."""

import re
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from aiohttp.test_utils import TestClient, TestServer
from databases import as_server

from lml_live.booking.evidence import Evidence
from lml_live.gateway.app import OPERATIONS, Services, make_app
from lml_live.gateway.operations import Operation
from lml_live.guard import reach
from lml_live.guard.reach import KINDS, Reach
from lml_live.guard.staff import Role, Staff, StaffDesk
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool
from lml_live.pricing.catalogue import Catalogue

OF_NOTHING = {
    "create_event": "an event begins as the house's",
    "list_organisations": "lists their own",
    "list_disputes": "lists those of their own events",
    "scan_ticket": "asks for the event in its body",
    "list_layout_versions": "layouts are everybody's to read",
    "read_layout_draft": "layouts are everybody's to read",
    "compare_layout_versions": "layouts are everybody's to read",
    "list_layout_backups": "layouts are everybody's to read",
    "write_layout_file": "layouts are everybody's to read",
    "list_layouts": "layouts are everybody's to read",
    "validate_layout": "reads what they send, and stores nothing",
    "read_layout_file": "reads what they send, and stores nothing",
}
"""Routes of clerks and managers whose path names nothing that is somebody's, and why that is right."""
OF_THE_HOUSE = {
    "save_layout",
    "replace_layout_draft",
    "begin_layout_draft",
    "publish_layout",
    "deploy_layout",
    "retire_layout",
    "back_up_layout",
    "restore_layout",
    "push_layout",
    "roll_back_layout",
    "link_layout",
    "test_mongo",
    "test_immutability",
}
"""What changes or tries what every organisation sells on is for the house's own managers."""
PARTS = {"venue": "house", "channel": "web", "dispute": "dp_1"}
"""Below something that is asked for."""
EVENT = """
    INSERT INTO event (id, group_id, name, venue, venue_id, starts_at, on_sale_at, currency, layout_id, layout_version,
                       layout_hash, seat_count, max_seats, hold_seconds, extensions, lifetime_seconds, state)
    VALUES ($1, $1, 'Aida', 'Hall', $2, now(), now(), 'EUR', 'hall', 1, 'ab', 9, 8, 300, 2, 1800, $3)
"""
BOOKING = """
    INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end, buyer_name,
                         buyer_email, amount, currency, prices_version, expires_at)
    VALUES ($1, $2, 'h', 'anna', 1, 'pending_payment', now(), now(), 'Anna', 'a@x', 5, 'EUR', 1, now())
"""


class Desk:
    """Knows staff by their tokens as they are in the database, with a role of the test's."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.role: Role = "manager"

    async def who(self, token: str) -> Staff | None:
        bound = await self.pool.fetchval(
            "SELECT EXISTS (SELECT FROM organisation_member WHERE member_id = $1)", token.removeprefix("staff-")
        )
        return Staff(token.removeprefix("staff-"), "a@example.org", (self.role,), bound)


class House:
    def __init__(self, pool: Pool, desk: Desk, client: "TestClient[Any, Any]") -> None:
        self.pool, self.desk, self.client = pool, desk, client

    async def ask(self, operation: Operation, named: dict[str, str], who: str) -> int:
        path = re.sub(r"\{([a-z_]+)\}", lambda found: named.get(found[1], PARTS.get(found[1], "")), operation.path)
        headers = {"Authorization": f"Bearer staff-{who}", "Idempotency-Key": "k"}
        return (await self.client.request(operation.method, path, headers=headers)).status

    async def ids(self, of: str) -> dict[str, str]:
        """What is `of`'s: an organisation, its event, a booking, a hold."""
        number = await self.pool.fetchval("SELECT number FROM event WHERE id = $1", f"event-{of}")
        return {"organisation": of, "event": f"event-{of}", "booking": f"booking-{of}", "hold": f"{number}-abc"}


@pytest.fixture(name="house")
async def house_fixture(postgres_dsn: str) -> AsyncIterator[House]:
    owner, pool = await postgres.connect_pool(postgres_dsn), await postgres.connect_pool(as_server(postgres_dsn))
    for name in ("ours", "theirs"):
        await owner.execute("INSERT INTO organisation VALUES ($1, $1, 'EUR', 7)", name)
        await owner.execute("INSERT INTO venue VALUES ($1, $1, $1)", name)
    for name, venue in (("ours", "ours"), ("theirs", "theirs"), ("house", None)):
        await owner.execute(EVENT, f"event-{name}", venue, "open")
        await owner.execute(BOOKING, f"booking-{name}", f"event-{name}")
    for name in ("bound", "free"):
        await owner.execute(
            "INSERT INTO staff (id, email, password_hash, roles) VALUES ($1, $1 || '@x', '', '{manager}')", name
        )
    await owner.execute("INSERT INTO organisation_member VALUES ('ours', 'bound')")
    desk = Desk(owner)
    rooms: dict[str, Any] = {
        name: MagicMock(payments=None, desk=desk, **{"layouts.desk": desk}) for name in Services.__dataclass_fields__
    }
    rooms["holders"].links.cdn_origin = ""
    app = make_app(Services(**rooms | {"reach": Reach(pool), "probes": {}, "mailbox": None}))
    async with TestClient(TestServer(app)) as client:
        yield House(owner, desk, client)
    await pool.close()
    await owner.close()


def of_staff() -> list[Operation]:
    named = {*OF_NOTHING, *OF_THE_HOUSE}
    return [one for one in OPERATIONS if one.who in ("clerk", "manager", "staff") and one.name not in named]


async def test_by_no_route_does_anybody_reach_what_is_anothers(house: House) -> None:
    """A new route of staff is in here by being documented: it names what it is of, or says why it names nothing."""
    reached, missed = [], []
    for operation in of_staff():
        kinds = {"organisation"} if "organisation" in operation.parameters else set(operation.parameters) & set(KINDS)
        assert kinds, f"{operation.name} names nothing that is somebody's"
        assert set(operation.parameters) <= {*KINDS, *PARTS}, f"{operation.name}: whose is that?"
        for role in ("manager", "box_office") if operation.who == "clerk" else ("manager",):
            house.desk.role = role  # type: ignore[assignment]
            for of in ("theirs",) if kinds == {"organisation"} else ("theirs", "house"):
                status = await house.ask(operation, await house.ids(of), "bound")
                if status != 404:
                    reached.append((operation.name, role, of, status))
            # Their own, and everything for who is nobody's: past the check, where these rooms have no answers.
            for who, of in (("bound", "ours"), ("free", "theirs"), ("free", "house")):
                if await house.ask(operation, await house.ids(of), who) == 404:
                    missed.append((operation.name, who, of))
    assert reached == []
    assert missed == []


async def test_without_the_member_in_its_statement_everybody_reaches_everything(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I28: the condition that is cut here is the one on which the test before this one stands."""
    await house.pool.execute("INSERT INTO organisation_member VALUES ('theirs', 'free')")
    theirs = await house.ids("theirs")

    async def reached() -> set[str]:
        return {kind for kind in KINDS if await Reach(house.pool).has("bound", kind, theirs[kind])}

    assert await reached() == set()
    cut = reach._SQL["reaches"].replace("m.member_id = $1", "$1::text <> ''")
    assert cut != reach._SQL["reaches"]
    monkeypatch.setattr(reach, "_SQL", {"reaches": cut})
    assert await reached() == set(KINDS)


async def test_what_is_every_organisations_is_changed_by_the_house_alone(house: House) -> None:
    changes = [one for one in OPERATIONS if one.name in OF_THE_HOUSE]
    assert {one.name for one in changes} == OF_THE_HOUSE
    assert [await house.ask(one, {"layout": "hall"}, "bound") for one in changes] == [403] * len(changes)
    assert 403 not in [await house.ask(one, {"layout": "hall"}, "free") for one in changes]


def test_what_names_nothing_is_named_here() -> None:
    assert {one.name for one in OPERATIONS} >= set(OF_NOTHING)
    assert all(not set(one.parameters) & set(KINDS) for one in OPERATIONS if one.name in OF_NOTHING)


@pytest.mark.parametrize("name", ["", "{x}", "no such", "9" * 70, "event-ours\n"])
async def test_no_name_is_anybodys(house: House, name: str) -> None:
    reach = Reach(house.pool)
    assert [await reach.has("bound", kind, name) for kind in KINDS] == [False] * len(KINDS)


async def test_lists_have_what_is_theirs(house: House) -> None:
    await house.pool.execute("UPDATE event SET state = 'draft' WHERE id <> 'event-house'")
    catalogue, evidence = Catalogue(house.pool, MagicMock()), Evidence(house.pool)
    for of, wanted in (("bound", ["event-house", "event-ours"]), (None, ["event-house", "event-ours", "event-theirs"])):
        page = await catalogue.list_events(drafts=True, drafts_of=of)
        assert sorted(event.id for event in page.items) == wanted
    for name in ("ours", "theirs"):
        await house.pool.execute(
            "INSERT INTO dispute (id, booking_id, amount, reason) VALUES ('dp_' || $1, 'booking-' || $1, 1, 'x')", name
        )
    assert [one.id for one in await evidence.list(of="bound", limit=5)] == ["dp_ours"]
    assert len(await evidence.list(limit=5)) == 2


async def test_who_is_bound_is_told_with_the_session(house: House) -> None:
    desk = StaffDesk(house.pool)
    for name, roles in (("free", "{manager}"), ("bound", "{box_office}"), ("bound", "{admin}")):
        await house.pool.execute("UPDATE staff SET roles = $2::text::text[] WHERE id = $1", name, roles)
        await house.pool.execute("DELETE FROM staff_session")
        await house.pool.execute(
            "INSERT INTO staff_session VALUES (sha256('staff-token'), $1, now() + interval '1 hour')", name
        )
        found = await desk.who("staff-token")
        assert found is not None
        assert found.bound is (roles == "{box_office}"), "administrators have the whole house"
