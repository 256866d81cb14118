"""The double's addresses, put together and served."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from aiohttp import web

from lml_live import limits
from lml_live.devstack.child import LOOPBACK
from lml_live.devstack.stripe import banking, connecting, customers, page, payments, reading, refusals
from lml_live.devstack.stripe.control import ControlApi
from lml_live.devstack.stripe.faults import Faults
from lml_live.devstack.stripe.requests import PREFLIGHT, Api, Route, refused
from lml_live.devstack.stripe.settings import Control, DoubleSettings, Keys
from lml_live.devstack.stripe.store import Store
from lml_live.devstack.stripe.webhooks import Deliverer

_log: Final = logging.getLogger(__name__)

_INTENTS: Final = "/v1/payment_intents"
_PAYOUTS: Final = "/v1/payouts"
_TRANSFERS: Final = "/v1/transfers"
_CUSTOMERS: Final = "/v1/customers"


def _get(operation: str, path: str, act: payments.Operation, fields: frozenset[str] = frozenset()) -> Route:
    return Route(operation=operation, method="GET", path=path, act=act, fields=fields)


def _post(operation: str, path: str, act: payments.Operation, fields: frozenset[str], *, pages: bool = False) -> Route:
    return Route(operation=operation, method="POST", path=path, act=act, fields=fields, publishable=pages)


def _connected(
    operation: str, method: str, path: str, act: payments.Operation, fields: frozenset[str] = frozenset()
) -> Route:
    return Route(operation=operation, method=method, path=path, act=act, fields=fields, connected=True)


ROUTES: Final = (
    _post("create", _INTENTS, payments.create_intent, payments.CREATE_FIELDS),
    _get("list", _INTENTS, reading.list_intents, reading.LIST_FIELDS),
    Route(
        operation="retrieve",
        method="GET",
        path=f"{_INTENTS}/{{id}}",
        act=reading.retrieve_intent,
        fields=frozenset({"client_secret"}),
        publishable=True,
    ),
    _post("update", f"{_INTENTS}/{{id}}", payments.update_intent, payments.UPDATE_FIELDS),
    _post("confirm", f"{_INTENTS}/{{id}}/confirm", payments.confirm_intent, payments.CONFIRM_FIELDS, pages=True),
    _post("capture", f"{_INTENTS}/{{id}}/capture", payments.capture_intent, payments.CAPTURE_FIELDS),
    _post("cancel", f"{_INTENTS}/{{id}}/cancel", payments.cancel_intent, payments.CANCEL_FIELDS),
    _post("payment_method", "/v1/payment_methods", payments.create_method, payments.METHOD_FIELDS, pages=True),
    _get("payment_method", "/v1/payment_methods/{id}", reading.retrieve_method),
    _post("detach", "/v1/payment_methods/{id}/detach", customers.detach, frozenset()),
    _post("customer", _CUSTOMERS, customers.create_customer, customers.CUSTOMER_FIELDS),
    _get("customer_list", _CUSTOMERS, customers.list_customers, customers.CUSTOMER_LIST_FIELDS),
    _get("customer_retrieve", f"{_CUSTOMERS}/{{id}}", customers.retrieve_customer),
    Route(operation="customer_delete", method="DELETE", path=f"{_CUSTOMERS}/{{id}}", act=customers.delete_customer),
    _get("card_list", f"{_CUSTOMERS}/{{id}}/payment_methods", customers.list_cards, customers.CARD_LIST_FIELDS),
    _get("card_retrieve", f"{_CUSTOMERS}/{{id}}/payment_methods/{{other}}", customers.retrieve_card),
    _get("charge", "/v1/charges", reading.list_charges, reading.CHARGE_LIST_FIELDS),
    _get("charge", "/v1/charges/{id}", reading.retrieve_charge),
    _post("refund", "/v1/refunds", payments.create_refund, payments.REFUND_FIELDS),
    _get("refund_list", "/v1/refunds", reading.list_refunds, reading.REFUND_LIST_FIELDS),
    _get("refund_retrieve", "/v1/refunds/{id}", reading.retrieve_refund),
    _get("dispute_list", "/v1/disputes", reading.list_disputes, reading.DISPUTE_LIST_FIELDS),
    _get("dispute_retrieve", "/v1/disputes/{id}", reading.retrieve_dispute),
    _post("dispute_update", "/v1/disputes/{id}", payments.update_dispute, payments.DISPUTE_FIELDS),
    _get("events", "/v1/events", reading.list_events, reading.EVENT_FIELDS),
    _get("events", "/v1/events/{id}", reading.retrieve_event),
    _connected("balance", "GET", "/v1/balance_transactions", reading.list_balance, reading.BALANCE_FIELDS),
    _connected("balance", "GET", "/v1/balance_transactions/{id}", banking.retrieve_booked),
    _connected("balance", "GET", "/v1/balance", connecting.retrieve_balance),
    _connected("payout", "POST", _PAYOUTS, banking.create_payout, banking.PAYOUT_FIELDS),
    _connected("payout_list", "GET", _PAYOUTS, banking.list_payouts, banking.PAYOUT_LIST_FIELDS),
    _connected("payout_retrieve", "GET", f"{_PAYOUTS}/{{id}}", banking.retrieve_payout),
    _connected("payout_cancel", "POST", f"{_PAYOUTS}/{{id}}/cancel", banking.cancel_payout),
    _get("account", "/v1/account", reading.retrieve_account),
    _post("account_create", "/v1/accounts", connecting.create_account, connecting.ACCOUNT_FIELDS),
    _get("account_list", "/v1/accounts", connecting.list_accounts, reading.LIST_FIELDS),
    _get("account_retrieve", "/v1/accounts/{id}", connecting.retrieve_account),
    _post("account_update", "/v1/accounts/{id}", connecting.update_account, connecting.ACCOUNT_UPDATE_FIELDS),
    _post("account_link", "/v1/account_links", connecting.create_link, connecting.LINK_FIELDS),
    _post("transfer", _TRANSFERS, connecting.create_transfer, connecting.TRANSFER_FIELDS),
    _get("transfer_list", _TRANSFERS, connecting.list_transfers, connecting.TRANSFER_LIST_FIELDS),
    _get("transfer_retrieve", f"{_TRANSFERS}/{{id}}", connecting.retrieve_transfer),
    _post("reversal", f"{_TRANSFERS}/{{id}}/reversals", connecting.reverse_transfer, connecting.REVERSAL_FIELDS),
    _get(
        "reversal_list",
        f"{_TRANSFERS}/{{id}}/reversals",
        connecting.list_reversals,
        connecting.REVERSAL_LIST_FIELDS,
    ),
)


def build_app(state: Path, keys: Keys, defaults: DoubleSettings, page_base: str) -> web.Application:
    """The double on the state in one file."""
    store = Store(state)
    control = Control(store, defaults)
    faults = Faults(store)
    api = Api(store, control, faults, keys, page_base)
    deliverer = Deliverer(store, control, api.act)
    api.on_change = deliverer.wake
    app = web.Application(client_max_size=limits.STRIPE_DOUBLE_BODY_BYTES_MAX)

    async def preflight(_: web.Request) -> web.Response:
        return web.Response(status=204, headers=PREFLIGHT)

    async def unknown(request: web.Request) -> web.Response:
        return refused(refusals.no_such_address(request.method, request.path))

    for route in ROUTES:
        app.router.add_route(route.method, route.path, api.handler(route))
    app.router.add_route("OPTIONS", "/v1/{rest:.*}", preflight)
    app.router.add_route("*", "/v1/{rest:.*}", unknown)
    page.add_routes(app.router, api)
    connecting.add_routes(app.router, api)
    ControlApi(api, deliverer).add_routes(app.router)

    async def deliver(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(deliverer.run())
        task.add_done_callback(_end_with)
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        store.close()

    app.cleanup_ctx.append(deliver)
    return app


def _end_with(task: asyncio.Task[None]) -> None:
    """A double that sends no more webhooks must not go on as if it did."""
    if not task.cancelled() and task.exception() is not None:
        _log.error("the sender of webhooks has failed", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)


async def serve(port: int, app: web.Application) -> None:
    """Serves on the loopback until SIGTERM or SIGINT."""
    # No access log: addresses carry client secrets.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()
    finally:
        await runner.cleanup()
