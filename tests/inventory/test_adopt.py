"""Redis lost, cut or older: the book comes back as architecture.md says, once, and nothing is granted meanwhile."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import SCRIPTS, House, Worker, adults, held, refused, seat_directory, seat_id

from lml_live import limits
from lml_live.devstack.servers import Valkey
from lml_live.errors import Unavailable
from lml_live.infra import postgres
from lml_live.infra.redis import Part, Pipe
from lml_live.inventory import seatmap
from lml_live.inventory.adopt_turns import AdoptTurns
from lml_live.inventory.answers import Changed
from lml_live.inventory.book import Book
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import Sale
from lml_live.inventory.staff_holds import StaffHolds

FREE, HELD, SOLD, HOUSE, KILL = range(5)
ValkeyFactory = Callable[..., Awaitable[Valkey]]
PIT = {"pit": 10, "stage": 3}


class Scene:
    """One event with everything in it that an adopt must treat in its own way."""

    def __init__(self, event: str, anna: Changed, ben: Changed, cleo: Changed, dora: Changed) -> None:
        self.event = event
        self.anna, self.ben, self.cleo, self.dora = anna, ben, cleo, dora


async def arrange(house: House) -> Scene:
    """anna holds 0, 1 and 2 in the pit; ben pays, with a claim, for 4, 5 and 1 in the pit; cleo's checkout of 8 has no
    claim; dora bought 10, 11 and 1 on the stage; 20 (house), 21 (kill) and 3 in the pit are blocked."""
    event = await house.open_event(areas=PIT)
    holds = house.holds
    await house.block_rows(event, {20: "house", 21: "kill"}, {"pit": 3})
    await holds.block_seats(event, [20], {"pit": 3}, seatmap.BYTE_HOUSE)
    await holds.block_seats(event, [21], {}, seatmap.BYTE_KILL)
    anna = held(await holds.hold_seats(event, "anna", adults(0, 1), [("pit", "adult", 2)], key="k"))
    ben = held(await holds.hold_seats(event, "ben", adults(4, 5), [("pit", "adult", 1)], key=None))
    ben = held(await holds.checkout_hold(event, "ben", ben.hold, "b-ben"))
    cleo = held(await holds.hold_seats(event, "cleo", adults(8), [], key=None))
    cleo = held(await holds.checkout_hold(event, "cleo", cleo.hold, "b-cleo"))
    dora = held(await holds.hold_seats(event, "dora", adults(10, 11), [("stage", "adult", 1)], key=None))
    dora = held(await holds.checkout_hold(event, "dora", dora.hold, "b-dora"))
    assert ben.record is not None
    assert dora.record is not None
    await house.claim(event, ben.hold, ben.record, booking=f"b-ben-{event}"[:60])
    await house.claim(event, dora.hold, dora.record, booking=f"b-dora-{event}"[:60], sold=True)
    held(await holds.sell_hold(event, dora.hold, "b-dora"))
    await house.audit(event)
    return Scene(event, anna, ben, cleo, dora)


async def assert_restored(house: House, scene: Scene, *, kept: bool, epoch: int = 2) -> None:
    """All that PostgreSQL knows is there, and of Redis's own what `kept` says; then the sale goes on."""
    event, holds = scene.event, house.holds
    await house.inventory(event)  # waits until it is done
    await house.remember_start(event)
    await house.audit(event)
    assert (await house.sale(event)).epoch == epoch
    own = [HELD, HELD] if kept else [FREE, FREE]
    cleos = HELD if kept else FREE
    expected = [*own, 0, 0, HELD, HELD, 0, 0, cleos, 0, SOLD, SOLD, *[FREE] * 8, HOUSE, KILL, FREE, FREE]
    assert await house.states(event) == expected
    assert await house.area(event, "pit") == ((4, 3, 0, 3) if kept else (6, 1, 0, 3))
    assert await house.area(event, "stage") == (2, 0, 1, 0)
    ben = held(await holds.read_hold(event, "ben", scene.ben.hold)).record
    dora = held(await holds.read_hold(event, "dora", scene.dora.hold)).record
    assert ben is not None
    assert dora is not None
    assert (ben.state, dora.state) == ("checkout", "sold")
    assert scene.ben.record is not None
    assert (ben.seats, ben.areas, ben.lifetime_ms) == (
        scene.ben.record.seats,
        scene.ben.record.areas,
        scene.ben.record.lifetime_ms,
    )
    if kept:
        anna = held(await holds.read_hold(event, "anna", scene.anna.hold)).record
        assert anna is not None
        assert scene.anna.record is not None
        assert (anna.seats, anna.deadline_ms) == (scene.anna.record.seats, scene.anna.record.deadline_ms)
        cleo = held(await holds.read_hold(event, "cleo", scene.cleo.hold)).record
        assert cleo is not None
        assert (cleo.state, cleo.booking, cleo.reason) == ("active", "", "payment_failed")
    else:
        for name, lost in (("anna", scene.anna), ("cleo", scene.cleo)):
            refused(await holds.read_hold(event, name, lost.hold), "hold_not_found")
    # The sale goes on, and nothing that PostgreSQL knows is for sale.
    for taken in (4, 5, 10, 11, 20, 21):
        assert refused(await holds.hold_seats(event, "eve", adults(taken), [], key=None), "seat_taken").seats == (
            taken,
        )
    held(await holds.hold_seats(event, "eve", adults(22), [], key=None))
    held(await holds.sell_hold(event, scene.ben.hold, f"b-ben-{event}"[:60]))
    await house.audit(event)


