"""Buyers of a fault run: each holds, books, pays, cancels or walks away by chance, and notes what it heard."""

import asyncio
import random
import secrets
import time
from typing import Any

import aiohttp
from checker import Op
from fault_stand import FaultStand

TRIES = 12
PAUSE_SECONDS = 0.15
_TIMEOUT = aiohttp.ClientTimeout(total=3)


def now_ms() -> int:
    return int(time.time() * 1000)


class Buyer:
    """One buyer with one connection. `ops` is what it remembers."""

    def __init__(self, name: str, stand: FaultStand, event: str, http: aiohttp.ClientSession, seed: str) -> None:
        self.name, self.stand, self.event, self.http = name, stand, event, http
        self.rng = random.Random(seed)
        self.ops: list[Op] = []
        self.token = ""
        self.made: list[str] = []

    async def run(self, seconds: float, seats: list[str]) -> None:
        """Buys until the time is over; a purchase that was begun is carried on."""
        until = time.monotonic() + seconds
        status, body = await self._call("POST", "/holders", None, key="")
        if status != 201:
            return
        self.token = body["token"]
        while time.monotonic() < until:
            await self._purchase(sorted(self.rng.sample(seats, self.rng.randint(1, 2))))
            await asyncio.sleep(self.rng.random() * 0.1)

    async def look_back(self) -> None:
        """What became of all that it was promised, when everything runs again."""
        for booking in self.made:
            began = now_ms()
            status, body = await self._call("GET", f"/bookings/{booking}")
            if status == 200:
                self._note(act="read", outcome="ok", began_ms=began, booking=booking, state=body["state"])

    async def _purchase(self, seats: list[str]) -> None:
        began, key = now_ms(), secrets.token_hex(6)
        floor = {"floor": 1} if self.rng.random() < 0.3 else {}
        wish = {"seats": seats, "areas": floor}
        status, hold = await self._call("POST", f"/events/{self.event}/holds", wish, key=key)
        if status != 201:
            # After a lost answer the seats may be ours; the hold runs out, and says nothing about anybody else's.
            self._note(act="hold", key=key, seats=tuple(seats), outcome=_fate(status), began_ms=began)
            return
        until = int(hold["deadline_ms"]) if "deadline_ms" in hold else began
        self._note(
            act="hold", key=key, seats=tuple(seats), outcome="ok", began_ms=began, hold=hold["id"],
            until_ms=until, got=tuple(hold["seats"]),
        )  # fmt: skip
        if self.rng.random() < 0.1:
            began = now_ms()
            status, _ = await self._call("DELETE", f"/holds/{hold['id']}")
            self._note(act="release", outcome=_fate(status), began_ms=began, hold=hold["id"])
            return
        began, key = now_ms(), secrets.token_hex(6)
        body = {"hold": hold["id"], "buyer": {"name": self.name, "email": f"{self.name}@example.org"}}
        status, booking = await self._call("POST", "/bookings", body, key=key)
        if status not in (201, 202):
            self._note(act="book", key=key, seats=tuple(seats), outcome=_fate(status), began_ms=began, hold=hold["id"])
            return
        self.made.append(booking["id"])
        self._note(
            act="book", key=key, seats=tuple(seats), outcome="ok", began_ms=began, hold=hold["id"],
            got=tuple(booking["seats"]), booking=booking["id"], state=booking["state"],
        )  # fmt: skip
        await self._finish(booking)

    async def _finish(self, booking: dict[str, Any]) -> None:
        chance = self.rng.random()
        if chance < 0.1:
            return  # walks away; time runs out
        if chance < 0.25:
            await self._cancel(booking["id"])
            return
        for _ in range(TRIES):
            if booking["payment"]["status"] != "preparing":
                break
            await asyncio.sleep(PAUSE_SECONDS)
            status, body = await self._call("GET", f"/bookings/{booking['id']}")
            booking = body if status == 200 else booking
        if booking["payment"]["status"] != "ready":
            return
        if chance < 0.4:
            await self._pay(booking["payment"], "pm_card_chargeDeclined")
        await self._pay(booking["payment"], "pm_card_visa")
        if chance > 0.85:
            await self._cancel(booking["id"])  # too late, or not
        status, body = await self._call("GET", f"/bookings/{booking['id']}")
        if status == 200:
            self._note(act="read", outcome="ok", began_ms=now_ms(), booking=booking["id"], state=body["state"])

    async def _cancel(self, booking: str) -> None:
        began = now_ms()
        status, body = await self._call("POST", f"/bookings/{booking}/cancel", {}, key=secrets.token_hex(6))
        if status == 200:
            self._note(act="cancel", outcome="ok", began_ms=began, booking=booking, state=body["state"])

    async def _pay(self, payment: dict[str, Any], card: str) -> None:
        intent = payment["client_secret"].partition("_secret_")[0]
        form = {
            "key": payment["publishable_key"],
            "client_secret": payment["client_secret"],
            "payment_method": card,
        }
        for _ in range(TRIES):
            try:
                url = f"{payment['api_base']}/v1/payment_intents/{intent}/confirm"
                async with self.http.post(url, data=form, timeout=_TIMEOUT) as answer:
                    if answer.status < 429:
                        return
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(PAUSE_SECONDS)

    async def _call(self, method: str, path: str, body: Any = None, *, key: str = "") -> tuple[int, Any]:
        """Asks until there is a decision; 0 where none is heard in so many tries."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if key:
            headers["Idempotency-Key"] = key
        for _ in range(TRIES):
            try:
                async with self.http.request(
                    method, f"{self.stand.server.url}/api/v1{path}", json=body, headers=headers, timeout=_TIMEOUT
                ) as answer:
                    told = await answer.json(content_type=None) if answer.content_length != 0 else {}
                    undecided = answer.status >= 500 or answer.status == 429
                    if not undecided and (told or {}).get("code") != "idempotency_in_progress":
                        return answer.status, told
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                pass
            await asyncio.sleep(PAUSE_SECONDS)
        return 0, {}

    def _note(self, **what: Any) -> None:
        self.ops.append(Op(client=self.name, ended_ms=now_ms(), **what))


def _fate(status: int) -> str:
    return "info" if status == 0 else "ok" if status in (200, 204) else "fail"
