"""Holds and releases that wait in the same loop tick: one script call, each answered as if it had come alone."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inventory_fixtures import house_fixture, inventory_dsn_fixture, pool_fixture, scripts_keep_their_word  # noqa: F401
from inventory_house import SCRIPTS, House, adults, held, read_prepared, refused

from lml_live import limits
from lml_live.errors import Overloaded, Unavailable
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe, Prepared, Sink, StoreFault
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.feed import Feed
from lml_live.inventory.records import Record, pack_hold, pack_release, pack_rules
from lml_live.inventory.together import AGAIN, Act

FREE, HELD = seatmap.BYTE_AVAILABLE, seatmap.BYTE_HELD


@pytest.fixture(name="event")
async def event_fixture(house: House) -> str:
    return await house.open_event(areas={"pit": 10})


@pytest.fixture(name="calls")
def calls_fixture(house: House, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The script calls that are sent for holds and releases: (script, how many acts)."""
    calls: list[tuple[str, int]] = []
    send = house.pipe.send

    def counted(call: Prepared, args: list[bytes], sink: Sink) -> None:
        calls.append((read_prepared(call)[0], len(args)))
        send(call, args, sink)

    monkeypatch.setattr(house.pipe, "send", counted)
    return calls


def hold(house: House, event: str, holder: str, *seats: int, **more: Any) -> Awaitable[Changed | Refusal]:
    more = {"key": None} | more
    return house.holds.hold_seats(event, holder, adults(*seats), more.pop("areas", []), **more)


async def test_what_waits_together_is_one_call_and_one_entry(
    house: House, event: str, calls: list[tuple[str, int]]
) -> None:
    before = held(await hold(house, event, "dora", 20))
    anna, ben, gone, cleo = await asyncio.gather(
        hold(house, event, "anna", 3, 4, key="k", origin="s1"),
        hold(house, event, "ben", 7, 9, areas=[("pit", "child", 2)], origin="s2"),
        house.holds.release_hold(event, "dora", before.hold, origin="s3"),
        hold(house, event, "cleo", 0),
    )
    assert calls == [("hold_seats", 1), ("hold_together", 4)]
    seq, entry = await house.last_entry(event)
    assert (entry.act, entry.origin, seq) == ("together", "", 2)
    answers = [held(answer) for answer in (anna, ben, gone, cleo)]
    assert {answer.seq for answer in answers} == {2}
    assert [(change.hold, change.origin) for change in entry.holds] == [
        (answer.hold, origin) for answer, origin in zip(answers, ("s1", "s2", "s3", ""), strict=True)
    ]
    assert [change.record.state for change in entry.holds] == ["active", "active", "gone", "active"]
    assert entry.seat_bytes() == {3: HELD, 4: HELD, 7: HELD, 9: HELD, 20: FREE, 0: HELD}
    assert entry.area_counts() == {"pit": (8, 2, 0, 0)}
    records = await house.records(event)
    for answer in answers:
        assert answer.record is None or records[answer.hold] == answer.record
    assert gone.record is None  # type: ignore[union-attr]
    assert held(await hold(house, event, "anna", 3, 4, key="k")).hold == answers[0].hold
    await house.audit(event)


async def test_one_alone_goes_by_its_own_script(house: House, event: str, calls: list[tuple[str, int]]) -> None:
    anna = held(await hold(house, event, "anna", 3))
    held(await house.holds.release_hold(event, "anna", anna.hold))
    assert calls == [("hold_seats", 1), ("release_hold", 1)]


async def test_of_two_who_want_a_seat_the_first_has_it(house: House, event: str) -> None:
    first, second, third = await asyncio.gather(
        hold(house, event, "anna", 3, 4), hold(house, event, "ben", 2, 3, 4), hold(house, event, "cleo", 5)
    )
    held(first)
    assert refused(second, "seat_taken").seats == (3, 4)
    held(third)
    _, entry = await house.last_entry(event)
    assert [change.record.holder for change in entry.holds] == ["anna", "cleo"]
    await house.audit(event)


