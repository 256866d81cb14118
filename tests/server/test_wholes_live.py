"""Tables and boxes that sell only whole, companion seats that go with an accessible place: every act of a holder."""

from typing import Any

import pytest
from lines import Line, Lines
from serving import LiveServer
from test_counter import Counter, counter  # noqa: F401

from lml_live.venues.layout import Layout, Row, Seat, Section, Viewport

HALL = "tables-hall"
T1, T2, BOX = [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]
WHEELCHAIR, COMPANION = 16, 17
DEPLOYED: set[str] = set()


def seats(*places: tuple[float, float], category: str = "Front", **marks: int) -> tuple[Seat, ...]:
    return tuple(
        Seat(str(n + 1), x, y, category, accessible=marks.get("accessible") == n, companion=marks.get("companion") == n)
        for n, (x, y) in enumerate(places)
    )


def tables_hall() -> Layout:
    """Two tables of four (0 to 3, 4 to 7), a box of two rows (8 to 11), a row of eight with 16 and 17 of the pool."""

    def table(x: float) -> tuple[Seat, ...]:
        return seats((x, 0.1), (x + 0.03, 0.1), (x, 0.14), (x + 0.03, 0.14))

    row = seats(*((0.1 + 0.05 * n, 0.7) for n in range(8)), category="Rear", accessible=4, companion=5)
    box = tuple(Row(str(y), seats((0.8, 0.5 + y / 20), (0.85, 0.5 + y / 20), category="Rear")) for y in range(2))
    return Layout(
        layout_id=HALL,
        name="Tables Hall",
        type="hybrid",
        viewport=Viewport(1000, 1000, "px"),
        sections=(
            Section(
                "Tables", "seated", (Row("T1", table(0.45), sold_whole=True), Row("T2", table(0.1), sold_whole=True))
            ),
            Section("Box 1", "seated", box, sold_whole=True),
            Section("Stalls", "seated", (Row("A", row),)),
            Section("Floor", "standing", (), "floor", 40, "Standing"),
        ),
    )


@pytest.fixture
async def event(live_server: LiveServer) -> str:
    if live_server.dsn not in DEPLOYED:
        await live_server.deploy(tables_hall())
        DEPLOYED.add(live_server.dsn)
    return await live_server.new_event(layout=HALL, max_seats=20, orphan_rule="strict")


def torn(answer: dict[str, Any], *missing: int) -> None:
    """Refused, and the seats that were not named, too, or that cannot be sold so, are."""
    assert (answer["type"], answer.get("code"), answer.get("seats")) == ("error", "invalid_message", list(missing)), (
        answer
    )


def holds(answer: dict[str, Any], *held: int) -> str:
    assert answer["type"] in ("held", "released"), answer
    assert answer["hold"]["seats"] == list(held)
    return str(answer["hold"]["id"])


async def test_a_table_changes_hands_whole(event: str, live_server: LiveServer, lines: Lines) -> None:
    line = await lines.greeted(live_server, event=event)
    torn(await line.ask("hold", seats=[0]), 1, 2, 3)
    torn(await line.ask("hold", seats=[0, 1, 2, 3, 4, 12]), 5, 6, 7)
    torn(await line.ask("hold", seats=[8, 9]), 10, 11)
    hold = holds(await line.ask("hold", seats=T1), *T1)
    torn(await line.ask("hold", into=hold, seats=[4, 5]), 6, 7)
    holds(await line.ask("hold", into=hold, seats=BOX), *T1, *BOX)
    torn(await line.ask("release", hold=hold, seats=[0]), 1, 2, 3)
    torn(await line.ask("hold", replace=hold, seats=[*T2[:3], 12, 13]), 7)
    holds(await line.ask("release", hold=hold, seats=T1), *BOX)
    holds(await line.ask("hold", replace=hold, seats=[*T2, 14, 15]), *T2, 14, 15)
    assert "hold" not in await line.ask("release", hold=hold)


async def companions_of(line: Line) -> str:
    torn(await line.ask("hold", seats=[COMPANION]), COMPANION)
    torn(await line.ask("hold", seats=[COMPANION, 18, 19]), COMPANION)
    hold = holds(await line.ask("hold", seats=[12, 13]), 12, 13)
    torn(await line.ask("hold", into=hold, seats=[COMPANION]), COMPANION)
    return hold


