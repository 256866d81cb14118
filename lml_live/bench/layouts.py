"""The rows about layouts: what it costs to publish one, to bring a stadium's file in, and to hand one out."""

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Final

import msgspec

from lml_live.bench import bounds
from lml_live.bench.child import module, open_child
from lml_live.bench.counters import cpu_ns
from lml_live.bench.figures import Figure, Goal, Slices, measured
from lml_live.bench.house import FLAGS, open_house
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import Side, Stand
from lml_live.devstack.child import LOOPBACK
from lml_live.devstack.servers import Mongo
from lml_live.errors import Unavailable
from lml_live.infra.folder import Folder
from lml_live.infra.mongo import close_database, connect_database
from lml_live.venues.backups import Backups
from lml_live.venues.demo import generate_venue
from lml_live.venues.edge import zip_layout
from lml_live.venues.exporters import export_layout
from lml_live.venues.importers import Rejected, import_layout
from lml_live.venues.importers.native import without_seat_ids
from lml_live.venues.layout import Layout, Point, canonical_bytes
from lml_live.venues.library import Library
from lml_live.venues.schema import apply_schema

_DATABASE: Final = "bench-layouts"

# --- Publishing

_SMALL, _LARGE = 40_000, 200_000
_IN_PROPORTION: Final = f"{_LARGE // _SMALL} × {_SMALL:,} seats"


class _Steps(msgspec.Struct, frozen=True):
    """CPU seconds of one layout's way: ours until it is saved, ours until it is published, and MongoDB's."""

    saved: float
    published: float
    mongo: float


class _Press:
    """Saves and publishes one layout again and again, each time under another id."""

    def __init__(self, library: Library, mongo: Mongo, seats: int) -> None:
        self._library, self._mongo = library, mongo
        # As a manager sends it: without ids, which are computed.
        self._layout = without_seat_ids(msgspec.structs.replace(generate_venue(seats), hash=""))
        self._numbers = itertools.count(1)
        self.steps: list[_Steps] = []

    async def publish(self) -> float:
        """The CPU seconds of this process for one, all threads; MongoDB's are noted beside."""
        if self._mongo.pid is None:
            raise Unavailable("MongoDB has ended in the middle of the measurement")
        layout_id = f"{self._layout.layout_id}-{next(self._numbers)}"
        layout = msgspec.structs.replace(self._layout, layout_id=layout_id)
        store, begun = cpu_ns([self._mongo.pid]), time.process_time()
        await self._library.save_draft(layout)
        saved = time.process_time()
        await self._library.publish(layout_id)
        done = time.process_time()
        self.steps.append(_Steps(saved - begun, done - saved, (cpu_ns([self._mongo.pid]) - store) / 1e9))
        return done - begun

    def part(self, name: str) -> Slices:
        """One part of all turns but the first, which warmed up."""
        return Slices(tuple(getattr(each, name) for each in self.steps[1:]))


async def _measure_publish(stand: Stand) -> list[Figure]:
    mongo = await stand.mongo()
    database = connect_database(mongo.url, _DATABASE)
    backups = Backups(lambda: nullcontext(Folder(stand.fresh_directory("backups"))))
    try:
        await apply_schema(database)
        library = Library(database, backups=backups)
        small = await asyncio.to_thread(_Press, library, mongo, _SMALL)
        large = await asyncio.to_thread(_Press, library, mongo, _LARGE)
        taken = await stand.alternate({_PUBLISH: small.publish, _PUBLISH_LARGE: large.publish})
    finally:
        await backups.close()
        close_database(database)
    in_proportion = Slices(tuple(value * _LARGE / _SMALL for value in taken[_PUBLISH].values))
    words = "checked, sealed, hashed, saved and published, with the backup before it: the CPU of this process"
    return [
        measured(
            _PUBLISH,
            "s",
            taken[_PUBLISH],
            workload=f"{_SMALL:,} seats, {words}",
            peers=_parts(small),
            goal=PUBLISH.goal(_PUBLISH),
        ),
        measured(
            _PUBLISH_LARGE,
            "s",
            taken[_PUBLISH_LARGE],
            workload=f"{_LARGE:,} seats, {words}; the limit is what it takes in proportion to {_SMALL:,}",
            peers={_IN_PROPORTION: in_proportion, **_parts(large)},
            limit=_IN_PROPORTION,
            goal=PUBLISH.goal(_PUBLISH_LARGE),
        ),
    ]


def _parts(press: _Press) -> dict[str, Slices]:
    return {"until saved": press.part("saved"), "publish": press.part("published"), "MongoDB": press.part("mongo")}


