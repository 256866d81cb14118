"""A small house for the inventory's tests: events straight into PostgreSQL, workers, and the books' auditor."""

import hashlib
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import hiredis
import msgspec
from msgspec import structs

from lml_live import limits
from lml_live.clock import to_datetime
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe, Prepared, Script, load_scripts
from lml_live.inventory import seatmap
from lml_live.inventory.answers import Changed, Refusal
from lml_live.inventory.book import Book
from lml_live.inventory.channels import Channels
from lml_live.inventory.diffs import Allotments, AreaCounts
from lml_live.inventory.groups import GroupHolds
from lml_live.inventory.holds import Holds
from lml_live.inventory.records import (
    Entry,
    Record,
    Sale,
    decode_entry,
    decode_record,
    kept_from,
    read_allotments,
    read_area_counts,
    read_entry_id,
)
from lml_live.inventory.upkeep import sweep_args

SCRIPTS = load_scripts()
SECRET = b"a secret of thirty-two bytes ...."
SWEEP_KEYS = ("seats", "book", "deadlines", "areas", "log")
LAYOUT_HASH = "0" * 64
FAIR = (
    *("expired_holds", "cooldown_seconds", "rehold_seconds", "release_jitter_seconds"),
    *("address_holds", "address_seats"),
)


def seat_id(index: int) -> str:
    return f"{index:064x}"


def adults(*seats: int) -> list[tuple[int, str]]:
    """Seats at the adult price."""
    return [(seat, "adult") for seat in seats]


async def seat_directory(sale: Sale) -> Mapping[str, int]:
    return {seat_id(index): index for index in range(sale.seat_count)}


def held(answer: Changed | Refusal | None) -> Changed:
    """The answer of an act that was granted."""
    assert isinstance(answer, Changed), answer
    return answer


def refused(answer: Changed | Refusal | None, code: str) -> Refusal:
    """The answer of an act that was refused, for this reason."""
    assert isinstance(answer, Refusal), answer
    assert answer.code == code, answer
    return answer


def change_script(worker: "Worker", name: str, old: str, new: str) -> None:
    """A copy of a script with a line changed, for this worker alone. Redis knows it by another name."""
    script = SCRIPTS[name]
    assert old in script.text, f"{name} has no such line"
    text = script.text.replace(old, new)
    worker.pipe._scripts = {**SCRIPTS, name: Script(name, text, hashlib.sha1(text.encode()).hexdigest())}


class Worker:
    """What one server process has of the inventory."""

    def __init__(self, pipe: Pipe, pool: postgres.Pool) -> None:
        self.pipe = pipe
        self.book = Book(pipe, pool, seat_directory)
        self.holds = Holds(self.book, SECRET)
        self.groups = GroupHolds(self.book, SECRET)
        self.channels = Channels(self.book)

    async def sweep(self, event: str, batch: int = limits.SWEEP_BATCH) -> list[Any]:
        """One step of the sweep: [swept, seen, freed, next_ms, hold in checkout…]."""
        _, answer = await self.book.run(
            *(event, "expire_holds", SWEEP_KEYS),
            lambda sale: sweep_args(sale, self.book.skew_ms, 30, limits.UNTIL_RELEASED_MS, batch),
        )
        return [answer[0], int(answer[1]), int(answer[2]), int(float(answer[3])), *answer[4::2]]

    async def close_some(self, event: str, batch: int = limits.SWEEP_BATCH, offset: int = 0) -> tuple[int, int]:
        """One step of closing: holds seen, holds freed."""
        args = [self.book.skew_ms, batch, offset, limits.SWEEP_WORK_MAX, limits.UNTIL_RELEASED_MS]
        _, answer = await self.book.run(event, "close_holds", SWEEP_KEYS, lambda _: args)
        return int(answer[1]), int(answer[2])

    async def inventory(self, event: str) -> tuple[int, bytes, dict[str, AreaCounts]]:
        """(seq, seats, areas), as a room reads them."""
        _, seq, seats, areas, _ = await self.book.read_inventory(event)
        return seq, seats, areas


