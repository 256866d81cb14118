"""What an inventory is after *adopt*: the rules of `recovery` as tables, and what holds for whatever was kept."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lml_live import limits
from lml_live.inventory import seatmap
from lml_live.inventory.records import Record, decode_record, pack
from lml_live.inventory.recovery import Claim, Inventory, Overlay, StaffHold, batches, read_kept, rebuild

NOW_MS = 1_000_000
FREE, HELD, SOLD, HOUSE, KILL = range(5)


def record(
    *seats: int, areas: tuple[tuple[str, str, int], ...] = (), state: str = "active", created_ms: int = 1, **more: Any
) -> Record:
    values: dict[str, Any] = {
        "holder": "anna",
        "state": state,
        "deadline_ms": NOW_MS + 10_000,
        "lifetime_ms": NOW_MS + 500_000,
        "extensions": 1,
        "booking": "b-mark" if state in ("checkout", "sold") else "",
        "seats": tuple(part for seat in seats for part in (seat, "adult")),
        "areas": tuple(part for line in areas for part in line),
        "created_ms": created_ms,
        "seq": 17,
        "reason": "own",
        "digests": ("d1",),
        "channel": 0,
    }
    return Record(**values | more)


def claim(
    *seats: int, areas: tuple[tuple[str, str, int], ...] = (), hold: str = "c", sold: bool = False, booking: str = "b1"
) -> Claim:
    return Claim(
        booking=booking,
        hold=hold,
        holder="ben",
        sold=sold,
        created_ms=5,
        lifetime_ms=NOW_MS + 400_000,
        seats=tuple((seat, "adult") for seat in seats),
        areas=areas,
    )


def staff_hold(*seats: int, areas: tuple[tuple[str, str, int], ...] = (), hold: str = "k") -> StaffHold:
    return StaffHold(hold, "kim", 3, tuple((seat, "adult") for seat in seats), areas)


def overlay(
    *claims: Claim,
    seats: dict[int, int] | None = None,
    areas: dict[str, int] | None = None,
    staff: tuple[StaffHold, ...] = (),
) -> Overlay:
    return Overlay(claims, seats or {}, areas or {}, staff)


def rebuilt(kept: dict[str, Record], known: Overlay) -> Inventory:
    return rebuild(8, {"pit": 10}, kept, known, NOW_MS)


@pytest.mark.parametrize(
    ("kept", "known", "seats", "pit", "alive", "dropped"),
    [
        ({}, overlay(), [FREE] * 8, (10, 0, 0, 0), {}, ()),
        # 1. Claims and sales hold, whatever Redis says.
        ({}, overlay(claim(1, 2)), [0, HELD, HELD, 0, 0, 0, 0, 0], (10, 0, 0, 0), {"c": "checkout"}, ()),
        ({}, overlay(claim(1, sold=True)), [0, SOLD, 0, 0, 0, 0, 0, 0], (10, 0, 0, 0), {"c": "sold"}, ()),
        (
            {},
            overlay(
                claim(areas=(("pit", "a", 2), ("pit", "b", 1))),
                claim(areas=(("pit", "a", 4),), hold="s", sold=True, booking="b2"),
            ),
            [FREE] * 8,
            (3, 3, 4, 0),
            {"c": "checkout", "s": "sold"},
            (),
        ),
        ({"c": record(1, 2)}, overlay(claim(1)), [0, HELD, 0, 0, 0, 0, 0, 0], (10, 0, 0, 0), {"c": "checkout"}, ()),
        # 2. Blocks hold next; a claim or sale wins.
        ({}, overlay(seats={0: HOUSE, 1: KILL}), [HOUSE, KILL, 0, 0, 0, 0, 0, 0], (10, 0, 0, 0), {}, ()),
        (
            {},
            overlay(claim(0), claim(1, hold="s", sold=True, booking="b2"), seats={0: HOUSE, 1: KILL, 2: KILL}),
            [HELD, SOLD, KILL, 0, 0, 0, 0, 0],
            (10, 0, 0, 0),
            {"c": "checkout", "s": "sold"},
            (),
        ),
        ({}, overlay(areas={"pit": 4}), [FREE] * 8, (6, 0, 0, 4), {}, ()),
        # What was taken to be sold at the counter is there with its claim only; else it is what it was before.
        (
            {"1-c-k": record(1, 2, state="checkout")},
            overlay(seats={2: HOUSE}),
            [0, 0, HOUSE, 0, 0, 0, 0, 0],
            (10, 0, 0, 0),
            {},
            ("1-c-k",),
        ),
        ({"1-c-k": record(1, state="checkout")}, overlay(), [FREE] * 8, (10, 0, 0, 0), {}, ("1-c-k",)),
        ({}, overlay(claim(areas=(("pit", "a", 8),)), areas={"pit": 4}), [0] * 8, (0, 8, 0, 2), {"c": "checkout"}, ()),
        # 2. The box office's holds for customers hold next, but for what claims and sales have; blocks yield to them.
        ({}, overlay(staff=(staff_hold(1, 2),)), [0, HELD, HELD, 0, 0, 0, 0, 0], (10, 0, 0, 0), {"k": "active"}, ()),
        (
            {"k": record(5, state="checkout"), "h": record(2, 3)},
            overlay(claim(1), seats={2: HOUSE}, staff=(staff_hold(1, 2),)),
            [0, HELD, HELD, 0, 0, 0, 0, 0],
            (10, 0, 0, 0),
            {"c": "checkout", "k": "active"},
            ("h",),
        ),
        (
            {},
            overlay(claim(1), staff=(staff_hold(1), staff_hold(4, hold="l"), staff_hold(4, 5, hold="m"))),
            [0, HELD, 0, 0, HELD, HELD, 0, 0],
            (10, 0, 0, 0),
            {"c": "checkout", "l": "active", "m": "active"},
            (),
        ),
        (
            {},
            overlay(
                claim(areas=(("pit", "a", 3),)),
                areas={"pit": 4},
                staff=(staff_hold(areas=(("pit", "a", 4), ("pit", "b", 4), ("gone", "a", 1), ("pit", "c", 3))),),
            ),
            [0] * 8,
            (0, 10, 0, 0),
            {"c": "checkout", "k": "active"},
            (),
        ),
        # 3. What Redis kept lives on where all of it is free, else it is dropped whole.
        ({"h": record(3, 4)}, overlay(), [0, 0, 0, HELD, HELD, 0, 0, 0], (10, 0, 0, 0), {"h": "active"}, ()),
        ({"h": record(3, 4)}, overlay(claim(4)), [0, 0, 0, 0, HELD, 0, 0, 0], (10, 0, 0, 0), {"c": "checkout"}, ("h",)),
        ({"h": record(3, 4)}, overlay(seats={3: HOUSE}), [0, 0, 0, HOUSE, 0, 0, 0, 0], (10, 0, 0, 0), {}, ("h",)),
        ({"h": record(7, 8)}, overlay(), [FREE] * 8, (10, 0, 0, 0), {}, ("h",)),
        (
            {"h": record(areas=(("pit", "a", 3), ("pit", "b", 3)))},
            overlay(areas={"pit": 4}),
            [FREE] * 8,
            (0, 6, 0, 4),
            {"h": "active"},
            (),
        ),
        (
            {"h": record(1, areas=(("pit", "a", 3), ("pit", "b", 4)))},
            overlay(areas={"pit": 4}),
            [FREE] * 8,
            (6, 0, 0, 4),
            {},
            ("h",),
        ),
        ({"h": record(1, areas=(("gone", "a", 1),))}, overlay(), [FREE] * 8, (10, 0, 0, 0), {}, ("h",)),
        # Of two that meet, the older lives.
        (
            {"young": record(1, 2, created_ms=9), "old": record(2, 3, created_ms=8)},
            overlay(),
            [0, 0, HELD, HELD, 0, 0, 0, 0],
            (10, 0, 0, 0),
            {"old": "active"},
            ("young",),
        ),
        # A sale that PostgreSQL does not know was none.
        ({"h": record(1, state="sold")}, overlay(), [FREE] * 8, (10, 0, 0, 0), {}, ("h",)),
        # 4. A mark without a claim is its holder's hold again.
        (
            {"h": record(1, state="checkout")},
            overlay(),
            [0, HELD, 0, 0, 0, 0, 0, 0],
            (10, 0, 0, 0),
            {"h": "active"},
            (),
        ),
    ],
)
def test_rules(
    kept: dict[str, Record],
    known: Overlay,
    seats: list[int],
    pit: tuple[int, int, int, int],
    alive: dict[str, str],
    dropped: tuple[str, ...],
) -> None:
    found = rebuilt(kept, known)
    assert list(found.seats) == seats
    assert found.areas == {"pit": pit}
    assert {hold: kept.state for hold, kept in found.holds.items()} == alive
    assert found.dropped == dropped


def test_a_claims_record_is_postgresqls() -> None:
    known = claim(3, areas=(("pit", "a", 2),), hold="h")
    assert rebuilt({"h": record(1, 2, state="checkout")}, overlay(known)).holds["h"] == Record(
        holder="ben",
        state="checkout",
        deadline_ms=known.lifetime_ms,
        lifetime_ms=known.lifetime_ms,
        extensions=0,
        booking="b1",
        seats=(3, "adult"),
        areas=("pit", "a", 2),
        created_ms=5,
        seq=0,
        reason="own",
        digests=(),
        channel=0,
    )


def test_a_survivor_keeps_all_but_its_keys() -> None:
    kept = record(1, areas=(("pit", "a", 2),))
    found = rebuilt({"h": kept}, overlay()).holds["h"]
    assert found == msgspec.structs.replace(kept, seq=0, digests=())


@pytest.mark.parametrize(
    ("deadline_in", "lifetime_in", "expected_in"),
    [
        (10, 500_000, limits.CHECKOUT_GRACE_MS),
        (-50_000, 500_000, limits.CHECKOUT_GRACE_MS),
        (90_000, 500_000, 90_000),
        (10, 30_000, 30_000),
        (-50_000, -10_000, -10_000),
    ],
)
def test_the_grace_of_a_mark_without_claim(deadline_in: int, lifetime_in: int, expected_in: int) -> None:
    kept = record(1, state="checkout", deadline_ms=NOW_MS + deadline_in, lifetime_ms=NOW_MS + lifetime_in)
    found = rebuilt({"h": kept}, overlay()).holds["h"]
    assert (found.state, found.booking, found.reason) == ("active", "", "payment_failed")
    assert found.deadline_ms - NOW_MS == expected_in


def test_the_book_has_records_tallies_and_deadlines() -> None:
    found = rebuilt(
        {"h1": record(1, 2), "h2": record(3, areas=(("pit", "a", 2),))},
        overlay(claim(5), claim(6, hold="s", sold=True)),
    )
    flat = found.book_fields()
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    assert {name for name in fields if str(name).startswith("h:")} == {"h:h1", "h:h2", "h:c", "h:s"}
    assert msgspec.msgpack.decode(fields["o:anna"]) == [5, "h1", "h2"]
    assert msgspec.msgpack.decode(fields["o:ben"]) == [2, "c", "s"]
    assert set(fields) == {"h:h1", "h:h2", "h:c", "h:s", "o:anna", "o:ben"}
    deadline = str(NOW_MS + 10_000)
    assert found.deadlines() == [deadline, "h1", deadline, "h2"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        pack("text"),
        pack([]),
        pack(list(msgspec.structs.astuple(record(1)))[:-2]),
        pack([1, *msgspec.structs.astuple(record(1))[1:]]),
        pack(record(1))[:-1],
        pack(record(seats=(1,))),
        pack(record(seats=("adult", 1))),
        pack(record(seats=(-1, "adult"))),
        pack(record(areas=(("pit", "a", 0),))),
        pack(record(areas=(("pit", "a", -1),))),
        pack(msgspec.structs.replace(record(1), areas=("pit", 1))),
        pack(msgspec.structs.replace(record(1), areas=(1, "pit", "a"))),
    ],
)
def test_an_unreadable_record_is_left_out(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A record that msgspec reads but no script writes used to end every adopt of its event with an exception."""
    kept = read_kept([b"stamp", b"1:1", b"h:bad", raw, b"h:good", pack(record(1)), b"o:anna", pack([1, "good"])])
    assert set(kept) == {"good"}
    assert "h:bad" in caplog.text
    rebuilt(kept, overlay())