_PUBLISH: Final = f"layout_publish_{_SMALL}"
_PUBLISH_LARGE: Final = f"layout_publish_{_LARGE}"
PUBLISH: Final = Row(
    "layout_publish",
    "CPU to check, hash, save, back up and publish a layout, and whether it grows with the seats alone",
    (
        Promise(_PUBLISH, "s", Goal("value", "most", 1)),
        # What is linear by nature meets larger caches' misses and a larger heap's collector.
        Promise(_PUBLISH_LARGE, "s", Goal("ratio", "most", 1.25)),
    ),
    _measure_publish,
)

# --- Importing

_STADIUM_SEATS: Final = 39_616
"""As many as a stadium has whose seat list is public (Metalist, Kharkiv): rows and counts, and no place of any seat."""
_MAPPING: Final = {
    "layout_id": "stadium",
    "name": "name",
    "canvas": "canvas",
    "field": "pitch",
    "sections": {"each": "sectors[*]", "section": "sector", "outline": "outline", "count": "count"},
    "places": {
        "each": "sectors[*].rows[*]",
        "section": "^.sector",
        "row": "row",
        "numbers": "seats",
        "count": "count",
        "category": "^.category",
    },
    "expect": {"places": "seat_count"},
}


def draw_stadium(seats: int) -> tuple[bytes, bytes]:
    """The file of a stadium, and its mapping: sectors around a pitch with their outlines, rows with runs of numbers.
    Where each seat is the importer finds out."""
    venue = generate_venue(seats, "stadium")
    width, height = venue.viewport.width, venue.viewport.height

    def drawn(points: Sequence[Point]) -> list[list[float]]:
        return [[round(x * width, 3), round(y * height, 3)] for x, y in points]

    left, top = drawn([min(venue.shapes[0].points)])[0]
    right, bottom = drawn([max(venue.shapes[0].points)])[0]
    sectors = [
        {
            "sector": section.name,
            "category": section.rows[0].seats[0].category,
            "outline": drawn(section.outline),
            "count": sum(len(row.seats) for row in section.rows),
            "rows": [
                {"row": row.label, "seats": f"1-{len(row.seats)}", "count": len(row.seats)} for row in section.rows
            ],
        }
        for section in venue.sections
    ]
    file = {
        "name": "A stadium",
        "seat_count": seats,
        "canvas": [0, 0, width, height],
        "pitch": [left, top, right - left, bottom - top],
        "sectors": sectors,
    }
    return msgspec.json.encode(file), msgspec.json.encode(_MAPPING)


async def _measure_import(stand: Stand) -> list[Figure]:
    raw, mapping = await asyncio.to_thread(draw_stadium, _STADIUM_SEATS)
    layout = bring_in(raw, "stadium.json", mapping)
    native, table = canonical_bytes(layout), export_layout(layout, "csv").data

    def side(data: bytes, filename: str, rules: bytes | None = None) -> Side:
        async def take() -> float:
            begun = time.process_time()
            await asyncio.to_thread(bring_in, data, filename, rules)
            return time.process_time() - begun

        return take

    taken = await stand.alternate(
        {
            _IMPORT: side(raw, "stadium.json", mapping),
            "our own JSON": side(native, "stadium.json"),
            "CSV": side(table, "stadium.csv"),
        }
    )
    return [
        measured(
            _IMPORT,
            "s",
            taken[_IMPORT],
            workload=f"CPU of this process from the bytes of a file to the sealed layout; {_STADIUM_SEATS:,} seats as"
            " rows and counts by a mapping, each seat placed inside its sector's outline, facing the pitch",
            peers={name: side for name, side in taken.items() if name != _IMPORT},
            goal=IMPORT.goal(_IMPORT),
            flags={"file_bytes": len(raw)},
        )
    ]


def bring_in(raw: bytes, filename: str, mapping: bytes | None = None) -> Layout:
    """The layout of a file. Raises `Unavailable` where there is none."""
    answer = import_layout(raw, filename=filename, mapping=mapping)
    if isinstance(answer, Rejected):
        raise Unavailable(f"the benchmark's own file is refused: {answer.violations[0].message}")
    return answer.layout


_IMPORT: Final = f"layout_import_{_STADIUM_SEATS}"
IMPORT: Final = Row(
    "layout_import",
    "CPU to bring a stadium's file in",
    (Promise(_IMPORT, "s", Goal("value", "most", 2)),),
    _measure_import,
)

# --- Handing out

_READERS: Final = 8
"""Connections, each with one request on the way."""
_SENDS: Final[Mapping[str, tuple[str, bool]]] = {
    "layout_read": ("Accept-Encoding: gzip\r\n", False),
    "layout_read_plain": ("", False),
    "layout_read_known": ("Accept-Encoding: gzip\r\n", True),
}
"""What a reader asks with, and whether it names the tag that it has."""
_SLICE_READS: Final = {"layout_read": 160, "layout_read_plain": 80, "layout_read_known": 4_000}
_PIECES, _KERNEL = "aiohttp's static file", "the same by sendfile"