def read_prepared(call: Prepared) -> tuple[str, list[str], list[bytes]]:
    """Which script a prepared call runs, with which keys and first arguments."""
    reader = hiredis.Reader()
    reader.feed(b"*%d\r\n" % call.count + call.encoded)
    _, sha, count, *parts = reader.gets()
    [script] = [script.name for script in SCRIPTS.values() if script.sha == sha.decode()]
    keys = int(count)
    return script, [key.decode() for key in parts[:keys]], parts[keys:]


class House(Worker):
    """A worker, and the means to arrange and to look behind the curtain."""

    def __init__(self, pipe: Pipe, pool: postgres.Pool) -> None:
        super().__init__(pipe, pool)
        self.pool = pool
        self.workers: list[Worker] = [self]
        self._first: dict[tuple[str, int], tuple[bytes, dict[str, AreaCounts], dict[str, Allotments]]] = {}

    async def hire(self, url: str) -> Worker:
        """Another worker on the same engines."""
        pipe = Pipe(url, SCRIPTS)
        await pipe.start()
        worker = Worker(pipe, self.pool)
        self.workers.append(worker)
        return worker

    # --- Arranging

    async def open_event(
        self,
        *,
        group: str | None = None,
        seats: int = 24,
        areas: Mapping[str, int] | None = None,
        state: str = "open",
        opens_in_ms: int = -60_000,
        max_seats: int = 8,
        hold_seconds: int = 300,
        extensions: int = 2,
        lifetime_seconds: int = 900,
        channels: Sequence[str] = (),
        build: bool = True,
        event: str = "",
        **fair: int,
    ) -> str:
        """An event with an inventory; without the limits for fairness but those in `fair`."""
        event = event or f"test-{secrets.token_hex(6)}"
        on_sale_at = to_datetime(await self.book.redis_time_ms() + opens_in_ms)
        await self.pool.execute(
            "INSERT INTO event (id, group_id, name, venue, starts_at, on_sale_at, state, currency, layout_id,"
            " layout_version, layout_hash, seat_count, max_seats, hold_seconds, extensions, lifetime_seconds)"
            " VALUES ($1, $10, 'Concert', 'Hall', now(), $2, $3, 'EUR', 'hall', 1, $9, $4, $5, $6, $7, $8)",
            event,
            on_sale_at,
            state,
            seats,
            max_seats,
            hold_seconds,
            extensions,
            lifetime_seconds,
            LAYOUT_HASH,
            group or event,
        )
        rules = ", ".join(f"{rule} = {fair.pop(rule, 0)}" for rule in FAIR)
        assert not fair
        await self.pool.execute(f"UPDATE event SET {rules} WHERE id = $1", event)
        for position, (area, capacity) in enumerate((areas or {}).items()):
            await self.pool.execute(
                "INSERT INTO event_area (event_id, area_id, name, category, capacity, position)"
                " VALUES ($1, $2, $2, 'standing', $3, $4)",
                event,
                area,
                capacity,
                position,
            )
        for number, channel in enumerate(channels, 1):
            await self.pool.execute(
                "INSERT INTO event_channel (event_id, name, number, staff_id, reason) VALUES ($1, $2, $3, 's', 'r')",
                event,
                channel,
                number,
            )
        if build:
            await self.book.recover(event, wait=True)
            await self.remember_start(event)
        return event

    async def remember_start(self, event: str) -> None:
        """Notes the inventory at the start of an epoch, so that the log can be replayed from there."""
        sale = await self.book.reload(event)
        _, seq, seats, areas, allotments = await self.book.read_inventory(event)
        assert seq == 0, "the log does not begin here"
        self._first[event, sale.epoch] = seats, areas, allotments

    async def change_event(self, event: str, **columns: Any) -> None:
        """Changes an event's row as the catalogue does: with a new revision, and telling nobody."""
        for column, value in columns.items():
            await self.pool.execute(
                f"UPDATE event SET {column} = $2, revision = revision + 1 WHERE id = $1", event, value
            )

    def pass_ms(self, time_ms: int) -> None:
        """Time passes for every worker."""
        for worker in self.workers:
            worker.book.skew_ms += time_ms

    async def claim(self, event: str, hold: str, record: Record, *, booking: str, sold: bool = False) -> None:
        """The booking's rows, as the booking flow commits them."""
        sale = await self.book.reload(event)
        await self.pool.execute(
            "INSERT INTO booking (id, event_id, hold_id, holder, epoch, state, hold_created, lifetime_end,"
            " buyer_name, buyer_email, amount, currency, prices_version, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, 'pending_payment', $6, $7,"
            " 'Anna', 'anna@example.org', 0, 'EUR', 1, now() + interval '1 hour')",
            booking,
            event,
            hold,
            record.holder,
            sale.epoch,
            to_datetime(record.created_ms),
            to_datetime(record.lifetime_ms),
        )
        for seat, price_type in record.seat_types():
            await self.pool.execute(
                "INSERT INTO booking_seat (booking_id, event_id, seat_id, type, state)"
                " VALUES ($1, $2, $3, $4, 'claimed')",
                booking,
                event,
                seat_id(seat),
                price_type,
            )
        for area, price_type, quantity in record.area_types():
            await self.pool.execute(
                "INSERT INTO booking_area (booking_id, event_id, area_id, type, quantity, state)"
                " VALUES ($1, $2, $3, $4, $5, 'claimed')",
                booking,
                event,
                area,
                price_type,
                quantity,
            )
        if sold:
            await self.move_claim(booking, "confirmed", "sold")

    async def move_claim(self, booking: str, state: str, places: str) -> None:
        """The booking's rows go on, its places after it."""
        async with self.pool.acquire() as connected, connected.transaction():
            await connected.execute("UPDATE booking SET state = $2 WHERE id = $1 AND state <> $2", booking, state)
            await connected.execute("UPDATE booking_seat SET state = $2 WHERE booking_id = $1", booking, places)
            await connected.execute("UPDATE booking_area SET state = $2 WHERE booking_id = $1", booking, places)

    async def block_rows(self, event: str, seats: Mapping[int, str], areas: Mapping[str, int]) -> None:
        """What staff blocked, as PostgreSQL has it."""
        for seat, kind in seats.items():
            await self.pool.execute(
                "INSERT INTO seat_block (event_id, seat_id, kind, reason, staff_id) VALUES ($1, $2, $3, 'r', 's')",
                event,
                seat_id(seat),
                kind,
            )
        for area, quantity in areas.items():
            await self.pool.execute(
                "INSERT INTO area_block (event_id, area_id, kind, quantity, reason, staff_id)"
                " VALUES ($1, $2, 'house', $3, 'r', 's')",
                event,
                area,
                quantity,
            )

    # --- Looking

    async def sale(self, event: str) -> Sale:
        return await self.book.reload(event)

    async def states(self, event: str) -> list[int]:
        """Every seat's true state."""
        sale = await self.book.sale(event)
        return [byte & seatmap.STATE_MASK for byte in await self.book.pipe_of(sale).call("GET", sale.key("seats"))]

    async def area(self, event: str, area: str) -> AreaCounts:
        sale = await self.book.sale(event)
        return read_area_counts(await self.book.pipe_of(sale).call("HGETALL", sale.key("areas")))[area]

    async def allotments(self, event: str) -> dict[str, Allotments]:
        sale = await self.book.sale(event)
        return read_allotments(await self.pipe.call("HGETALL", sale.key("areas")))

    async def book_fields(self, event: str) -> dict[str, bytes]:
        sale = await self.book.sale(event)
        flat = await self.book.pipe_of(sale).call("HGETALL", sale.key("book"))
        return {field.decode(): value for field, value in zip(flat[::2], flat[1::2], strict=True)}

    async def records(self, event: str) -> dict[str, Record]:
        """Every record of the book, tombstones included."""
        fields = await self.book_fields(event)
        return {name[2:]: decode_record(value) for name, value in fields.items() if name.startswith("h:")}

    async def deadlines(self, event: str) -> dict[str, int]:
        sale = await self.book.sale(event)
        flat = await self.book.pipe_of(sale).call("ZRANGE", sale.key("deadlines"), 0, -1, "WITHSCORES")
        return {hold.decode(): int(score) for hold, score in zip(flat[::2], flat[1::2], strict=True)}

    async def entries(self, event: str) -> list[tuple[int, int, Entry]]:
        """The log: (epoch, seq, entry)."""
        sale = await self.book.sale(event)
        found = await self.book.pipe_of(sale).call("XRANGE", sale.key("log"), "-", "+")
        return [(*read_entry_id(entry_id), decode_entry(fields[1])) for entry_id, fields in found]

    async def last_entry(self, event: str) -> tuple[int, Entry]:
        _, seq, entry = (await self.entries(event))[-1]
        return seq, entry

    # --- The auditor

    async def audit(self, event: str) -> None:
        """Bytes, records, areas, tallies, deadlines, key markers and the log say the same (I3, I5–I8, D9)."""
        sale = await self.book.reload(event)
        fields = await self.book_fields(event)
        records = await self.records(event)
        assert fields["stamp"].decode() == sale.stamp
        assert fields["layout"].decode() == sale.layout_hash
        assert {name[:2] for name in fields} - {"st", "la", "ac", "no"} <= {"h:", "o:", "k:", "x:", "a:"}
        assert await self.book.pipe_of(sale).call("EXISTS", sale.key("new_book"), sale.key("new_deadlines")) == 0
        live = {hold: record for hold, record in records.items() if record.state != "gone"}
        await self._audit_seats(event, live)
        await self._audit_areas(sale, live)
        self._audit_tallies(fields, live)
        await self._audit_deadlines(event, records)
        markers = {name[2:] for name in fields if name.startswith("k:")}
        assert markers == {digest for record in records.values() for digest in record.digests}, "a key leaked"
        await self._audit_log(sale, records)

    async def _audit_seats(self, event: str, live: Mapping[str, Record]) -> None:
        owners: dict[int, str] = {}
        expected: dict[int, int] = {}
        for hold, record in live.items():
            assert record.seats or record.areas, f"{hold} is a hold of nothing"
            seats = [seat for seat, _ in record.seat_types()]
            assert seats == sorted(set(seats)), f"{hold} names its seats out of order or twice"
            for seat in seats:
                assert seat not in owners, f"seat {seat} is in {hold} and in {owners[seat]}"
                owners[seat] = hold
                expected[seat] = seatmap.BYTE_SOLD if record.state == "sold" else seatmap.BYTE_HELD
        taken = (seatmap.BYTE_HELD, seatmap.BYTE_SOLD)
        assert {seat: state for seat, state in enumerate(await self.states(event)) if state in taken} == expected

    async def _audit_areas(self, sale: Sale, live: Mapping[str, Record]) -> None:
        places: Counter[tuple[str, bool]] = Counter()
        for record in live.values():
            for area, _, quantity in record.area_types():
                assert quantity > 0
                places[area, record.state == "sold"] += quantity
        through: Counter[tuple[str, int]] = Counter()
        for record in live.values():
            for area, _, quantity in record.area_types() if record.channel else ():
                through[area, record.channel] += quantity
        fields = await self.book.pipe_of(sale).call("HGETALL", sale.key("areas"))
        counts, allotments = read_area_counts(fields), read_allotments(fields)
        taken = {
            (area, number): n
            for area, line in allotments.items()
            for number, n in zip(line[::3], line[2::3], strict=True)
            if n
        }
        assert taken == dict(through), "places were taken through other channels than is counted"
        for area, line in allotments.items():
            assert kept_from(None, line) <= counts[area][0], f"{area} keeps more places than it has"
            assert all(places or used for places, used in zip(line[1::3], line[2::3], strict=True)), "an empty line"
        assert counts.keys() == sale.areas.keys()
        for area, (available, in_hold, sold, blocked) in counts.items():
            assert min(available, in_hold, sold, blocked) >= 0, f"{area} counts below nothing"
            assert available + in_hold + sold + blocked == sale.areas[area], f"{area} lost or gained places"
            assert (in_hold, sold) == (places[area, False], places[area, True]), f"{area} counts wrongly"

    @staticmethod
    def _audit_tallies(fields: Mapping[str, bytes], live: Mapping[str, Record]) -> None:
        tallies = {name[2:]: msgspec.msgpack.decode(raw) for name, raw in fields.items() if name.startswith("o:")}
        expected: dict[str, tuple[int, set[str]]] = {}
        for hold, record in live.items():
            size = len(record.seat_types()) + sum(quantity for _, _, quantity in record.area_types())
            before, holds = expected.get(record.holder, (0, set()))
            expected[record.holder] = before + size, holds | {hold}
        assert {holder: (tally[0], set(tally[1:])) for holder, tally in tallies.items()} == expected
        assert all(len(tally) == len(set(tally[1:])) + 1 for tally in tallies.values())

    async def _audit_deadlines(self, event: str, records: Mapping[str, Record]) -> None:
        deadlines = await self.deadlines(event)
        jitter = (await self.book.sale(event)).release_jitter_seconds
        for hold, record in records.items():
            assert record.deadline_ms <= record.lifetime_ms, f"{hold} outlives its hard cap"
            match record.state:
                case "active":
                    # A hold that has expired is put off by chance before its seats come back.
                    due_ms = deadlines.pop(hold)
                    assert due_ms == record.deadline_ms or (jitter and due_ms > record.deadline_ms)
                case "gone":
                    assert deadlines.pop(hold) >= record.lifetime_ms + limits.TOMBSTONE_MS
                    assert (record.seats, record.areas) == ((), ())
                case "checkout":
                    deadlines.pop(hold, None)  # when its claim is to be looked for; adopt leaves it out
                    assert record.booking
                case "sold":
                    assert hold not in deadlines, f"{hold} could expire though it is sold"
                    assert record.booking
        assert deadlines == {}, "a deadline without a hold"

    async def _audit_log(self, sale: Sale, records: Mapping[str, Record]) -> None:
        """Replayed from the start of the epoch, the log gives the inventory and every hold as it is now."""
        seats, areas, allotments = self._first[sale.event, sale.epoch]
        mirror, counts, belongs = bytearray(seats), dict(areas), dict(allotments)
        holds: dict[str, Record] = {}
        for expected_seq, (epoch, seq, entry) in enumerate(await self.entries(sale.event)):
            assert (epoch, seq) == (sale.epoch, expected_seq)
            for seat, byte in entry.seat_bytes().items():
                mirror[seat] = byte
            counts.update(entry.area_counts())
            belongs.update(entry.allotments())
            changed = [change.hold for change in entry.holds]
            assert len(changed) == len(set(changed)), "one entry changes a hold twice"
            holds.update({change.hold: structs.replace(change.record, seq=seq) for change in entry.holds})
        _, seq, seats, areas, allotments = await self.book.read_inventory(sale.event)
        assert (seq, seats, areas) == (expected_seq, bytes(mirror), counts)
        assert {area: line for area, line in belongs.items() if line} == {
            a: line for a, line in allotments.items() if line
        }
        for hold, record in records.items():
            if record.seq:
                assert holds[hold] == record, f"the log tells another {hold} than the book"
