"""What a bank is told in a dispute: assembled from what is on record, submitted once, in time, and there to be read."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    event_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import BookingHouse
from test_disputes import disputed, told
from test_statements import Desk

from lml_live import limits
from lml_live.backoffice.trail import Trail
from lml_live.booking.bookings import Booking
from lml_live.booking.dossier import FIELD_CHARS_MAX, Case, Line, Move, write_fields
from lml_live.booking.inbox import OpenNotice
from lml_live.booking.payments import PaymentFault
from lml_live.devstack.stripe.disputes import EVIDENCE
from lml_live.devstack.stripe.objects import Dispute
from lml_live.gateway import disputes as rest
from lml_live.gateway.disputes import DisputeServices
from lml_live.gateway.problems import problems_middleware


@pytest.fixture(name="office")
async def office_fixture(house: BookingHouse) -> AsyncIterator["TestClient[Any, Any]"]:
    app = web.Application(middlewares=[problems_middleware])
    app.add_routes(rest.routes(DisputeServices(Desk(), house.evidence, house.completer)))  # type: ignore[arg-type]
    client: TestClient[Any, Any] = TestClient(TestServer(app), headers={"Authorization": "Bearer staff-anna"})
    await client.start_server()
    yield client
    await client.close()


async def at_stripe(house: BookingHouse) -> list[Dispute]:
    return (await house.double.steering.ledger()).disputes


async def planned(house: BookingHouse) -> list[tuple[str, str]]:
    rows = await house.pool.fetch("SELECT round, state FROM dispute_evidence ORDER BY created")
    return [tuple(row) for row in rows]


async def due_in_days(house: BookingHouse) -> float:
    """When the bank is told."""
    seconds = await house.pool.fetchval(
        "SELECT extract(epoch FROM due - now()) FROM outbox WHERE act = 'submit_evidence' AND done IS NULL"
    )
    return round(float(seconds) / 86_400, 1)


async def starts_in(house: BookingHouse, event: str, days: float) -> None:
    moment = datetime.now(UTC) + timedelta(days=days)
    await house.pool.execute("UPDATE event SET starts_at = $2 WHERE id = $1", event, moment)


@pytest.mark.parametrize(("days", "wanted"), [(-2, 0), (-0.5, 0.5), (3, 4), (40, 5)])
async def test_it_is_due_after_the_event_and_in_time(
    house: BookingHouse, event: str, days: float, wanted: float
) -> None:
    await starts_in(house, event, days)
    booking = await house.sold(event, 3)
    await disputed(house, booking)
    await house.bookings.keep_notice("evt", "charge.dispute.created", booking.intent_id)
    about = {"intent": booking.intent_id, "booking": booking.id, "account": None, "payout": None}
    await house.completer._heed(OpenNotice(id="evt", type="charge.dispute.created", **about))
    assert await due_in_days(house) == wanted


async def test_a_bank_is_told_what_is_on_record_once(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3, 4)
    await house.pool.execute("UPDATE mail SET sent = now() WHERE kind = 'confirmed'")
    await house.pool.execute(
        "UPDATE ticket SET state = 'used', used_at = now(), used_gate = 'North', used_by = 's-1', used_key = 'k'"
        " WHERE line = 1"
    )
    await house.refund(booking, lines=[2])
    await house.rest()
    while await Trail(house.pool).chain():
        pass
    dispute = await disputed(house, booking)
    await told(house, booking, "created", 1)
    before = (await house.evidence.pack(booking.id, dispute)).fields
    await house.rest()
    [one] = await at_stripe(house)
    assert one.evidence == before == (await house.evidence.pack(booking.id, dispute)).fields
    assert (one.status, one.evidence_details.submission_count) == ("under_review", 1)
    assert await planned(house) == [("dispute", "submitted")]
    assert one.evidence.keys() <= EVIDENCE
    assert one.evidence["customer_email_address"] == "anna@example.org"
    log = one.evidence["access_activity_log"]
    for words in ("booking pending_payment by the buyer", "[audit record ", "admitted at North", "e-mail 'confirmed'"):
        assert words in log
    assert "Places admitted at the door: 1 of 2." in one.evidence["uncategorized_text"]
    assert "47.50 EUR refunded (succeeded): the band is ill" in one.evidence["refund_refusal_explanation"]
    assert "https://tickets.example.org/terms" in one.evidence["refund_policy_disclosure"]
    codes = [ticket.id for ticket in await house.tickets.of_booking(booking.id)]
    assert not any(code in text for code in codes for text in one.evidence.values()), "they let people in"
    await house.assert_right(event)
    for change in ("body = '{}'", "state = 'planned', ended = NULL"):
        with pytest.raises(asyncpg.CheckViolationError):
            await house.pool.execute(f"UPDATE dispute_evidence SET {change}")


@pytest.mark.parametrize("kind", ["timeout_after", "error_500", "error_500_after", "rate_limit"])
async def test_it_is_told_once_whatever_stripe_does(house: BookingHouse, event: str, kind: Any) -> None:
    booking = await house.sold(event, 3)
    await disputed(house, booking)
    await house.double.steering.fault("dispute_update", kind)
    await told(house, booking, "created", 1)
    await house.rest()
    [one] = await at_stripe(house)
    assert one.evidence_details.submission_count == 1
    assert await planned(house) == [("dispute", "submitted")]


async def test_an_inquiry_is_answered_and_its_dispute_again(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    dispute = await disputed(house, booking, inquiry=True)
    await told(house, booking, "created", 1)
    await house.rest()
    await house.double.steering.escalate_dispute(dispute)
    await told(house, booking, "updated", 2)
    await house.rest()
    assert await planned(house) == [("inquiry", "submitted"), ("dispute", "submitted")]
    assert (await at_stripe(house))[0].status == "under_review"


async def test_what_somebody_told_the_bank_is_left_alone(house: BookingHouse, event: str) -> None:
    booking = await house.sold(event, 3)
    dispute = await disputed(house, booking)
    await house.payments.submit_evidence(dispute, {"uncategorized_text": "By hand."}, "by-hand")
    await told(house, booking, "created", 1)
    assert await planned(house) == [("dispute", "planned")]
    await house.rest()
    assert await planned(house) == [("dispute", "found")]
    assert (await at_stripe(house))[0].evidence == {"uncategorized_text": "By hand."}


async def test_managers_read_it_and_tell_the_bank_now(
    house: BookingHouse, event: str, office: "TestClient[Any, Any]"
) -> None:
    await starts_in(house, event, 40)
    booking = await house.sold(event, 3)
    other = await house.sold(event, 5, key="5")
    dispute = await disputed(house, booking)
    await told(house, booking, "created", 1)
    path = f"/api/v1/bookings/{booking.id}/disputes/{dispute}/evidence"
    answer = await office.get(path)
    pack = await answer.json()
    assert answer.headers["Content-Disposition"] == f'attachment; filename="evidence-{dispute}.json"'
    assert (pack["case"]["buyer_name"], [one["state"] for one in pack["evidence"]]) == ("Anna", ["planned"])
    assert pack["fields"]["customer_name"] == "Anna"
    page = await (await office.get("/api/v1/disputes?limit=1&state=open")).json()
    assert (page["items"][0]["id"], page["items"][0]["fees"], page["next"]) == (dispute, {"EUR": 1_500}, None)
    await disputed(house, other)
    await told(house, other, "created", 2)
    page = await (await office.get("/api/v1/disputes?limit=1")).json()
    after = await (await office.get(f"/api/v1/disputes?cursor={page['next']}")).json()
    assert [one["booking"] for one in (*page["items"], *after["items"])] == [other.id, booking.id]
    answer = await office.post(path)
    assert (answer.status, (await answer.json())["evidence"][0]["state"]) == (202, "submitted")
    assert (await office.post(path)).status == 409, "a bank hears it once"
    wrong = [f"/api/v1/bookings/{other.id}/disputes/{dispute}/evidence", path.replace(dispute, "dp_none")]
    assert [(await office.get(one)).status for one in wrong] == [404, 404]
    assert (await office.get("/api/v1/disputes?state=closed")).status == 422
    stranger = {"Authorization": "Bearer staff-nobody"}
    assert [(await office.get(one, headers=stranger)).status for one in (path, "/api/v1/disputes")] == [401, 401]


async def test_evidence_that_stripe_refuses_for_days_is_stuck(
    house: BookingHouse, event: str, office: "TestClient[Any, Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    booking = await house.sold(event, 3)
    dispute = await disputed(house, booking)

    async def refuses(*_: Any) -> Any:
        raise PaymentFault("refused", "Stripe refused (parameter_invalid).")

    with monkeypatch.context() as patched:
        patched.setattr(house.payments, "submit_evidence", refuses)
        await told(house, booking, "created", 1)
        for _ in range(limits.REFUSED_ATTEMPTS_MAX):
            await house.pass_time()
            await house.completer.turn()
    [shown] = (await house.evidence.pack(booking.id, dispute)).evidence
    assert (shown.stuck is not None, shown.due, shown.fault) == (True, None, "Stripe refused (parameter_invalid).")
    answer = await office.post(f"/api/v1/bookings/{booking.id}/disputes/{dispute}/evidence")
    assert (await answer.json())["evidence"][0]["state"] == "submitted"


def a_case(booking: Booking | None = None, **parts: Any) -> Case:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    bare = dict.fromkeys(("moves", "mails", "tickets", "refunds", "disputes"), ())
    return msgspec.convert(
        {
            "dispute": "dp_1",
            "booking": "b-1",
            "intent": "pi_1",
            "buyer_name": "Anna\0",
            "buyer_email": "a@b.example",
            "amount": 4_750,
            "currency": "EUR",
            "created": at,
            "origin": None,
            "event": "Neon Harbour",
            "venue": "Opera",
            "starts_at": at,
            "max_seats": 8,
            "terms_url": None,
            "lines": (),
            **bare,
            **parts,
        },
        Case,
    )


def test_fields_hold_what_they_may_and_say_what_is_left_out() -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    moves = tuple(Move(at, "confirmed", "disputed", "system", None, n, "ab" * 32) for n in range(1_000))
    fields = write_fields(a_case(moves=moves, lines=(Line(1, "seat 12", "adult", 4_750),)))
    assert max(map(len, fields.values())) <= FIELD_CHARS_MAX
    assert fields["access_activity_log"].splitlines()[-1].endswith(" more)")
    assert "refund_policy_disclosure" not in fields, "of terms that nobody has nothing is said"
    assert fields["customer_name"] == "Anna"
    assert fields == write_fields(a_case(moves=moves, lines=(Line(1, "seat 12", "adult", 4_750),)))
