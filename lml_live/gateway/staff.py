"""Staff sign in and out over REST (contract, section 2)."""

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web

from lml_live.errors import Unauthorized
from lml_live.gateway.bodies import SignIn
from lml_live.gateway.callers import bearer_token, is_staff_token, note_actor
from lml_live.gateway.operations import API, Operation, bind
from lml_live.gateway.problems import read_body
from lml_live.guard.staff import SignedIn, StaffDesk

OPERATIONS: Final = (
    Operation(
        name="sign_in",
        method="POST",
        path=f"{API}/sessions",
        who="anyone",
        summary="Sign in as staff. A refusal looks the same whatever was wrong.",
        body=SignIn,
        answers={201: SignedIn},
        codes=("unauthorized", "rate_limited"),
    ),
    Operation(
        name="sign_out",
        method="DELETE",
        path=f"{API}/sessions",
        who="clerk",
        summary="Sign out: the token that is sent is good no more, and live sockets that use it are closed with 4401.",
        answers={204: None},
        codes=("unauthorized",),
    ),
)


def routes(desk: StaffDesk, address_of: Callable[[web.Request], str | None]) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`. `address_of` is the caller's network address, None where it is exempt from caps."""

    async def sign_in(request: web.Request) -> web.Response:
        body = await read_body(request, SignIn)
        note_actor(request)
        signed_in = await desk.sign_in(body.email, body.password, address=address_of(request))
        return web.Response(
            status=201,
            body=msgspec.json.encode(signed_in),
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    async def sign_out(request: web.Request) -> web.Response:
        token = bearer_token(request)
        if token is None or not is_staff_token(token) or not await desk.sign_out(token):
            raise Unauthorized("This needs a member of staff.")
        return web.Response(status=204)

    return bind(OPERATIONS, {"sign_in": sign_in, "sign_out": sign_out})
