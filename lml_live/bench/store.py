"""Rows about the store: what holds, guards and snapshots cost Valkey."""

import asyncio
import itertools
import re
import statistics
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from lml_live.bench import bounds
from lml_live.bench.counters import cpu_ns
from lml_live.bench.figures import Figure, Goal, Slices, measured, not_measured
from lml_live.bench.plan import Promise, Row
from lml_live.bench.stand import AOF, LoneEvent, LoneValkey, Side, Stand, taken_seats
from lml_live.gateway import wire
from lml_live.gateway.tokens import HolderTokens
from lml_live.infra.redis import Pipe, Script, load_scripts
from lml_live.inventory import seatmap
from lml_live.inventory.records import pack

_SEATS: Final = 60_000
_PIPELINE: Final = f"{bounds.IN_FLIGHT} calls in one write, one script call each, all answered before the next write"
_EMPTY: Final = "empty EVALSHA"

_numbers = itertools.count(1)


class _Meter:
    """CPU time of one Valkey per call, and how much of both there was in all."""

    def __init__(self, valkey: LoneValkey) -> None:
        self.valkey = valkey
        self.calls = 0
        self.cpu_ns = 0

    async def __call__(self, calls: Sequence[Awaitable[Any]]) -> tuple[float, list[Any]]:
        """µs of Valkey for one of the calls, which are written together; and their answers."""
        before = cpu_ns(self.valkey.pids)
        answers = await asyncio.gather(*calls)
        spent = cpu_ns(self.valkey.pids) - before
        self.calls += len(calls)
        self.cpu_ns += spent
        return spent / len(calls) / 1e3, answers


async def _holds_and_releases(
    meter: _Meter,
    event: LoneEvent,
    *,
    keyed: bool = True,
    counted: bool = True,
    area: str | None = None,
    lost: bool = False,
    batches: int = bounds.BATCHES,
) -> tuple[float, float]:
    """µs of Valkey for a hold of two seats (and a place of `area`) and for its release, over so many pipelines. `lost`:
    every holder has let a hold expire before."""
    holding = releasing = 0.0
    pairs = event.sale.seat_count // 2
    for _ in range(batches):
        numbers = [next(_numbers) for _ in range(bounds.IN_FLIGHT)]
        # Pairs spread over the whole hall: the same few bytes again and again would be warmer than a sale's.
        first = [(numbers[0] * 7 + place) % pairs * 2 for place in range(bounds.IN_FLIGHT)]
        losers = [f"x:holder-{number}" for number in numbers] if lost else []
        if losers:
            fields = [part for loser in losers for part in (loser, _LOSSES)]
            await event.pipe.call("HSET", event.sale.key("book"), *fields)
        spent, held = await meter(
            [
                event.hold((seat, seat + 1), number=n, keyed=keyed, counted=counted, area=area)
                for seat, n in zip(first, numbers, strict=True)
            ]
        )
        holding += spent
        spent, _ = await meter(
            [event.release(hold.hold, number=number) for hold, number in zip(held, numbers, strict=True)]
        )
        releasing += spent
        if losers:
            await event.pipe.call("HDEL", event.sale.key("book"), *losers)
    return holding / batches, releasing / batches


async def _empty_calls(meter: _Meter, event: LoneEvent, sha: str) -> float:
    keys = [event.sale.key(name) for name in ("seats", "book", "deadlines", "areas", "log")]
    total = 0.0
    for _ in range(2 * bounds.BATCHES):
        calls = [meter.valkey.pipe.call(b"EVALSHA", sha, len(keys), *keys, "a", "b") for _ in range(bounds.IN_FLIGHT)]
        total += (await meter(calls))[0]
    return total / (2 * bounds.BATCHES)


async def _fresh_event(valkey: LoneValkey, seats: int) -> LoneEvent:
    return await valkey.event(f"bench-{seats}", bytes(seats))


# --- A hold and a release


