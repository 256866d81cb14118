"""Buyers' accounts over REST: asking for one, choosing a password, what signing in answers (contract, section 2)."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from lml_live.booking.handing import Handing
from lml_live.errors import Unauthorized, Unavailable
from lml_live.gateway.bodies import AcceptInvitation, HandedOver, Invite, KeptHold, SessionBegun
from lml_live.gateway.callers import bearer_token, note_actor
from lml_live.gateway.live import Live
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import read_body
from lml_live.gateway.tokens import HolderToken
from lml_live.guard.accounts import Accounts, Member
from lml_live.inventory.records import WEB

log = logging.getLogger(__name__)

OPERATIONS: Final = (
    Operation(
        name="create_account",
        method="POST",
        path=f"{API}/accounts",
        who="anyone",
        summary="Ask for an account, or a new password: a mail with a link goes there. Always the same answer.",
        body=Invite,
        answers={202: None},
        codes=("rate_limited",),
    ),
    Operation(
        name="choose_password",
        method="POST",
        path=f"{API}/accounts/password",
        who="anyone",
        summary="Choose a password with what stands in the mail; signs in, as POST /sessions does, and out elsewhere.",
        body=AcceptInvitation,
        answers={201: SessionBegun},
        codes=("unauthorized", "rate_limited"),
    ),
)


@dataclass(frozen=True)
class AccountServices:
    """What the handlers need. `address_of` is the caller's network address, None where it is exempt from caps."""

    live: Live
    accounts: Accounts
    handing: Handing
    address_of: Callable[[web.Request], str | None]

    def member(self, request: web.Request) -> HolderToken | None:
        """The token of a buyer who has signed in, or None for any other."""
        token = bearer_token(request)
        read = self.live.tokens.read(token, self.live.clock()) if token is not None else None
        return read if read is not None and read.session else None

    async def begin(self, request: web.Request, member: Member) -> web.Response:
        """Answers a sign-in. What the anonymous holder whose token came with it has is handed over."""
        note_actor(request, "holder", member.holder)
        token = self.live.tokens.issue(member.holder, self.live.clock(), session=member.session)
        handed = await self._hand_over(self._anonymous(request), member.holder)
        begun = SessionBegun(token, (), member.expires_at, email=member.email, holder=member.holder, handed_over=handed)
        return answer_session(begun)

    def _anonymous(self, request: web.Request) -> str | None:
        """The holder of a browser that nobody has signed in with; a customer of a clerk or partner is not."""
        try:
            token = bearer_token(request)
        except Unauthorized:
            return None
        read = self.live.tokens.read(token, self.live.clock()) if token is not None else None
        return read.holder if read is not None and not read.session and read.channel == WEB else None

    async def _hand_over(self, holder: str | None, to: str) -> HandedOver | None:
        if holder is None or holder == to:
            return None
        try:
            handed = await self.handing.begin(holder, to)
        except Unavailable as error:
            # Whoever signed in is signed in. Where it was not written down, the next sign-in does it.
            log.warning("nothing is handed over yet: %s", error)
            return HandedOver(complete=False)
        kept = tuple(KeptHold(hold, code) for hold, code in handed.kept.items())
        return HandedOver(handed.holds, kept, handed.bookings, complete=handed.complete)


def answer_session(begun: SessionBegun) -> web.Response:
    """A session that has just begun."""
    headers = {"Cache-Control": "no-store"}
    return web.Response(status=201, body=msgspec.json.encode(begun), content_type="application/json", headers=headers)


def routes(services: AccountServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    accounts, address_of = services.accounts, services.address_of

    async def create_account(request: web.Request) -> web.Response:
        body = await read_body(request, Invite)
        note_actor(request)
        await accounts.invite(body.email, address=address_of(request))
        return web.Response(status=202)

    async def choose_password(request: web.Request) -> web.Response:
        body = await read_body(request, AcceptInvitation)
        note_actor(request)
        return await services.begin(
            request, await accounts.accept(body.invitation, body.password, address=address_of(request))
        )

    return bind(OPERATIONS, {"create_account": create_account, "choose_password": choose_password})
