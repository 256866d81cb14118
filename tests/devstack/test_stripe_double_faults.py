"""The Stripe double's idempotency keys, its faults one by one, and what a kill leaves of it."""

import asyncio
from typing import Any

import aiohttp
import pytest
import stripe
from stripe_house import OwnDouble, listening, stripe_client
from waiting import eventually

from lml_live.devstack.stripe.faults import FaultKind
from lml_live.devstack.stripe.process import StripeDouble
from lml_live.errors import Unavailable

HOLD: dict[str, Any] = {
    "amount": 4_750,
    "currency": "eur",
    "payment_method_types": ["card"],
    "capture_method": "manual",
    "payment_method": "pm_card_visa",
    "confirm": True,
}
Api = stripe.StripeClient


def keyed(key: str) -> dict[str, Any]:
    return {"idempotency_key": key}


async def statuses(double: StripeDouble) -> list[str]:
    return [entry.intent.status for entry in (await double.steering.ledger()).intents]


# --- Idempotency keys


async def test_the_same_key_gets_the_same_answer_once(stripe_double: StripeDouble, stripe_api: Api) -> None:
    first = await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
    again = await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
    assert again.id == first.id
    assert first.last_response is not None
    assert again.last_response is not None
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert again.last_response.headers["Original-Request"] == first.last_response.request_id
    assert await statuses(stripe_double) == ["requires_capture"]
    await stripe_api.v1.payment_intents.capture_async(first.id)
    # The answer is the saved one, not what has become of it.
    assert (await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))).status == "requires_capture"


async def test_a_key_serves_one_request_only(stripe_double: StripeDouble, stripe_api: Api) -> None:
    intent = await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
    with pytest.raises(stripe.IdempotencyError) as refused:
        await stripe_api.v1.payment_intents.create_async({**HOLD, "amount": 5_000}, keyed("k1"))
    assert refused.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError):
        await stripe_api.v1.payment_intents.capture_async(intent.id, options=keyed("k1"))
    assert await statuses(stripe_double) == ["requires_capture"]
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k" * 256))


async def test_a_decline_is_saved_and_a_mistake_is_not(stripe_double: StripeDouble, stripe_api: Api) -> None:
    declined = {**HOLD, "payment_method": "pm_card_chargeDeclined"}
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            await stripe_api.v1.payment_intents.create_async(declined, keyed("k1"))
    assert await statuses(stripe_double) == ["requires_payment_method"]
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.payment_intents.create_async({**HOLD, "amount": 1}, keyed("k2"))
    assert (await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k2"))).status == "requires_capture"


async def test_concurrent_requests_with_one_key(stripe_double: StripeDouble, stripe_api: Api) -> None:
    await stripe_double.steering.fault("create", "delay", delay_ms=300)
    first = asyncio.create_task(stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1")))
    await eventually(lambda: fired(stripe_double))
    with pytest.raises(stripe.APIError) as refused:
        await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
    assert refused.value.error is not None
    assert (refused.value.http_status, refused.value.error.code) == (409, "idempotency_key_in_use")
    intent = await first
    assert (await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))).id == intent.id


async def fired(double: StripeDouble) -> int:
    return sum(fault.fired for fault in (await double.steering.ledger()).faults)


async def test_fifty_at_once_with_one_key_have_one_effect(stripe_double: StripeDouble, stripe_api: Api) -> None:
    tries = [stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1")) for _ in range(50)]
    made = {intent.id for intent in await asyncio.gather(*tries)}
    assert len(made) == len(await statuses(stripe_double)) == 1


async def test_a_key_is_forgotten_after_a_day(stripe_double: StripeDouble, stripe_api: Api) -> None:
    first = await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
    await stripe_double.steering.advance(24 * 3_600 - 60)
    assert (await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))).id == first.id
    await stripe_double.steering.advance(61)
    assert (await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))).id != first.id


# --- Faults


async def test_a_timeout_before_the_effect(stripe_double: StripeDouble, stripe_api: Api) -> None:
    await stripe_double.steering.fault("create", "timeout_before")
    with pytest.raises(stripe.APIConnectionError):
        await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
    assert await statuses(stripe_double) == []
    assert (await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))).status == "requires_capture"


async def test_a_timeout_after_the_effect(stripe_double: StripeDouble, stripe_api: Api) -> None:
    await stripe_double.steering.fault("create", "timeout_after", count=2)
    for _ in range(2):  # The second time the answer is a replay, and is lost too.
        with pytest.raises(stripe.APIConnectionError):
            await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
    assert await statuses(stripe_double) == ["requires_capture"]
    intent = await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
    ledger = await stripe_double.steering.ledger()
    assert [entry.intent.id for entry in ledger.intents] == [intent.id]
    assert [(request.answered, request.replayed) for request in ledger.requests] == [
        (False, False),
        (False, True),
        (True, True),
    ]
    assert ledger.faults[0].fired == 2