async def _measure_hold(stand: Stand) -> list[Figure]:
    valkey = await stand.lone_valkey()
    event = await _fresh_event(valkey, _SEATS)
    meter = _Meter(valkey)
    sha = (await valkey.pipe.call("SCRIPT", "LOAD", "return {'x'}")).decode()
    releases: dict[str, list[float]] = {_HOLD: [], _TOGETHER: []}

    def side(name: str, of: LoneEvent) -> Side:
        async def hold() -> float:
            holding, releasing = await _holds_and_releases(meter, of)
            releases[name].append(releasing)
            return holding

        return hold

    sides = {_HOLD: side(_HOLD, event), _TOGETHER: side(_TOGETHER, event.waiting_together())}
    taken = await stand.alternate({**sides, _EMPTY: lambda: _empty_calls(meter, event, sha)})
    raw = {"valkey_calls": meter.calls, "valkey_cpu_ns": meter.cpu_ns}
    return [
        measured(
            figure,
            "µs",
            slices,
            workload=f"two adjacent seats of {_SEATS:,}, with a key, all guards on as shipped, each buyer at an address"
            f" of their own; {way}",
            peers={_EMPTY: taken[_EMPTY]},
            limit=_EMPTY,
            goal=VALKEY_HOLD.goal(figure),
            flags=AOF,
            raw=raw,
        )
        for figure, slices, way in (
            (_HOLD, taken[_HOLD], _PIPELINE),
            (_RELEASE, Slices(tuple(releases[_HOLD][1:])), _PIPELINE),
            (_TOGETHER, taken[_TOGETHER], _ONE_CALL),
            (_RELEASE_TOGETHER, Slices(tuple(releases[_TOGETHER][1:])), _ONE_CALL),
        )
    ]


_HOLD: Final = "valkey_hold"
_RELEASE: Final = "valkey_release"
_TOGETHER: Final = "valkey_hold_together"
_RELEASE_TOGETHER: Final = "valkey_release_together"
_ONE_CALL: Final = f"{bounds.IN_FLIGHT} wait together and are one script call, each answered alone"
VALKEY_HOLD: Final = Row(
    "valkey_hold",
    "Valkey CPU for a two-seat hold and for a release, all guards on, beside an empty script call",
    (
        Promise(_HOLD, "µs", Goal("value", "most", 10)),
        Promise(_RELEASE, "µs", Goal("value", "most", 10)),
        Promise(_TOGETHER, "µs", Goal("value", "most", 6)),
        Promise(_RELEASE_TOGETHER, "µs", Goal("value", "most", 6)),
    ),
    _measure_hold,
)

# --- What each guard costs

GUARDS_CUT: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "guard_stamp": ((r" = stamp_refusal\(found\[1\], ARGV\[1\]\)\nif refusal[^\n]*", ""),),
    "guard_on_sale_time": ((r"\n  if now < opens_ms then[^\n]*", ""),),
    "guard_holder_limits": (
        (r"\n    if tally\[1\] \+ size >[^\n]*", ""),
        (r"\n    if #tally > max_holds[^\n]*", ""),
        (r"\n  elseif size > max_seats then\n[^\n]*", ""),
    ),
    "guard_seats_free": (
        (r"local bytes = bytes_of\(KEYS\[1\], act, 17\)\n  local free =[^\n]*", "local bytes, free = '', true"),
    ),
    "guard_deadline": ((r"\nredis\.call\('ZADD', KEYS\[3\], deadline, act\[4\]\)", ""),),
}
"""What is cut out of a copy of hold_seats.lua, guard by guard, for a Valkey of the benchmark's own alone."""
_GUARD_KEY: Final = "guard_key"
_GUARD_ADDRESS: Final = "guard_address_limits"
_GUARD_ORPHANS: Final = "guard_orphan_rule"
_GUARD_LOSSES: Final = "guard_cooldown_and_rehold"
_GUARD_CHANNEL: Final = "guard_channels"
_GUARD_AREA: Final = "guard_areas"
_LOSSES: Final = pack([1, 0, 0, 1, 1, 1])
"""Of a holder who let a hold of two seats expire, and may have them again by now (lua/include/fairness.lua)."""
_AREA: Final = "floor"
_CHANNEL: Final = 1


def without_guard(text: str, cuts: Sequence[tuple[str, str]]) -> str | None:
    """A script without one guard; None where the guard is not written as expected, or more than once."""
    for pattern, instead in cuts:
        text, found = re.subn(pattern, instead, text)
        if found != 1:
            return None
    return text


_PAIRS: Final = 12
"""Pipelines with and without a guard, by turns, of one slice. A guard costs a µs of ten, and one pipeline varies by as
much: the median of the differences does not."""