async def lose(house: House, event: str) -> None:
    """The event's keys vanish, as after FLUSHALL, but for this event only."""
    sale = await house.book.sale(event)
    keys = ("seats", "book", "deadlines", "areas", "log", "new_book", "new_deadlines")
    await house.pipe.call("DEL", *(sale.key(key) for key in keys))


async def until(condition: Callable[[], bool]) -> None:
    """Bounded polling, for what another process does."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(0.005)


# --- The four cases


@pytest.fixture
async def own(valkey_own: ValkeyFactory, pool: postgres.Pool) -> AsyncIterator[tuple[House, Valkey]]:
    """A house with a Valkey of its own."""
    valkey = await valkey_own()
    pipe = Pipe(valkey.url, SCRIPTS)
    await pipe.start()
    house = House(pipe, pool)
    yield house, valkey
    for worker in house.workers:
        await worker.book.close()
        await worker.pipe.close()


async def back_again(house: House, generation: int = 1) -> None:
    """Every worker's pipe has noticed, and has connected anew."""
    await until(lambda: all(worker.pipe.generation > generation and worker.pipe.connected for worker in house.workers))


def append_only_file(valkey: Valkey) -> Path:
    return max((valkey.directory / "appendonlydir").glob("*.incr.aof"))


async def test_emptied(own: tuple[House, Valkey]) -> None:
    house, _ = own
    scene = await arrange(house)
    await house.pipe.call("FLUSHALL")
    with pytest.raises(Unavailable):
        await house.holds.hold_seats(scene.event, "eve", adults(15), [], key=None)
    await assert_restored(house, scene, kept=False)


async def test_killed_with_its_file_kept(own: tuple[House, Valkey]) -> None:
    house, valkey = own
    scene = await arrange(house)
    await valkey.kill()
    with pytest.raises(Unavailable):
        await house.holds.hold_seats(scene.event, "eve", adults(15), [], key=None)
    await valkey.start()
    await back_again(house)
    with pytest.raises(Unavailable):
        await house.holds.hold_seats(scene.event, "eve", adults(15), [], key=None)
    await assert_restored(house, scene, kept=True)


