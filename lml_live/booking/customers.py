"""Buyers' accounts as Stripe's customers, and the cards that are saved there (docs/decisions/026).

A customer is made when somebody first wants a card to be saved: on record before Stripe is asked, under a key for each
attempt, and looked for first where an earlier try may have worked. Here nobody keeps a card, not even its last
four digits: they are read from Stripe, and always of the customer whose account asks.
"""

import logging
from typing import Final, Literal, Protocol

from msgspec import Struct

from lml_live.booking.payments import PaymentFault
from lml_live.errors import NotFound, Unavailable
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("customers")


class SavedCard(Struct, frozen=True, kw_only=True):
    """A card that a buyer has saved, as Stripe shows it; `id` pays with it."""

    id: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int


CustomerFate = Literal["there", "deleted", "unknown"]
"""`unknown`: this account at Stripe never had it, or no longer tells; a key of another account may be the reason."""


class Wallet(Protocol):
    """What customers and their cards need of a payment provider. All raise `PaymentFault`."""

    async def create_customer(self, account: str, email: str, key: str) -> str:
        """Makes a customer, or answers the one that this key made; its id."""
        ...

    async def customer_fate(self, customer: str) -> CustomerFate: ...

    async def find_customers(self, account: str, email: str) -> tuple[str, ...]:
        """The customers of an account, the first one first, whichever key made them."""
        ...

    async def list_cards(self, customer: str) -> tuple[SavedCard, ...]: ...

    async def has_card(self, customer: str, card: str) -> bool:
        """Whether a card is this customer's."""
        ...

    async def detach_card(self, card: str) -> None: ...


class Customers:
    """The customers of the house."""

    def __init__(self, pool: Pool, wallet: Wallet) -> None:
        self._pool = pool
        self._wallet = wallet

    async def of_payment(self, holder: str, *, save_card: bool, doubted: bool = False) -> str | None:
        """Whose a payment is at Stripe: the holder's account, where it has saved a card or is about to; else nobody's.

        With `doubted`, Stripe is asked what became of that customer: one that was deleted there is replaced, and one
        that is another Stripe account's is nobody. Raises `PaymentFault`.
        """
        known = await self._known(holder)
        fate = await self._wallet.customer_fate(known) if known is not None and doubted else "there"
        if fate == "unknown":
            log.error("holder %s: Stripe does not know customer %s: cards are not saved", holder, known)
            return None
        if fate == "deleted":
            log.warning("holder %s: Stripe has deleted customer %s, and its cards", holder, known)
            async with postgres.connection(self._pool) as connected:
                await connected.execute(_SQL["forget_customer"], holder, known)
            known = await self._known(holder)  # another worker may have replaced it
        return await self._make(holder) if known is None and save_card else known

    async def cards(self, holder: str) -> tuple[SavedCard, ...]:
        """The cards that a holder's account has saved. Raises `Unavailable`."""
        customer = await self._known(holder)
        if customer is None:
            return ()
        try:
            return await self._wallet.list_cards(customer)
        except PaymentFault as fault:
            if fault.kind == "refused":  # Stripe has no such customer any more
                return ()
            raise _gone(fault) from fault

    async def forget(self, holder: str, card: str) -> None:
        """Takes a card away from an account. Raises `NotFound` where it is not its card, and `Unavailable`."""
        customer = await self._known(holder)
        try:
            if customer is None or not await self._wallet.has_card(customer, card):
                raise NotFound("There is no such card.")
            await self._wallet.detach_card(card)
        except PaymentFault as fault:
            if fault.kind == "refused":  # somebody was faster
                raise NotFound("There is no such card.") from fault
            raise _gone(fault) from fault

    async def _known(self, holder: str) -> str | None:
        async with postgres.connection(self._pool) as connected:
            found: str | None = await connected.fetchval(_SQL["load_customer"], holder)
        return found

    async def _make(self, holder: str) -> str | None:
        async with postgres.connection(self._pool) as connected:
            row = await connected.fetchrow(_SQL["begin_customer"], holder)
        if row is None:
            return None
        account, email = row["account_id"], row["email"]
        found: tuple[str, ...] = ()
        if not row["is_new"]:
            found = await self._wallet.find_customers(account, email)
        try:
            made = found[0] if found else await self._create(account, email, row["attempt"])
        except PaymentFault as fault:
            if fault.kind == "refused":
                # The payment does not need it: it is made without, and the card is not saved.
                log.error("account %s: no customer can be made: %s", account, fault)
                return None
            raise
        async with postgres.connection(self._pool) as connected:
            kept: str = await connected.fetchval(_SQL["keep_customer"], account, made)
        return kept

    async def _create(self, account: str, email: str, attempt: int) -> str:
        try:
            return await self._wallet.create_customer(account, email, f"{account}:customer:{attempt}")
        except PaymentFault as fault:
            if fault.kind == "worn":
                async with postgres.connection(self._pool) as connected:
                    await connected.execute(_SQL["next_customer_attempt"], account, attempt)
            raise


def _gone(fault: PaymentFault) -> Unavailable:
    log.warning("saved cards cannot be reached: %s", fault)
    return Unavailable("The payment service does not answer. Please try again.")
