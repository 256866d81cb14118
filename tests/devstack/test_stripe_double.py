"""The Stripe double's payments, by the official SDK against the real process."""

import asyncio
from typing import Any

import pytest
import stripe
from stripe_house import WebhookEar

from lml_live.devstack.stripe.process import StripeDouble
from lml_live.errors import Unavailable

CARD: dict[str, Any] = {"amount": 4_750, "currency": "eur", "payment_method_types": ["card"]}
HOLD = {**CARD, "capture_method": "manual"}

Api = stripe.StripeClient


async def new_intent(api: Api, status: str, **more: Any) -> stripe.PaymentIntent:
    """An intent that has just come to a status."""
    intents = api.v1.payment_intents
    held: dict[str, Any] = {**HOLD, **more}
    match status:
        case "requires_payment_method":
            return await intents.create_async(held)
        case "requires_confirmation":
            return await intents.create_async({**held, "payment_method": "pm_card_visa"})
        case "requires_action":
            method = "pm_card_threeDSecure2Required"
            return await intents.create_async({**held, "payment_method": method, "confirm": True})
        case "processing":
            account = {"capture_method": "automatic", "payment_method_types": ["us_bank_account"]}
            sent = {**held, **account, "payment_method": "pm_usBankAccount_success", "confirm": True}
            return await intents.create_async(sent)
        case "requires_capture":
            return await intents.create_async({**held, "payment_method": "pm_card_visa", "confirm": True})
        case "succeeded":
            intent = await new_intent(api, "requires_capture", **more)
            return await intents.capture_async(intent.id)
        case "canceled":
            intent = await new_intent(api, "requires_payment_method", **more)
            return await intents.cancel_async(intent.id)
    raise AssertionError(status)


REFUSED = "payment_intent_unexpected_state"

# status before · act · status after, or the error's code
STEPS = [
    ("requires_payment_method", "confirm", REFUSED),
    ("requires_payment_method", "confirm_visa", "requires_capture"),
    ("requires_payment_method", "confirm_3ds", "requires_action"),
    ("requires_payment_method", "capture", REFUSED),
    ("requires_payment_method", "cancel", "canceled"),
    ("requires_payment_method", "update", "requires_payment_method"),
    ("requires_payment_method", "choose", "requires_confirmation"),
    ("requires_confirmation", "confirm", "requires_capture"),
    ("requires_confirmation", "confirm_3ds", "requires_action"),
    ("requires_confirmation", "capture", REFUSED),
    ("requires_confirmation", "cancel", "canceled"),
    ("requires_confirmation", "update", "requires_confirmation"),
    ("requires_action", "authenticate", "requires_capture"),
    ("requires_action", "fail", "requires_payment_method"),
    ("requires_action", "confirm_visa", "requires_capture"),
    ("requires_action", "confirm_3ds", "requires_action"),
    ("requires_action", "capture", REFUSED),
    ("requires_action", "cancel", "canceled"),
    ("requires_action", "update", "requires_confirmation"),
    ("processing", "confirm_visa", REFUSED),
    ("processing", "capture", REFUSED),
    ("processing", "cancel", "canceled"),
    ("processing", "wait", "succeeded"),
    ("processing", "update", REFUSED),
    ("requires_capture", "confirm_visa", REFUSED),
    ("requires_capture", "capture", "succeeded"),
    ("requires_capture", "cancel", "canceled"),
    ("requires_capture", "wait", "canceled"),
    ("requires_capture", "authenticate", "requires_capture"),
    ("requires_capture", "update", REFUSED),
    ("succeeded", "confirm_visa", REFUSED),
    ("succeeded", "capture", REFUSED),
    ("succeeded", "cancel", REFUSED),
    ("succeeded", "wait", "succeeded"),
    ("succeeded", "describe", "succeeded"),
    ("canceled", "confirm_visa", REFUSED),
    ("canceled", "capture", REFUSED),
    ("canceled", "cancel", REFUSED),
    ("canceled", "authenticate", "canceled"),
    ("canceled", "wait", "canceled"),
]