async def _measure_guards(stand: Stand) -> list[Figure]:
    valkey = await stand.lone_valkey()
    event = await valkey.event(f"bench-{_SEATS}", bytes(_SEATS), {_AREA: 1_000_000})
    of_channel = await valkey.event("bench-channel", bytes((8 * _CHANNEL,)) * _SEATS)
    meter = _Meter(valkey)
    scripts = load_scripts()
    text = scripts["hold_seats"].text
    whole = _Way(event)
    without = {_GUARD_KEY: _Way(event, keyed=False), _GUARD_ADDRESS: _Way(event, counted=False)}
    figures = []
    for name, cuts in GUARDS_CUT.items():
        cut = without_guard(text, cuts)
        if cut is None:
            figures.append(not_measured(name, "µs", "hold_seats.lua is not written as this row expects it"))
            continue
        sha = (await valkey.pipe.call("SCRIPT", "LOAD", cut)).decode()
        pipe = Pipe(valkey.engine.url, scripts | {"hold_seats": Script("hold_seats", cut, sha)}, name="lml-bench-cut")
        await pipe.start()
        stand.stack.push_async_callback(pipe.close)
        without[name] = _Way(event.through(pipe))
    sides = {name: _guard(meter, whole, cut) for name, cut in without.items()}
    for name, way in (
        (_GUARD_ORPHANS, _Way(event.under("strict"))),
        (_GUARD_LOSSES, _Way(event, lost=True)),
        (_GUARD_CHANNEL, _Way(of_channel.of_channel(_CHANNEL))),
        (_GUARD_AREA, _Way(event, area=_AREA)),
    ):
        sides[name] = _guard(meter, way, whole)
    sides[_WHOLE] = lambda: _one_pipeline(meter, whole)
    taken = await stand.alternate(sides)
    return figures + [
        measured(
            name,
            "µs",
            costs,
            workload=f"the median of {_PAIRS} differences, a hold with the guard less one without{_MORE.get(name, '')};"
            f" {_PIPELINE}",
            peers={_WHOLE: taken[_WHOLE]},
            flags=AOF,
            raw={"valkey_calls": meter.calls, "valkey_cpu_ns": meter.cpu_ns},
        )
        for name, costs in taken.items()
        if name != _WHOLE
    ]


_WHOLE: Final = "the whole hold"
_MORE: Final = {
    _GUARD_LOSSES: " (of a holder who let a hold expire before, beside one who has not)",
    _GUARD_CHANNEL: " (seats of the buyer's channel, beside seats that are open to all)",
    _GUARD_AREA: " (two seats and a place of an area, beside two seats)",
}
"""What some of the guards come with."""


class _Way(Struct, frozen=True):
    """How a hold is made: with a key or without, from an address that is counted or from none, with a place of an area
    or without, by a holder who lost seats before or by one who did not."""

    event: LoneEvent
    keyed: bool = True
    counted: bool = True
    area: str | None = None
    lost: bool = False


def _guard(meter: _Meter, with_it: _Way, without: _Way) -> Side:
    """What a guard costs: the hold with it less the other, right after one another, in turning order."""

    async def cost() -> float:
        differences = []
        for pair in range(_PAIRS):
            spent = {}
            for guarded in (True, False) if pair % 2 else (False, True):
                spent[guarded] = await _one_pipeline(meter, with_it if guarded else without)
            differences.append(spent[True] - spent[False])
        return statistics.median(differences)

    return cost


async def _one_pipeline(meter: _Meter, way: _Way) -> float:
    more = {"keyed": way.keyed, "counted": way.counted, "area": way.area, "lost": way.lost}
    return (await _holds_and_releases(meter, way.event, **more, batches=1))[0]  # type: ignore[arg-type]


_GUARDS: Final = (
    *(*GUARDS_CUT, _GUARD_KEY, _GUARD_ADDRESS, _GUARD_ORPHANS),
    *(_GUARD_LOSSES, _GUARD_CHANNEL, _GUARD_AREA),
)

GUARDS: Final = Row(
    "guards",
    "what each guard of a hold costs Valkey: the hold as shipped less the hold without it",
    tuple(Promise(name, "µs") for name in _GUARDS),
    _measure_guards,
)

# --- A snapshot

_SIZES: Final = (60_000, 200_000)
_SHARE_TAKEN: Final = 0.3
_SNAPSHOTS_AT_ONCE: Final = 8


async def _measure_welcome(stand: Stand) -> list[Figure]:
    valkey = await stand.lone_valkey()
    figures = []
    for size in _SIZES:
        seats = taken_seats(size, _SHARE_TAKEN)
        event = await valkey.event(f"bench-welcome-{size}", seats)
        meter = _Meter(valkey)
        string, version = f"{{bench-{size}}}:string", f"{{bench-{size}}}:version"
        await valkey.pipe.call("MSET", string, seats, version, 1)

        def snapshots(meter: _Meter = meter, event: LoneEvent = event) -> Side:
            async def read() -> float:
                calls = [event.book.read_inventory(event.sale.event) for _ in range(_SNAPSHOTS_AT_ONCE)]
                return (await meter(calls))[0]

            return read

        async def plain(meter: _Meter = meter, string: str = string, version: str = version) -> float:
            calls = [valkey.pipe.call("MGET", string, version) for _ in range(_SNAPSHOTS_AT_ONCE)]
            return (await meter(calls))[0]

        peer = "MGET of string and version"
        taken = await stand.alternate({"ours": snapshots(), peer: plain})
        figure = f"welcome_valkey_{size}"
        figures.append(
            measured(
                figure,
                "µs",
                taken["ours"],
                workload=f"the whole inventory of {size:,} seats with its version, {_SNAPSHOTS_AT_ONCE} in one write",
                peers={peer: taken[peer]},
                limit=peer,
                goal=WELCOME.goal(figure),
                flags=AOF,
                raw={"valkey_calls": meter.calls, "valkey_cpu_ns": meter.cpu_ns},
            )
        )
        figures += _welcome_sizes(size, seats)
    return figures


