"""Races for the best seats in one worker, with a book that answers as it is told to."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from test_audience import INDEX, SEATS, _event, make_sale, until_quiet

from lml_live import limits
from lml_live.gateway import wire
from lml_live.gateway.acts import Acts
from lml_live.gateway.best import BestSeats
from lml_live.gateway.desk import Desk, plan_layout
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.feed import Feed
from lml_live.inventory.records import Entry
from lml_live.inventory.rooms import Room
from lml_live.pricing.quote import PriceTable

TYPES = {"Front": "standard", "Rear": "standard"}
Answer = Callable[[list[int]], Changed | Refusal]


class Book:
    """Stands where the holds are; `judge` decides about the seats of each try, `wished` has them all."""

    def __init__(self) -> None:
        self.wished: list[list[int]] = []
        self.judge: Answer = lambda _seats: Changed("1-h", None, 1, len(self.wished), 0)
        self.waiting: list[asyncio.Event] | None = None

    async def hold_seats(self, _event: str, _holder: str, seats: Any, _areas: Any, **_: Any) -> Changed | Refusal:
        self.wished.append([seat for seat, _type in seats])
        if self.waiting is not None:
            self.waiting.append(asyncio.Event())
            await self.waiting[-1].wait()
        return self.judge([seat for seat, _type in seats])

    def under(self, layouts: dict[str, str]) -> "Book":
        assert layouts == {_event().id: INDEX.hash}
        return self

    async def find_key(self, *_: Any, **__: Any) -> None:
        return None


class Stand:
    """`best` of one worker, whose room hears of what `hear` tells it."""

    def __init__(self) -> None:
        self.book, event = Book(), _event()
        self.desk = Desk(event, PriceTable(event.price_list()), INDEX, "/layout", TYPES, {}, plan_layout(INDEX))
        self.room = Room(make_sale(), 0, bytes(SEATS), {})
        feed = Feed(None, tick_ms=50)  # type: ignore[arg-type]  # nothing here reads a book
        feed.rooms["e"] = self.room
        self.read = 0
        feed.read_ahead = self.read_ahead  # type: ignore[method-assign]
        self.best = BestSeats(Acts(None, self.book), feed)  # type: ignore[arg-type]

    async def read_ahead(self, _event: str) -> None:
        self.read += 1

    async def ask(self, quantity: int = 2, **wish: Any) -> Changed | Refusal:
        return await self.best.hold_best(self.desk, "anna", wire.BestWish(quantity=quantity, **wish))

    def hear(self, *seats: int) -> None:
        """The log's next entry: these are held."""
        runs = tuple(part for seat in seats for part in (seat, 1, 1))
        self.room.apply(self.room.epoch, self.room.seq + 1, Entry("hold", "", runs, (), ()))


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    monkeypatch.setattr(limits, "BEST_WAIT_MS", 0)
    return Stand()


def taken(*seats: int) -> Refusal:
    return Refusal("seat_taken", "Somebody else was faster.", seats)


async def test_a_loser_tries_again_without_what_it_lost(stand: Stand) -> None:
    stand.book.judge = lambda seats: taken(12) if 12 in seats else Changed("1-h", None, 1, 1, 0)
    assert isinstance(await stand.ask(), Changed)
    assert stand.book.wished == [[11, 12], [10, 11]]
    assert stand.read == 2, "the log is read before each try"


@pytest.mark.parametrize("tries", [1, 3])
async def test_losing_ends(stand: Stand, monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    monkeypatch.setattr(limits, "BEST_TRIES", tries)
    stand.book.judge = lambda seats: taken(seats[0])
    answer = await stand.ask()
    assert answer == taken(stand.book.wished[-1][0])
    assert len(stand.book.wished) == tries


@pytest.mark.parametrize("code", ["limit_exceeded", "sale_paused", "area_full", "idempotency_mismatch", "hold_expired"])
async def test_any_other_refusal_is_the_answer(stand: Stand, code: str) -> None:
    stand.book.judge = lambda _seats: Refusal(code, "No.")
    assert await stand.ask() == Refusal(code, "No.")
    assert len(stand.book.wished) == 1


async def test_requests_under_way_do_not_go_for_the_same_seats(stand: Stand) -> None:
    stand.book.waiting = []
    asked = [asyncio.create_task(stand.ask()) for _ in range(10)]
    await until_quiet()
    assert len(stand.book.waiting) == 10
    seats = [seat for wished in stand.book.wished for seat in wished]
    assert len(set(seats)) == 20
    for waiter in stand.book.waiting:
        waiter.set()
    await asyncio.gather(*asked)


async def test_what_was_granted_is_passed_over_until_the_room_knows(stand: Stand) -> None:
    await stand.ask()
    await stand.ask()
    assert not set(stand.book.wished[0]) & set(stand.book.wished[1])
    stand.hear(*stand.book.wished[0])
    stand.hear(40)
    # The log says that the second block was not taken in the end; nothing keeps it back any more.
    await stand.ask()
    assert stand.book.wished[2] == stand.book.wished[1]


async def test_a_refused_request_gives_its_seats_back(stand: Stand) -> None:
    stand.book.judge = lambda _seats: Refusal("limit_exceeded", "No.")
    await stand.ask()
    await stand.ask()
    assert stand.book.wished == [[11, 12], [11, 12]]


async def test_the_last_seats_are_gone_for_though_somebody_else_does(stand: Stand) -> None:
    """He may be refused: to say that there are none would be a guess."""
    stand.hear(*range(4, SEATS))
    stand.book.waiting = []
    first, second = (asyncio.create_task(stand.ask(4)) for _ in range(2))
    await until_quiet()
    assert len(stand.book.waiting) == 2
    assert stand.book.wished == [[0, 1, 2, 3]] * 2
    stand.book.judge = lambda _seats: Refusal("limit_exceeded", "No.")
    for waiter in stand.book.waiting:
        waiter.set()
    await asyncio.gather(first, second)


async def test_none_left_is_said_without_asking_the_book(stand: Stand) -> None:
    stand.hear(*range(SEATS))
    answer = await stand.ask()
    assert isinstance(answer, Refusal)
    assert (answer.code, stand.book.wished) == ("no_best_seats", [])