async def test_places_are_counted_through(house: House, event: str) -> None:
    wishes = [[("pit", "adult", 4)], [("pit", "adult", 4)], [("pit", "adult", 4)], [("stage", "adult", 1)]]
    answers = await asyncio.gather(
        *(hold(house, event, f"h{n}", areas=areas) for n, areas in enumerate(wishes)),
        hold(house, event, "anna", areas=[("pit", "adult", 1), ("pit", "child", 1)]),
    )
    held(answers[0])
    held(answers[1])
    assert refused(answers[2], "area_full").areas == {"pit": 2}
    refused(answers[3], "unknown_area")
    held(answers[4])
    assert await house.area(event, "pit") == (0, 10, 0, 0)
    one, other = held(answers[0]).hold, held(answers[1]).hold
    gone, cleo, kept, dora = await asyncio.gather(
        house.holds.release_hold(event, "h0", one),
        hold(house, event, "cleo", areas=[("pit", "adult", 3)]),
        house.holds.release_hold(event, "h1", other, areas=[("pit", "adult", 1)]),
        hold(house, event, "dora", areas=[("pit", "adult", 3)]),
    )
    assert held(gone).seq == held(cleo).seq == held(kept).seq
    assert refused(dora, "area_full").areas == {"pit": 2}
    assert await house.area(event, "pit") == (2, 8, 0, 0)
    await house.audit(event)


async def test_an_address_is_counted_through(house: House) -> None:
    """What this very call gave or gave back counts, though the book does not have it yet."""
    event = await house.open_event(address_holds=2, max_seats=20)
    first, second, third, other = await asyncio.gather(
        *(hold(house, event, f"h{seat}", seat, address="ad") for seat in range(3)),
        hold(house, event, "far", 9, address="other"),
    )
    refused(third, "limit_exceeded")
    gone, again, more = await asyncio.gather(
        house.holds.release_hold(event, "h0", held(first).hold),
        hold(house, event, "h4", 4, address="ad"),
        hold(house, event, "h5", 5, address="ad"),
    )
    assert held(gone).record is None
    held(again)
    refused(more, "limit_exceeded")
    held(second)
    held(other)
    await house.audit(event)


async def test_who_lost_seats_does_not_get_them_back_at_once(house: House) -> None:
    event = await house.open_event(expired_holds=2, cooldown_seconds=60, rehold_seconds=400)
    held(await hold(house, event, "ben", 10))
    for seat in range(2):
        held(await hold(house, event, "anna", seat))
        house.pass_ms(301_000)
        await house.sweep(event)
    anna, ben, cleo = await asyncio.gather(
        hold(house, event, "anna", 5), hold(house, event, "ben", 11, 10), hold(house, event, "cleo", 1)
    )
    refused(anna, "cooling_down")
    assert refused(ben, "cooling_down").seats == (10,)
    held(cleo)


async def test_the_holders_limits_are_counted_through(house: House, event: str) -> None:
    first, second, third = await asyncio.gather(
        hold(house, event, "anna", 0, 1, 2, 3, 4), hold(house, event, "anna", 5, 6, 7, 8), hold(house, event, "anna", 9)
    )
    held(first)
    refused(second, "limit_exceeded")
    held(third)
    await house.audit(event)


async def test_a_holder_has_so_many_holds(house: House) -> None:
    event = await house.open_event(max_seats=50)
    answers = await asyncio.gather(*(hold(house, event, "anna", seat) for seat in range(12)))
    assert [isinstance(answer, Changed) for answer in answers] == [True] * 10 + [False] * 2
    await house.audit(event)


async def test_what_is_given_back_can_be_taken_at_once(house: House, event: str) -> None:
    anna = held(await hold(house, event, "anna", 3, 4))
    gone, ben = await asyncio.gather(
        house.holds.release_hold(event, "anna", anna.hold), hold(house, event, "ben", 4, 5)
    )
    assert held(gone).seq == held(ben).seq
    _, entry = await house.last_entry(event)
    assert entry.seat_bytes() == {3: FREE, 4: HELD, 5: HELD}
    await house.audit(event)


async def test_a_hold_is_changed_once_in_a_call(house: House, event: str, calls: list[tuple[str, int]]) -> None:
    """Otherwise one log entry would tell two things of it (contract, section 3)."""
    anna = held(await hold(house, event, "anna", 3, 4, 5))
    calls.clear()
    one, two, other, late = await asyncio.gather(
        house.holds.release_hold(event, "anna", anna.hold, [4]),
        house.holds.release_hold(event, "anna", anna.hold, [5]),
        hold(house, event, "ben", 4),
        house.holds.release_hold(event, "anna", anna.hold),
    )
    assert [len_ for _, len_ in calls] == [1, 2, 1]
    assert [answer.seq for answer in map(held, (one, two, other, late))] == [2, 3, 3, 4]
    assert held(one).record is not None
    await house.audit(event)


