"""Drawing seating plans, without a page: rows, numbers, edits, steps back, what is chosen and what was found."""

import json
from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

HALL = {
    "layout_id": "hall",
    "version": 3,
    "hash": "ab",
    "name": "Hall",
    "type": "hybrid",
    "viewport": {"width": 200, "height": 100},
    "sections": [
        {
            "name": "Stalls",
            "kind": "seated",
            "rows": [
                {
                    "label": label,
                    "seats": [
                        {"number": str(n + 1), "x": 0.1 + n / 10, "y": y, "category": "A", "seat_id": "0" * 64}
                        for n in range(4)
                    ],
                }
                for label, y in (("A", 0.2), ("B", 0.4))
            ],
        },
        {
            "name": "Floor",
            "kind": "standing",
            "area_id": "floor",
            "capacity": 9,
            "category": "F",
            "outline": [[0.1, 0.6], [0.3, 0.6], [0.3, 0.9]],
        },
    ],
    "shapes": [{"kind": "stage", "label": "Stage", "points": [[0.4, 0], [0.6, 0], [0.6, 0.1]]}],
}


async def run(blank: Page, case: str, about: object = HALL) -> Any:
    """What a case of plan_cases.js answers. As text: large arguments take Playwright long."""
    body = 'async ([name, text]) => (await import("/test/plan_cases.js"))[name](JSON.parse(text))'
    return await blank.evaluate(body, [case, json.dumps(about)])


LABELS: list[tuple[int, dict[str, Any], list[str] | None]] = [
    (3, {}, ["1", "2", "3"]),
    (3, {"start": "5", "step": 2}, ["5", "7", "9"]),
    (3, {"start": "9", "step": -1}, ["9", "8", "7"]),
    (3, {"kind": "odd"}, ["1", "3", "5"]),
    (3, {"kind": "even"}, ["2", "4", "6"]),
    (3, {"kind": "odd", "start": "2"}, None),
    (3, {"kind": "even", "start": "10", "step": -1}, ["10", "8", "6"]),
    (2, {"kind": "letters", "start": "Z"}, ["Z", "AA"]),
    (3, {"kind": "letters", "start": "H", "skip": "IO"}, ["H", "J", "K"]),
    (2, {"kind": "letters", "start": "N", "skip": "IO"}, ["N", "P"]),
    (1, {"kind": "letters", "start": "I", "skip": "IO"}, None),
    (2, {"prefix": "R"}, ["R1", "R2"]),
    (2, {"start": "x"}, None),
    (2, {"step": 0}, None),
    (3, {"start": "1", "step": -1}, None),
    (1, {"start": "0"}, ["0"]),
]
SEATS: list[tuple[int, dict[str, Any], bool, list[str]]] = [
    (3, {"order": "left"}, True, ["1", "2", "3"]),
    (3, {"order": "left"}, False, ["3", "2", "1"]),
    (3, {"order": "right"}, True, ["3", "2", "1"]),
    (3, {"order": "right"}, False, ["1", "2", "3"]),
    (6, {"order": "centre"}, True, ["5", "3", "1", "2", "4", "6"]),
    (5, {"order": "centre"}, True, ["5", "3", "1", "2", "4"]),
    (5, {"order": "centre_even"}, True, ["4", "2", "1", "3", "5"]),
    (4, {"order": "centre", "prefix": "L"}, False, ["L4", "L2", "L1", "L3"]),
    (1, {"order": "centre"}, True, ["1"]),
]
FOLLOWING = [("A", "B"), ("Z", "AA"), ("AZ", "BA"), ("9", "10"), ("Row 09", "Row 10"), ("Box!", "Box! 2")]


