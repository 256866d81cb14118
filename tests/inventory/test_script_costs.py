"""Every script at its largest allowed input stays under a millisecond of Valkey (reliability.md, D8).

Judged by the CPU time of Valkey's own thread, told by itself right before and after the call, all in one write: what
else the machine does, and how long it lets Valkey wait in the middle of a script, is not in it. (Judged by the clock,
the scripts over several events, the longest, were never once left alone on a machine with thirty processes a core.) And
judged by a yardstick, a script of 400 commands in the same write, that took 390 µs where the bounds were set, so that a
slower machine is no failure; the best of several. The same machine's figures still differ by up to two from run to run,
so twice the bound is let pass: what is found is a script whose cost grows as it should not.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import SCRIPTS, House, adults, held

from lml_live import limits
from lml_live.backoffice.blocking import batches
from lml_live.inventory import seatmap
from lml_live.inventory.groups import EventWish, GroupChanged
from lml_live.inventory.handing import HandOvers
from lml_live.inventory.staff_holds import ActNote, StaffHolds

LUA_US_MAX: Final = 1_000
UNTIMED: Final = {
    **dict.fromkeys(("adopt_begin", "adopt_write", "adopt_finish"), "of a book that is closed to all"),
    **dict.fromkeys(("check_book", "read_inventory", "stamp_event"), "so many commands, whatever the event is like"),
    "forget_address": "a scan of `ADDRESSES_LOOK_FIELDS` fields",
    "keep_places": "what free_booking does, of some of the places",
}
"""Scripts that no act here comes through, and why not."""
ROUNDS: Final = 4
YARDSTICK: Final = """
local n = 0
for i = 1, 200 do
  redis.call('SETRANGE', KEYS[1], i * 60, 'x')
  n = n + string.byte(redis.call('GETRANGE', KEYS[1], i * 60, i * 60))
end
return n
"""
YARDSTICK_US: Final = 390

APART: Final = 60
"""Seats so far apart that each has a run and, under the lenient rule, a window of its own."""
FAR = [n * APART + 30 for n in range(limits.HOLD_SEATS_MAX)]
OTHER = [seat + 2 for seat in FAR]
SEATS: Final = APART * limits.HOLD_SEATS_MAX


def around(seats: Iterable[int], _rule: str) -> list[list[int]]:
    """The widest windows that the lenient rule looks at."""
    return [[*range(seat - 25, seat + 26)] for seat in seats]


class Clock:
    """What our calls cost Valkey's thread, as shares of the yardstick laid on right before."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.shares: dict[str, list[float]] = {}
        self._yardstick = ""
        self._script = b""
        self._told: list[list[asyncio.Future[Any]]] = []

    async def begin(self) -> None:
        self._yardstick = (await self.house.pipe.call("SCRIPT", "LOAD", YARDSTICK)).decode()
        connection = self.house.pipe._connection
        assert connection is not None
        self._send, connection.send = connection.send, self._send_between  # type: ignore[method-assign]

    def _send_between(self, command: bytes, sink: Any) -> None:
        """What is asked for in one tick of the loop is one write, which Valkey reads whole."""
        if not self._script or self._script not in command:
            self._send(command, sink)
            return
        call, script, self._script = self.house.pipe.call, self._script, b""
        told = [call("INFO", "cpu"), call("INFO", "cpu")]
        call("EVALSHA", self._yardstick, 1, f"yardstick-{secrets.token_hex(4)}")
        told.append(call("INFO", "cpu"))
        self._send(command, sink)
        told.append(call("INFO", "cpu"))
        self._told.append(told)
        self._script = script

    async def time(self, script: str, act: Awaitable[Any]) -> Any:
        self._script, self._told = SCRIPTS[script].sha.encode(), []
        answer = await act
        self._script = b""
        assert self._told, f"{script} was not called"
        for told in self._told:
            begun, asked, laid, done = [_cpu_us(await info) for info in told]
            telling = asked - begun
            if laid - asked > telling:
                self.shares.setdefault(script, []).append((done - laid - telling) / (laid - asked - telling))
        return answer


