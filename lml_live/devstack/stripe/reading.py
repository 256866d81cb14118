"""The operations that only read: retrieving and listing, with Stripe's pages, filters and `expand`."""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from lml_live.devstack.stripe import refusals
from lml_live.devstack.stripe.cards import StoredMethod
from lml_live.devstack.stripe.form import Form
from lml_live.devstack.stripe.objects import (
    BalanceTransaction,
    Charge,
    ConnectedAccount,
    Customer,
    Dispute,
    Event,
    ListOf,
    PaymentIntent,
    PaymentMethod,
    Payout,
    Refund,
    Transfer,
    TransferReversal,
)
from lml_live.devstack.stripe.payments import Call
from lml_live.devstack.stripe.store import Store
from lml_live.devstack.stripe.world import Act, Delivery

_PAGE_MAX: Final = 100
_PAGE_DEFAULT: Final = 10
_EXPAND_MAX: Final = 20

_PAGING: Final = frozenset({"limit", "starting_after", "ending_before", "created"})
LIST_FIELDS: Final = _PAGING
EVENT_FIELDS: Final = _PAGING | {"type", "types", "delivery_success"}
CHARGE_LIST_FIELDS: Final = _PAGING | {"payment_intent"}
REFUND_LIST_FIELDS: Final = _PAGING | {"charge", "payment_intent"}
DISPUTE_LIST_FIELDS: Final = REFUND_LIST_FIELDS
BALANCE_FIELDS: Final = _PAGING | {"type", "source", "currency"}

Listed = (
    PaymentIntent
    | Charge
    | Refund
    | Dispute
    | Event
    | BalanceTransaction
    | ConnectedAccount
    | Transfer
    | TransferReversal
    | Customer
    | Payout
)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    id: str = "acct_double"
    object: str = "account"
    business_type: str = "company"
    charges_enabled: bool = True
    country: str = "DE"
    default_currency: str = "eur"
    details_submitted: bool = True
    email: str = "double@localhost"
    payouts_enabled: bool = True
    type: str = "standard"


def retrieve_account(_: Call) -> Account:
    return Account()


def retrieve_intent(call: Call) -> PaymentIntent:
    return call.act.intent(call.object_id)


def retrieve_method(call: Call) -> PaymentMethod:
    return call.act.find("payment_method", call.object_id, StoredMethod, "payment_method").method


def retrieve_charge(call: Call) -> Charge:
    return call.act.find("charge", call.object_id, Charge, "charge")


def retrieve_refund(call: Call) -> Refund:
    return call.act.find("refund", call.object_id, Refund, "id")


def retrieve_dispute(call: Call) -> Dispute:
    return call.act.find("dispute", call.object_id, Dispute, "id")


def retrieve_event(call: Call) -> Event:
    return call.act.find("event", call.object_id, Event, "id")


def list_intents(call: Call) -> ListOf:
    return page(call, "payment_intent", PaymentIntent, "/v1/payment_intents", lambda _: True)


def list_charges(call: Call) -> ListOf:
    intent = call.form.text("payment_intent")
    return page(call, "charge", Charge, "/v1/charges", lambda charge: intent in (None, charge.payment_intent))


def list_refunds(call: Call) -> ListOf:
    charge, intent = call.form.text("charge"), call.form.text("payment_intent")
    return page(
        call,
        "refund",
        Refund,
        "/v1/refunds",
        lambda refund: charge in (None, refund.charge) and intent in (None, refund.payment_intent),
    )


def list_disputes(call: Call) -> ListOf:
    charge, intent = call.form.text("charge"), call.form.text("payment_intent")
    return page(
        call,
        "dispute",
        Dispute,
        "/v1/disputes",
        lambda dispute: charge in (None, dispute.charge) and intent in (None, dispute.payment_intent),
    )


def list_balance(call: Call) -> ListOf:
    form = call.form
    kind, source, currency = form.text("type"), form.text("source"), form.text("currency")
    return page(
        call,
        "balance_transaction" if call.account is None else "account_transaction",
        BalanceTransaction,
        "/v1/balance_transactions",
        lambda booked: (
            kind in (None, booked.type) and source in (None, booked.source) and currency in (None, booked.currency)
        ),
        parent=call.account,
    )


def list_events(call: Call) -> ListOf:
    """Events by type (`charge.*` too), and by `delivery_success`: false is what is pending, lost or given up."""
    form, act = call.form, call.act
    one, several = form.text("type"), form.texts("types")
    if one is not None and several is not None:
        raise refusals.invalid("types", "You may only specify one of these parameters: type, types.")
    wanted = (one,) if one is not None else several
    success = form.flag("delivery_success")

    def fits(event: Event) -> bool:
        named = wanted is None or any(_fits(pattern, event.type) for pattern in wanted)
        return named and (success is None or success == delivered(act.store, event.id))

    return page(call, "event", Event, "/v1/events", fits)