async def test_seats_and_rows_are_numbered_as_the_scheme_says(blank: Page) -> None:
    labels, seats, following, around, left = await run(
        blank, "numbering", {"labels": LABELS, "seats": SEATS, "following": FOLLOWING}
    )
    assert labels == [expected for *_, expected in LABELS]
    assert seats == [expected for *_, expected in SEATS]
    assert following == [expected for _, expected in FOLLOWING]
    assert around == ["A", "Z", "AA", "ZZ", "AAA"]
    assert left == [True, False, False, True]


async def test_a_row_bends_by_its_middle_and_keeps_its_ends(blank: Page) -> None:
    found = await run(blank, "bending")
    for each in found["found"]:
        assert all(abs(value) < 1e-6 for value in each.values()), each
    assert found["up"] == pytest.approx([5, -2]), (
        "a positive curve rises to the left of the way: above a row drawn right"
    )
    assert found["counts"] == [11, 1, 4000]
    assert found["alone"] == [[5, 0]]
    assert found["block"] == sorted(set(found["block"])), "outer rows of a bowl have more seats"
    assert found["middles"][0] == pytest.approx(-20), "of an even number of seats, too"
    assert found["straight"] == [[5, [100, 0]], [5, [100, -10]]]
    assert found["inward"] == 3, "no row beyond the centre"
    assert found["snapped"] == [[5, 10], [7, 12]]
    assert found["turned"] == [10.05, 0]


async def test_an_edit_shares_what_it_left_alone_and_says_only_what_it_did(blank: Page) -> None:
    found = await run(blank, "editing")
    assert found["same"] == [True] * 3
    assert found["shared"] == [True] * 3
    assert found["before"] == "A", "no plan is changed in place"
    assert found["features"] == [["aisle"], False]
    assert found["moved"] == [1, 0], "no further than the sheet reaches"
    assert found["gone"] == [1, None]
    assert found["bare"] == [0, 0]
    assert found["doubled"] == [
        5,
        [["Stalls", None, ["A", "B", "A 2"]], ["Floor", "floor", None], ["Floor 2", "floor-2", None]],
    ]
    assert found["apart"] == [["Stalls", ["B3"]], ["Floor", None], ["Circle", ["A4", "B1"]]]
    assert found["renamed"] == [1, "Best", [{"name": "Best", "color": "#00ff00"}, {"name": "F"}]]
    assert found["drawn"] == [0.5, 0.5, [{"name": "A"}, {"name": "F"}]], "who lists one lists all"
    assert found["area"] == ["floor-2", [0.009, 0]]
    assert found["aligned"] == [0.4] * 4


async def test_what_is_read_is_written_again_without_what_follows_from_it(blank: Page) -> None:
    """And an edit writes out its own section anew, not the others."""
    body, written, *kinds = await run(blank, "writing")
    expected = json.loads(json.dumps(HALL)) | {"categories": [], "entrances": []}
    del expected["hash"], expected["version"]
    for row in expected["sections"][0]["rows"]:
        for seat in row["seats"]:
            del seat["seat_id"]
    assert body == expected
    assert written == 2, "the head and one section"
    assert kinds == ["hybrid", "seated", 8, 17]


async def test_steps_go_back_and_forth_within_bounds(blank: Page) -> None:
    assert await run(blank, "stepping") == {
        "empty": [None, None, False],
        "merged": [["Move"], True],
        "back": [True, "Move", False],
        "forth": [False, "Move"],
        "cut": [None, ["Mark", "Move"]],
        "kept": False,
        # A row of four seats weighs five: two of them are what may be kept.
        "bounded": ["Paint 8", "Paint 7"],
    }


async def test_numbers_and_curves_of_rows_that_are_there(blank: Page) -> None:
    found = await run(blank, "renumbering")
    assert found["right"] == ["8", "6", "4", "2"] * 2
    assert found["same"] is True
    assert found["wrong"] == [None, None]
    assert found["named"] == ["H", "J"]
    assert found["last"] == ["2", "1"]
    assert found["bend"] == pytest.approx(30, abs=0.1)
    assert found["ends"] == [0.1, 0.4]
    assert found["more"] == [[str(n + 1), pytest.approx(0.1 + n * 0.05)] for n in range(7)]
    assert found["fewer"] == [["1", 0.1], ["2", 0.25], ["3", 0.4]]
    assert found["equal"] is True
    assert found["sheet"] == pytest.approx([0.05, 0.1, 0.15, 0.2])


