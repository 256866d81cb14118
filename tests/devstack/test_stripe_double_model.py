"""Random acts on the Stripe double, each against a model of a few lines, with answers lost and faults on the way."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from lml_live.devstack.stripe.faults import FaultKind
from lml_live.devstack.stripe.process import StripeDouble

CARDS = {
    "pm_card_visa": "authorised",
    "pm_card_chargeDeclined": "requires_payment_method",
    "pm_card_threeDSecure2Required": "requires_action",
}
LEGAL = {
    (None, "requires_payment_method"),
    ("requires_payment_method", "requires_action"),
    ("requires_payment_method", "requires_capture"),
    ("requires_payment_method", "succeeded"),
    ("requires_action", "requires_action"),
    ("requires_action", "requires_payment_method"),
    ("requires_action", "requires_capture"),
    ("requires_action", "succeeded"),
    ("requires_capture", "succeeded"),
    *((status, "canceled") for status in ("requires_payment_method", "requires_action", "requires_capture")),
}
OPEN = ("requires_payment_method", "requires_action")


class Model:
    """What is thought of one intent."""

    def __init__(self, intent_id: str, amount: int, manual: bool) -> None:
        self.id, self.amount, self.manual = intent_id, amount, manual
        self.status, self.captured, self.refunded = "requires_payment_method", 0, 0

    def authorise(self) -> None:
        self.status = "requires_capture" if self.manual else "succeeded"
        self.captured = 0 if self.manual else self.amount


def machine_on(double: StripeDouble) -> type[RuleBasedStateMachine]:
    """The acts on a double that other tests do not use meanwhile."""
    client = stripe.StripeClient(double.secret_key, base_addresses={"api": double.url}, max_network_retries=0)

    def steer(call: Any) -> Any:
        return asyncio.run(call)

    class Acts(RuleBasedStateMachine):
        intents = Bundle("intents")

        def __init__(self) -> None:
            super().__init__()
            steer(double.steering.reset())
            self.known: list[Model] = []
            self.keys: Iterator[str] = (f"key-{number}" for number in range(10_000))

        def act(self, work: Callable[[dict[str, Any]], Any], fault: tuple[str, FaultKind] | None) -> bool:
            """Does what a careful server does: the same key until there is an answer. False: it was refused."""
            if fault is not None:
                steer(double.steering.fault(*fault))  # type: ignore[arg-type]
            options = {"idempotency_key": next(self.keys)}
            for _ in range(3):
                try:
                    work(options)
                    return True
                except (stripe.APIConnectionError, stripe.RateLimitError):
                    continue
                except (stripe.CardError, stripe.InvalidRequestError):
                    return False
            raise AssertionError("no answer")

        @rule(target=intents, amount=st.integers(50, 99_999), manual=st.booleans())
        def create(self, amount: int, manual: bool) -> Model:
            method = "manual" if manual else "automatic"
            sent = {"amount": amount, "currency": "eur", "capture_method": method, "payment_method_types": ["card"]}
            model = Model(client.v1.payment_intents.create(sent).id, amount, manual)  # type: ignore[arg-type]
            self.known.append(model)
            return model

        @rule(
            model=intents,
            card=st.sampled_from(sorted(CARDS)),
            fault=st.sampled_from([None, "timeout_before", "timeout_after", "rate_limit"]),
        )
        def confirm(self, model: Model, card: str, fault: FaultKind | None) -> None:
            done = self.act(
                lambda options: client.v1.payment_intents.confirm(model.id, {"payment_method": card}, options),
                ("confirm", fault) if fault else None,
            )
            if model.status not in OPEN:
                assert not done
            elif CARDS[card] == "authorised":
                model.authorise()
            else:
                assert done == (card != "pm_card_chargeDeclined")
                model.status = CARDS[card]

        @rule(model=intents, passed=st.booleans())
        def authenticate(self, model: Model, passed: bool) -> None:
            steer(double.steering.authenticate(model.id, passed=passed))
            if model.status == "requires_action":
                model.status = "requires_payment_method"
                if passed:
                    model.authorise()

        @rule(model=intents, part=st.integers(1, 120), fault=st.sampled_from([None, "timeout_after", "timeout_before"]))
        def capture(self, model: Model, part: int, fault: FaultKind | None) -> None:
            amount = max(1, model.amount * part // 100)
            done = self.act(
                lambda options: client.v1.payment_intents.capture(model.id, {"amount_to_capture": amount}, options),
                ("capture", fault) if fault else None,
            )
            assert done == (model.status == "requires_capture" and amount <= model.amount)
            if done:
                model.status, model.captured = "succeeded", amount

        @rule(model=consumes(intents))
        def cancel(self, model: Model) -> None:
            done = self.act(lambda options: client.v1.payment_intents.cancel(model.id, None, options), None)
            assert done == (model.status in (*OPEN, "requires_capture"))
            if done:
                model.status = "canceled"

        @rule(model=intents, amount=st.integers(1, 60_000), fault=st.sampled_from([None, "timeout_after"]))
        def refund(self, model: Model, amount: int, fault: FaultKind | None) -> None:
            done = self.act(
                lambda options: client.v1.refunds.create({"payment_intent": model.id, "amount": amount}, options),
                ("refund", fault) if fault else None,
            )
            assert done == (amount <= model.captured - model.refunded)
            if done:
                model.refunded += amount

        @rule()
        def let_a_week_pass(self) -> None:
            steer(double.steering.advance(7 * 86_400 + 1))
            for model in self.known:
                if model.status == "requires_capture":
                    model.status = "canceled"

        @invariant()
        def the_ledger_agrees(self) -> None:
            ledger = steer(double.steering.ledger())
            found = {entry.intent.id: entry for entry in ledger.intents}
            for model in self.known:
                entry = found[model.id]
                assert (entry.intent.status, entry.captured, entry.refunded) == (
                    model.status,
                    model.captured,
                    model.refunded,
                )
                assert {(step.before, step.after) for step in entry.history} <= LEGAL
                assert entry.intent.amount_received == model.captured
            assert sum(booked.amount for booked in ledger.balance_transactions) == sum(
                model.captured - model.refunded for model in self.known
            )

    return Acts


@pytest.mark.timeout(60)
def test_random_acts(stripe_shared: StripeDouble) -> None:
    run_state_machine_as_test(
        machine_on(stripe_shared),
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