async def test_a_client_that_gives_up_before_the_answer(stripe_double: StripeDouble) -> None:
    await stripe_double.steering.fault("create", "timeout_after", delay_ms=5_000)
    async with stripe_client(stripe_double, timeout=0.2) as hasty:
        with pytest.raises(stripe.APIConnectionError):
            await hasty.v1.payment_intents.create_async(HOLD, keyed("k1"))
    assert await statuses(stripe_double) == ["requires_capture"]


async def test_an_effect_that_comes_after_the_client_has_gone(stripe_double: StripeDouble) -> None:
    await stripe_double.steering.fault("create", "delay", delay_ms=400)
    async with stripe_client(stripe_double, timeout=0.1) as hasty:
        with pytest.raises(stripe.APIConnectionError):
            await hasty.v1.payment_intents.create_async(HOLD, keyed("k1"))
    assert await statuses(stripe_double) == []

    async def there() -> bool:
        return await statuses(stripe_double) == ["requires_capture"]

    await eventually(there)


async def test_a_500_is_saved_though_nothing_was_done(stripe_double: StripeDouble, stripe_api: Api) -> None:
    await stripe_double.steering.fault("create", "error_500")
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
        assert failed.value.http_status == 500
    assert failed.value.headers is not None
    assert failed.value.headers["Idempotent-Replayed"] == "true"
    assert failed.value.headers["Stripe-Should-Retry"] == "false"
    assert await statuses(stripe_double) == []
    assert (await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k2"))).status == "requires_capture"


async def test_a_500_is_saved_though_it_was_done(stripe_double: StripeDouble, stripe_api: Api) -> None:
    intent = await stripe_api.v1.payment_intents.create_async(HOLD)
    await stripe_double.steering.fault("capture", "error_500_after")
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            await stripe_api.v1.payment_intents.capture_async(intent.id, options=keyed("k1"))
    assert (await stripe_api.v1.payment_intents.retrieve_async(intent.id)).status == "succeeded"
    assert (await stripe_double.steering.ledger()).net_captured() == {"eur": 4_750}


async def test_a_rate_limit_is_not_saved(stripe_double: StripeDouble, stripe_api: Api) -> None:
    await stripe_double.steering.fault("*", "rate_limit", count=2)
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError) as limited:
            await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
        assert limited.value.error is not None
        assert (limited.value.http_status, limited.value.error.code) == (429, "rate_limit")
    assert (await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))).status == "requires_capture"


async def test_a_bucket_lets_so_many_pass(stripe_double: StripeDouble, stripe_api: Api) -> None:
    await stripe_double.steering.fault("create", "rate_limit", count=None, per_second=0.001, burst=3)
    tries = [stripe_api.v1.payment_intents.create_async(HOLD) for _ in range(5)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(outcome, stripe.RateLimitError) for outcome in outcomes) == 2
    assert len(await statuses(stripe_double)) == 3
    await stripe_double.steering.advance(1_001)
    assert (await stripe_api.v1.payment_intents.create_async(HOLD)).status == "requires_capture"


async def test_the_sdk_s_own_retries_find_one_effect(stripe_double: StripeDouble) -> None:
    for kind in ("timeout_after", "timeout_before"):
        await stripe_double.steering.fault("create", kind)  # type: ignore[arg-type]
    async with stripe_client(stripe_double, max_network_retries=2) as api:
        assert (await api.v1.payment_intents.create_async(HOLD)).status == "requires_capture"
    assert await statuses(stripe_double) == ["requires_capture"]


@pytest.mark.parametrize("operation", ["confirm", "cancel", "refund", "retrieve"])
async def test_a_fault_meets_its_own_operation_only(
    stripe_double: StripeDouble, stripe_api: Api, operation: Any
) -> None:
    await stripe_double.steering.fault(operation, "rate_limit")
    intents = stripe_api.v1.payment_intents
    created = await intents.create_async({**HOLD, "confirm": False})
    paid = await intents.create_async({**HOLD, "capture_method": "automatic"})
    acts = {
        "retrieve": lambda: intents.retrieve_async(paid.id),
        "confirm": lambda: intents.confirm_async(created.id),
        "cancel": lambda: intents.cancel_async(created.id),
        "refund": lambda: stripe_api.v1.refunds.create_async({"payment_intent": paid.id}),
    }
    for name, act in acts.items():
        if name == operation:
            with pytest.raises(stripe.RateLimitError):
                await act()
        else:
            await act()
    assert await fired(stripe_double) == 1


async def test_faults_end_when_they_are_cleared(stripe_double: StripeDouble, stripe_api: Api) -> None:
    await stripe_double.steering.fault("create", "rate_limit", count=None)
    with pytest.raises(stripe.RateLimitError):
        await stripe_api.v1.payment_intents.create_async(HOLD)
    await stripe_double.steering.clear_faults()
    await stripe_api.v1.payment_intents.create_async(HOLD)
    assert await fired(stripe_double) == 1


# --- The control API


