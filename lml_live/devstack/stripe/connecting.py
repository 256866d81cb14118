"""The operations of Connect: accounts and their onboarding links, transfers and reversals, balances."""

import secrets
from typing import Final

import msgspec
from aiohttp import web

from lml_live.devstack.stripe import reading, refusals, transfers
from lml_live.devstack.stripe.objects import (
    AccountLink,
    AccountSettings,
    Balance,
    BalanceTransaction,
    CapabilityState,
    Charge,
    ConnectedAccount,
    Funds,
    ListOf,
    PayoutSchedule,
    PayoutSettings,
    Transfer,
    TransferReversal,
)
from lml_live.devstack.stripe.page import answer_html
from lml_live.devstack.stripe.payments import Call
from lml_live.devstack.stripe.requests import Api
from lml_live.devstack.stripe.transfers import TransferChange, TransferWish
from lml_live.devstack.stripe.world import Act, new_id

_change = msgspec.structs.replace

# What Stripe knows and the double may ignore: none of it changes who is paid how much, and when.
_IGNORED: Final = frozenset({"business_profile", "business_type", "tos_acceptance", "controller"})
ACCOUNT_FIELDS: Final = (
    frozenset({"type", "country", "email", "capabilities", "default_currency", "metadata", "settings"}) | _IGNORED
)
ACCOUNT_UPDATE_FIELDS: Final = (
    frozenset({"email", "capabilities", "default_currency", "metadata", "settings"}) | _IGNORED
)
LINK_FIELDS: Final = frozenset({"account", "refresh_url", "return_url", "type", "collection_options"})
TRANSFER_FIELDS: Final = frozenset(
    {
        *("amount", "currency", "destination", "description", "metadata"),
        *("source_transaction", "source_type", "transfer_group"),
    }
)
REVERSAL_FIELDS: Final = frozenset({"amount", "description", "metadata"})
TRANSFER_LIST_FIELDS: Final = reading.LIST_FIELDS | {"destination", "transfer_group"}
REVERSAL_LIST_FIELDS: Final = reading.LIST_FIELDS - {"created"}

_PAYOUTS, _SCHEDULE, _INTERVAL = frozenset({"payouts"}), frozenset({"schedule"}), frozenset({"interval"})
_TYPES: Final = ("express", "standard", "custom")
_CAPABILITIES: Final = ("transfers", "card_payments")
_CURRENCIES: Final = {"US": "usd", "GB": "gbp", "CH": "chf", "JP": "jpy", "SE": "sek", "NO": "nok", "DK": "dkk"}
"""What an account in a country is paid in by default, where that is not the euro."""


class _Link(msgspec.Struct, frozen=True, kw_only=True):
    """An onboarding link, found by its secret."""

    secret: str
    account: str
    return_url: str
    refresh_url: str
    until: int
    used: bool = False


# --- Accounts


def create_account(call: Call) -> ConnectedAccount:
    form, act = call.form, call.act
    country = (form.text("country") or "DE").upper()
    if not (len(country) == 2 and country.isascii() and country.isalpha()):
        raise refusals.invalid("country", f"Country '{country[:20]}' is unknown.", "country_unsupported")
    account = ConnectedAccount(
        id=new_id("acct"),
        capabilities=_capabilities(call, {}),
        country=country,
        created=act.mint.now,
        default_currency=(form.text("default_currency") or _CURRENCIES.get(country, "eur")).lower(),
        email=form.text("email"),
        metadata=form.metadata({}),
        settings=_settings(call, AccountSettings()),
        type=form.choice("type", _TYPES) or "express",  # type: ignore[arg-type]  # one of them
    )
    return _write(act, transfers.open_account(account), event=False)


def update_account(call: Call) -> ConnectedAccount:
    form, account = call.form, _account(call.act, call.object_id)
    changed = _change(
        account,
        capabilities=_capabilities(call, account.capabilities),
        default_currency=(form.text("default_currency") or account.default_currency).lower(),
        email=form.text("email") if "email" in form else account.email,
        metadata=form.metadata(account.metadata),
        settings=_settings(call, account.settings),
    )
    return _write(call.act, changed)


def retrieve_account(call: Call) -> ConnectedAccount:
    return _account(call.act, call.object_id)