def delivered(store: Store, event_id: str) -> bool:
    """Whether nothing of the event is still to be delivered, lost or given up."""
    return all(delivery.state == "delivered" for delivery in store.list_of("delivery", event_id, Delivery))


def _fits(pattern: str, event_type: str) -> bool:
    return pattern == event_type or (pattern.endswith("*") and event_type.startswith(pattern[:-1]))


def page(
    call: Call, kind: str, shape: "type[Listed]", url: str, fits: "Callable[..., bool]", *, parent: str | None = None
) -> ListOf:
    """A page of a kind's records, the newest first, or of those with one parent."""
    form = call.form
    limit = form.integer("limit")
    if limit is not None and not 1 <= limit <= _PAGE_MAX:
        raise refusals.invalid("limit", f"This value must be between 1 and {_PAGE_MAX}.", "parameter_invalid_integer")
    after, before = form.text("starting_after"), form.text("ending_before")
    created_in = between(form, "created")
    found: list[Listed] = []
    try:
        for each in _records(call.act.store, kind, shape, parent, after, before):
            if created_in(each.created) and fits(each):
                found.append(each)
                if len(found) > (limit or _PAGE_DEFAULT):
                    break
    except KeyError as error:
        param = "ending_before" if before is not None else "starting_after"
        raise refusals.no_such(kind, before or after or "", param) from error
    has_more = len(found) > (limit or _PAGE_DEFAULT)
    data = found[: limit or _PAGE_DEFAULT]
    if before is not None:
        data.reverse()
    return ListOf(data=[msgspec.Raw(msgspec.json.encode(each)) for each in data], has_more=has_more, url=url)


def _records(
    store: Store, kind: str, shape: "type[Listed]", parent: str | None, after: str | None, before: str | None
) -> "Iterable[Listed]":
    if parent is None:
        return store.list_from(kind, shape, after=after, before=before)
    if before is not None:
        raise refusals.invalid("ending_before", "The double lists a connected account's records forwards only.")
    found = list(reversed(store.list_of(kind, parent, shape)))
    if after is None:
        return found
    places = {each.id: place for place, each in enumerate(found)}
    return found[places[after] + 1 :]


def between(form: Form, field: str) -> "Callable[[int], bool]":
    """Whether a time is within what the form says of one: just this, or from then and up to then."""
    if isinstance(form.fields.get(field), str):
        exact = form.integer(field)
        return lambda created: exact in (None, created)
    bounds = form.inner(field)
    if bounds is None:
        return lambda _: True
    bounds.refuse_unknown(frozenset({"gt", "gte", "lt", "lte"}))
    gt, gte, lt, lte = (bounds.integer(name) for name in ("gt", "gte", "lt", "lte"))
    return lambda created: (
        (gt is None or created > gt)
        and (gte is None or created >= gte)
        and (lt is None or created < lt)
        and (lte is None or created <= lte)
    )


# --- Expanding

_KIND_BY_PREFIX: Final[dict[str, tuple[str, type[msgspec.Struct]]]] = {
    "pi": ("payment_intent", PaymentIntent),
    "ch": ("charge", Charge),
    "re": ("refund", Refund),
    "dp": ("dispute", Dispute),
    "tr": ("transfer", Transfer),
    "trr": ("transfer_reversal", TransferReversal),
    "po": ("payout", Payout),
    "cus": ("customer", Customer),
    "acct": ("account", ConnectedAccount),
    "txn": ("balance_transaction", BalanceTransaction),
}


def expand(act: Act, answer: msgspec.Struct, paths: tuple[str, ...]) -> object:
    """The answer with ids replaced by the objects themselves, by paths such as `latest_charge.balance_transaction`."""
    if len(paths) > _EXPAND_MAX:
        raise refusals.invalid("expand", "You can expand at most 20 properties.")
    plain = msgspec.json.decode(msgspec.json.encode(answer))
    for path in paths:
        _expand(act, [plain], path.split("."))
    return plain


def _expand(act: Act, nodes: list[object], names: list[str]) -> None:
    if not names:
        return
    following: list[object] = []
    for node in nodes:
        if not isinstance(node, dict):
            continue
        if names[0] not in node:
            raise refusals.invalid("expand", f"This property cannot be expanded ({names[0][:100]}).")
        value = node[names[0]]
        if isinstance(value, str):
            value = node[names[0]] = _object(act, value)
        following += value if isinstance(value, list) else [value]
    _expand(act, following, names[1:])


def _object(act: Act, object_id: str) -> object:
    prefix = object_id.partition("_")[0]
    if prefix == "pm":
        stored = act.store.load("payment_method", object_id, StoredMethod)
        return msgspec.to_builtins(stored.method) if stored else object_id
    kind = _KIND_BY_PREFIX.get(prefix)
    if kind is None:
        raise refusals.invalid("expand", "This property cannot be expanded.")
    return msgspec.to_builtins(act.find(kind[0], object_id, kind[1]))
