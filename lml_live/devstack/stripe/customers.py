"""Customers and the cards that are saved for them: made, found, listed, detached."""

from typing import Final

import msgspec

from lml_live.devstack.stripe import reading, refusals
from lml_live.devstack.stripe.cards import StoredMethod
from lml_live.devstack.stripe.objects import Customer, DeletedCustomer, ListOf, PaymentMethod
from lml_live.devstack.stripe.payments import Call
from lml_live.devstack.stripe.world import DELETED_CUSTOMER, new_id

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


def retrieve_customer(call: Call) -> Customer | DeletedCustomer:
    """Also one that was deleted, which says no more than that."""
    gone = call.act.store.load(DELETED_CUSTOMER, call.object_id, DeletedCustomer)
    return call.act.find("customer", call.object_id, Customer) if gone is None else gone


def delete_customer(call: Call) -> DeletedCustomer:
    """It and its cards are gone for good; what they paid stays paid."""
    customer, gone = call.act.customer(call.object_id), DeletedCustomer(id=call.object_id)
    for stored in list(call.act.store.list_all("payment_method", StoredMethod)):
        if stored.method.customer == customer.id:
            call.act.write_method(_change(stored, method=_change(stored.method, customer=None), detached=True))
    call.act.store.put(DELETED_CUSTOMER, customer.id, gone)
    call.act.emit("customer.deleted", customer)
    return gone


def list_customers(call: Call) -> ListOf:
    email, store = call.form.text("email"), call.act.store

    def fits(one: Customer) -> bool:
        return email in (None, one.email) and store.load(DELETED_CUSTOMER, one.id, DeletedCustomer) is None

    return reading.page(call, "customer", Customer, "/v1/customers", fits)


def list_cards(call: Call) -> ListOf:
    """The methods of a customer, the newest first."""
    customer, kind = call.act.customer(call.object_id), call.form.text("type")
    methods = [stored.method for stored in call.act.store.list_all("payment_method", StoredMethod)]
    found = [one for one in reversed(methods) if one.customer == customer.id and kind in (None, one.type)]
    data = [msgspec.Raw(msgspec.json.encode(one)) for one in found[: call.form.integer("limit") or 10]]
    url = f"/v1/customers/{customer.id}/payment_methods"
    return ListOf(data=data, has_more=len(found) > len(data), url=url)


def retrieve_card(call: Call) -> PaymentMethod:
    """One of a customer's; another's is none."""
    customer = call.act.customer(call.object_id)
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