async def test_killed_with_its_tail_cut(own: tuple[House, Valkey]) -> None:
    house, valkey = own
    scene = await arrange(house)
    event, holds = scene.event, house.holds
    # Else a slow fsync puts writes off, and the file is shorter than what was answered.
    await house.pipe.call("CONFIG", "SET", "appendfsync", "always")
    old = held(await holds.hold_seats(event, "fred", adults(14), [], key=None))
    size = append_only_file(valkey).stat().st_size
    # From here on Redis will have forgotten: fred gave back, gina claimed the same seat, and hugo took another.
    held(await holds.release_hold(event, "fred", old.hold))
    gina = held(await holds.hold_seats(event, "gina", adults(14), [], key=None))
    gina = held(await holds.checkout_hold(event, "gina", gina.hold, "b-gina"))
    assert gina.record is not None
    await house.claim(event, gina.hold, gina.record, booking=f"b-gina-{event}"[:60])
    hugo = held(await holds.hold_seats(event, "hugo", adults(15), [], key=None))
    await valkey.kill()
    with append_only_file(valkey).open("r+b") as file:
        file.truncate(size + 7)  # in the middle of a command
    await valkey.start()
    await back_again(house)
    with pytest.raises(Unavailable):
        await holds.hold_seats(event, "eve", adults(16), [], key=None)
    await house.inventory(event)
    await house.remember_start(event)
    await house.audit(event)
    refused(await holds.read_hold(event, "fred", old.hold), "hold_not_found")
    refused(await holds.read_hold(event, "hugo", hugo.hold), "hold_not_found")
    record = held(await holds.read_hold(event, "gina", gina.hold)).record
    assert record is not None
    assert (record.state, record.seats) == ("checkout", (14, "adult"))
    held(await holds.free_booking(event, gina.hold, f"b-gina-{event}"[:60], "expired"))
    await house.move_claim(f"b-gina-{event}"[:60], "expired", "released")
    assert (await house.states(event))[14:16] == [FREE, FREE]
    await house.pool.execute("UPDATE event SET redis_run_id = NULL WHERE id = $1", event)
    await house.book.reload(event)
    await house.book.recover(event, wait=True)
    await assert_restored(house, scene, kept=True, epoch=3)


async def test_replaced_by_an_older_copy(own: tuple[House, Valkey], tmp_path: Path) -> None:
    house, valkey = own
    scene = await arrange(house)
    event, holds = scene.event, house.holds
    shutil.copytree(valkey.directory / "appendonlydir", tmp_path / "copy")
    held(await holds.release_hold(event, "anna", scene.anna.hold))
    held(await holds.hold_seats(event, "gina", adults(14), [], key=None))
    await house.pipe.call("FLUSHALL")
    await house.book.recover(event, wait=True)  # the copy is now of an older epoch too
    await valkey.kill()
    shutil.rmtree(valkey.directory / "appendonlydir")
    shutil.copytree(tmp_path / "copy", valkey.directory / "appendonlydir")
    await valkey.start()
    await back_again(house)
    with pytest.raises(Unavailable):
        await holds.hold_seats(event, "eve", adults(16), [], key=None)
    await assert_restored(house, scene, kept=True, epoch=3)


async def test_two_workers_and_one_adopter(own: tuple[House, Valkey]) -> None:
    house, valkey = own
    scene = await arrange(house)
    other = await house.hire(valkey.url)
    await other.holds.read_holds(scene.event, "anna")
    adopted: list[str] = []
    for worker in house.workers:
        worker.book.adopted = adopted.append
    await valkey.restart()
    await back_again(house)

    async def ask(worker: Worker, seat: int) -> None:
        try:
            answer = await worker.holds.hold_seats(scene.event, "eve", adults(seat), [], key=None)
        except Unavailable:
            pass
        else:
            assert held(answer).epoch == 2, "granted in a book that was not restored yet"
        await worker.holds.read_holds(scene.event, "anna")

    await asyncio.gather(*(ask(worker, 12 + at) for at, worker in enumerate(house.workers * 3)))
    assert adopted == [scene.event]
    assert (await house.sale(scene.event)).epoch == 2