class Answer(msgspec.Struct, frozen=True):
    """What a server answered: its status, the bytes of its body, its tag."""

    status: int
    size: int
    tag: str


class _Readers:
    """Connections that ask for one path again and again."""

    def __init__(self, port: int, path: str, pids: tuple[int, ...]) -> None:
        self._port, self._path, self._pids = port, path, pids

    async def read_once(self, headers: str) -> Answer:
        """One answer, of a connection of its own."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        try:
            return await self._ask(reader, writer, headers)
        finally:
            writer.close()

    async def rate(self, count: int, headers: str, expected: tuple[int, int]) -> float:
        """Requests for each second of the server's CPU. Raises `Unavailable` for any other answer than `expected`, its
        status and the bytes of its body."""
        pairs = [await asyncio.open_connection(LOOPBACK, self._port) for _ in range(_READERS)]

        async def go_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(count // _READERS):
                answer = await self._ask(reader, writer, headers)
                if (answer.status, answer.size) != expected:
                    raise Unavailable(f"{self._path} answers {answer.status} with {answer.size} bytes, not {expected}")

        try:
            begun = cpu_ns(self._pids)
            async with asyncio.timeout(bounds.CHILD_ANSWER_SECONDS):
                await asyncio.gather(*(go_on(*pair) for pair in pairs))
            spent = cpu_ns(self._pids) - begun
        finally:
            for _, writer in pairs:
                writer.close()
        return count // _READERS * _READERS / (spent / 1e9)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: str) -> Answer:
        writer.write(f"GET {self._path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n{headers}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, lines = int(head.split(" ", 2)[1]), head.lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        left = size = int(fields.get("content-length", "0"))
        while left:
            piece = await reader.read(min(left, 1 << 20))
            if not piece:
                raise Unavailable(f"{self._path} broke off in the middle of an answer")
            left -= len(piece)
        return Answer(status, size, fields.get("etag", ""))


async def _measure_read(stand: Stand) -> list[Figure]:
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(open_house(stand))
        layout_id, layout_hash, data = await home.deploy_layout(_SMALL)
        folder = stand.fresh_directory("static")
        await asyncio.to_thread(_write_files, folder, data)
        servers = {"ours": _Readers(home.port, f"/api/v1/layouts/{layout_id}/{layout_hash}", home.workers)}
        for name, loop in ((_PIECES, "uvloop"), (_KERNEL, "asyncio")):
            command = [*module("static_peer"), str(folder), loop]
            peer = await stack.enter_async_context(open_child("the static server", command))
            servers[name] = _Readers(peer.port, "/files/layout.json", peer.pids)
        return [await _rates(stand, figure, servers) for figure in _SENDS]


async def _rates(stand: Stand, figure: str, servers: Mapping[str, _Readers]) -> Figure:
    """One figure: the same question to all servers, by turns."""
    asked, known = _SENDS[figure]
    sides: dict[str, Side] = {}
    sizes: dict[str, int] = {}
    for name, readers in servers.items():
        first = await readers.read_once(asked)
        headers = f"{asked}If-None-Match: {first.tag}\r\n" if known else asked
        expected = (304, 0) if known else (200, first.size)
        sizes[name] = first.size

        async def take(
            readers: _Readers = readers, headers: str = headers, expected: tuple[int, int] = expected
        ) -> float:
            return await readers.rate(_SLICE_READS[figure], headers, expected)

        sides[name] = take
    if len(set(sizes.values())) != 1:
        raise Unavailable(f"the servers do not send the same bytes: {sizes}")
    taken = await stand.alternate(sides)
    peers = {name: side for name, side in taken.items() if name != "ours"}
    best = max(peers, key=lambda name: peers[name].median or 0.0)
    what = "its tag, answered 304" if known else f"{sizes['ours']:,} bytes"
    return measured(
        figure,
        "requests/CPU s",
        taken["ours"],
        workload=f"requests for each second of the worker's CPU; a deployed layout of {_SMALL:,} seats from the"
        f" worker's memory ({what}{', gzipped' if asked else ''}), {_READERS} connections; aiohttp serves a file of the"
        " same bytes, in pieces on the worker's loop or by the kernel on asyncio's: the better one is the limit",
        peers=peers,
        limit=best,
        goal=READ.goal(figure),
        flags=FLAGS,
    )


def _write_files(folder: Path, data: bytes) -> None:
    """The layout's bytes as files that aiohttp hands out: as they are, and zipped as the server zips them."""
    folder.mkdir()
    (folder / "layout.json").write_bytes(data)
    (folder / "layout.json.gz").write_bytes(zip_layout(data))


READ: Final = Row(
    "layout_read",
    "a deployed layout from the server's memory beside a static file of aiohttp's",
    tuple(Promise(figure, "requests/CPU s", Goal("ratio", "least", 0.8)) for figure in _SENDS),
    _measure_read,
)