def list_accounts(call: Call) -> ListOf:
    return reading.page(call, "account", ConnectedAccount, "/v1/accounts", lambda _: True)


def create_link(call: Call) -> AccountLink:
    form, act = call.form, call.act
    account = _account(act, form.required("account"), "account")
    if form.choice("type", ("account_onboarding", "account_update")) is None:
        raise refusals.missing("type")
    link = _Link(
        secret=secrets.token_urlsafe(18),
        account=account.id,
        return_url=_required_url(call, "return_url"),
        refresh_url=_required_url(call, "refresh_url"),
        until=act.mint.now + transfers.LINK_SECONDS,
    )
    act.store.put("account_link", link.secret, link, parent=account.id)
    url = f"{call.page_base}/onboard/{account.id}?secret={link.secret}"
    return AccountLink(created=act.mint.now, expires_at=link.until, url=url)


def onboard(act: Act, account_id: str) -> ConnectedAccount:
    """Its owner tells Stripe everything."""
    return _write(act, transfers.onboard(_account(act, account_id), act.mint))


def restrict(act: Act, account_id: str) -> ConnectedAccount:
    """Stripe pays it nothing until it knows more."""
    return _write(act, transfers.restrict(_account(act, account_id)))


def _account(act: Act, account_id: str, param: str = "account") -> ConnectedAccount:
    return act.find("account", account_id, ConnectedAccount, param)


def _write(act: Act, account: ConnectedAccount, *, event: bool = True) -> ConnectedAccount:
    act.write_account(account)
    if event:
        act.emit("account.updated", account, account=account.id)
    return account


def _capabilities(call: Call, before: dict[str, CapabilityState]) -> dict[str, CapabilityState]:
    asked = call.form.inner("capabilities")
    after = dict(before)
    for name in asked.fields if asked else ():
        assert asked is not None
        one = asked.inner(name)
        if name not in _CAPABILITIES or one is None:
            raise refusals.invalid(asked.name(name), f"The double does not know the capability {name[:50]}.")
        if one.flag("requested"):
            after.setdefault(name, "inactive")
        else:
            after.pop(name, None)
    return after


def _settings(call: Call, before: AccountSettings) -> AccountSettings:
    """How often an account's money leaves it: daily, or when somebody says so."""
    of = call.form
    for name in ("settings", "payouts", "schedule"):
        inner = of.inner(name)
        if inner is None:
            return before
        inner.refuse_unknown({"settings": _PAYOUTS, "payouts": _SCHEDULE, "schedule": _INTERVAL}[name])
        of = inner
    interval = of.choice("interval", ("daily", "manual"))
    if interval is None:
        return before
    schedule = PayoutSchedule(interval=interval)  # type: ignore[arg-type]  # one of them
    return AccountSettings(payouts=PayoutSettings(schedule=schedule))


def _required_url(call: Call, field: str) -> str:
    found = call.form.url(field)
    if found is None:
        raise refusals.missing(field)
    return found


# --- Transfers


def create_transfer(call: Call) -> Transfer:
    form, act = call.form, call.act
    source = form.text("source_transaction")
    charge = None if source is None else act.find("charge", source, Charge, "source_transaction")
    destination = form.required("destination")
    account = act.store.load("account", destination, ConnectedAccount)
    if account is None:
        raise refusals.not_transferable(f"No such destination: '{destination}'", "resource_missing", "destination")
    of_charge = [one for one in act.store.list_all("transfer", Transfer) if source and one.source_transaction == source]
    wish = TransferWish(
        amount=form.integer("amount"),
        currency=form.required("currency").lower(),
        description=form.text("description"),
        metadata=form.metadata({}),
        transfer_group=form.text("transfer_group") or (f"group_{charge.payment_intent}" if charge else None),
    )
    ours = act.store.list_all("balance_transaction", BalanceTransaction)
    change = transfers.create(account, charge, of_charge, ours, wish, act.mint)
    return _write_transfer(act, change).transfer


def reverse_transfer(call: Call) -> TransferReversal:
    form, act = call.form, call.act
    transfer = act.find("transfer", call.object_id, Transfer, "id")
    theirs = act.booked_by(transfer.destination)
    change = transfers.reverse(transfer, theirs, form.integer("amount"), form.metadata({}), act.mint)
    _write_transfer(act, change)
    assert change.reversal is not None
    return change.reversal


