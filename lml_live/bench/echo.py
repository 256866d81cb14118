"""A bare peer of the server: aiohttp and msgspec, the same frames, no inventory. `python -m lml_live.bench.echo`.

Every request is decoded into the server's own message types and answered with as large a message as the server's. It
prints where it listens and ends with its stdin.
"""

import contextlib
from typing import Final

import uvloop
from aiohttp import WSMsgType, web

from lml_live.bench.peer import serve
from lml_live.gateway import wire

_NOW_MS: Final = 1_800_000_000_000
_LINES: Final = tuple(
    wire.HoldLine(line=line, seat=10_000 + line, type="standard", amount=4_500, fee=250, tax=311) for line in (1, 2)
)
_HOLD: Final = wire.Hold(
    id="1-0123456789abcdef0123",
    lines=_LINES,
    seats=(10_001, 10_002),
    areas={},
    state="active",
    deadline_ms=_NOW_MS,
    lifetime_ms=_NOW_MS,
    extensions_left=2,
    amount=9_500,
    currency="EUR",
)


def answer(payload: bytes) -> bytes:
    """The answer to a request, of the server's size and shape."""
    match wire.JSON.decode_client(payload):
        case wire.HoldRequest(id=number):
            return wire.JSON.encode(wire.Held(id=number, epoch="1", seq=100_000, hold=_HOLD, now_ms=_NOW_MS))
        case wire.Release(id=number):
            return wire.JSON.encode(wire.Released(id=number, epoch="1", seq=100_000, now_ms=_NOW_MS))
        case _:
            return wire.JSON.encode(wire.Pong(id=0, now_ms=_NOW_MS))


async def _converse(request: web.Request) -> web.WebSocketResponse:
    response = web.WebSocketResponse(protocols=(wire.SUBPROTOCOL_JSON,), compress=False)
    await response.prepare(request)
    async for message in response:
        if message.type is WSMsgType.TEXT:
            await response.send_frame(answer(message.data.encode()), WSMsgType.TEXT)
    return response


async def _main() -> None:
    app = web.Application()
    app.router.add_get("/api/v1/events/{event}/live", _converse)
    await serve(app)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        uvloop.run(_main())
