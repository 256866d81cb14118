"""`Wallet` by Stripe, on the client of `stripe_payments`: customers, and the cards that are attached to them."""

from typing import Any, Final

from lml_live.booking.customers import CustomerFate, SavedCard
from lml_live.booking.payments import PaymentFault
from lml_live.booking.stripe_payments import StripePayments, named_in

_PAGE: Final = 100
_SAVING: Final = "read and write customers and payment methods, and restart; until then no card is saved"


class StripeWallet:
    """`Wallet` by Stripe."""

    def __init__(self, payments: StripePayments) -> None:
        self._send = payments.send
        self._v1 = payments.client.v1

    async def create_customer(self, account: str, email: str, key: str) -> str:
        params = {"email": email, "metadata": {"account": account}}
        create, options = self._v1.customers.create_async, {"idempotency_key": key}
        made = await self._send("create_customer", create, params, options, purpose=_SAVING)
        return str(made.id)

    async def customer_fate(self, customer: str) -> CustomerFate:
        try:
            found = await self._send("retrieve_customer", self._v1.customers.retrieve_async, customer, purpose=_SAVING)
        except PaymentFault as fault:
            if fault.kind != "refused":
                raise
            return "unknown"
        # What was deleted is found all the same, and is that one field (API: Retrieve a customer).
        return "deleted" if getattr(found, "deleted", False) else "there"

    async def find_customers(self, account: str, email: str) -> tuple[str, ...]:
        # One page: an address is one account's, and has not so many customers.
        params = {"email": email, "limit": _PAGE}
        page = await self._send("list_customers", self._v1.customers.list_async, params, purpose=_SAVING)
        return tuple(one.id for one in reversed(page.data) if named_in(one, "account") == account)

    async def list_cards(self, customer: str) -> tuple[SavedCard, ...]:
        list_all, params = self._v1.customers.payment_methods.list_async, {"type": "card", "limit": _PAGE}
        page = await self._send("list_cards", list_all, customer, params, purpose=_SAVING)
        return tuple(_card(one) for one in page.data)

    async def has_card(self, customer: str, card: str) -> bool:
        retrieve = self._v1.customers.payment_methods.retrieve_async
        try:
            await self._send("retrieve_card", retrieve, customer, card, purpose=_SAVING)
        except PaymentFault as fault:
            if fault.kind != "refused":
                raise
            return False
        return True

    async def detach_card(self, card: str) -> None:
        await self._send("detach_card", self._v1.payment_methods.detach_async, card, purpose=_SAVING)


def _card(method: Any) -> SavedCard:
    card = method.card
    return SavedCard(id=method.id, brand=card.brand, last4=card.last4, exp_month=card.exp_month, exp_year=card.exp_year)
