"""Which seats are offered, as tables of small halls and by brute force; and what the orphan rule says in Python.

The halls are drawn, see `drawn_halls`.
"""

import itertools
import random
from collections.abc import Iterator

import pytest
from drawn_halls import ALONE, Hall
from hypothesis import given, settings
from hypothesis import strategies as st

from lml_live.inventory import seatmap
from lml_live.inventory.best import Wish, pick_seats
from lml_live.inventory.plan import ACCESSIBLE, COMPANION, Plan, left_alone

SHARP = {"adjacent": True}
STRICT, LENIENT = {"rule": "strict"}, {"rule": "lenient"}

TABLE: list[tuple[str, Hall, int, dict[str, object], list[int] | None]] = [
    ("the middle of the first row", Hall("......", "......"), 2, {}, [2, 3]),
    ("one seat", Hall(".....", "....."), 1, {}, [2]),
    ("the second row's middle before the first row's end", Hall(".xxxx..", ".......", depth=1.0), 2, {}, [9, 10]),
    ("across an aisle is not beside", Hall("xx. .xx", "......."), 2, {}, [8, 9]),
    ("held and blocked seats are not free", Hall("..xh.."), 2, {}, [0, 1]),
    ("of equals the first", Hall("..xx.."), 2, {}, [0, 1]),
    ("nothing left", Hall("xxxx"), 1, {}, None),
    ("more than the hall", Hall("...."), 5, {}, None),
    ("exactly the hall", Hall("...."), 4, {}, [0, 1, 2, 3]),
    ("one section only", Hall("....", "....", sections="PQ"), 2, {"section": "Q"}, [5, 6]),
    ("one category only", Hall("....", categories="AABB"), 2, {"categories": frozenset("B")}, [2, 3]),
    ("a block of two categories, where both will do", Hall(".....", categories="AABBB"), 3, {}, [1, 2, 3]),
    ("no category", Hall("...."), 1, {"categories": frozenset()}, None),
    ("a block does not run over a row's end", Hall("xxx.", ".xxx"), 2, SHARP, None),
    # The orphan rule.
    ("strict: the pair that leaves nobody alone", Hall("x...x", ".....", depth=9), 2, STRICT, [5, 6]),
    ("off: the same hall", Hall("x...x", ".....", depth=9), 2, {}, [1, 2]),
    ("strict: the whole gap", Hall("x..xxxx.."), 2, STRICT, [1, 2]),
    ("strict: two away from the end is fine", Hall("......"), 2, STRICT, [2, 3]),
    ("strict: not one away from the end", Hall("...."), 2, STRICT, [0, 1]),
    ("strict: an aisle is an end", Hall("... ..."), 2, STRICT | SHARP, None),
    ("strict: nothing without a single seat", Hall("x...x"), 2, STRICT | SHARP, None),
    ("lenient: where nothing else is left", Hall("x...x"), 2, LENIENT, [1, 2]),
    ("lenient: rather another row", Hall("x...x", "x.x..", depth=9), 2, LENIENT, [8, 9]),
    ("strict: wheelchair places are no neighbours", Hall("W...."), 3, STRICT | SHARP, None),
    ("strict: nor left alone", Hall("W..xx"), 2, STRICT, [1, 2]),
    ("strict: a blocked neighbour is no neighbour", Hall("h...h"), 2, STRICT | SHARP, None),
    # Parts.
    ("two rows, one behind the other", Hall("..xxxx..", "..xxxx..", "xxxxxxxx"), 4, {}, [0, 1, 8, 9]),
    ("not where it must be adjacent", Hall("..xxxx..", "..xxxx.."), 4, SHARP, None),
    ("nobody alone where it can be helped", Hall("xx...xx", "xx...xx"), 4, {}, [2, 3, 9, 10]),
    ("not over rows that are apart", Hall("..xx", "xxxx", "xxxx", "..xx"), 4, {}, None),
    ("not over sections", Hall("..xx", "..xx", sections="PQ"), 4, {}, None),
    ("three rows", Hall("..x", "..x", "..x"), 6, {}, [0, 1, 3, 4, 6, 7]),
    ("strict parts", Hall("x...x", "x..xx", "xxxxx"), 4, STRICT, None),
    ("parts that do not begin with the largest", Hall("..", "xx....", "x.."), 5, STRICT, [0, 1, 4, 9, 10]),
    ("lenient parts", Hall("x...x", "x..xx", "xxxxx"), 4, LENIENT, [1, 2, 6, 7]),
    # The accessible pool.
    ("general requests leave it alone", Hall("WC..", "...."), 4, {}, [4, 5, 6, 7]),
    ("even where nothing else is left", Hall("WWCC"), 2, {}, None),
    ("a wheelchair place with its companion", Hall("..WC..WC"), 2, {"accessible": 1, "companions": 1}, [2, 3]),
    ("with a friend on a plain seat", Hall("xxxxWC..", "........"), 3, {"accessible": 1, "companions": 1}, [4, 5, 6]),
    ("no more of the pool than asked for", Hall("WW..x", "xW..x"), 2, {"accessible": 1}, [1, 2]),
    ("only wheelchair places", Hall("WwWW."), 2, {"accessible": 2}, [2, 3]),
    ("in two rows where need be", Hall("Wxx", "Cxx"), 2, {"accessible": 1, "companions": 1}, [0, 3]),
    ("unless that is no answer", Hall("Wxx", "Cxx"), 2, {"accessible": 1, "companions": 1} | SHARP, None),
    ("none left", Hall("w..."), 1, {"accessible": 1}, None),
    ("in the section asked for", Hall("W..", "W..", sections="PQ"), 1, {"accessible": 1, "section": "Q"}, [3]),
    # Tables.
    ("a table of just so many", Hall("..TTT..", "......."), 3, {}, [2, 3, 4]),
    ("no part of a table", Hall("..TTT..", "......."), 2, {}, [0, 1]),
    ("nor more than it has", Hall("..TTT..", "......."), 4, {}, [8, 9, 10, 11]),
    ("a nearer row rather than a table", Hall("....", "TTTT"), 4, {}, [0, 1, 2, 3]),
    ("the nearest table", Hall("TT xxxx", "xx TT xx", depth=1.0), 2, {}, [8, 9]),
    ("not one with a seat gone", Hall("TtTT TTTT"), 4, {}, [4, 5, 6, 7]),
    ("only the section's", Hall("TT..", "TT..", sections="PQ"), 2, {"section": "Q"} | STRICT, [4, 5]),
    ("a table's seats are no neighbours", Hall("TT...xx"), 3, STRICT, [2, 3, 4]),
    ("a table leaves nobody alone", Hall(".TT.xxx"), 2, STRICT, [1, 2]),
    ("the table that is exchanged counts as free", Hall("tt.x"), 2, {"own": {0, 1}}, [0, 1]),
    # What is known beside the bytes.
    ("taken though it is not shown", Hall("......"), 2, {"taken": {2}}, [3, 4]),
    ("own seats count as free", Hall("xxxxxx"), 2, {"own": {2, 3}}, [2, 3]),
]


