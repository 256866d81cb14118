"""Customers and the cards that are saved for them: made, found, listed, detached."""

from typing import Final

import msgspec

from lml_live.devstack.stripe import reading, refusals
from lml_live.devstack.stripe.cards import StoredMethod
from lml_live.devstack.stripe.objects import Customer, ListOf, PaymentMethod
from lml_live.devstack.stripe.payments import Call
from lml_live.devstack.stripe.world import new_id

_change = msgspec.structs.replace

CUSTOMER_FIELDS: Final = frozenset({"email", "name", "description", "metadata"})
CUSTOMER_LIST_FIELDS: Final = reading.LIST_FIELDS | {"email"}
CARD_LIST_FIELDS: Final = reading.LIST_FIELDS | {"type"}


def create_customer(call: Call) -> Customer:
    form = call.form
    made = Customer(
        id=new_id("cus"),
        created=call.act.mint.now,
        email=form.text("email", chars_max=512),
        name=form.text("name"),
        description=form.text("description"),
        metadata=form.metadata({}),
    )
    call.act.store.put("customer", made.id, made)
    call.act.emit("customer.created", made)
    return made


def retrieve_customer(call: Call) -> Customer:
    return call.act.find("customer", call.object_id, Customer)


def list_customers(call: Call) -> ListOf:
    email = call.form.text("email")
    return reading.page(call, "customer", Customer, "/v1/customers", lambda one: email in (None, one.email))


def list_cards(call: Call) -> ListOf:
    """The methods of a customer, the newest first."""
    customer, kind = retrieve_customer(call), call.form.text("type")
    methods = [stored.method for stored in call.act.store.list_all("payment_method", StoredMethod)]
    found = [one for one in reversed(methods) if one.customer == customer.id and kind in (None, one.type)]
    data = [msgspec.Raw(msgspec.json.encode(one)) for one in found[: call.form.integer("limit") or 10]]
    url = f"/v1/customers/{customer.id}/payment_methods"
    return ListOf(data=data, has_more=len(found) > len(data), url=url)


def retrieve_card(call: Call) -> PaymentMethod:
    """One of a customer's; another's is none."""
    customer = retrieve_customer(call)
    stored = call.act.method(call.other_id)
    if stored.method.customer != customer.id:
        raise refusals.no_such("payment_method", call.other_id, "payment_method")
    return stored.method


def detach(call: Call) -> PaymentMethod:
    stored = call.act.method(call.object_id)
    if stored.method.customer is None:
        raise refusals.invalid(
            "payment_method",
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            "payment_method_unexpected_state",
        )
    detached = _change(stored, method=_change(stored.method, customer=None), detached=True)
    call.act.write_method(detached)
    call.act.emit("payment_method.detached", detached.method)
    return detached.method
