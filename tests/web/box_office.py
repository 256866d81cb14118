"""A box office for page tests: the public interface of one event, with one hall, told by the test what to say."""

import base64
import time
from typing import Any

from aiohttp import WSMsgType, web

ROWS, SEATS = 10, 20
CURRENCY = "EUR"


def now_ms() -> int:
    return int(time.time() * 1000)


def pack(states: list[int]) -> str:
    """Seat states as `welcome` carries them: 2 bits a seat, seat 0 lowest, base64."""
    packed = bytearray((len(states) + 3) // 4)
    for index, state in enumerate(states):
        packed[index >> 2] |= state << ((index & 3) * 2)
    return base64.b64encode(packed).decode()


def hall(rows: int = ROWS, seats: int = SEATS, version: int = 1) -> dict[str, Any]:
    """A rectangular room and a standing area: seat `row * seats + n` is at a place that can be computed.

    With each version the numbers begin one later: of the first, seat 0 is number 1, of the second number 2.
    """
    return {
        "layout_id": "hall",
        "version": version,
        "hash": f"a{version}",
        "name": "Hall",
        "type": "hybrid",
        "viewport": {"width": 1000, "height": 600, "units": "px"},
        "sections": [
            {
                "name": "Stalls",
                "kind": "seated",
                "rows": [
                    {
                        "label": chr(65 + row),
                        "seats": [
                            {
                                "number": str(n + version),
                                "seat_id": f"{row * seats + n:064x}",
                                "x": round(0.1 + 0.8 * (n + 0.5) / seats, 5),
                                "y": round(0.2 + 0.7 * (row + 0.5) / rows, 5),
                                "category": "Front" if row < rows / 2 else "Rear",
                            }
                            for n in range(seats)
                        ],
                    }
                    for row in range(rows)
                ],
            },
            {
                "name": "Pit",
                "kind": "standing",
                "area_id": "pit",
                "capacity": 50,
                "category": "Pit",
                "outline": [[0.3, 0.1], [0.7, 0.1], [0.7, 0.16], [0.3, 0.16]],
            },
        ],
        "shapes": [{"kind": "stage", "label": "Stage", "points": [[0.3, 0.0], [0.7, 0.0], [0.7, 0.08], [0.3, 0.08]]}],
    }


class BoxOffice:
    """Answers like the server; every seat is free until a test says otherwise."""

    def __init__(self) -> None:
        self.sockets: set[web.WebSocketResponse] = set()
        self.reset()

    def reset(self) -> None:
        self.states = [0] * (ROWS * SEATS)
        self.epoch, self.seq = "e1", 10
        self.state, self.on_sale_at_ms = "open", now_ms() - 60_000
        self.hold: dict[str, Any] | None = None
        self.received: list[dict[str, Any]] = []
        self.refusals: list[dict[str, Any]] = []
        self.pit = {"available": 50, "held": 0, "sold": 0, "blocked": 0}
        self.hold_ms = 300_000
        self.version = 1
        self.table: int | None = None
        self.events: list[dict[str, Any]] = [self.event()]

    async def close(self) -> None:
        for socket in list(self.sockets):
            await socket.close(code=1001)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/events", self._list)
        router.add_get("/api/v1/events/{event}", self._event)
        router.add_get("/api/v1/events/{event}/live", self._live)
        router.add_get("/layouts/hall/a{version}", self._layout)

    # --- what it knows

    def event(self, **changes: Any) -> dict[str, Any]:
        return {
            "id": "gala",
            "name": "Gala <b>night</b>",
            "venue": "Old Hall",
            "starts_at": "2027-03-01T18:30:00Z",
            "on_sale_at": "2026-01-01T09:00:00Z",
            "state": self.state,
            "currency": CURRENCY,
            "prices": [
                {
                    "category": "Front",
                    "type": "standard",
                    "label": "Standard",
                    "amount": 5000,
                    "fee": 250,
                    "tax_rate": "0",
                },
                {
                    "category": "Rear",
                    "type": "standard",
                    "label": "Standard",
                    "amount": 3000,
                    "fee": 250,
                    "tax_rate": "0",
                },
                {"category": "Pit", "type": "standard", "label": "Standard", "amount": 2000, "fee": 0, "tax_rate": "0"},
            ],
            "areas": [{"area_id": "pit", "name": "Pit", "category": "Pit", "capacity": 50}],
            "limits": self.limits,
            "layout": self.layout,
        } | changes

    limits = {"max_seats": 6, "hold_seconds": 300, "extensions": 1, "lifetime_seconds": 900}  # noqa: RUF012

    @property
    def layout(self) -> dict[str, Any]:
        named = f"a{self.version}"
        url = f"/layouts/hall/{named}"
        return {"id": "hall", "version": self.version, "hash": named, "url": url, "seat_count": ROWS * SEATS}

    def welcome(self) -> dict[str, Any]:
        return {
            "type": "welcome",
            "event": {"id": "gala", "state": self.state, "on_sale_at_ms": self.on_sale_at_ms, "prices_version": 1},
            "epoch": self.epoch,
            "seq": self.seq,
            "seats": pack(self.states),
            "areas": {"pit": self.pit},
            "holder": "h1",
            "token": "t1",
            "holds": [self.hold] if self.hold else [],
            "limits": self.limits,
            "layout": self.layout,
            "now_ms": now_ms(),
            "tick_ms": 50,
        }

    def make_hold(self, seats: list[int], areas: dict[str, int]) -> dict[str, Any]:
        lines = [
            {
                "line": at,
                "type": "standard",
                "amount": 5000 if seat < 100 else 3000,
                "fee": 250,
                "tax": 0,
                "seat_id": f"{seat:064x}",
            }
            for at, seat in enumerate(seats)
        ] + [
            {"line": 90 + at, "type": "standard", "amount": 2000, "fee": 0, "tax": 0, "area_id": area}
            for area, count in areas.items()
            for at in range(count)
        ]
        return {
            "id": "hold1",
            "lines": lines,
            "seats": seats,
            "areas": areas,
            "state": "active",
            "deadline_ms": now_ms() + self.hold_ms,
            "lifetime_ms": now_ms() + 900_000,
            "extensions_left": 1,
            "amount": sum(line["amount"] + line["fee"] for line in lines),
            "currency": CURRENCY,
        }

    # --- what it says unasked

    async def say(self, message: dict[str, Any]) -> None:
        for socket in list(self.sockets):
            await socket.send_json(message)

    async def change(self, **lists: list[int]) -> None:
        """Seats change, for everybody."""
        for state, name in enumerate(("available", "held", "sold", "blocked")):
            for seat in lists.get(name, []):
                self.states[seat] = state
        previous, self.seq = self.seq, self.seq + 1
        await self.say({"type": "diff", "seq": self.seq, "prev": previous, **lists})

    async def change_layout(self, version: int, retry_after_ms: int = 0) -> None:
        """The event is sold on another version from now on: holds are gone, and everybody is sent away to come back."""
        self.version, self.epoch, self.hold = version, f"e{version}", None
        self.states = [0] * (ROWS * SEATS)
        await self.say({"type": "bye", "reason": "layout", "retry_after_ms": retry_after_ms})
        for socket in list(self.sockets):
            await socket.close(code=1012)

    # --- what it is asked

    async def _list(self, request: web.Request) -> web.Response:
        start, limit = int(request.query.get("cursor", 0)), int(request.query["limit"])
        following = start + limit
        return web.json_response(
            {"items": self.events[start:following], "next": str(following) if following < len(self.events) else None}
        )

    async def _event(self, request: web.Request) -> web.Response:
        if request.match_info["event"] != "gala":
            return web.json_response({"code": "not_found"}, status=404)
        return web.json_response(self.event())

    async def _layout(self, request: web.Request) -> web.Response:
        plan = hall(version=int(request.match_info["version"]))
        if self.table is not None:
            plan["sections"][0]["rows"][self.table]["sold_whole"] = True
        return web.json_response(plan)

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=("lml.v1.json",))
        await socket.prepare(request)
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            message = frame.json()
            self.received.append(message)
            if message["type"] == "hello":
                await socket.send_json(self.welcome())
                self.sockets.add(socket)
            elif self.refusals and message["type"] != "ping":
                await socket.send_json({"type": "error", "id": message["id"], "message": "", **self.refusals.pop(0)})
            else:
                await self._answer(socket, message)
        self.sockets.discard(socket)
        return socket

    async def _answer(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        answer = {"id": message["id"], "epoch": self.epoch, "seq": self.seq + 1, "now_ms": now_ms()}
        seats = list(self.hold["seats"]) if self.hold else []
        areas = dict(self.hold["areas"]) if self.hold else {}
        match message["type"]:
            case "ping":
                await socket.send_json({"type": "pong", "id": message["id"], "now_ms": now_ms()})
            case "hold":
                for area, count in message.get("areas", {}).items():
                    areas[area] = areas.get(area, 0) + count
                self.hold = self.make_hold(seats + message.get("seats", []), areas)
                await socket.send_json({"type": "held", "hold": self.hold, **answer})
                await self.change(held=message.get("seats", []))
            case "hold_best":
                free = [seat for seat, state in enumerate(self.states) if state == 0]
                best = [seat for seat in free if (seat < 100) == (message.get("category", "Front") == "Front")]
                best = best[: message["quantity"]]
                self.hold = self.make_hold(seats + best, areas)
                await socket.send_json({"type": "held", "hold": self.hold, **answer})
                await self.change(held=best)
            case "release":
                gone = message.get("seats", seats if "areas" not in message else [])
                kept = [seat for seat in seats if seat not in gone]
                for area, count in message.get("areas", {} if "seats" in message else dict(areas)).items():
                    areas[area] -= count
                areas = {area: count for area, count in areas.items() if count}
                self.hold = self.make_hold(kept, areas) if kept or areas else None
                await socket.send_json({"type": "released", **({"hold": self.hold} if self.hold else {}), **answer})
                await self.change(available=gone)
            case "extend":
                self.hold = self.make_hold(seats, areas) | {"extensions_left": 0}
                await socket.send_json({"type": "extended", "hold": self.hold, **answer})
                await self.change()
