"""Buyers of a fault run: each holds, books, pays, cancels or walks away by chance, and notes what it heard."""

import asyncio
import contextlib
import json
import random
import secrets
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
from booking_house import BAD_DEBIT, DEBIT, IDEAL, WAYS
from checker_rows import Op
from fault_stand import PAY_SECONDS, FaultStand

from lml_live.errors import Unavailable

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
        self.holder = name
        """Who it is to the server, once that has said so."""
        self.heard_all = True
        """Whether every try of the last request was answered."""
        self.made: list[str] = []
        self._unheard: list[tuple[Wish, str, int]] = []
        """Bookings that were asked for in vain: the request, its key, and since when."""

    async def run(self, seconds: float, seats: list[str]) -> None:
        """Buys until the time is over; a purchase that was begun is carried on."""
        until = time.monotonic() + seconds
        status, body = await self._call("POST", "/holders", None, key="")
        if status != 201:
            return
        self.token, self.holder = body["token"], body["holder"]
        while time.monotonic() < until:
            await self._purchase(sorted(self.rng.sample(seats, self.rng.randint(1, 2))))
            await asyncio.sleep(self.rng.random() * 0.1)

    async def ask_again(self) -> None:
        """Sends what it never heard of once more, when everything runs again."""
        await asyncio.gather(*(self._ask_for(wish, key, began) for wish, key, began in self._unheard))

    async def look_back(self) -> None:
        """What became of all that it was promised, at rest."""
        for booking in self.made:
            began = now_ms()
            status, body = await self._call("GET", f"/bookings/{booking}")
            if status == 200:
                self._note(act="read", outcome="ok", began_ms=began, booking=booking, state=body["state"])

    async def _look(self) -> None:
        """Reads the seat map, whose epoch says which claims are too old from now on."""
        began = now_ms()
        status, body = await self._call("GET", f"/events/{self.event}/availability")
        if status == 200:
            self._note(act="look", outcome="ok", began_ms=began, epoch=body["epoch"])

    async def _purchase(self, seats: list[str]) -> None:
        if self.rng.random() < 0.3:
            await self._look()
        began, key = now_ms(), secrets.token_hex(6)
        floor = {"floor": 1} if self.rng.random() < 0.3 else {}
        wish = {"seats": seats, "areas": floor}
        status, hold = await self._call("POST", f"/events/{self.event}/holds", wish, key=key)
        asked = {"act": "hold", "key": key, "asked": text_of(wish), "seats": tuple(seats), "areas": floor}
        if status != 201:
            # After a try that nobody answered its seats may be ours, and in our own way where Redis was replaced since
            # (a hold's key is forgotten with its epoch); so a refusal says nothing then.
            fate = fate_of(status if self.heard_all else 0)
            self._note(**asked, outcome=fate, code=code_of(hold), began_ms=began)
            return
        self._note(
            **asked, outcome="ok", began_ms=began, hold=hold["id"], until_ms=hold["deadline_ms"],
            got=tuple(hold["seats"]), got_areas=hold["areas"],
        )  # fmt: skip
        if self.rng.random() < 0.1:
            began = now_ms()
            status, told = await self._call("DELETE", f"/holds/{hold['id']}")
            # A try that nobody answered may have done it, and aiohttp sends a DELETE once more by itself where its
            # connection breaks: that the hold is not found says nothing of who has released it.
            fate = fate_of(status if status != 404 else 0)
            self._note(act="release", outcome=fate, code=code_of(told), began_ms=began, hold=hold["id"])
            return
        await self._book(Wish(hold["id"], tuple(seats), floor, self.name))

    async def _book(self, wish: "Wish") -> None:
        key = secrets.token_hex(6)
        if self.rng.random() < 0.2:
            # A browser that sent its form twice; the answers must be one.
            booking, _ = await asyncio.gather(self._ask_for(wish, key), self._ask_for(wish, key))
        else:
            booking = await self._ask_for(wish, key)
        if booking is None:
            return
        chance = self.rng.random()
        other = Wish(wish.hold, wish.seats, wish.areas, f"{self.name} II")
        if chance < 0.15:
            await self._ask_for(wish, key)
        elif chance < 0.3:
            await self._ask_for(other, key)
        elif chance < 0.4:
            await asyncio.gather(self._ask_for(other, key), self._ask_for(wish, key))
        await self._finish(booking)

    async def _ask_for(self, wish: "Wish", key: str, since_ms: int = 0) -> dict[str, Any] | None:
        """One request for a booking, noted with what it was answered; the booking where it was granted."""
        began = since_ms or now_ms()
        body = {"hold": wish.hold, "buyer": {"name": wish.buyer, "email": "buyer@example.org"}}
        status, booking = await self._call("POST", "/bookings", body, key=key)
        asked = {
            "act": "book", "key": key, "asked": text_of(body), "seats": wish.seats, "areas": wish.areas,
            "hold": wish.hold, "began_ms": began,
        }  # fmt: skip
        if status not in (201, 202):
            self._note(**asked, outcome=fate_of(status), code=code_of(booking))
            if status == 0 and not since_ms:
                self._unheard.append((wish, key, began))
            return None
        if booking["id"] not in self.made:
            self.made.append(booking["id"])
        self._note(
            **asked, outcome="ok", told=text_of(booking), got=tuple(booking["seats"]), got_areas=booking["areas"],
            booking=booking["id"], state=booking["state"],
        )  # fmt: skip
        return dict(booking)

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
        if self.rng.random() < 0.3:
            await self._pay_at_once(booking)
        elif chance > 0.6:
            await self._pay(booking["payment"], "pm_card_threeDSecure2Required")
            # Some come back from their bank when the time to pay is over (F26), and some never.
            await asyncio.sleep(self.rng.choice((0.0, 0.3, PAY_SECONDS)))
            await self._authenticate(booking["payment"], passed=self.rng.random() < 0.8)
        else:
            await self._pay(booking["payment"], "pm_card_visa")
        if chance > 0.85:
            await self._cancel(booking["id"])  # too late, or not
        status, body = await self._call("GET", f"/bookings/{booking['id']}")
        if status == 200:
            self._note(act="read", outcome="ok", began_ms=now_ms(), booking=booking["id"], state=body["state"])
        wants = self.rng.random()
        if wants < 0.45:
            await self._ask_for_money(booking)
        elif wants < 0.6:
            await asyncio.gather(self._ask_for_money(booking), self._dispute(booking))
        elif wants < 0.85:
            await self._dispute(booking)

    async def _pay_at_once(self, booking: dict[str, Any]) -> None:
        """By a way that cannot be captured later: the money is taken at once, or when the bank answers."""
        way = self.rng.choice((IDEAL, IDEAL, DEBIT, BAD_DEBIT, "twice"))
        self.stand.fired[f"pays by {way}"] += 1
        if way == "twice":
            # As a program does that makes a second intent because it did not hear of the first, and charges both.
            await self._pay(booking["payment"], "pm_card_visa")
            await self.stand.charge_again(booking["id"], booking["amount"], booking["currency"])
            return
        await self._pay(booking["payment"], way)
        if way == IDEAL:
            await asyncio.sleep(self.rng.choice((0.0, 0.3, PAY_SECONDS)))
            await self._authenticate(booking["payment"], passed=self.rng.random() < 0.8)

    async def _ask_for_money(self, booking: dict[str, Any]) -> None:
        """A clerk gives it back, or a part of it, once it is paid for; two of them at once now and then."""
        await self._wait_for_sale(booking)
        wish: dict[str, Any] = {"reason": "a fault run"}
        match self.rng.randrange(3):
            case 0:
                wish["lines"] = [1]
            case 1 if booking["amount"]:
                wish["amount"] = self.rng.randint(1, booking["amount"])
        path, key = f"/bookings/{booking['id']}/refund", secrets.token_hex(6)
        keys = [key, key if self.rng.random() < 0.5 else secrets.token_hex(6)] if self.rng.random() < 0.3 else [key]
        clerk = (await self.stand.server.sign_in())["Authorization"]
        for status, _ in await asyncio.gather(*(self._call("POST", path, wish, key=one, bearer=clerk) for one in keys)):
            self.stand.fired[f"clerk refunds, {status}"] += 1

    async def _wait_for_sale(self, booking: dict[str, Any]) -> None:
        for _ in range(TRIES):
            status, body = await self._call("GET", f"/bookings/{booking['id']}")
            if status == 200 and body["state"] not in ("pending_payment", "authorized"):
                return
            await asyncio.sleep(PAUSE_SECONDS)

    async def _dispute(self, booking: dict[str, Any]) -> None:
        """The buyer's bank asks, or takes the money or a part of it back, and decides; or thinks better of it."""
        await self._wait_for_sale(booking)
        intent = booking["payment"]["client_secret"].partition("_secret_")[0]
        bank, chance = self.stand.double.steering, self.rng.random()
        wish = {"amount": 1_000} if chance < 0.3 else {"inquiry": True} if chance > 0.8 else {}
        pauses = [self.rng.random() * 0.4 for _ in range(3)]
        ending = self.rng.choice(("open", "won", "lost", "lost", "reinstated"))
        # Where the double is dead or nothing was captured (or all of it went back), the bank does no more.
        with contextlib.suppress(Unavailable):
            await asyncio.sleep(pauses[0])
            dispute = await bank.open_dispute(intent, **wish)
            self.stand.fired["bank disputes"] += 1
            await asyncio.sleep(pauses[1])
            if "inquiry" in wish:
                if ending == "won":
                    await bank.drop_inquiry(dispute)
                    return
                await bank.escalate_dispute(dispute)
            if ending != "open":
                await bank.close_dispute(dispute, won=ending == "won")
                self.stand.fired[f"bank decides, {ending}"] += 1
            await asyncio.sleep(pauses[2])
            if ending == "reinstated":
                await bank.reinstate_dispute(dispute, fee_back=self.rng.choice((0, 1_500)))

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
            "return_url": "http://127.0.0.1/back",
            **WAYS.get(card, {"payment_method": card}),
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

    async def _authenticate(self, payment: dict[str, Any], *, passed: bool) -> None:
        """The buyer's bank; where it cannot be reached, or the payment is over, the buyer goes away."""
        intent = payment["client_secret"].partition("_secret_")[0]
        with contextlib.suppress(Unavailable):
            await self.stand.double.steering.authenticate(intent, passed=passed)
            self.stand.fired["buyer authenticates"] += 1

    async def _call(
        self, method: str, path: str, body: Any = None, *, key: str = "", bearer: str = ""
    ) -> tuple[int, Any]:
        """Asks until there is a decision; 0 where none is heard in so many tries."""
        self.heard_all = True
        bearer = bearer or (f"Bearer {self.token}" if self.token else "")
        headers = {"Authorization": bearer} if bearer else {}
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
                        return answer.status, told or {}
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
                pass
            self.heard_all = False
            await asyncio.sleep(PAUSE_SECONDS)
        return 0, {}

    def _note(self, **what: Any) -> None:
        self.ops.append(Op(client=self.holder, ended_ms=now_ms(), **what))


@dataclass(frozen=True)
class Wish:
    """A booking that is wanted: of which hold, with what in it, in whose name."""

    hold: str
    seats: tuple[str, ...]
    areas: dict[str, int]
    buyer: str


def text_of(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True)


def code_of(problem: dict[str, Any]) -> str:
    return str(problem.get("code", ""))


def fate_of(status: int) -> str:
    return "info" if status == 0 else "ok" if status in (200, 204) else "fail"