def _welcome_sizes(size: int, seats: bytes) -> list[Figure]:
    packed = seatmap.pack(seats.translate(seatmap.PUBLIC_VIEW))
    figures = []
    for name, fmt, deflated in (
        ("msgpack", wire.MSGPACK, False),
        ("json", wire.JSON, False),
        ("deflated", wire.MSGPACK, True),
    ):
        figure = f"welcome_{name}_{size}"
        body = len(fmt.encode(_welcome(fmt, size, seatmap.deflate(packed) if deflated else packed, deflated)))
        figures.append(
            measured(
                figure,
                "bytes",
                Slices((float(body),)),
                workload=f"the whole `welcome` of {size:,} seats, {_SHARE_TAKEN:.0%} taken at random",
                goal=WELCOME.goal(figure),
                raw={"seats_bytes": len(packed)},
            )
        )
    return figures


def _welcome(fmt: wire.Format, size: int, seats: bytes, deflated: bool) -> wire.Welcome:
    holder, now_ms = "h-" + "0" * 20, 1_800_000_000_000
    return wire.Welcome(
        event=wire.EventBrief("an-event-2027-01-01", "open", now_ms, 1),
        epoch="1",
        seq=1_000,
        seats=fmt.raw(seats),
        encoding="deflate" if deflated else None,
        areas={},
        holder=holder,
        token=HolderTokens(b"0" * 32).issue(holder, now_ms),
        holds=(),
        limits=wire.Limits(8, 300, 2, 1800),
        layout=wire.LayoutRef("a-layout", 1, "0" * 64, "/api/v1/layouts/a-layout/" + "0" * 64, size),
        now_ms=now_ms,
        tick_ms=50,
    )


def _at_most(bound: float) -> Goal:
    return Goal("value", "most", bound)


WELCOME: Final = Row(
    "welcome",
    "Valkey CPU for a snapshot beside a plain read of as many bytes, and the bytes of a `welcome`",
    (
        Promise("welcome_valkey_60000", "µs", _at_most(50)),
        Promise("welcome_msgpack_60000", "bytes", _at_most(16_000)),
        Promise("welcome_json_60000", "bytes", _at_most(21_000)),
        Promise("welcome_deflated_60000", "bytes", _at_most(10_000)),
        Promise("welcome_valkey_200000", "µs", _at_most(50)),
        Promise("welcome_msgpack_200000", "bytes"),
        Promise("welcome_json_200000", "bytes"),
        Promise("welcome_deflated_200000", "bytes"),
    ),
    _measure_welcome,
)

# --- A large event

_LARGE, _SMALL = 200_000, 200


async def _measure_large(stand: Stand) -> list[Figure]:
    valkey = await stand.lone_valkey()
    events = {seats: await _fresh_event(valkey, seats) for seats in (_LARGE, _SMALL)}
    meter = _Meter(valkey)

    def side(event: LoneEvent) -> Side:
        async def pair() -> float:
            return sum(await _holds_and_releases(meter, event)) / 2

        return pair

    peer = f"{_SMALL} seats"
    taken = await stand.alternate({"large": side(events[_LARGE]), peer: side(events[_SMALL])})
    return [
        measured(
            _LARGE_EVENT,
            "µs",
            taken["large"],
            workload=f"Valkey CPU, mean of a hold and a release, in an event of {_LARGE:,} seats; {_PIPELINE}",
            peers={peer: taken[peer]},
            limit=peer,
            goal=LARGE_EVENT.goal(_LARGE_EVENT),
            flags=AOF,
            raw={"valkey_calls": meter.calls, "valkey_cpu_ns": meter.cpu_ns},
        )
    ]


_LARGE_EVENT: Final = "large_event_valkey"
LARGE_EVENT: Final = Row(
    "large_event",
    "a hold in an event of 200,000 seats beside one of 200",
    (Promise(_LARGE_EVENT, "µs", Goal("ratio", "most", 1.1)),),
    _measure_large,
)
