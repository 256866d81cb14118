"""Staff and buyers sign in and out over REST (contract, section 2)."""

from collections.abc import Callable
from typing import Final

from aiohttp import web
from msgspec import UNSET

from lml_live.errors import Unauthorized
from lml_live.gateway.accounts import AccountServices, answer_session
from lml_live.gateway.bodies import SessionBegun, SignIn
from lml_live.gateway.callers import bearer_token, is_staff_token, note_actor
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import read_body
from lml_live.guard.staff import StaffDesk

OPERATIONS: Final = (
    Operation(
        name="sign_in",
        method="POST",
        path=f"{API}/sessions",
        who="anyone",
        summary="Sign in, as staff or buyer; a browser's holds and bookings become the buyer's whose holder's token is "
        "sent along. A refusal looks the same whatever was wrong.",
        body=SignIn,
        answers={201: SessionBegun},
        codes=("unauthorized", "rate_limited"),
    ),
    Operation(
        name="sign_out",
        method="DELETE",
        path=f"{API}/sessions",
        who="holder",
        summary="Sign out: the token that is sent is good no more, and live sockets that use it are closed with 4401.",
        answers={204: None},
        codes=("unauthorized",),
    ),
)


def routes(
    desk: StaffDesk, address_of: Callable[[web.Request], str | None], buyers: AccountServices | None = None
) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`. `address_of` is the caller's network address, None where it is exempt from caps."""

    async def sign_in(request: web.Request) -> web.Response:
        body = await read_body(request, SignIn)
        note_actor(request)
        address = address_of(request)
        role = body.role
        if role is UNSET:
            # Asked for every address, so that no answer comes later for it than for another.
            role = "staff" if await desk.has(body.email) else "buyer"
        if role == "buyer" and buyers is not None:
            member = await buyers.accounts.sign_in(body.email, body.password, address=address)
            return await buyers.begin(request, member)
        signed_in = await desk.sign_in(body.email, body.password, address=address)
        return answer_session(SessionBegun(signed_in.token, signed_in.roles, signed_in.expires_at))

    async def sign_out(request: web.Request) -> web.Response:
        token = bearer_token(request)
        if token is not None and is_staff_token(token):
            ended = await desk.sign_out(token)
        else:
            member = buyers.member(request) if buyers is not None else None
            ended = member is not None and buyers is not None and await buyers.accounts.sign_out(member.session)
        if not ended:
            raise Unauthorized("This needs somebody who has signed in.")
        return web.Response(status=204)

    return bind(OPERATIONS, {"sign_in": sign_in, "sign_out": sign_out})