@pytest.mark.parametrize(("before", "act", "after"), STEPS)
async def test_each_step_of_an_intent(
    stripe_double: StripeDouble, stripe_api: Api, before: str, act: str, after: str
) -> None:
    intents = stripe_api.v1.payment_intents
    intent = await new_intent(stripe_api, before)
    assert intent.status == before
    refusal = None
    try:
        match act:
            case "confirm":
                await intents.confirm_async(intent.id)
            case "confirm_visa":
                await intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})
            case "confirm_3ds":
                await intents.confirm_async(intent.id, {"payment_method": "pm_card_authenticationRequired"})
            case "capture":
                await intents.capture_async(intent.id)
            case "cancel":
                await intents.cancel_async(intent.id, {"cancellation_reason": "abandoned"})
            case "update":
                await intents.update_async(intent.id, {"amount": 5_000})
            case "choose":
                await intents.update_async(intent.id, {"payment_method": "pm_card_visa"})
            case "describe":
                await intents.update_async(intent.id, {"description": "seats", "metadata": {"a": "b"}})
            case "authenticate" | "fail":
                await stripe_double.steering.authenticate(intent.id, passed=act == "authenticate")
            case "wait":
                await stripe_double.steering.advance(8 * 86_400)
    except stripe.InvalidRequestError as error:
        refusal = (error.http_status, error.code)
    assert (refusal is not None) == (after == REFUSED)
    if after == REFUSED:
        assert refusal == (400, REFUSED)
        after = before
    found = await intents.retrieve_async(intent.id)
    assert found.status == after
    entry = (await stripe_double.steering.ledger()).intents[0]
    assert [step.after for step in entry.history][-1] == after
    assert [step.before for step in entry.history] == [None, *(step.after for step in entry.history[:-1])]


async def test_the_synchronous_sdk_talks_to_it_too(stripe_double: StripeDouble) -> None:
    client = stripe.StripeClient(
        stripe_double.secret_key, base_addresses={"api": stripe_double.url}, max_network_retries=0
    )

    def buy() -> stripe.PaymentIntent:
        intent = client.v1.payment_intents.create({**HOLD, "payment_method": "pm_card_visa", "confirm": True})
        return client.v1.payment_intents.capture(intent.id)

    assert (await asyncio.to_thread(buy)).amount_received == 4_750
    assert (await asyncio.to_thread(client.v1.accounts.retrieve_current)).charges_enabled


async def test_an_authorised_intent_has_a_charge_that_is_not_captured(stripe_api: Api) -> None:
    intent = await new_intent(stripe_api, "requires_capture", expand=["latest_charge"], metadata={"booking": "b1"})
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert (intent.amount_capturable, intent.amount_received) == (4_750, 0)
    assert (charge.captured, charge.amount_captured, charge.paid, charge.status) == (False, 0, True, "succeeded")
    assert charge.metadata["booking"] == "b1"
    card = charge.payment_method_details.card
    assert (card.brand, card.last4, card.capture_before - charge.created) == ("visa", "4242", 7 * 86_400)


async def test_an_absent_buyer_s_visa_is_authorised_for_less_long(stripe_api: Api) -> None:
    sent = {**HOLD, "payment_method": "pm_card_visa", "confirm": True, "off_session": True, "expand": ["latest_charge"]}
    charge = (await stripe_api.v1.payment_intents.create_async(sent)).latest_charge
    assert isinstance(charge, stripe.Charge)
    assert charge.payment_method_details.card.capture_before - charge.created == 4 * 86_400 + 18 * 3_600


