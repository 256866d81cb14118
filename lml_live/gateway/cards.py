"""The cards that a buyer has saved, over REST: only the account that saved them sees them, and takes them away."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from lml_live.booking.customers import Customers, SavedCard
from lml_live.errors import Forbidden, NotFound
from lml_live.gateway.callers import note_actor
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.tokens import HolderToken


class CardList(Struct, frozen=True):
    """All saved cards of the caller's account, the newest first."""

    items: tuple[SavedCard, ...]
    next: str | None = None


OPERATIONS: Final = (
    Operation(
        name="list_cards",
        method="GET",
        path=f"{API}/accounts/cards",
        who="holder",
        summary="The cards that the account which has signed in has saved; kept by Stripe.",
        answers={200: CardList},
        codes=("unauthorized", "forbidden", "rate_limited"),
    ),
    Operation(
        name="forget_card",
        method="DELETE",
        path=f"{API}/accounts/cards/{{card}}",
        who="holder",
        summary="Take a saved card away from the account.",
        answers={204: None},
        codes=("unauthorized", "forbidden", "not_found", "rate_limited"),
    ),
)


@dataclass(frozen=True)
class CardServices:
    """What the handlers need. `customers` is None where no payment provider is set up."""

    buyer: Callable[[web.Request], Awaitable[HolderToken]]
    customers: Customers | None


def routes(services: CardServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    customers = services.customers

    async def member(request: web.Request) -> str:
        token = await services.buyer(request)
        if not token.session:
            raise Forbidden("Saved cards are for those who have signed in.")
        note_actor(request, "holder", token.holder)
        return token.holder

    async def list_cards(request: web.Request) -> web.Response:
        holder = await member(request)
        found = await customers.cards(holder) if customers is not None else ()
        headers = {"Cache-Control": "no-store"}
        return web.Response(body=msgspec.json.encode(CardList(found)), content_type="application/json", headers=headers)

    async def forget_card(request: web.Request) -> web.Response:
        holder, card = await member(request), request.match_info["card"]
        if customers is None or not _is_card(card):
            raise NotFound("There is no such card.")
        await customers.forget(holder, card)
        return web.Response(status=204)

    return bind(OPERATIONS, {"list_cards": list_cards, "forget_card": forget_card})


def _is_card(text: str) -> bool:
    """Whether it could be one of Stripe's ids: nothing else becomes part of an address there."""
    return len(text) <= 255 and text.startswith("pm_") and text.isascii() and text.replace("_", "").isalnum()