async def test_the_control_api_is_for_the_secret_key(stripe_double: StripeDouble) -> None:
    async with aiohttp.ClientSession() as http:
        for headers in ({}, {"Authorization": f"Bearer {stripe_double.publishable_key}"}):
            async with http.get(f"{stripe_double.url}/_double/ledger", headers=headers) as response:
                assert response.status == 401


async def test_what_the_control_api_refuses(stripe_double: StripeDouble) -> None:
    steering = stripe_double.steering
    for wrong in (
        steering.fault("explode", "rate_limit"),  # type: ignore[arg-type]
        steering.fault("create", "explode"),  # type: ignore[arg-type]
        steering.fault("create", "delay", delay="long"),
        steering.webhook_fault("reorder", count=None),
        steering.change_settings(webhook_paralel=3),
        steering.change_settings(webhook_parallel=0),
        steering.advance(-1),
        steering.resend("evt_none"),
        steering.authenticate("pi_none"),
    ):
        with pytest.raises(Unavailable):
            await wrong


async def test_a_reset_forgets_everything(stripe_double: StripeDouble, stripe_api: Api) -> None:
    first = await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))
    await stripe_double.steering.fault("create", "delay", delay_ms=60_000)
    waiting = asyncio.create_task(stripe_api.v1.payment_intents.create_async(HOLD))
    await eventually(lambda: fired(stripe_double))
    await stripe_double.steering.fault("*", "rate_limit", count=None)
    before_ms = await stripe_double.steering.now_ms()
    await stripe_double.steering.advance(86_400)
    await stripe_double.steering.reset()
    waiting.cancel()
    ledger = await stripe_double.steering.ledger()
    assert (ledger.intents, ledger.events, ledger.requests, ledger.faults) == ([], [], [], [])
    assert ledger.now_ms < before_ms + 60_000
    assert (await stripe_api.v1.payment_intents.create_async(HOLD, keyed("k1"))).id != first.id


# --- Kills


async def test_killed_after_every_answer_it_goes_on(stripe_double_own: OwnDouble) -> None:
    """What was answered is there after kill -9: objects, keys, faults, settings, the clock, what is to be sent."""
    double = await stripe_double_own()
    url = double.url

    async def die() -> None:
        await double.kill()
        await double.start()
        assert double.url == url

    async with listening(double) as ear, stripe_client(double) as api:
        await double.steering.advance(3_600)
        ahead_ms = await double.steering.now_ms()
        intent = await api.v1.payment_intents.create_async({**HOLD, "confirm": False}, keyed("create"))
        await die()
        again = await api.v1.payment_intents.create_async({**HOLD, "confirm": False}, keyed("create"))
        assert again.id == intent.id
        assert (await api.v1.payment_intents.confirm_async(intent.id)).status == "requires_capture"
        await double.steering.fault("capture", "error_500")
        await die()
        assert await double.steering.now_ms() >= ahead_ms
        with pytest.raises(stripe.APIError):
            await api.v1.payment_intents.capture_async(intent.id, options=keyed("capture"))
        await die()
        with pytest.raises(stripe.APIError):
            await api.v1.payment_intents.capture_async(intent.id, options=keyed("capture"))
        assert (await api.v1.payment_intents.capture_async(intent.id)).status == "succeeded"
        await die()
        refund = await api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 750})
        await die()
        assert (await api.v1.refunds.retrieve_async(refund.id)).status == "succeeded"
        ledger = await double.steering.ledger()
        assert ledger.net_captured() == {"eur": 4_000}
        await eventually(lambda: {event.id for event in ear.heard} == {event.id for event in ledger.events})
    assert double.exit_code is None


@pytest.mark.parametrize(("kind", "done"), [("kill_before", False), ("kill_after", True)])
async def test_killed_in_the_middle_of_a_capture(stripe_double_own: OwnDouble, kind: FaultKind, done: bool) -> None:
    double = await stripe_double_own()
    async with stripe_client(double) as api:
        intent = await api.v1.payment_intents.create_async(HOLD)
        await double.steering.fault("capture", kind)
        with pytest.raises(stripe.APIConnectionError):
            await api.v1.payment_intents.capture_async(intent.id, options=keyed("k1"))
        await eventually(lambda: double.exit_code == -9)
        await double.start()
        found = await api.v1.payment_intents.retrieve_async(intent.id)
        assert found.status == ("succeeded" if done else "requires_capture")
        assert (await api.v1.payment_intents.capture_async(intent.id, options=keyed("k1"))).status == "succeeded"
        ledger = await double.steering.ledger()
    assert ledger.net_captured() == {"eur": 4_750}
    assert [fault.fired for fault in ledger.faults] == [1]


async def test_two_doubles_do_not_share_a_state(stripe_double_own: OwnDouble) -> None:
    one, other = await stripe_double_own(), await stripe_double_own()
    async with stripe_client(one) as api:
        await api.v1.payment_intents.create_async(HOLD)
    assert (len(await statuses(one)), len(await statuses(other))) == (1, 0)
    log = one.log.read_text() if one.log.exists() else ""
    assert one.secret_key not in log