async def test_the_script_itself_changes_no_hold_twice(house: House, event: str) -> None:
    anna = held(await hold(house, event, "anna", 3))
    sale = await house.sale(event)
    packed = pack_release("anna", anna.hold, "", (), ())
    keys = [sale.key(key) for key in ("seats", "book", "deadlines", "areas", "log")]
    args = [sale.stamp, pack_rules(sale, 0), packed, packed]
    answer = await house.pipe.run("hold_together", keys, args)  # type: ignore[arg-type]
    assert answer[3:] == [b"released", [b"later"]]
    await house.audit(event)


async def test_a_key_that_comes_twice_is_one_hold(house: House, event: str) -> None:
    answers = await asyncio.gather(
        hold(house, event, "anna", 3, key="k"),
        hold(house, event, "anna", 3, key="k"),
        hold(house, event, "anna", 4, key="k"),
        hold(house, event, "ben", 4, key="k"),
    )
    assert held(answers[0]).hold == held(answers[1]).hold
    assert held(answers[0]).record == held(answers[1]).record
    refused(answers[2], "idempotency_mismatch")
    held(answers[3])
    await house.audit(event)


async def test_nobody_waits_for_company(house: House, event: str, calls: list[tuple[str, int]]) -> None:
    """Two calls may be on the way; what comes meanwhile is decided in one, as soon as the first is answered."""
    tasks = []
    for seat in range(6):
        tasks.append(asyncio.ensure_future(hold(house, event, f"h{seat}", seat)))
        for _ in range(3):  # its turn, and its queue's
            await asyncio.sleep(0)
    first = list(calls)
    await asyncio.gather(*tasks)
    assert first[:2] == [("hold_seats", 1)] * 2
    assert sum(n for _, n in calls) == 6
    await house.audit(event)


async def test_a_call_has_bounds(house: House, monkeypatch: pytest.MonkeyPatch, calls: list[tuple[str, int]]) -> None:
    event = await house.open_event(seats=40)
    house.book.together.at_once = 3
    await asyncio.gather(*(hold(house, event, f"h{seat}", seat) for seat in range(7)))
    assert [n for _, n in calls] == [3, 3, 1]
    house.book.together.at_once = limits.ACTS_TOGETHER_MAX
    monkeypatch.setattr(limits, "WORK_TOGETHER_MAX", 2 * (limits.WORK_OF_ACT + 2))
    calls.clear()
    wishes = [(10, 11), (12, 13), (14,), (15, 16, 17, 18, 19), (20,)]
    await asyncio.gather(*(hold(house, event, f"i{seats[0]}", *seats) for seats in wishes))
    assert [n for _, n in calls] == [2, 1, 1, 1]
    await house.audit(event)


