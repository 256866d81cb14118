"""The Stripe double's webhooks: signed, repeated until heard, and lost, doubled, late or reordered on demand."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import stripe
from aiohttp.test_utils import TestServer
from stripe_house import OwnDouble, WebhookEar, listening, stripe_client
from waiting import eventually

from lml_live.devstack.stripe.process import StripeDouble
from lml_live.devstack.stripe.server import build_app
from lml_live.devstack.stripe.settings import DoubleSettings, Keys
from lml_live.devstack.stripe.world import Act

PAY: dict[str, Any] = {
    "amount": 4_750,
    "currency": "eur",
    "payment_method_types": ["card"],
    "payment_method": "pm_card_visa",
    "confirm": True,
}
TYPES = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
Api = stripe.StripeClient


async def settled(double: StripeDouble, count: int) -> None:
    """Waits until so many deliveries have ended, and no more are under way."""

    async def done() -> bool:
        states = [delivery.state for delivery in (await double.steering.ledger()).deliveries]
        return len(states) == count and "pending" not in states

    await eventually(done)


async def test_each_change_is_told_and_signed(
    stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar
) -> None:
    intent = await stripe_api.v1.payment_intents.create_async(PAY, {"idempotency_key": "k1"})
    await settled(stripe_double, 3)
    assert webhook_ear.types() == TYPES
    assert webhook_ear.forged == 0
    told = webhook_ear.heard[2]
    assert (told.data.object["id"], told.data.object["status"]) == (intent.id, "succeeded")
    assert told.request.idempotency_key == "k1"
    found = await stripe_api.v1.events.retrieve_async(told.id)
    assert (found.pending_webhooks, found.data.object["id"]) == (0, intent.id)
    assert (await stripe_api.v1.events.list_async({"delivery_success": False})).data == []


async def test_an_event_is_repeated_until_it_is_heard_each_time_signed_afresh(
    stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar
) -> None:
    webhook_ear.answers = [500, 302, 400]
    await stripe_double.steering.change_settings(webhook_retry_first_ms=600, webhook_retry_max_ms=600)
    await stripe_api.v1.payment_intents.create_async({**PAY, "confirm": False})

    async def heard_once_more(count: int) -> None:
        await eventually(lambda: len(webhook_ear.heard) == count)

    for count in (1, 2, 3):
        await heard_once_more(count)
        assert (await stripe_api.v1.events.list_async({"delivery_success": False})).data != []
    await heard_once_more(4)
    await settled(stripe_double, 1)
    assert len({event.id for event in webhook_ear.heard}) == 1
    assert len(set(webhook_ear.signatures)) > 1
    tries = (await stripe_double.steering.ledger()).deliveries[0].tries
    assert [each.status for each in tries] == [500, 302, 400, 200]


async def test_the_pauses_grow_by_the_double_s_clock_until_it_gives_up(
    stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar
) -> None:
    await stripe_double.steering.change_settings(webhook_retry_first_ms=3_600_000, webhook_retry_max_ms=100_000_000)
    webhook_ear.answers = [500] * 50
    await stripe_api.v1.payment_intents.create_async({**PAY, "confirm": False})
    # One hour, two, four, …: after 63 hours the next pause would end beyond the third day.
    for tries, pause_h in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 0)):
        await eventually(lambda tries=tries: len(webhook_ear.heard) == tries)

        async def noted(tries: int = tries) -> bool:
            return len((await stripe_double.steering.ledger()).deliveries[0].tries) == tries

        await eventually(noted)
        await stripe_double.steering.advance(pause_h * 3_600)
    webhook_ear.answers = []
    await stripe_double.steering.advance(32 * 3_600)
    await eventually(lambda: len(webhook_ear.heard) == 7)


async def test_a_receiver_that_is_never_well(
    stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar
) -> None:
    await stripe_double.steering.change_settings(webhook_give_up_ms=50)
    webhook_ear.answers = [500] * 50
    await stripe_api.v1.payment_intents.create_async({**PAY, "confirm": False})
    await settled(stripe_double, 1)
    assert (await stripe_double.steering.ledger()).deliveries[0].state == "failed"
    lost = await stripe_api.v1.events.list_async({"delivery_success": False})
    webhook_ear.answers = []
    before = len(webhook_ear.heard)
    await stripe_double.steering.resend(lost.data[0].id)
    await eventually(lambda: len(webhook_ear.heard) == before + 1)


async def test_without_an_address_events_are_only_kept(stripe_double: StripeDouble, stripe_api: Api) -> None:
    await stripe_api.v1.payment_intents.create_async(PAY)
    ledger = await stripe_double.steering.ledger()
    assert ([event.type for event in ledger.events], ledger.deliveries) == (TYPES, [])


async def test_another_secret_is_used_from_then_on(
    stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar
) -> None:
    await stripe_double.steering.change_settings(webhook_secret="whsec_other")
    await stripe_api.v1.payment_intents.create_async({**PAY, "confirm": False})
    await eventually(lambda: webhook_ear.forged > 0)
    webhook_ear.secret = "whsec_other"
    await settled(stripe_double, 1)
    assert webhook_ear.types() == TYPES[:1]


# --- Faults


async def test_lost(stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar) -> None:
    await stripe_double.steering.webhook_fault("lose", "payment_intent.*", count=None)
    await stripe_api.v1.payment_intents.create_async(PAY)
    await settled(stripe_double, 3)
    assert webhook_ear.types() == ["charge.succeeded"]
    lost = await stripe_api.v1.events.list_async({"delivery_success": False})
    assert [event.type for event in lost.data] == ["payment_intent.succeeded", "payment_intent.created"]


async def test_doubled(stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar) -> None:
    await stripe_double.steering.webhook_fault("double", "payment_intent.succeeded", copies=3)
    await stripe_api.v1.payment_intents.create_async(PAY)
    await settled(stripe_double, 5)
    assert webhook_ear.types() == [*TYPES, TYPES[2], TYPES[2]]
    assert len({event.id for event in webhook_ear.heard}) == 3


async def test_late(stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar) -> None:
    await stripe_double.steering.webhook_fault("late", "payment_intent.created", delay_ms=3_600_000)
    await stripe_api.v1.payment_intents.create_async(PAY)
    await eventually(lambda: webhook_ear.types() == TYPES[1:])
    await stripe_double.steering.advance(3_600)
    await eventually(lambda: webhook_ear.types() == [*TYPES[1:], TYPES[0]])


async def test_held_and_released(stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar) -> None:
    await stripe_double.steering.webhook_fault("hold", count=None)
    await stripe_api.v1.payment_intents.create_async(PAY)
    await stripe_double.steering.clear_faults()
    other = await stripe_api.v1.payment_intents.create_async({**PAY, "confirm": False})
    await eventually(lambda: [event.data.object["id"] for event in webhook_ear.heard] == [other.id])
    assert await stripe_double.steering.release(order="reversed") == 3
    await settled(stripe_double, 4)
    assert webhook_ear.types()[1:] == TYPES[::-1]
    assert await stripe_double.steering.release() == 0


async def test_reordered(stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar) -> None:
    await stripe_double.steering.webhook_fault("reorder", count=3)
    await stripe_api.v1.payment_intents.create_async(PAY)
    await settled(stripe_double, 3)
    assert webhook_ear.types() == TYPES[::-1]


async def test_shuffled_by_a_seed(stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar) -> None:
    orders = []
    for _ in range(2):
        await stripe_double.steering.webhook_fault("reorder", count=6, seed=5)
        heard = len(webhook_ear.heard)
        intent = await stripe_api.v1.payment_intents.create_async({**PAY, "capture_method": "manual"})
        await stripe_api.v1.payment_intents.capture_async(intent.id)
        await stripe_api.v1.payment_intents.create_async({**PAY, "confirm": False})
        await eventually(lambda heard=heard: len(webhook_ear.heard) == heard + 6)
        orders.append(webhook_ear.types()[heard:])
    as_they_happened = [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
        "payment_intent.created",
    ]
    assert orders[0] == orders[1] != as_they_happened
    assert sorted(orders[0]) == sorted(as_they_happened)


async def test_a_receiver_that_never_answers_is_given_up_on_and_tried_again(
    stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar
) -> None:
    await stripe_double.steering.change_settings(webhook_parallel=8, webhook_timeout_ms=300)
    stalled: list[asyncio.StreamWriter] = []

    async def stall(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stalled.append(writer)

    deaf = await asyncio.start_server(stall, "127.0.0.1", 0)
    async with deaf:
        port = deaf.sockets[0].getsockname()[1]
        await stripe_double.steering.change_settings(webhook_url=f"http://127.0.0.1:{port}/")
        await stripe_api.v1.payment_intents.create_async(PAY)
        await eventually(lambda: len(stalled) >= 3)
        await stripe_double.steering.change_settings(webhook_url=webhook_ear.url)
        await settled(stripe_double, 3)
        for writer in stalled:
            writer.close()
    assert sorted(webhook_ear.types()) == sorted(TYPES)


async def test_repeated_after_a_kill(stripe_double_own: OwnDouble) -> None:
    double = await stripe_double_own()
    async with listening(double) as ear, stripe_client(double) as api:
        await double.steering.change_settings(webhook_retry_first_ms=400)
        ear.answers = [500] * 3
        intent = await api.v1.payment_intents.create_async(PAY)
        await eventually(lambda: len(ear.heard) == 3)
        await double.kill()
        await double.start()
        await settled(double, 3)
        assert {event.type for event in ear.heard[3:]} == set(TYPES)
        assert {event.data.object["id"] for event in ear.heard if event.type != TYPES[1]} == {intent.id}


async def test_a_double_rests_while_nothing_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looked twenty times a second: idle, it cost half of what a worker does."""
    looks, settle = 0, Act.settle

    def count(self: Act) -> None:
        nonlocal looks
        looks += 1
        settle(self)

    monkeypatch.setattr(Act, "settle", count)
    keys = Keys(secret="sk_test_1", publishable="pk_test_1")
    async with TestServer(build_app(tmp_path / "stripe.sqlite", keys, DoubleSettings(), "http://127.0.0.1")):
        await asyncio.sleep(0.15)
        assert looks == 1
