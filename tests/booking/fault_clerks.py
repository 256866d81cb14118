"""Clerks of a fault run: they sell at the counter what nobody holds, also over a house hold, and give money back."""

import asyncio
import random
import secrets
import time
from typing import Any

from fault_buyers import Buyer, code_of, fate_of, now_ms, text_of

TENDERS = ("cash", "cash", "card_terminal", "comp")
HOUSE_SEATS = 4
"""So many seats, behind those that buyers want, are the house's, until a clerk sells them."""


def sells_at_counter(seed: int) -> bool:
    """Whether the run of a seed has a clerk."""
    return random.Random(f"counter {seed}").random() < 0.4


class Clerk(Buyer):
    """One clerk. Each sale is one request: sent again until somebody answers, it sells once."""

    async def open(self, seats: list[str]) -> None:
        """The house keeps these seats back. Before anything is done to the run."""
        self.token = (await self.stand.server.sign_in())["Authorization"].removeprefix("Bearer ")
        block = {"seats": seats, "kind": "house", "reason": "a fault run"}
        status, _ = await self._call("POST", f"/events/{self.event}/seats/block", block, key=secrets.token_hex(6))
        assert status == 200, status
        self._unheard_sales: list[tuple[dict[str, Any], str, int]] = []

    async def run(self, seconds: float, seats: list[str]) -> None:
        """Sells until the time is over; the last of these seats are the house's."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            standing = self.rng.random() < 0.3
            # Half of the time what buyers want, too.
            of = seats if self.rng.random() < 0.5 else seats[-HOUSE_SEATS:]
            wish: dict[str, Any] = {
                "seats": sorted(self.rng.sample(of, self.rng.randint(0 if standing else 1, 2))),
                "areas": {"floor": 1} if standing else {},
                "tender": self.rng.choice(TENDERS),
                "reason": "a fault run",
            }
            if self.rng.random() < 0.3:
                wish["buyer"] = {"name": "Kim", "email": "kim@example.org"}
            await self._serve(wish)
            await asyncio.sleep(self.rng.random() * 0.3)

    async def ask_again(self) -> None:
        await asyncio.gather(*(self._sell(*sale) for sale in self._unheard_sales))

    async def _serve(self, wish: dict[str, Any]) -> None:
        key = secrets.token_hex(6)
        if self.rng.random() < 0.2:
            sold, _ = await asyncio.gather(self._sell(wish, key), self._sell(wish, key))
        else:
            sold = await self._sell(wish, key)
        chance = self.rng.random()
        if chance < 0.15:
            await self._sell({**wish, "reason": "something else"}, key)
        elif sold is not None and chance < 0.5:
            await self._ask_for_money(sold)

    async def _sell(self, wish: dict[str, Any], key: str, since_ms: int = 0) -> dict[str, Any] | None:
        """One request for a sale, noted with what it was answered; the booking where it was sold."""
        began = since_ms or now_ms()
        status, booking = await self._call("POST", f"/box-office/{self.event}/sales", wish, key=key)
        asked = {
            "act": "sell", "key": key, "asked": text_of(wish), "seats": tuple(wish["seats"]), "areas": wish["areas"],
            "began_ms": began,
        }  # fmt: skip
        if status != 201:
            self._note(**asked, outcome=fate_of(status), code=code_of(booking))
            if status == 0 and not since_ms:
                self._unheard_sales.append((wish, key, began))
            return None
        self.stand.fired[f"counter {wish['tender']}"] += 1
        if booking["id"] not in self.made:
            self.made.append(booking["id"])
        self._note(
            **asked, outcome="ok", told=text_of(booking), got=tuple(booking["seats"]), got_areas=booking["areas"],
            booking=booking["id"], state=booking["state"], hold=booking["hold"],
        )  # fmt: skip
        return dict(booking)