async def test_a_worker_without_redis_raises_no_epoch(own: tuple[House, Valkey]) -> None:
    """A worker whose pipe was down compared the run_id of the dead process, took the book that another worker had
    restored for a stranger's, and raised the epoch under it before it noticed that it could not reach Redis."""
    house, valkey = own
    scene = await arrange(house)
    other = await house.hire(valkey.url)
    await other.holds.read_holds(scene.event, "anna")
    assert other.pipe._keeper is not None
    other.pipe._keeper.cancel()
    await valkey.restart()
    await until(lambda: house.pipe.generation > 1 and not other.pipe.connected)
    await assert_restored(house, scene, kept=True)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await other.book.recover(scene.event, wait=True)
    assert (await house.sale(scene.event)).epoch == 2


async def test_a_worker_that_moves_on_while_it_asks_raises_no_epoch(
    own: tuple[House, Valkey], valkey_own: ValkeyFactory
) -> None:
    """A worker that saw the old primary only asked which one it is now, and came to the new one before the answer did:
    confirmed, it adopted the event there once more, though another worker had done so."""
    house, old = own
    event = await house.open_event()
    other = await house.hire(old.url)
    await other.holds.read_holds(event, "anna")
    promoted = Pipe((await valkey_own()).url, SCRIPTS)
    await promoted.start()
    house.workers.append(Worker(promoted, house.pool))
    await house.workers[-1].book.recover(event, wait=True)
    assert (await house.sale(event)).epoch == 2

    async def move_and_confirm(tag: str) -> None:
        other.pipe._options = dict(promoted._options)
        other.pipe.reconnect("the primary is another one now")
        await other.pipe.ready()

    other.pipe.confirm = move_and_confirm  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await other.book.recover(event, wait=True)
    assert (await other.book.recover(event, wait=True)).epoch == 2


# --- Discovering


async def test_the_first_inventory_of_an_event_is_built_on_demand(house: House) -> None:
    event = await house.open_event(areas=PIT, build=False)
    await house.block_rows(event, {3: "kill"}, {"stage": 1})
    held(await house.holds.hold_seats(event, "anna", adults(0), [], key=None))
    assert (await house.states(event))[:4] == [HELD, FREE, FREE, KILL]
    assert await house.area(event, "stage") == (2, 0, 0, 1)
    assert (await house.sale(event)).epoch == 1


async def test_another_process_means_adopt_though_all_is_there(house: House) -> None:
    scene = await arrange(house)
    await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", scene.event)
    await house.book.reload(scene.event)
    with pytest.raises(Unavailable):
        await house.holds.hold_seats(scene.event, "eve", adults(15), [], key=None)
    await assert_restored(house, scene, kept=True)


async def test_keys_of_the_old_epoch_are_forgotten(house: House) -> None:
    scene = await arrange(house)
    await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", scene.event)
    await house.book.reload(scene.event)
    await house.book.recover(scene.event, wait=True)
    await house.remember_start(scene.event)
    refusal = refused(
        await house.holds.hold_seats(scene.event, "anna", adults(0, 1), [("pit", "adult", 2)], key="k"), "seat_taken"
    )
    assert refusal.seats == (0, 1)
    await house.audit(scene.event)


async def test_a_record_that_cannot_be_read_is_dropped_and_its_seats_are_free(house: House) -> None:
    scene = await arrange(house)
    sale = await house.sale(scene.event)
    await house.pipe.call("HSET", sale.key("book"), f"h:{scene.anna.hold}", b"\x9c\x01")
    await house.pipe.call("HSET", sale.key("book"), f"h:{scene.cleo.hold}", b"\xff\xfe")
    await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", scene.event)
    await house.book.reload(scene.event)
    await assert_restored(house, scene, kept=False)


async def test_another_layout_keeps_nothing_of_redis(house: House) -> None:
    scene = await arrange(house)
    await house.change_event(scene.event, layout_hash="1" * 64, redis_run_id=None)
    await house.book.reload(scene.event)
    await assert_restored(house, scene, kept=False)


