"""A purchase over REST, as the page makes it: with the public calls, and with what a booking says of its payment."""

import itertools
from typing import Any

import aiohttp
from serving import LiveServer

BUYER = {"name": "Ada Byron", "email": "ada@example.org"}
_keys = itertools.count(1)


class Buying:
    """A booking, as its buyer has it: the link, and the payment that is to be confirmed."""

    def __init__(self, server: LiveServer, booking: dict[str, Any]) -> None:
        self.server, self.booking, self.access = server, booking, booking["access"]
        self.id: str = booking["id"]
        self.intent: str = booking["payment"]["client_secret"].partition("_secret_")[0]
        self.link = f"{server.url}/bookings/{self.id}#{self.access}"

    async def read(self) -> dict[str, Any]:
        """The booking as it is now."""
        return dict(await call(self.server, "GET", f"/bookings/{self.id}", token=self.access))

    async def pay(self, method: str = "pm_card_visa") -> str:
        """Confirms the payment in the browser's place; answers the intent's status, or the code of the refusal."""
        payment = self.booking["payment"]
        form = {"key": payment["publishable_key"], "client_secret": payment["client_secret"], "payment_method": method}
        url = f"{payment['api_base']}/v1/payment_intents/{self.intent}/confirm"
        async with aiohttp.ClientSession() as http, http.post(url, data=form) as answer:
            body = await answer.json()
            return str(body["status"] if answer.status == 200 else body["error"]["code"])


async def call(
    server: LiveServer, method: str, path: str, body: Any = None, *, token: str | None = None, status: int | None = 200
) -> Any:
    """A REST call that has to be answered so, or (None) in any way."""
    headers = {"Idempotency-Key": f"buying-{next(_keys)}"} | ({"Authorization": f"Bearer {token}"} if token else {})
    async with server.session() as http, http.request(method, f"/api/v1{path}", json=body, headers=headers) as answer:
        assert status in (None, answer.status), await answer.text()
        return await answer.json(content_type=None) if await answer.read() else None


async def book(server: LiveServer, event: str, *seats: int, floor: int = 0) -> Buying:
    """Somebody new holds seats and makes a booking of them, which is to be paid."""
    plan = await call(server, "GET", f"/events/{event}/layout")
    ids = [seat["seat_id"] for row in plan["sections"][0]["rows"] for seat in row["seats"]]
    token = (await call(server, "POST", "/holders", status=201))["token"]
    wish = {"seats": [ids[seat] for seat in seats], "areas": {"floor": floor} if floor else {}}
    hold = await call(server, "POST", f"/events/{event}/holds", wish, token=token, status=201)
    booking = await call(server, "POST", "/bookings", {"hold": hold["id"], "buyer": BUYER}, token=token, status=201)
    return Buying(server, booking)


async def buy(server: LiveServer, event: str, *seats: int, floor: int = 0) -> Buying:
    """The same, paid with a card that pays."""
    made = await book(server, event, *seats, floor=floor)
    assert await made.pay() == "requires_capture"
    return made