@pytest.mark.parametrize(
    ("hall", "quantity", "wish", "seats"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_block(hall: Hall, quantity: int, wish: dict[str, object], seats: list[int] | None) -> None:
    assert hall.pick(quantity, **dict(wish)) == seats


# --- By brute force


@st.composite
def halls(draw: st.DrawFn) -> Hall:
    """Up to four rows of up to nine places, with aisles, taken seats, wheelchair places and two categories."""
    lines = draw(
        st.lists(st.text("....xxhWC ", min_size=1, max_size=9).filter(lambda t: t.strip()), min_size=1, max_size=4)
    )
    sections = draw(st.text("PQ", min_size=len(lines), max_size=len(lines)).map(lambda text: "".join(sorted(text))))
    count = sum(len(text.replace(" ", "")) for text in lines)
    categories = draw(st.text("AB", min_size=count, max_size=count))
    return Hall(*lines, sections=sections, categories=categories)


@st.composite
def wishes(draw: st.DrawFn, hall: Hall) -> Wish:
    accessible = draw(st.sampled_from([0, 0, 1, 2]))
    companions = draw(st.integers(0, 1)) if accessible else 0
    return Wish(
        quantity=accessible + companions + draw(st.integers(0 if accessible else 1, 4)),
        accessible=accessible,
        companions=companions,
        categories=draw(st.sampled_from([None, None, frozenset("A"), frozenset("AB")])),
        section=draw(st.sampled_from([None, None, *sorted(hall.plan.sections)])),
        adjacent=draw(st.booleans()),
        rule=draw(st.sampled_from(["off", "strict", "lenient"])),
    )


def is_offered(hall: Hall, wish: Wish, seats: tuple[int, ...]) -> bool:
    """Whether these seats are free, answer the filters, and take of the pool what was asked for."""
    kinds = [hall.plan.kinds[seat] for seat in seats]
    return (
        len(set(seats)) == wish.quantity
        and kinds.count(ACCESSIBLE) == wish.accessible
        and kinds.count(COMPANION) == wish.companions
        and all(hall.seats[seat] == seatmap.BYTE_AVAILABLE for seat in seats)
        and (wish.categories is None or {hall.categories[seat] for seat in seats} <= wish.categories)
        and (wish.section is None or {hall.section_of[seat] for seat in seats} == {wish.section})
    )


def side_by_side(hall: Hall, quantity: int) -> Iterator[tuple[int, ...]]:
    for run in hall.runs:
        yield from (tuple(run[at : at + quantity]) for at in range(len(run) - quantity + 1))


def is_allowed(hall: Hall, rule: str, seats: tuple[int, ...]) -> bool:
    return rule == "off" or not left_alone(rule, hall.plan.windows(seats, rule), hall.seats, set(seats), set())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_better_block_exists(data: st.DataObject) -> None:
    """The answer is a block that may be held; where one exists it is side by side, and the nearest there is."""
    hall = data.draw(halls())
    wish = data.draw(wishes(hall))
    found = pick_seats(hall.plan, hall.seats, wish)
    fitting = [seats for seats in side_by_side(hall, wish.quantity) if is_offered(hall, wish, seats)]
    rules = ["strict", wish.rule] if wish.rule == "lenient" and not wish.accessible else [wish.rule]
    for rule in rules:
        blocks = [
            (sum(hall.distances[seat] for seat in seats), seats) for seats in fitting if is_allowed(hall, rule, seats)
        ]
        if blocks:
            assert found == min(blocks)[1]
            return
    if wish.adjacent:
        assert found is None
    elif found is not None:
        assert is_offered(hall, wish, found)
        assert is_allowed(hall, wish.rule, found)
        assert not any(set(found) == set(seats) for seats in fitting)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_two_rows_are_found_where_they_are_all_there_is(data: st.DataObject) -> None:
    """Two rows of free seats, one right behind the other, seat every party that they have room for."""
    before, behind = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    hall = Hall("." * before + "x" * (6 - before), "." * behind + "x" * (6 - behind), "xxxxxx")
    quantity = data.draw(st.integers(max(before, behind) + 1, 12))
    found = hall.pick(quantity)
    assert (found is not None) == (quantity <= before + behind)


def splits(hall: Hall, quantity: int, rule: str, *, strictly: bool) -> Iterator[tuple[int, ...]]:
    """All ways to seat a party in one block of each of several neighbouring runs, the fewest runs first. `strictly`:
    no block leaves anybody alone."""
    neighbours = {number: {*hall.plan.neighbours(number)} for number in range(len(hall.runs))}
    blocks: dict[int, list[tuple[int, ...]]] = {}
    for number, run in enumerate(hall.runs):
        found = [tuple(run[at : at + n]) for n in range(1, quantity) for at in range(len(run) - n + 1)]
        free = [block for block in found if not any(hall.seats[seat] for seat in block)]
        blocks[number] = [block for block in free if not strictly or rule == "off" or is_allowed(hall, "strict", block)]
    for count in range(2, len(hall.runs) + 1):
        for chosen in itertools.combinations(range(len(hall.runs)), count):
            met = {chosen[0]}
            for _ in chosen:
                met |= {
                    one for one in chosen if any(one in neighbours[other] or other in neighbours[one] for other in met)
                }
            for parts in itertools.product(*(blocks[number] for number in chosen)) if len(met) == count else ():
                seats = tuple(sorted(itertools.chain(*parts)))
                if len(seats) == quantity and is_allowed(hall, rule, seats):
                    yield seats


def test_a_party_is_split_over_as_few_rows_as_there_can_be() -> None:
    """By brute force, of halls with hardly a place: nobody is told that there is none where there is one."""
    chance, told = random.Random(1), 0
    while told < 250:
        hall = Hall(
            *(f".{''.join(chance.choices('...xx ', k=chance.randint(1, 5)))}" for _ in range(chance.randint(2, 3)))
        )
        quantity, rule = chance.randint(2, 5), chance.choice(["off", "strict", "lenient"])
        if any(
            not any(hall.seats[seat] for seat in seats) and is_allowed(hall, rule, seats)
            for seats in side_by_side(hall, quantity)
        ):
            continue
        told += 1
        found = hall.pick(quantity, rule=rule)
        best = next(splits(hall, quantity, rule, strictly=True), None)
        if best is None and rule == "lenient":
            best = next(splits(hall, quantity, rule, strictly=False), None)
        assert (found is None) == (best is None), (hall.seats, hall.runs, quantity, rule, found, best)
        if found is not None and best is not None:
            assert is_offered(hall, Wish(quantity=quantity), tuple(found))
            assert is_allowed(hall, rule, tuple(found))
            assert len({*map(hall.plan.run_of, found)}) <= len({*map(hall.plan.run_of, best)})


# --- The orphan rule in Python


@pytest.mark.parametrize(("line", "wished", "rule", "alone"), [row[1:] for row in ALONE], ids=[row[0] for row in ALONE])
def test_left_alone(line: str, wished: list[int], rule: str, alone: list[int]) -> None:
    hall = Hall(line)
    windows = hall.plan.windows(wished, rule)
    assert left_alone(rule, windows, hall.seats, set(wished), set()) == alone


def test_windows_are_cut_at_their_reach_and_meet_only_once() -> None:
    hall = Hall("." * 200)
    assert hall.plan.windows([100], "strict") == [[98, 99, 100, 101, 102]]
    assert hall.plan.windows([100, 104], "strict") == [list(range(98, 107))]
    assert hall.plan.windows([100, 105], "strict") == [list(range(98, 108))], "98-102 and 103-107 touch"
    assert hall.plan.windows([100, 106], "strict") == [list(range(98, 103)), list(range(104, 109))]
    assert hall.plan.windows([100], "lenient") == [list(range(75, 126))]
    every_fourth = hall.plan.windows(range(0, 200, 4), "lenient")
    assert every_fourth == [list(range(200))]


def test_a_row_listed_by_number_is_read_as_it_stands() -> None:
    """Seats 0 … 5 stand 4 2 0 1 3 5: whoever takes 2 and 0 leaves 4 alone, though 1 follows 0 in the file."""
    places = [(0.0, 5.0), (1.0, 5.0), (-1.0, 5.0), (2.0, 5.0), (-2.0, 5.0), (3.0, 5.0)]
    plan = Plan([[4, 2, 0, 1, 3, 5]], [5, 6, 6, 7, 7, 8], places, [("S", 0, 6)], ["A"] * 6, (), ())
    assert plan.windows([2, 0], "strict") == [[4, 2, 0, 1, 3]]
    assert left_alone("strict", plan.windows([2, 0], "strict"), bytes(6), {0, 2}, set()) == [4]
    assert pick_seats(plan, bytes(6), Wish(quantity=2)) == (0, 2)
    assert pick_seats(plan, bytes(6), Wish(quantity=3)) == (0, 1, 2)
    assert pick_seats(plan, bytes((0, 0, 1, 0, 0, 0)), Wish(quantity=2)) == (0, 1)


def test_a_venue_without_seats_has_none_to_offer() -> None:
    plan = Plan([], [], [], [], [], (), ())
    for wish in (Wish(quantity=1), Wish(quantity=2, rule="lenient"), Wish(quantity=2, accessible=1)):
        assert pick_seats(plan, b"", wish) is None


def test_the_nearest_of_very_many_rows_is_found_though_the_first_are_sold_out() -> None:
    """Rows without an answer are sorted out after the first few; what is left is still looked into by distance."""
    rows = ["xx.xx"] * 100 + ["x...x"] * 3
    hall = Hall(*rows)
    assert hall.pick(3) == [501, 502, 503]
    assert Hall(*rows, "x....", "x...x").pick(4) == [516, 517, 518, 519]
    mixed = Hall(*(["xxxxx"] * 80 + ["x..xx"] + ["xxxxx"] * 80), sections="P" * 80 + "Q" * 81)
    assert mixed.pick(2) == [401, 402]
    assert mixed.pick(2, section="Q") == [401, 402]
    assert mixed.pick(2, section="P") is None