async def test_a_companion_seat_goes_with_an_accessible_place(
    event: str, live_server: LiveServer, lines: Lines
) -> None:
    """Also where the place is in the hold already, and as long as the seat is."""
    line = await lines.greeted(live_server, event=event)
    hold = await companions_of(line)
    holds(await line.ask("hold", into=hold, seats=[WHEELCHAIR]), 12, 13, WHEELCHAIR)
    first = await line.ask("hold", into=hold, seats=[COMPANION], key="once")
    holds(first, 12, 13, WHEELCHAIR, COMPANION)
    again = await line.ask("hold", into=hold, seats=[COMPANION], key="once")
    assert (again["hold"], again["seq"]) == (first["hold"], first["seq"]), "the same request is not done twice"
    torn(await line.ask("release", hold=hold, seats=[WHEELCHAIR]), COMPANION)
    torn(await line.ask("hold", replace=hold, seats=[12, 13, COMPANION]), COMPANION)
    holds(await line.ask("release", hold=hold, seats=[COMPANION]), 12, 13, WHEELCHAIR)
    holds(await line.ask("hold", into=hold, seats=[COMPANION]), 12, 13, WHEELCHAIR, COMPANION)
    holds(await line.ask("release", hold=hold, seats=[WHEELCHAIR, COMPANION]), 12, 13)
    both = holds(await line.ask("hold", seats=[WHEELCHAIR, COMPANION]), WHEELCHAIR, COMPANION)
    assert "hold" not in await line.ask("release", hold=both, seats=[WHEELCHAIR, COMPANION])


async def test_a_pause_lets_an_accessible_place_go(event: str, counter: Counter, lines: Lines) -> None:  # noqa: F811
    counter.event = event
    line = await lines.greeted(counter.server, event=event)
    hold = holds(await line.ask("hold", seats=[14, 15, WHEELCHAIR, COMPANION]), 14, 15, WHEELCHAIR, COMPANION)
    await counter.call("POST", f"/events/{event}/pause", who="manager", key=None)
    torn(await line.ask("release", hold=hold, seats=[WHEELCHAIR]), COMPANION)
    holds(await line.ask("release", hold=hold, seats=[WHEELCHAIR, COMPANION]), 14, 15)


async def test_best_seats_are_a_whole_table_where_it_fits(event: str, live_server: LiveServer, lines: Lines) -> None:
    line = await lines.greeted(live_server, event=event)
    hold = holds(await line.ask("hold_best", quantity=4), *T1)
    two = await line.ask("hold_best", quantity=2)
    assert not set(two["hold"]["seats"]) & {*T2, *BOX}, "no part of a table"
    holds(await line.ask("hold_best", quantity=4, replace=hold, section="Box 1"), *BOX)
    refused = await line.ask("hold_best", quantity=3, section="Tables")
    assert refused["code"] == "no_best_seats"
    fifth = await line.ask("hold_best", quantity=7, section="Stalls")
    assert fifth["code"] == "no_best_seats", "the accessible places are for those who ask for them"
    wish = {"quantity": 3, "accessible": 1, "companions": 1}
    assert {WHEELCHAIR, COMPANION} < set((await line.ask("hold_best", **wish))["hold"]["seats"])


async def test_rest_and_staff_sell_tables_whole(event: str, counter: Counter) -> None:  # noqa: F811
    """Whom a companion seat is sold to staff decide; a table is the plan's."""
    counter.event = event
    async with counter.http.get(f"/api/v1/events/{event}/layout") as answer:
        sections = (await answer.json(content_type=None))["sections"]
    counter.seats = [
        seat["seat_id"] for section in sections for row in section.get("rows", ()) for seat in row["seats"]
    ]
    assert [row.get("sold_whole") for row in sections[0]["rows"]] == [True, True]
    anna, kim = await counter.browser(), await counter.customer()
    body = {"seats": counter.seats[:3]}
    answer = await counter.call("POST", f"/events/{event}/holds", body, who=anna)
    assert (answer.status, answer.code, answer.body["seats"]) == (422, "invalid_message", [counter.seats[3]])
    hold = await counter.public_hold(anna, *T1)
    change = {"add": {"seats": [counter.seats[12], counter.seats[13]]}, "release": {"seats": [counter.seats[0]]}}
    answer = await counter.call("PATCH", f"/holds/{hold}", change, who=anna)
    assert (answer.code, answer.body["seats"]) == ("invalid_message", [counter.seats[0]])
    change["release"]["seats"] = [counter.seats[seat] for seat in T1]
    answer = await counter.call("PATCH", f"/holds/{hold}", change, who=anna)
    assert (answer.status, answer.body["seats"]) == (200, counter.seats[12:14])
    assert (await counter.hold(kim, 0, 1)).code == "invalid_message"
    assert (await counter.hold(kim, *T1, COMPANION)).status == 201
    group = {"events": [event], "seats": [counter.seats[4]]}
    answer = await counter.call("POST", f"/groups/{event}/holds", group, who=anna)
    assert (answer.code, answer.body["events"][0]["seats"]) == ("invalid_message", counter.seats[5:8])