async def test_what_waits_has_a_bound_over_all_events(
    house: House, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await house.open_event()
    monkeypatch.setattr(limits, "REDIS_CALLS_MAX", 1)
    for asked in (event, other):
        answers = await asyncio.gather(
            hold(house, event, "anna", 1), hold(house, asked, "ben", 2), return_exceptions=True
        )
        held(answers[0])  # type: ignore[arg-type]
        assert isinstance(answers[1], Overloaded)
        held(await house.holds.release_hold(event, "anna", held(answers[0]).hold))  # type: ignore[arg-type]
    assert house.book.together.waiting == 0


async def test_events_that_rest_are_not_kept_for_ever(
    house: House, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = house.book.together
    held(await hold(house, event, "anna", 1))
    assert list(together._queues) == [event], "its calls are prepared"
    monkeypatch.setattr(limits, "EVENTS_TOGETHER_MAX", 0)
    task = asyncio.ensure_future(hold(house, event, "ben", 2))
    await asyncio.sleep(0)
    assert together._queues, "somebody waits"
    held(await task)
    assert not together._queues


async def test_whatever_goes_wrong_in_sending_is_told(
    house: House, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or who waits would wait for ever, and the event with him."""
    with monkeypatch.context() as broken:
        broken.setattr(house.pipe, "prepare", None)
        for _ in range(limits.CALLS_TOGETHER_MAX + 1):
            tasks = (hold(house, event, f"h{seat}", seat) for seat in range(2))
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(answer) for answer in answers] == [TypeError] * 2
    held(await hold(house, event, "anna", 3))


async def test_an_answer_that_makes_no_sense_is_told(house: House, event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Pipe.send
    senseless = iter([[b"together"], [b"together", b"", b"", b"held"], [b"together", b"", b"", b"held", b"never"]])

    def odd(self: Pipe, call: Prepared, args: list[bytes], sink: Sink) -> None:
        answer = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda _: sink.set_result(next(senseless)))
        send(self, call, args, answer)

    monkeypatch.setattr(Pipe, "send", odd)
    for _ in range(3):
        tasks = (hold(house, event, f"h{seat}", seat) for seat in range(2))
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreFault] * 2
    assert house.book.together._queues[event]._on_the_way == 0


class Careless:
    """A sink that cannot take what it is told."""

    @staticmethod
    def done() -> bool:
        return False

    @staticmethod
    def set_result(_: Any, /) -> None:
        raise ValueError("the answer")

    @staticmethod
    def set_exception(_: Exception, /) -> None:
        raise ValueError("the error")


@pytest.mark.parametrize("fails", [None, "send", "take"])
async def test_a_caller_that_cannot_take_its_answer_harms_no_other(
    house: House, event: str, monkeypatch: pytest.MonkeyPatch, fails: str | None
) -> None:
    """The answers of a call are told one after the other: those after it were never told, nor what waited sent."""
    sale, together = await house.sale(event), house.book.together
    if fails == "take":
        sale = msgspec.structs.replace(sale, run_id="another")
    with monkeypatch.context() as broken:
        if fails == "send":
            broken.setattr(house.pipe, "prepare", None)
        acts = [
            Act("hold_seats", name, 1, pack_hold("anna", name, "", b"", "", adults(seat), (), 0, "", b"", b""))
            for seat, name in enumerate(("1-a", "1-b", "1-c"))
        ]
        first = together.wait(sale, acts[0])
        together.decide(sale, acts[1], Careless())
        last = together.wait(sale, acts[2])
        answers = await asyncio.wait_for(asyncio.gather(first, last, return_exceptions=True), 10)
    if fails == "send":
        assert [type(answer) for answer in answers] == [TypeError] * 2
    elif fails == "take":
        assert answers == [AGAIN] * 2
    else:
        assert [answer[:4] for answer in answers] == [b"held"] * 2
    assert together.waiting == together._queues[event]._on_the_way == 0
    held(await hold(house, event, "ben", 9))


@pytest.mark.parametrize("first", [True, False])
async def test_a_record_that_cannot_be_read_harms_one_act_only(house: House, event: str, first: bool) -> None:
    """The call began to change seats before it came to this one: were it ended there, those would belong to nobody."""
    bad = held(await hold(house, event, "anna", 3))
    book = (await house.sale(event)).key("book")
    record = await house.pipe.call("HGET", book, f"h:{bad.hold}")
    await house.pipe.call("HSET", book, f"h:{bad.hold}", b"\x91\xc1")
    release, other = house.holds.release_hold(event, "anna", bad.hold), hold(house, event, "ben", 5)
    acts = [release, other] if first else [other, release]
    answers = await asyncio.gather(*acts, return_exceptions=True)
    assert isinstance(answers[1 - first], StoreFault)
    held(answers[first])  # type: ignore[arg-type]
    await house.pipe.call("HSET", book, f"h:{bad.hold}", record)
    await house.audit(event)


async def test_what_redis_refuses_the_first_it_refuses_all(house: House, event: str) -> None:
    """No memory, no primary: it is the pipe that must hear of that, and nothing was changed."""
    held(await hold(house, event, "anna", 3))
    sale = await house.sale(event)
    await house.pipe.call("RENAME", sale.key("seats"), sale.key("new_book"))
    await house.pipe.call("RPUSH", sale.key("seats"), "no string")
    tasks = (hold(house, event, f"h{seat}", seat) for seat in range(3))
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreFault] * 3
    assert all(str(answer).startswith("WRONGTYPE") for answer in answers)
    keys = [sale.key(key) for key in ("seats", "book", "deadlines", "areas", "log")]
    packed = pack_hold("ben", "1-h", "", b"", "", adults(5), (), 0, "", b"", b"")
    with pytest.raises(StoreFault, match="WRONGTYPE"):
        await house.pipe.run("hold_together", keys, [sale.stamp, pack_rules(sale, 0), packed])
    await house.pipe.call("RENAME", sale.key("new_book"), sale.key("seats"))
    await house.audit(event)


@pytest.mark.parametrize("company", [True, False])
async def test_a_map_that_was_lost_is_not_made_anew_by_a_release(house: House, event: str, company: bool) -> None:
    """All seats before the released ones would be zero, which is free."""
    anna, ben = held(await hold(house, event, "anna", 3, 4)), held(await hold(house, event, "ben", 7))
    seats = (await house.sale(event)).key("seats")
    await house.pipe.call("DEL", seats)
    acts = [house.holds.release_hold(event, "anna", anna.hold)]
    if company:
        acts.append(house.holds.release_hold(event, "ben", ben.hold, [7]))
    for answer in await asyncio.gather(*acts):
        held(answer)
    assert await house.pipe.call("EXISTS", seats) == 0
    refused(await hold(house, event, "cleo", 0), "seat_taken")


async def test_who_gave_up_before_it_was_sent_changes_nothing(house: House, event: str) -> None:
    tasks = [asyncio.ensure_future(hold(house, event, f"h{seat}", seat)) for seat in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    held(await tasks[0])
    held(await tasks[2])
    assert (await house.states(event))[:3] == [HELD, FREE, HELD]


async def test_scripts_that_redis_forgot_are_loaded_again(house: House, event: str) -> None:
    await house.pipe.call("SCRIPT", "FLUSH")
    for answer in await asyncio.gather(*(hold(house, event, f"h{seat}", seat) for seat in range(3))):
        held(answer)
    await house.audit(event)


async def test_rules_that_changed_are_read_by_all_who_wait(house: House, event: str, valkey_url: str) -> None:
    worker = await house.hire(valkey_url)
    held(await worker.holds.hold_seats(event, "cleo", adults(9), [], key=None))
    await house.change_event(event, max_seats=1)
    await house.book.restamp(event)
    wishes = {"anna": (0, 1), "ben": (2,)}
    anna, ben = await asyncio.gather(
        *(worker.holds.hold_seats(event, holder, adults(*seats), [], key=None) for holder, seats in wishes.items())
    )
    refused(anna, "limit_exceeded")
    held(ben)
    await house.change_event(event, state="paused")
    await house.book.restamp(event)
    answers = await asyncio.gather(
        *(worker.holds.hold_seats(event, "dora", adults(seat), [], key=None) for seat in (3, 4)),
        worker.holds.release_hold(event, "ben", held(ben).hold),
    )
    refused(answers[0], "sale_paused")
    refused(answers[1], "sale_paused")
    held(answers[2])


async def test_a_lost_connection_is_told_to_all_and_the_next_go_on(house: House, event: str) -> None:
    tasks = [asyncio.ensure_future(hold(house, event, f"h{seat}", seat)) for seat in range(200)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert house.pipe._connection is not None
    house.pipe._connection.abort("the test")
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    async with asyncio.timeout(10):
        while not house.pipe.connected:  # noqa: ASYNC110 - the pipe sets no event
            await asyncio.sleep(0.01)
    held(await hold(house, event, "anna", 23))


async def test_a_room_looks_back_over_so_many_changes(
    house: House, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not over so many entries: of a rush they are thousands of holds, which would halt the worker that opens it."""
    for seat in range(5):
        held(await hold(house, event, f"h{seat}", seat))
    await asyncio.gather(*(hold(house, event, f"h{seat}", seat) for seat in range(5, 9)))
    floors = []
    for log, feed in ((100, 100), (100, 2), (7, 2), (5, 1), (4, 1)):
        monkeypatch.setattr(limits, "LOG_ENTRIES_MAX", log)
        monkeypatch.setattr(limits, "FEED_ENTRIES_MAX", feed)
        floors.append((await Feed(house.book, tick_ms=10).room(event)).history.floor)
    assert floors == [0, 0, 2, 4, 5]


# --- Together is one by one

SEATS, AREAS = 12, {"pit": 6}
wishes = st.tuples(
    st.lists(st.integers(0, SEATS - 1), max_size=4, unique=True),
    st.dictionaries(st.sampled_from("ab"), st.integers(1, 3)),
).filter(any)
acts = st.one_of(
    st.tuples(
        st.just("hold"),
        st.sampled_from(["anna", "ben", "cleo"]),
        wishes,
        st.sampled_from([None, "k", "l"]),
        st.sampled_from(["web", "agency"]),
        st.sampled_from(["", "ad"]),
    ),
    st.tuples(
        st.just("release"),
        st.integers(0, 12),
        st.sampled_from([(), (0,), (1, 2)]),
        st.booleans(),
        st.sampled_from([None, None, "cleo"]),
    ),
)
rounds = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 12)), st.lists(acts, min_size=1, max_size=9)), min_size=1, max_size=4
)
"""The number of a hold that is paid for first, and what then waits together."""