def _cpu_us(info: bytes) -> float:
    return sum(float(part) for part in re.findall(rb"used_cpu_\w+_main_thread:([\d.]+)", info)) * 1e6


@pytest.fixture
async def clock(house: House) -> Clock:
    clock = Clock(house)
    await clock.begin()
    return clock


async def big_event(house: House, **more: Any) -> str:
    return await house.open_event(
        **{"seats": SEATS, "max_seats": limits.HOLD_SEATS_MAX, "extensions": limits.EXTENSIONS_MAX, **more}
    )


async def holders_acts(clock: Clock) -> None:
    house, holds = clock.house, clock.house.holds
    event = await big_event(house)
    await house.change_event(event, orphan_rule="lenient")
    await house.book.restamp(event)
    who = (event, "anna")
    await clock.time("find_key", holds.find_key(*who, "", key="k", asked=1))
    first = held(await clock.time("hold_seats", holds.hold_seats(*who, adults(*FAR), [], key="k", windows=around)))
    await clock.time("read_hold", holds.read_hold(*who, first.hold))
    await clock.time("extend_hold", holds.extend_hold(*who, first.hold, key="e"))
    replace = holds.replace_hold(*who, first.hold, adults(*OTHER), [], key="r", windows=around)
    held(await clock.time("replace_hold", replace))
    await clock.time("read_holds", holds.read_holds(*who))
    held(await clock.time("checkout_hold", holds.checkout_hold(*who, first.hold, "b-1")))
    assert await clock.time("restore_hold", holds.restore_hold(event, first.hold, "b-1"))
    held(await holds.checkout_hold(*who, first.hold, "b-2"))
    assert await clock.time("sell_hold", holds.sell_hold(event, first.hold, "b-2"))
    assert await clock.time("free_booking", holds.free_booking(event, first.hold, "b-2", "payment_failed"))
    small = held(await holds.hold_seats(*who, adults(FAR[0]), [], key=None, windows=around))
    add = holds.add_to_hold(*who, small.hold, adults(*FAR[1:]), [], key="a", windows=around)
    held(await clock.time("add_to_hold", add))
    held(await clock.time("release_hold", holds.release_hold(*who, small.hold)))


async def staffs_acts(clock: Clock) -> None:
    house, staff = clock.house, StaffHolds(clock.house.book)
    event = await big_event(house, seats=2 * limits.BLOCK_BATCH)
    hold, seats, others = "1-s-00", [n * 3 for n in range(50)], [n * 3 + 1 for n in range(50)]
    take = staff.hold_for_customer(event, "anna", hold, adults(*seats), [], over_house=False)
    held(await clock.time("hold_for_customer", take))
    numbered = [ActNote(number, (await house.sale(event)).epoch) for number in (1, 2)]
    move = staff.move_hold(event, hold, adults(*others), [], over_house=False, note=numbered[0])
    await clock.time("move_hold", move)
    await clock.time("settle_act", staff.settle_act(event, 1))
    await clock.time("withdraw_hold", staff.withdraw_hold(event, hold, note=numbered[1]))
    sale = (event, "anna", "1-c-00", "b", adults(*seats), [])
    held(await clock.time("take_for_sale", staff.take_for_sale(*sale, over_house=True, mark_seconds=60)))
    assert await clock.time("undo_taking", staff.undo_taking(event, "1-c-00", "b", seats)) is not None
    await house.holds.unblock_seats(event, seats)
    every_other = next(iter(batches(range(0, 2 * limits.BLOCK_BATCH, 2))))
    await clock.time("block_seats", house.holds.block_seats(event, every_other, {}, seatmap.BYTE_HOUSE))
    await clock.time("unblock_seats", house.holds.unblock_seats(event, every_other))
    agencys = await house.open_event(seats=limits.OPEN_BATCH, channels=["agency"])
    await clock.time("assign_seats", house.channels.assign_seats(agencys, "agency", every_other, {}))
    await clock.time("open_seats", house.channels.open_seats(agencys, "agency", None, 0, limits.OPEN_BATCH, []))
    held(await house.holds.hold_seats(agencys, "anon", adults(*range(0, 4 * 8, 4)), [], key=None))
    await clock.time("hand_over", HandOvers(house.book).hand_over(agencys, "anon", "anna", []))