async def test_a_part_is_captured_and_the_rest_released(stripe_api: Api) -> None:
    intent = await new_intent(stripe_api, "requires_capture")
    for amount, code in ((4_751, "amount_too_large"), (0, "parameter_invalid")):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await stripe_api.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": amount})
        assert (refused.value.code, refused.value.param) == (code, "amount_to_capture")
    sent = {"amount_to_capture": 4_000, "expand": ["latest_charge.balance_transaction"]}
    captured = await stripe_api.v1.payment_intents.capture_async(intent.id, sent)
    charge = captured.latest_charge
    assert (captured.amount_received, captured.amount_capturable) == (4_000, 0)
    assert (charge.amount_captured, charge.amount_refunded, charge.refunded) == (4_000, 750, False)
    assert (charge.balance_transaction.amount, charge.balance_transaction.net) == (4_000, 4_000 - 146)


async def test_an_authorisation_that_nobody_captures_ends(stripe_double: StripeDouble, stripe_api: Api) -> None:
    intent = await new_intent(stripe_api, "requires_capture")
    await stripe_double.steering.advance(7 * 86_400 - 60)
    assert (await stripe_api.v1.payment_intents.retrieve_async(intent.id)).status == "requires_capture"
    await stripe_double.steering.advance(61)
    found = await stripe_api.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
    assert (found.status, found.cancellation_reason, found.amount_capturable) == ("canceled", "automatic", 0)
    assert (found.latest_charge.captured, found.latest_charge.refunded) == (False, True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await stripe_api.v1.payment_intents.capture_async(intent.id)
    assert refused.value.code == REFUSED
    types = [event.type for event in (await stripe_double.steering.ledger()).events]
    assert types[-2:] == ["charge.expired", "payment_intent.canceled"]


DECLINES = [
    ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
    ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
    ("pm_card_chargeDeclinedLostCard", "card_declined", "lost_card"),
    ("pm_card_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
    ("pm_card_chargeDeclinedVelocityLimitExceeded", "card_declined", "card_velocity_exceeded"),
    ("pm_card_radarBlock", "card_declined", "fraudulent"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
    ("pm_card_chargeDeclinedProcessingError", "processing_error", None),
]


@pytest.mark.parametrize(("method", "code", "decline_code"), DECLINES)
async def test_a_declined_card_leaves_an_intent_to_try_again(
    stripe_api: Api, method: str, code: str, decline_code: str | None
) -> None:
    intents = stripe_api.v1.payment_intents
    with pytest.raises(stripe.CardError) as declined:
        await intents.create_async({**HOLD, "payment_method": method, "confirm": True})
    error = declined.value.error
    assert error is not None
    assert error.payment_intent is not None
    assert (declined.value.http_status, error.type, error.code) == (402, "card_error", code)
    assert error.decline_code == decline_code
    intent = await intents.retrieve_async(error.payment_intent.id, {"expand": ["latest_charge"]})
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    assert intent.last_payment_error is not None
    assert intent.last_payment_error.code == code
    charge = intent.latest_charge
    assert isinstance(charge, stripe.Charge)
    assert (charge.status, charge.paid, charge.failure_code, charge.id) == ("failed", False, code, error.charge)
    again = await intents.confirm_async(intent.id, {"payment_method": "pm_card_mastercard"})
    assert (again.status, again.last_payment_error) == ("requires_capture", None)


async def test_a_card_may_be_declined_after_its_owner_has_proved_who_they_are(
    stripe_double: StripeDouble, stripe_api: Api
) -> None:
    method = "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds"
    intent = await stripe_api.v1.payment_intents.create_async({**HOLD, "payment_method": method, "confirm": True})
    assert intent.status == "requires_action"
    await stripe_double.steering.authenticate(intent.id)
    found = await stripe_api.v1.payment_intents.retrieve_async(intent.id)
    assert (found.status, found.last_payment_error.decline_code) == ("requires_payment_method", "insufficient_funds")


async def test_a_failed_authentication_says_so(stripe_double: StripeDouble, stripe_api: Api) -> None:
    intent = await new_intent(stripe_api, "requires_action")
    await stripe_double.steering.authenticate(intent.id, passed=False)
    found = await stripe_api.v1.payment_intents.retrieve_async(intent.id)
    assert found.last_payment_error.code == "payment_intent_authentication_failure"
    assert (found.latest_charge, found.next_action) == (None, None)


async def test_an_absent_buyer_cannot_authenticate(stripe_api: Api) -> None:
    sent = {**HOLD, "payment_method": "pm_card_authenticationRequired", "confirm": True, "off_session": True}
    with pytest.raises(stripe.CardError) as declined:
        await stripe_api.v1.payment_intents.create_async(sent)
    assert declined.value.code == "authentication_required"


async def test_a_bank_that_says_no_after_days(stripe_double: StripeDouble, stripe_api: Api) -> None:
    sent = {**CARD, "payment_method_types": ["us_bank_account"], "confirm": True}
    sent["payment_method"] = "pm_usBankAccount_insufficientFunds"
    intent = await stripe_api.v1.payment_intents.create_async(sent)
    assert intent.status == "processing"
    await stripe_double.steering.advance(5 * 86_400)
    found = await stripe_api.v1.payment_intents.retrieve_async(intent.id)
    assert (found.status, found.amount_received) == ("requires_payment_method", 0)
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.payment_intents.create_async({**sent, "capture_method": "manual"})


async def test_an_issuer_that_declines_the_capture(stripe_double: StripeDouble, stripe_api: Api) -> None:
    intent = await new_intent(stripe_api, "requires_capture")
    await stripe_double.steering.fault("capture", "decline")
    with pytest.raises(stripe.CardError):
        await stripe_api.v1.payment_intents.capture_async(intent.id)
    assert (await stripe_api.v1.payment_intents.retrieve_async(intent.id)).status == "requires_capture"
    assert (await stripe_api.v1.payment_intents.capture_async(intent.id)).status == "succeeded"


# what is sent · the error's code · its parameter
WRONG = [
    ({"currency": "eur"}, "parameter_missing", "amount"),
    ({"amount": 500}, "parameter_missing", "currency"),
    ({"amount": "12.5", "currency": "eur"}, "parameter_invalid_integer", "amount"),
    ({"amount": -1, "currency": "eur"}, "parameter_invalid_integer", "amount"),
    ({"amount": 49, "currency": "eur"}, "amount_too_small", "amount"),
    ({"amount": 100_000_000, "currency": "eur"}, "amount_too_large", "amount"),
    ({"amount": 500, "currency": "euro"}, "parameter_invalid", "currency"),
    ({**CARD, "nonsense": 1}, "parameter_unknown", "nonsense"),
    ({**CARD, "transfer_data": {"destination": "acct_1"}}, "parameter_unknown", "transfer_data"),
    ({**CARD, "payment_method_types": ["bitcoin"]}, "parameter_invalid", "payment_method_types"),
    ({**CARD, "capture_method": "later"}, "parameter_invalid", "capture_method"),
    ({**CARD, "metadata": {"k" * 41: "v"}}, "parameter_invalid", "metadata[" + "k" * 41 + "]"),
    ({**CARD, "metadata": {"k": "v" * 501}}, "parameter_invalid_string", "metadata[k]"),
    ({**CARD, "payment_method": "pm_none"}, "resource_missing", "payment_method"),
    ({**CARD, "confirm": True}, "payment_intent_unexpected_state", "payment_method"),
    ({**CARD, "confirm": "perhaps"}, "parameter_invalid", "confirm"),
    (
        {**CARD, "confirm": True, "payment_method": "pm_card_visa", "return_url": "javascript:1"},
        "url_invalid",
        "return_url",
    ),
    (
        {"amount": 500, "currency": "eur", "confirm": True, "payment_method": "pm_card_visa"},
        "parameter_invalid",
        "return_url",
    ),
]


@pytest.mark.parametrize(("sent", "code", "param"), WRONG, ids=[f"{code} {param[:20]}" for _, code, param in WRONG])
async def test_what_stripe_refuses_to_create(
    stripe_double: StripeDouble, stripe_api: Api, sent: Any, code: str, param: str
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await stripe_api.v1.payment_intents.create_async(sent)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert (await stripe_double.steering.ledger()).intents == []


async def test_what_is_not_there(stripe_double: StripeDouble, stripe_api: Api) -> None:
    for lost in (
        stripe_api.v1.payment_intents.retrieve_async("pi_none"),
        stripe_api.v1.payment_intents.capture_async("pi_none"),
        stripe_api.v1.refunds.retrieve_async("re_none"),
        stripe_api.v1.events.retrieve_async("evt_none"),
        stripe_api.v1.coupons.create_async({}),
    ):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            await lost
        assert refused.value.http_status == 404
    for key in ("sk_test_other", stripe_double.publishable_key):
        with pytest.raises(stripe.AuthenticationError):
            await stripe_api.v1.payment_intents.create_async(CARD, {"api_key": key})


async def test_automatic_methods_need_a_way_back_or_none_that_redirects(stripe_api: Api) -> None:
    plain = {"amount": 500, "currency": "eur", "payment_method": "pm_card_visa", "confirm": True}
    stay = {**plain, "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}
    assert (await stripe_api.v1.payment_intents.create_async(stay)).status == "succeeded"
    leave = {**plain, "return_url": "https://shop.example/back"}
    assert (await stripe_api.v1.payment_intents.create_async(leave)).status == "succeeded"


# --- Refunds


async def test_refunds_never_exceed_what_was_captured(stripe_double: StripeDouble, stripe_api: Api) -> None:
    refunds = stripe_api.v1.refunds
    intent = await new_intent(stripe_api, "requires_capture")
    await stripe_api.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 4_000})
    first = await refunds.create_async({"payment_intent": intent.id, "amount": 1_500, "metadata": {"why": "rain"}})
    assert (first.status, first.amount, first.metadata["why"]) == ("succeeded", 1_500, "rain")
    for amount in (2_501, 0):
        with pytest.raises(stripe.InvalidRequestError):
            await refunds.create_async({"payment_intent": intent.id, "amount": amount})
    rest = await refunds.create_async({"charge": str(intent.latest_charge), "reason": "requested_by_customer"})
    assert rest.amount == 2_500
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await refunds.create_async({"payment_intent": intent.id})
    assert refused.value.code == "charge_already_refunded"
    assert [each.id for each in (await refunds.list_async({"payment_intent": intent.id})).data] == [rest.id, first.id]
    entry = (await stripe_double.steering.ledger()).intents[0]
    assert (entry.captured, entry.refunded, entry.net_captured) == (4_000, 4_000, 0)


@pytest.mark.parametrize("status", ["requires_payment_method", "requires_capture", "canceled"])
async def test_nothing_captured_nothing_to_refund(stripe_api: Api, status: str) -> None:
    intent = await new_intent(stripe_api, status)
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})


async def test_a_refund_that_takes_its_time(stripe_double: StripeDouble, stripe_api: Api) -> None:
    sent = {**CARD, "payment_method": "pm_card_pendingRefund", "confirm": True}
    intent = await stripe_api.v1.payment_intents.create_async(sent)
    refund = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    assert refund.status == "pending"
    await stripe_double.steering.advance(61)
    assert (await stripe_api.v1.refunds.retrieve_async(refund.id)).status == "succeeded"


async def test_a_refund_that_comes_back(stripe_double: StripeDouble, stripe_api: Api) -> None:
    sent = {**CARD, "payment_method": "pm_card_refundFail", "confirm": True}
    intent = await stripe_api.v1.payment_intents.create_async(sent)
    refund = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    await stripe_double.steering.advance(61)
    found = await stripe_api.v1.refunds.retrieve_async(refund.id)
    assert (found.status, found.failure_reason) == ("failed", "expired_or_canceled_card")
    ledger = await stripe_double.steering.ledger()
    assert ledger.net_captured() == {"eur": 4_750}
    assert [booked.type for booked in ledger.balance_transactions] == ["charge", "refund", "refund_failure"]
    again = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    assert again.amount == 4_750


async def test_a_bank_takes_a_payment_back_and_decides(stripe_double: StripeDouble, stripe_api: Api) -> None:
    steering, disputes = stripe_double.steering, stripe_api.v1.disputes
    paid = {**CARD, "payment_method": "pm_card_visa", "confirm": True}
    won, lost = [await stripe_api.v1.payment_intents.create_async(paid) for _ in range(2)]
    unpaid = await new_intent(stripe_api, "requires_capture")
    with pytest.raises(Unavailable):
        await steering.open_dispute(unpaid.id)
    await stripe_api.v1.refunds.create_async({"payment_intent": won.id, "amount": 750})
    first, second = await steering.open_dispute(won.id), await steering.open_dispute(lost.id, amount=4_000)
    with pytest.raises(Unavailable):
        await steering.open_dispute(won.id)
    [found] = (await disputes.list_async({"payment_intent": won.id})).data
    assert (found.id, found.amount, found.status) == (first, 4_000, "needs_response")
    assert (await stripe_api.v1.charges.retrieve_async(str(won.latest_charge))).disputed
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await stripe_api.v1.refunds.create_async({"payment_intent": won.id})
    assert refused.value.code == "charge_disputed"
    assert (await steering.ledger()).net_captured() == {"eur": 750}

    await steering.close_dispute(first, won=True)
    await steering.close_dispute(second, won=False)
    with pytest.raises(Unavailable):
        await steering.close_dispute(second, won=True)
    assert [(await disputes.retrieve_async(one)).status for one in (first, second)] == ["won", "lost"]
    ledger = await steering.ledger()
    assert ledger.net_captured() == {"eur": 4_000 + 750}
    adjusted = [(one.amount, one.reporting_category) for one in ledger.balance_transactions if one.type == "adjustment"]
    assert adjusted == [(-4_000, "dispute"), (-4_000, "dispute"), (4_000, "dispute_reversal")]
    told = [event.type for event in ledger.events if event.type.startswith("charge.dispute.")]
    opened = ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    closed = ["charge.dispute.closed", "charge.dispute.funds_reinstated", "charge.dispute.closed"]
    assert told == [*opened, *opened, *closed]
    assert (await stripe_api.v1.refunds.create_async({"payment_intent": won.id})).amount == 4_000


# --- Lists


async def test_lists_come_in_pages_newest_first(stripe_api: Api) -> None:
    intents = stripe_api.v1.payment_intents
    made = [(await intents.create_async({**CARD, "amount": 1_000 + number})).id for number in range(5)]
    first = await intents.list_async({"limit": 2})
    assert ([each.id for each in first.data], first.has_more) == ([made[4], made[3]], True)
    rest = await intents.list_async({"limit": 3, "starting_after": made[3]})
    assert ([each.id for each in rest.data], rest.has_more) == ([made[2], made[1], made[0]], False)
    before = await intents.list_async({"limit": 1, "ending_before": made[3]})
    assert [each.id for each in before.data] == [made[4]]
    assert [each.id async for each in (await intents.list_async({"limit": 2})).auto_paging_iter()] == made[::-1]
    created = (await intents.retrieve_async(made[0])).created
    assert (await intents.list_async({"created": {"gt": created + 60}})).data == []
    for wrong in ({"limit": 101}, {"starting_after": "pi_none"}, {"created": {"near": 5}}):
        with pytest.raises(stripe.InvalidRequestError):
            await intents.list_async(wrong)  # type: ignore[arg-type]


async def test_balance_transactions_in_pages_with_their_sources(stripe_double: StripeDouble, stripe_api: Api) -> None:
    transactions = stripe_api.v1.balance_transactions
    old = await new_intent(stripe_api, "succeeded")
    await stripe_double.steering.advance(3_600)
    kept = await new_intent(stripe_api, "succeeded", amount=10_000, metadata={"booking": "b-1"})
    refund = await stripe_api.v1.refunds.create_async({"payment_intent": kept.id, "amount": 750})
    since = (await transactions.list_async({"source": str(old.latest_charge)})).data[0].created + 1
    wanted: dict[str, Any] = {"created": {"gte": since}, "limit": 1, "expand": ["data.source"]}
    first = await transactions.list_async(wanted)
    [given_back] = first.data
    assert first.has_more
    assert (given_back.type, given_back.amount, given_back.fee, given_back.net) == ("refund", -750, 0, -750)
    assert given_back.source["id"] == refund.id  # type: ignore[index]
    assert given_back.source["payment_intent"] == kept.id  # type: ignore[index]
    rest = await transactions.list_async({**wanted, "starting_after": given_back.id})  # type: ignore[arg-type]
    [taken] = rest.data
    assert not rest.has_more
    assert (taken.type, taken.amount, taken.fee, taken.net) == ("charge", 10_000, 320, 9_680)
    assert (taken.exchange_rate, [detail.amount for detail in taken.fee_details]) == (None, [320])
    assert taken.source["metadata"]["booking"] == "b-1"  # type: ignore[index]
    charges = await transactions.list_async({"type": "charge"})
    assert [booked.amount for booked in charges.data] == [10_000, 4_750]


async def test_events_tell_every_change_and_whether_it_was_delivered(
    stripe_double: StripeDouble, stripe_api: Api, webhook_ear: WebhookEar
) -> None:
    await stripe_double.steering.webhook_fault("lose", "payment_intent.succeeded")
    intent = await new_intent(stripe_api, "succeeded")
    ledger = await stripe_double.steering.ledger()
    assert [event.type for event in ledger.events] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
    ]
    lost = await stripe_api.v1.events.list_async({"delivery_success": False, "type": "payment_intent.succeeded"})
    assert [event.data.object["id"] for event in lost.data] == [intent.id]
    assert (await stripe_api.v1.events.retrieve_async(lost.data[0].id)).pending_webhooks == 1
    charges = await stripe_api.v1.events.list_async({"type": "charge.*"})
    assert [event.type for event in charges.data] == ["charge.captured", "charge.succeeded"]
    several = await stripe_api.v1.events.list_async({"types": ["charge.captured", "payment_intent.created"]})
    assert len(several.data) == 2
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.events.list_async({"type": "charge.*", "types": ["charge.captured"]})


async def test_the_ledger_s_sums(stripe_double: StripeDouble, stripe_api: Api) -> None:
    kept = await new_intent(stripe_api, "succeeded")
    await stripe_api.v1.refunds.create_async({"payment_intent": kept.id, "amount": 750})
    await new_intent(stripe_api, "succeeded", currency="usd", amount=1_000)
    for status in ("requires_capture", "canceled", "requires_action"):
        await new_intent(stripe_api, status)
    ledger = await stripe_double.steering.ledger()
    assert ledger.net_captured() == {"eur": 4_000, "usd": 1_000}
    assert sum(booked.amount for booked in ledger.balance_transactions) == 5_000
    booked = (await stripe_api.v1.balance_transactions.list_async({"type": "refund"})).data
    assert [each.amount for each in booked] == [-750]
    assert (await stripe_api.v1.balance_transactions.retrieve_async(booked[0].id)).net == -750
    assert {request.operation for request in ledger.requests} >= {"create", "capture", "cancel", "refund"}
    text = str(ledger)
    assert stripe_double.secret_key not in text
    assert "_secret_" not in text