async def test_seats_that_a_new_layout_has_not_are_left_out(house: House) -> None:
    """A block on a seat that the new layout had no more ended every adopt of the event with a KeyError."""
    scene = await arrange(house)
    await house.change_event(scene.event, layout_hash="1" * 64, redis_run_id=None, seat_count=21)
    await house.book.reload(scene.event)
    await house.book.recover(scene.event, wait=True)
    await house.remember_start(scene.event)
    await house.audit(scene.event)
    assert (await house.states(scene.event))[-1] == HOUSE
    await house.change_event(scene.event, layout_hash="2" * 64, redis_run_id=None, seat_count=11)
    await house.book.reload(scene.event)
    await house.book.recover(scene.event, wait=True)
    await house.remember_start(scene.event)
    await house.audit(scene.event)
    assert (await house.states(scene.event))[-1] == SOLD


async def test_the_layout_is_the_one_of_the_moment_the_epoch_is_raised(house: House) -> None:
    """The facts were read before the epoch was raised: a layout that changed in between was adopted as it had been,
    under an epoch that told nobody to look again."""
    scene = await arrange(house)

    async def change_meanwhile(sale: Any) -> Any:
        house.book._seat_directory = seat_directory
        await house.change_event(scene.event, layout_hash="1" * 64, seat_count=23)
        return await seat_directory(sale)

    house.book._seat_directory = change_meanwhile
    await lose(house, scene.event)
    with pytest.raises(Unavailable):
        await house.book.recover(scene.event, wait=True)
    await house.book.recover(scene.event, wait=True)
    assert (await house.sale(scene.event)).epoch == 2
    assert len(await house.states(scene.event)) == 23


async def test_many_events_are_restored_at_once(house: House) -> None:
    """Each recovery held one connection of the pool and asked for a second: ten of them waited for each other."""
    events = [await house.open_event(seats=4) for _ in range(3 * limits.POSTGRES_POOL_MAX)]
    for event in events:
        await lose(house, event)
    await asyncio.gather(*(house.book.recover(event, wait=True) for event in events))
    assert [(await house.sale(event)).epoch for event in events] == [2] * len(events)