Round = tuple[int | None, list[tuple[Any, ...]]]


class Side:
    """One event whose acts are decided together, or one by one; holds are known by the order of their requests."""

    def __init__(self, house: House, event: str, *, alone: bool) -> None:
        self.house, self.event, self.alone = house, event, alone
        self.made: list[tuple[str, str]] = []
        self.names: dict[str, str] = {}

    def ask(self, act: tuple[Any, ...]) -> Awaitable[Changed | Refusal]:
        if act[0] == "hold":
            _, holder, (seats, places), key, through, address = act
            areas = [("pit", kind, n) for kind, n in places.items()]
            return self.house.holds.hold_seats(
                self.event,
                holder,
                adults(*seats),
                areas,
                key=key,
                windows=lambda *_: [list(range(SEATS))],
                through=through,
                address=address,
            )
        _, number, seats, with_places, other = act
        holder, hold = self.made[number % len(self.made)] if self.made else ("anna", "1-none")
        areas = [("pit", "", 1)] if with_places else []
        return self.house.holds.release_hold(self.event, other or holder, hold, seats, areas)

    async def play(self, paid: int | None, acts: list[tuple[Any, ...]]) -> list[Any]:
        if paid is not None and self.made:
            holder, hold = self.made[paid % len(self.made)]
            await self.house.holds.checkout_hold(self.event, holder, hold, f"b{paid % len(self.made)}")
        if self.alone:
            answers = [await self.ask(act) for act in acts]
        else:
            answers = list(await asyncio.gather(*map(self.ask, acts)))
        told = []
        for act, answer in zip(acts, answers, strict=True):
            if isinstance(answer, Changed):
                if act[0] == "hold" and answer.hold not in self.names:
                    self.names[answer.hold] = f"hold {len(self.made)}"
                    self.made.append((act[1], answer.hold))
                told.append((self.names[answer.hold], answer.record and self.plain(answer.record)))
            else:
                told.append((answer.code, answer.seats, answer.areas))
        return told

    def plain(self, record: Record) -> tuple[Any, ...]:
        """A record without what differs between two events: ids, times and seq."""
        return (
            record.holder,
            record.state,
            record.seats,
            record.areas,
            record.reason,
            len(record.digests),
            record.channel,
        )

    async def state(self) -> tuple[Any, ...]:
        await self.house.audit(self.event)
        records = await self.house.records(self.event)
        deadlines = await self.house.deadlines(self.event)
        return (
            await self.house.states(self.event),
            await self.house.area(self.event, "pit"),
            {self.names[name]: self.plain(record) for name, record in records.items()},
            Counter(self.names[name] for name in deadlines),
        )


@pytest.mark.parametrize("rule", ["off", "strict", "lenient"])
def test_together_is_as_one_by_one(valkey_url: str, inventory_dsn: str, rule: str) -> None:
    async def play(script: list[Round]) -> None:
        pool = await postgres.connect_pool(inventory_dsn, size_max=1)
        pipe = Pipe(valkey_url, SCRIPTS)
        await pipe.start()
        sides = []
        for alone in (False, True):
            house = House(pipe, pool)
            event = await house.open_event(
                seats=SEATS, areas=AREAS, max_seats=6, channels=["agency"], address_holds=3, address_seats=7
            )
            await house.channels.assign_seats(event, "agency", [8, 9, 10], {"pit": 2})
            await house.change_event(event, orphan_rule=rule)
            await house.book.restamp(event)
            sides.append(Side(house, event, alone=alone))
        for paid, acts in script:
            one, other = [await side.play(paid, acts) for side in sides]
            assert one == other
            assert await sides[0].state() == await sides[1].state()
        await pipe.close()
        await pool.close()

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(rounds)
    def run(script: list[Round]) -> None:
        asyncio.run(play(script))

    run()