async def acts_of_a_group(clock: Clock) -> None:
    """In as many events as one step may change, as many places, each with a lenient window."""
    house, groups = clock.house, clock.house.groups
    group = f"g-{secrets.token_hex(4)}"
    least, more = divmod(limits.GROUP_PLACES_MAX, limits.EVENTS_PER_CALL_MAX)
    events = [await big_event(house, group=group) for _ in range(limits.EVENTS_PER_CALL_MAX)]
    for event in events:
        await house.change_event(event, orphan_rule="lenient")
        await house.book.restamp(event)
    for _ in range(ROUNDS):
        wishes = [EventWish(event, adults(*FAR[: least + (n < more)]), [], around) for n, event in enumerate(events)]
        answer = await clock.time("hold_group", groups.hold_group("anna", wishes, key=None))
        assert isinstance(answer, GroupChanged)
        made = {event: change.hold for event, change in answer.changes.items()}
        await clock.time("extend_group", groups.extend_group("anna", made))
        wishes = [EventWish(event, adults(*OTHER[: least + (n < more)]), [], around) for n, event in enumerate(events)]
        moved = await clock.time("move_group", groups.move_group("anna", made, wishes, key=None))
        assert isinstance(moved, GroupChanged)
        assert isinstance(await clock.time("release_group", groups.release_group("anna", made)), GroupChanged)


async def acts_of_time(clock: Clock) -> None:
    house = clock.house
    for act in ("expire_holds", "close_holds"):
        event = await house.open_event(seats=10_000, max_seats=50)
        for n in range(limits.SWEEP_BATCH):
            await house.holds.hold_seats(event, f"h{n}", adults(*range(n, 10_000, 200)), [], key=None)
        house.pass_ms(300_000 if act == "expire_holds" else 0)
        await clock.time(act, house.sweep(event) if act == "expire_holds" else house.close_some(event))


async def acts_that_wait_together(clock: Clock) -> None:
    """As many as one call carries, of as many scattered seats as they may look at."""
    house, acts = clock.house, limits.ACTS_TOGETHER_MAX
    each = limits.WORK_TOGETHER_MAX // acts
    event = await house.open_event(seats=acts * each * 3, max_seats=each)
    wishes = [adults(*range(n, acts * each * 3, acts * 3)[:each]) for n in range(acts)]
    taking = (house.holds.hold_seats(event, f"h{n}", wish, [], key="k") for n, wish in enumerate(wishes))
    holds = [held(answer) for answer in await clock.time("hold_together", asyncio.gather(*taking))]
    assert len({hold.seq for hold in holds}) == 1
    giving = (house.holds.release_hold(event, f"h{n}", hold.hold) for n, hold in enumerate(holds))
    await clock.time("hold_together", asyncio.gather(*giving))


ACTS: tuple[Callable[[Clock], Awaitable[None]], ...] = (
    holders_acts,
    staffs_acts,
    acts_of_time,
    acts_that_wait_together,
)


async def test_no_script_takes_longer_than_its_bound(clock: Clock) -> None:
    await acts_of_a_group(clock)
    for _ in range(ROUNDS):
        for act in ACTS:
            await act(clock)
    took = {script: round(min(shares) * YARDSTICK_US) for script, shares in clock.shares.items()}
    assert {script: us for script, us in took.items() if us > 2 * LUA_US_MAX} == {}, took
    assert took.keys() == SCRIPTS.keys() - UNTIMED.keys()