async def test_whom_somebody_waits_for_is_restored_first(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A house with hundreds of events on sale loses its Redis: who looks at one of them does not wait for all."""
    events = [await house.open_event(seats=4) for _ in range(limits.ADOPTS_AT_ONCE + 4)]
    restored, begun, read = list[str](), list[str](), house.book._reload
    house.book.adopted = restored.append
    for event in events:
        await lose(house, event)

    async def note(event: str, connection: postgres.Connection) -> Sale:
        begun.append(event)
        return await read(event, connection)

    monkeypatch.setattr(house.book, "_reload", note)
    for event in events:
        with pytest.raises(Unavailable):
            await house.book.recover(event, wait=False)
    await asyncio.sleep(0)  # each has taken its place in the queue
    await house.book.recover(events[-1], wait=True)
    assert events[-1] in list(dict.fromkeys(begun))[: limits.ADOPTS_AT_ONCE + 1]
    await asyncio.gather(*(house.book.recover(event, wait=True) for event in events))
    assert sorted(restored) == sorted(events)


async def test_turns_go_to_the_hurried_first_and_are_never_lost() -> None:
    turns, order = AdoptTurns(1), list[str]()
    first = asyncio.Event()

    async def take(name: str) -> None:
        async with turns.take(name):
            order.append(name)
            if name == "a":
                await first.wait()
        if name == "a":
            tasks["e"].cancel()  # in the tick in which its turn came

    tasks = {name: asyncio.create_task(take(name)) for name in "abcdef"}
    turns.hurry("e")  # before it waits, as one that has just been begun
    await asyncio.sleep(0)
    turns.hurry("d")
    tasks["c"].cancel()  # while it waits
    first.set()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert order == ["a", "d", "b", "f"]
    await asyncio.wait_for(take("g"), 5)


async def test_a_turn_passes_by_whoever_is_cancelled_in_the_tick_in_which_it_ends() -> None:
    turns, order, ends = AdoptTurns(1), list[str](), asyncio.Event()

    async def take(name: str) -> None:
        async with turns.take(name):
            order.append(name)
            await ends.wait()

    tasks = {name: asyncio.create_task(take(name)) for name in "abc"}
    await asyncio.sleep(0)
    ends.set()  # "a" goes on before "b" hears that it is cancelled
    tasks["b"].cancel()
    answers = await asyncio.wait_for(asyncio.gather(*tasks.values(), return_exceptions=True), 20)
    assert [type(answer) for answer in answers] == [type(None), asyncio.CancelledError, type(None)]
    assert order == ["a", "c"]


# --- While it is adopted, and adopters that die


async def begin(house: House, event: str, epoch: int) -> list[Any]:
    sale = await house.sale(event)
    keys = [sale.key(name) for name in ("book", "new_book", "new_deadlines")]
    return await house.pipe.run("adopt_begin", keys, [str(epoch)])


async def write(house: House, event: str, epoch: int) -> list[Any]:
    sale = await house.sale(event)
    keys = [sale.key(name) for name in ("book", "new_book", "new_deadlines")]
    return await house.pipe.run("adopt_write", keys, [str(epoch), 2, "h:1-x", b"\x90", "5", "1-x"])


async def finish(house: House, event: str, epoch: int) -> list[Any]:
    sale = await house.sale(event)
    names = ("seats", "book", "deadlines", "areas", "log", "new_book", "new_deadlines")
    return await house.pipe.run("adopt_finish", [sale.key(name) for name in names], [str(epoch), "1", b"\0", b"\x90"])


async def test_nothing_is_done_while_the_book_is_adopted(house: House) -> None:
    scene = await arrange(house)
    assert await begin(house, scene.event, 2) == [b"begun"]
    event, hold, holds, staff = scene.event, scene.anna.hold, house.holds, StaffHolds(house.book)
    sale = await house.sale(event)
    house.book.recover = _no_recovery  # type: ignore[method-assign]
    before = await house.pipe.call("GET", sale.key("seats")), await house.records(event)
    for act in (
        lambda: holds.hold_seats(event, "eve", adults(15), [], key=None),
        lambda: holds.add_to_hold(event, "anna", hold, adults(15), [], key=None),
        lambda: holds.replace_hold(event, "anna", hold, adults(15), [], key=None),
        lambda: holds.release_hold(event, "anna", hold),
        lambda: holds.extend_hold(event, "anna", hold),
        lambda: holds.read_hold(event, "anna", hold),
        lambda: holds.read_holds(event, "anna"),
        lambda: holds.checkout_hold(event, "anna", hold, "b1"),
        lambda: holds.restore_hold(event, scene.ben.hold, "b-ben"),
        lambda: holds.sell_hold(event, scene.ben.hold, "b-ben"),
        lambda: holds.free_booking(event, scene.ben.hold, "b-ben", "expired"),
        lambda: holds.block_seats(event, [15], {}, seatmap.BYTE_HOUSE),
        lambda: holds.unblock_seats(event, [20]),
        lambda: staff.hold_for_customer(event, "kim", "1-s-x", adults(15), [], over_house=False),
        lambda: staff.move_hold(event, hold, adults(15), [], over_house=False),
        lambda: staff.withdraw_hold(event, hold),
        lambda: house.sweep(event),
        lambda: house.close_some(event),
        lambda: house.inventory(event),
    ):
        with pytest.raises(Unavailable):
            await act()
    await house.book.restamp(event)
    assert (await house.pipe.call("GET", sale.key("seats")), await house.records(event)) == before
    assert "stamp" not in await house.book_fields(event)


async def _no_recovery(event: str, *, wait: bool) -> Any:
    raise Unavailable("not in this test")


async def test_a_late_adopters_steps_are_refused(house: House) -> None:
    scene = await arrange(house)
    event = scene.event
    assert await begin(house, event, 2) == [b"begun"]
    assert await begin(house, event, 2) == [b"newer", 2]
    assert await write(house, event, 2) == [b"written"]
    assert await begin(house, event, 3) == [b"begun"]
    assert await write(house, event, 2) == [b"lost"]
    assert await finish(house, event, 2) == [b"lost"]
    await house.pool.execute("UPDATE event SET epoch = 3 WHERE id = $1", event)
    await house.book.reload(event)
    await house.book.recover(event, wait=True)
    assert (await house.sale(event)).epoch == 4
    before = await house.inventory(event), await house.book_fields(event), await house.deadlines(event)
    for epoch in (2, 3, 4):
        assert await begin(house, event, epoch) == [b"newer", 4]
        assert await write(house, event, epoch) == [b"lost"]
        assert await finish(house, event, epoch) == [b"lost"]
    assert before == (await house.inventory(event), await house.book_fields(event), await house.deadlines(event))
    await assert_restored(house, scene, kept=True, epoch=4)


class FragilePipe(Pipe):
    """A pipe whose worker dies, or sleeps, at the n-th call."""

    def __init__(self, url: str, how: str, at: int) -> None:
        super().__init__(url, SCRIPTS)
        self.how, self.at = how, 0
        self.first = at
        self.asleep = asyncio.Event()
        self._wake: Callable[[], None] = lambda: None

    def arm(self) -> None:
        self.at = self.first

    def publish(self, channel: str, message: str) -> None:
        """No step: nobody relies on it."""

    def call(self, *parts: Part) -> asyncio.Future[Any]:
        if self.at:
            self.at -= 1
            if not self.at:
                return self._fail(parts)
        return super().call(*parts)

    def _fail(self, parts: tuple[Part, ...]) -> asyncio.Future[Any]:
        if self.how == "answer lost":
            super().call(*parts)
        if self.how != "asleep":
            raise Unavailable("the worker died")
        woken: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                super(FragilePipe, self).call(*parts).add_done_callback(
                    lambda answer: woken.done() or woken.set_result(answer.result())
                )

        self._wake = wake
        self.asleep.set()
        return woken

    def wake(self) -> None:
        """The worker goes on where it was."""
        self._wake()


async def fragile(house: House, valkey_url: str, how: str, at: int) -> tuple[Book, FragilePipe]:
    pipe = FragilePipe(valkey_url, how, at)
    await pipe.start()
    book = Book(pipe, house.pool, seat_directory)
    worker = Worker(pipe, house.pool)
    worker.book, worker.holds = book, Holds(book, b"secret")
    house.workers.append(worker)
    return book, pipe


# HGET stamp, twice; adopt_begin; HGET layout; HGETALL; TIME; adopt_write of the book; of the deadlines; adopt_finish
STEPS = range(1, 10)


async def test_the_steps_are_all_there_are(house: House, valkey_url: str) -> None:
    scene = await arrange(house)
    book, pipe = await fragile(house, valkey_url, "killed", 1_000)
    await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", scene.event)
    pipe.arm()
    await book.recover(scene.event, wait=True)
    assert 1_000 - pipe.at == len(STEPS)


@pytest.mark.parametrize("how", ["killed", "answer lost"])
@pytest.mark.parametrize("at", STEPS)
async def test_where_an_adopter_dies_the_next_one_goes_on(house: House, valkey_url: str, how: str, at: int) -> None:
    scene = await arrange(house)
    book, pipe = await fragile(house, valkey_url, how, at)
    await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", scene.event)
    pipe.arm()
    with pytest.raises(Unavailable):
        await book.recover(scene.event, wait=True)
    await house.book.reload(scene.event)
    raised = at > 2  # the epoch was raised in PostgreSQL already
    finished = at == STEPS[-1] and how == "answer lost"
    await house.book.recover(scene.event, wait=True)
    await assert_restored(house, scene, kept=True, epoch=3 if raised and not finished else 2)


@pytest.mark.parametrize("at", STEPS)
async def test_an_adopter_that_is_cancelled_leaves_no_lock(house: House, valkey_url: str, at: int) -> None:
    scene = await arrange(house)
    book, pipe = await fragile(house, valkey_url, "asleep", at)
    await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", scene.event)
    pipe.arm()
    with pytest.raises(Unavailable):
        await book.recover(scene.event, wait=False)
    await pipe.asleep.wait()
    await book.close()
    await house.book.recover(scene.event, wait=True)
    await house.book.reload(scene.event)
    await assert_restored(house, scene, kept=True, epoch=3 if at > 2 else 2)


@pytest.mark.parametrize("at", STEPS[2:])
async def test_an_adopter_that_wakes_late_changes_nothing(house: House, valkey_url: str, at: int) -> None:
    """It slept so long that PostgreSQL ended its session and another worker adopted; now it goes on."""
    scene = await arrange(house)
    book, pipe = await fragile(house, valkey_url, "asleep", at)
    await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", scene.event)
    pipe.arm()
    late = asyncio.create_task(book.recover(scene.event, wait=True))
    await pipe.asleep.wait()
    ended = await house.pool.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_locks"
        " WHERE locktype = 'advisory' AND classid = 7201 AND objid = (SELECT number FROM event WHERE id = $1)::oid"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()",
        scene.event,
    )
    assert ended == 1
    await house.book.recover(scene.event, wait=True)
    await house.remember_start(scene.event)
    hold = held(await house.holds.hold_seats(scene.event, "new", adults(23), [], key=None)).hold
    pipe.wake()
    with pytest.raises(Unavailable):
        await late
    await house.audit(scene.event)
    held(await house.holds.release_hold(scene.event, "new", hold))
    await house.audit(scene.event)
    assert (await house.sale(scene.event)).epoch == 3


async def test_a_claim_that_came_before_the_epoch_was_raised_is_kept(house: House) -> None:
    """The claiming transaction holds the event's lock shared; adopt waits for it, and then sees the claim."""
    scene = await arrange(house)
    sale = await house.sale(scene.event)
    anna = scene.anna
    marked = held(await house.holds.checkout_hold(scene.event, "anna", anna.hold, "b-anna")).record
    assert marked is not None
    await lose(house, scene.event)
    async with house.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock_shared(7202, $1::int)", sale.number)
        adopting = asyncio.create_task(house.book.recover(scene.event, wait=True))
        await until_waiting(house, sale.number)
        await connection.execute(
            "INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end,"
            " buyer_name, buyer_email, amount, currency, prices_version, expires_at)"
            " VALUES ($1, $2, $3, 'anna', 1, 'pending_payment', now(), now() + interval '1 hour',"
            " 'Anna', 'anna@example.org', 0, 'EUR', 1, now() + interval '1 hour')",
            f"b-anna-{scene.event}"[:60],
            scene.event,
            anna.hold,
        )
        await connection.execute(
            "INSERT INTO booking_seat (booking_id, event_id, seat_id, type, state)"
            " VALUES ($1, $2, $3, 'adult', 'claimed')",
            f"b-anna-{scene.event}"[:60],
            scene.event,
            seat_id(0),
        )
        assert not adopting.done()
    await adopting
    record = held(await house.holds.read_hold(scene.event, "anna", anna.hold)).record
    assert record is not None
    assert (record.state, record.seats) == ("checkout", (0, "adult"))


async def until_waiting(house: House, number: int) -> None:
    """Somebody waits for the event's exclusive lock."""
    async with asyncio.timeout(10):
        while not await house.pool.fetchval(  # noqa: ASYNC110 - another session's lock sets no event
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 7202 AND objid = $1::oid"
            " AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            number,
        ):
            await asyncio.sleep(0.005)


# --- Size


async def test_a_large_event_comes_back_whole(house: House) -> None:
    """More holds than one batch of adopt takes. How long it takes is `lml bench`'s to say."""
    event = await house.open_event(seats=20_000)
    first = iter(range(4_000))

    async def take() -> None:
        for number in first:
            answer = await house.holds.hold_seats(
                event, f"holder-{number}", adults(5 * number, 5 * number + 1), [], key=None
            )
            assert isinstance(answer, Changed)

    await asyncio.gather(*(take() for _ in range(64)))
    await house.pool.execute("UPDATE event SET redis_run_id = 'another' WHERE id = $1", event)
    await house.book.reload(event)
    await house.book.recover(event, wait=True)
    assert len(await house.records(event)) == 4_000
    assert sum(await house.states(event)) == 8_000
    await house.remember_start(event)
    await house.audit(event)