def test_tombstones_are_forgotten() -> None:
    gone = record(state="gone", reason="expired")
    assert read_kept([b"h:gone", pack(gone), b"k:d1", pack(["gone", "hash"])]) == {}


@pytest.mark.parametrize(("count", "size", "lengths"), [(0, 4, []), (4, 4, [4]), (10, 4, [4, 4, 2])])
def test_batches(count: int, size: int, lengths: list[int]) -> None:
    parts = [str(number) for number in range(count)]
    cut = list(batches(parts, size))
    assert [len(batch) for batch in cut] == lengths
    assert [part for batch in cut for part in batch] == parts


# --- Whatever Redis kept and PostgreSQL knows

SEATS, AREAS = 12, {"pit": 6, "stage": 3}
some_areas = st.dictionaries(
    st.tuples(st.sampled_from([*AREAS, "gone"]), st.sampled_from("ab")), st.integers(1, 4), max_size=2
).map(lambda found: tuple((area, kind, n) for (area, kind), n in found.items()))
kept_records = st.builds(
    lambda seats, areas, state, holder, created: record(
        *sorted(seats), areas=areas, state=state, holder=holder, created_ms=created
    ),
    st.sets(st.integers(0, SEATS + 1), max_size=4),
    some_areas,
    st.sampled_from(["active", "checkout", "sold"]),
    st.sampled_from(["anna", "ben"]),
    st.integers(0, 3),
)