async def test_the_scene_knows_what_an_edit_touched_and_what_is_chosen(blank: Page) -> None:
    found = await run(blank, "choosing")
    assert found == {
        "count": [8, 2, 2, ["A", "F"]],
        "keys": True,
        "described": {"section": "Stalls", "row": "B", "seat": "2", "category": "A", "note": ""},
        "found": 6,
        "touched": [True, True],
        "nothing": [],
        "everything": None,
        "box": 5,
        "brush": [0, 1, 2],
        "miss": [],
        "rows": 4,
        "section": 8,
        "modes": [[2, 3], [1, 2, 3], [1], [1, 2, 3]],
        "off": [1],
        "there": 2,
        "shape": "stage",
        "lone": True,
        "empty": 0,
    }


async def test_a_row_is_drawn_level_with_those_that_are_there(blank: Page) -> None:
    assert await run(blank, "guiding") == {
        "ends": [[100, 100], [400, 100], [100, 200], [400, 200]],
        "spots": [[100, 250], [100, 150], [400, 250], [400, 150]],
        "nothing": [],
        "spot": [[100, 250]],
        "level": [[700, 100], [400, 350], [400, 100], [700, 350]],
        "lines": [0, 1, 2, 0],
    }


async def test_findings_are_told_in_words_with_the_seats_that_are_meant(blank: Page) -> None:
    found = await run(blank, "finding")
    assert found[0] == {
        "title": "Used twice",
        "where": "Stalls, row B, seat 3",
        "words": "number is '2', the number of Stalls, row B, seat 2 too; each is used once",
        "seats": [6],
        "size": 1,
    }
    assert (found[1]["where"], found[1]["seats"]) == ("Stalls, row A", [0, 1, 2, 3])
    assert (found[2]["title"], found[2]["where"], found[2]["seats"], found[2]["size"]) == (
        "Standing area",
        "Floor",
        [],
        1,
    )
    assert (found[3]["where"], found[4]["where"], found[3]["size"]) == ("", "", 0)
    assert found[5] == [["Label", "Stalls, row B", "m; and 2 more", 3, 3]]
    assert found[6] == [
        ["1 seat new", ""],
        ["1,200 seats gone", "warn"],
        ["Area f: gone", "warn"],
        ["Also changed: focal point", ""],
    ]
    assert found[7] == []


async def test_the_last_question_is_answered_and_no_number_is_out_of_bounds(blank: Page) -> None:
    refused = ["true", None]
    assert await run(blank, "asking") == {
        "answers": ["", "mine", "publish"],
        "wrong": [*[refused] * 4, [None, 12.5]],
        "free": True,
        "following": True,
    }


async def test_what_is_kept_is_its_owners_and_its_tabs(blank: Page) -> None:
    """One record of a plan was everybody's at the browser, and the last tab's that wrote it."""
    found, counts = await run(blank, "keeping")
    assert found == [
        [["one"], []],
        [["one", "two"], []],
        [["one more", "two"], []],
        [["one more", "two"], ["bob's"]],
        [["one more"], ["bob's"]],
        [[], ["bob's"]],
    ]
    assert counts == [0, 0, 5, 5, 5, 5], "five of each, and of twenty the latest"
    assert await run(blank, "keptBefore") == [["kept"], ["new"]]


async def test_of_forty_thousand_seats_the_touched_tiles_are_painted_anew(blank: Page) -> None:
    found = await run(blank, "repainting")
    assert found["look"] == "B"
    assert 0 < found["row"] <= found["before"] / 2, found