def retrieve_transfer(call: Call) -> Transfer:
    return call.act.find("transfer", call.object_id, Transfer, "id")


def list_transfers(call: Call) -> ListOf:
    destination, group = call.form.text("destination"), call.form.text("transfer_group")
    return reading.page(
        call,
        "transfer",
        Transfer,
        "/v1/transfers",
        lambda one: destination in (None, one.destination) and group in (None, one.transfer_group),
    )


def list_reversals(call: Call) -> ListOf:
    transfer = call.act.find("transfer", call.object_id, Transfer, "id")
    return reading.page(
        call,
        "transfer_reversal",
        TransferReversal,
        transfer.reversals.url,
        lambda one: one.transfer == transfer.id,
    )


def _write_transfer(act: Act, change: TransferChange) -> TransferChange:
    store, transfer = act.store, change.transfer
    store.put("transfer", transfer.id, transfer, parent=transfer.destination)
    if change.reversal is not None:
        store.put("transfer_reversal", change.reversal.id, change.reversal, parent=transfer.id)
    store.put("balance_transaction", change.balance.id, change.balance, parent=change.balance.source)
    store.put("account_transaction", change.theirs.id, change.theirs, parent=transfer.destination)
    act.emit(change.event, transfer)
    return change


# --- Balances


def retrieve_balance(call: Call) -> Balance:
    """Of the platform, or of the account for which it is asked."""
    act, now = call.act, call.act.mint.now
    booked = (
        list(act.store.list_all("balance_transaction", BalanceTransaction))
        if call.account is None
        else act.booked_by(call.account)
    )
    there: dict[str, int] = {}
    coming: dict[str, int] = {}
    for one in booked:
        of = there if one.available_on <= now else coming
        there.setdefault(one.currency, 0)
        of[one.currency] = of.get(one.currency, 0) + one.net
    return Balance(available=_funds(there), pending=_funds(dict.fromkeys(there, 0) | coming))


def _funds(sums: dict[str, int]) -> tuple[Funds, ...]:
    return tuple(
        Funds(amount=amount, currency=currency, source_types={"card": amount}) for currency, amount in sums.items()
    )


# --- The page

_OPEN: Final = """<p>Whoever is paid through {account} tells Stripe here who they are, and to which bank.</p>
<form method="post">
<button name="outcome" value="complete" autofocus>Complete onboarding</button>
<button name="outcome" value="leave">Leave without completing it</button>
</form>
<p>This is a test page: nobody is asked anything and no money moves.</p>"""


def add_routes(router: web.UrlDispatcher, api: Api) -> None:
    """The page of an onboarding link: looking at it, and pressing one of its buttons. Used or old, it sends its visitor
    back to where a new one is made (`refresh_url`), as Stripe does."""

    def link_of(request: web.Request) -> _Link | None:
        link = api.store.load("account_link", request.query.get("secret", ""), _Link)
        return link if link is not None and link.account == request.match_info["id"] else None

    def is_good(link: _Link) -> bool:
        return not link.used and api.control.now_ms() < link.until * 1000

    async def show(request: web.Request) -> web.Response:
        link = link_of(request)
        if link is None:
            return answer_html("Not found", "<p>There is no such link.</p>", status=404)
        if not is_good(link):
            return _elsewhere(link.refresh_url)
        return answer_html("Onboarding", _OPEN.format(account=link.account))

    async def decide(request: web.Request) -> web.Response:
        link, outcome = link_of(request), (await request.post()).get("outcome")
        if link is None or outcome not in ("complete", "leave"):
            return answer_html("Not found", "<p>There is no such link.</p>", status=404)
        if not is_good(link):
            return _elsewhere(link.refresh_url)
        with api.store.transaction():
            act = api.act("onboard")
            act.store.put("account_link", link.secret, _change(link, used=True), parent=link.account)
            if outcome == "complete":
                onboard(act, link.account)
        api.on_change()
        return _elsewhere(link.return_url)

    router.add_get("/onboard/{id}", show)
    router.add_post("/onboard/{id}", decide)


def _elsewhere(url: str) -> web.Response:
    return web.Response(status=303, headers={"Location": url, "Cache-Control": "no-store"})