@st.composite
def overlays(draw: st.DrawFn) -> Overlay:
    """Claims that PostgreSQL can have: no two on one seat, no more places than there are."""
    free, left, claims = list(range(SEATS)), dict(AREAS), []
    for number in range(draw(st.integers(0, 4))):
        seats = sorted(draw(st.sets(st.sampled_from(free), max_size=3)) if free else [])
        free = [seat for seat in free if seat not in seats]
        area = draw(st.sampled_from(list(AREAS)))
        n = draw(st.integers(0, left[area]))
        left[area] -= n
        areas = ((area, "a", n),) if n else ()
        if seats or areas:
            claims.append(claim(*seats, areas=areas, hold=f"h{number}", sold=draw(st.booleans()), booking=f"b{number}"))
    blocked = draw(st.dictionaries(st.integers(0, SEATS - 1), st.sampled_from([HOUSE, KILL]), max_size=4))
    return Overlay(tuple(claims), blocked, draw(st.dictionaries(st.sampled_from(list(AREAS)), st.integers(1, 8))))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([f"h{n}" for n in range(8)]), kept_records, max_size=6), overlays())
def test_nothing_is_promised_twice(kept: dict[str, Record], known: Overlay) -> None:
    found = rebuild(SEATS, AREAS, kept, known, NOW_MS)
    owners: Counter[int] = Counter()
    places: Counter[tuple[str, bool]] = Counter()
    for hold in found.holds.values():
        for seat, _ in hold.seat_types():
            owners[seat] += 1
            assert found.seats[seat] == (SOLD if hold.state == "sold" else HELD)
        for area, _, n in hold.area_types():
            places[area, hold.state == "sold"] += n
    assert all(count == 1 for count in owners.values()), "one seat in two holds"
    assert {seat for seat, byte in enumerate(found.seats) if byte in (HELD, SOLD)} == set(owners)
    for area, (available, in_hold, sold, blocked) in found.areas.items():
        assert min(available, in_hold, sold, blocked) >= 0
        assert available + in_hold + sold + blocked == AREAS[area]
        assert (in_hold, sold) == (places[area, False], places[area, True])
    for known_claim in known.claims:
        assert found.holds[known_claim.hold].booking == known_claim.booking, "a claim was lost"
        assert found.holds[known_claim.hold].state == ("sold" if known_claim.sold else "checkout")
    for seat, state in known.blocked_seats.items():
        assert found.seats[seat] == state or any(seat == s for c in known.claims for s, _ in c.seats)
    claims = {known_claim.hold for known_claim in known.claims}
    assert set(found.dropped) == set(kept) - set(found.holds)
    for hold in set(found.holds) - claims:
        assert kept[hold].state in ("active", "checkout")
        assert found.holds[hold].seats == kept[hold].seats, "a hold was kept in part"
        assert found.holds[hold].state == "active"
    flat = found.book_fields()
    read = [part.encode() if isinstance(part, str) else part for part in flat]
    assert {name: decode_record(pack(hold)) for name, hold in found.holds.items()} == read_kept(read)


def test_states_are_the_seat_maps() -> None:
    assert (seatmap.BYTE_HELD, seatmap.BYTE_SOLD, seatmap.BYTE_HOUSE, seatmap.BYTE_KILL) == (HELD, SOLD, HOUSE, KILL)


def test_a_hold_made_in_the_future_is_made_now() -> None:
    """A clock was set forward, and back: the hold made in between would last a quarter of an hour longer."""
    late = msgspec.structs.replace(record(1), created_ms=NOW_MS + 900_000)
    late = msgspec.structs.replace(late, deadline_ms=late.created_ms + 60_000, lifetime_ms=late.created_ms + 90_000)
    kept = rebuilt({"h": late}, overlay()).holds["h"]
    assert (kept.created_ms, kept.deadline_ms, kept.lifetime_ms) == (NOW_MS, NOW_MS + 60_000, NOW_MS + 90_000)
