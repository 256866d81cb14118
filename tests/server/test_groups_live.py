"""Several events of a group in one step: REST, the live socket and the Python client (contract, sections 2 and 3)."""

import secrets
from typing import Any

import pytest
from lines import Lines
from serving import LiveServer, hall_of_300
from test_rest_holders import Holder, me, seat_ids, somebody  # noqa: F401

from lml_live import limits
from lml_live.client import GroupResult, LiveClient, Refusal
from lml_live.gateway import wire
from lml_live.values import AVAILABLE, HELD


@pytest.fixture
async def season(live_server: LiveServer) -> list[str]:
    """Two evenings of one group, on sale; the first is the server's event."""
    group = f"g-{secrets.token_hex(4)}"
    events = [await live_server.new_event(group=group) for _ in range(2)]
    live_server.event = events[0]
    return events


async def group_of(me: Holder, event: str) -> str:  # noqa: F811
    return str((await me.call("GET", f"/events/{event}")).body["group"])


async def test_a_season_over_rest(me: Holder, season: list[str], live_server: LiveServer, lines: Lines) -> None:  # noqa: F811
    first, second = season
    draft = await live_server.new_event(group=await group_of(me, first), state="draft")
    path = f"/groups/{await group_of(me, first)}/holds"
    watcher = await lines.greeted(live_server, event=second, token=me.token)
    choice = {"seats": me.seats(3, 4), "areas": {"floor": 1}}
    made = await me.call("POST", path, choice, key="season")
    assert (made.status, made.headers["Location"]) == (201, f"/api/v1{path}")
    assert [one["event"] for one in made.body["holds"]] == season, "drafts are not meant"
    assert [one["hold"]["seats"] for one in made.body["holds"]] == [me.seats(3, 4)] * 2
    assert made.body["amounts"] == {"EUR": 2 * made.body["holds"][0]["hold"]["amount"]}
    assert (await watcher.hear("hold_changed"))["reason"] == "own"
    await watcher.hear_seats({3: HELD, 4: HELD})
    ids = [one["hold"]["id"] for one in made.body["holds"]]
    assert len({hold.partition("-")[2] for hold in ids}) == 1
    assert (await me.call("POST", path, choice, key="season")).body == made.body
    assert (await me.call("POST", path, {"seats": me.seats(9)}, key="season")).code == "idempotency_mismatch"

    listed = (await me.call("GET", f"{path}?limit=1")).body
    assert [one["hold"]["id"] for one in listed["items"]] == ids[:1]
    rest = (await me.call("GET", f"{path}?limit=1&cursor={listed['next']}")).body
    assert ([one["hold"]["id"] for one in rest["items"]], rest["next"]) == (ids[1:], None)

    put_off = await me.call("POST", f"{path}/extend", {"holds": ids})
    assert [one["hold"]["extensions_left"] for one in put_off.body["holds"]] == [1, 1]
    wishes = [{"event": second, "seats": me.seats(5), "areas": {}}]
    moved = await me.call("POST", f"{path}/move", {"holds": ids, "events": wishes})
    assert (moved.status, [(one["event"], one["hold"]["seats"]) for one in moved.body["holds"]]) == (
        *(200, [(second, me.seats(5))]),
    )
    assert moved.body["holds"][0]["hold"]["id"] == ids[1]
    await watcher.hear_seats({3: AVAILABLE, 4: AVAILABLE, 5: HELD})
    gone = await me.call("POST", f"{path}/release", {"holds": ids[1:]})
    assert (gone.status, gone.raw) == (204, b"")
    assert (await me.call("POST", f"{path}/release", {"holds": ids[1:]})).code == "hold_not_found"
    assert (await me.call("POST", path, {"events": [draft], "seats": me.seats(1)})).code == "not_found"


async def test_who_refuses_is_named_event_by_event(me: Holder, somebody: Any, season: list[str]) -> None:  # noqa: F811
    first, second = season
    path = f"/groups/{await group_of(me, first)}/holds"
    assert (await (await somebody()).hold(7)).status == 201
    body = {"events": [{"event": first, "seats": me.seats(7, 8)}, {"event": second, "seats": me.seats(1)}]}
    refused = await me.call("POST", path, body)
    assert (refused.status, refused.code) == (409, "seat_taken")
    assert refused.body["events"] == [
        {"event": first, "code": "seat_taken", "message": "Somebody else was faster.", "seats": me.seats(7)}
    ]
    assert (await me.call("GET", path)).body["items"] == []
    unknown = {"events": season, "seats": ["0" * 64]}
    assert [one["code"] for one in (await me.call("POST", path, unknown)).body["events"]] == ["unknown_seat"] * 2


async def test_one_hold_moves_to_another_event_of_its_group_only(
    me: Holder,  # noqa: F811
    season: list[str],
    live_server: LiveServer,
) -> None:
    first, second = season
    hold = (await me.hold(10)).body
    moved = await me.call("POST", f"/holds/{hold['id']}/move", {"event": second, "seats": me.seats(11, 12)}, key="m")
    assert (moved.status, moved.body["seats"]) == (200, me.seats(11, 12))
    assert moved.body["deadline_ms"] == hold["deadline_ms"]
    assert (await me.call("GET", f"/holds/{hold['id']}")).code == "hold_not_found"
    again = await me.call("POST", f"/holds/{hold['id']}/move", {"event": second, "seats": me.seats(11, 12)}, key="m")
    assert again.body == moved.body
    elsewhere = {"event": await live_server.new_event(), "seats": me.seats(1)}
    path = f"/holds/{moved.body['id']}/move"
    assert (await me.call("POST", path, elsewhere)).code == "different_group"
    within = await me.call("POST", path, {"event": second, "seats": me.seats(13)})
    assert (within.body["id"], within.body["seats"]) == (moved.body["id"], me.seats(13))
    assert first != second


async def test_bad_input_over_rest(me: Holder, somebody: Any, season: list[str], live_server: LiveServer) -> None:  # noqa: F811
    group = await group_of(me, season[0])
    path = f"/groups/{group}/holds"
    hold = (await me.hold(1)).body["id"]
    second = (await me.hold(2)).body["id"]
    elsewhere = await live_server.new_event()
    seats = me.seats(5)
    many = [f"e-{n}" for n in range(limits.EVENTS_PER_CALL_MAX + 1)]
    wrong = [
        (path, {}, "invalid_message"),
        (path, {"events": many, "seats": seats}, "invalid_message"),
        (path, {"events": [season[0], season[0]], "seats": seats}, "invalid_message"),
        (path, {"events": [7], "seats": seats}, "invalid_message"),
        (path, {"events": ["a:b"], "seats": seats}, "invalid_message"),
        (path, {"events": [{"event": season[0]}]}, "invalid_message"),
        (path, {"events": [{"event": season[0], "seats": seats, "price": 1}]}, "invalid_message"),
        (path, {"events": season, "seats": me.seats(*range(9))}, "limit_exceeded"),
        (path, {"events": ["nothing"], "seats": seats}, "not_found"),
        (path, {"events": [*season, elsewhere], "seats": seats}, "different_group"),
        ("/groups/nobody/holds", {"seats": seats}, "not_found"),
        (f"{path}/release", {}, "invalid_message"),
        (f"{path}/release", {"holds": []}, "invalid_message"),
        (f"{path}/release", {"holds": [hold, hold]}, "invalid_message"),
        (f"{path}/release", {"holds": [hold, second]}, "invalid_message"),
        (f"{path}/release", {"holds": ["1-"]}, "hold_not_found"),
        (f"/groups/{elsewhere}/holds/release", {"holds": [hold]}, "different_group"),
        (f"{path}/move", {"holds": [hold], "seats": seats}, "invalid_message"),
        (f"{path}/move", {"events": season, "seats": seats}, "invalid_message"),
        (f"{path}/extend", {"holds": [hold], "seconds": 9_000}, "invalid_message"),
    ]
    for at, body, code in wrong:
        assert (await me.call("POST", at, body)).code == code, (at, body)
    thief = await somebody()
    assert (await thief.call("POST", f"{path}/release", {"holds": [hold]})).code == "hold_not_found"
    assert (await thief.call("POST", f"{path}/move", {"holds": [hold], "events": season, "seats": seats})).code == (
        "hold_not_found"
    )
    assert (await me.call("POST", path, {"seats": seats}, key=None)).code == "idempotency_required"
    assert len((await me.call("GET", path)).body["items"]) == 2
    me.token = None
    assert (await me.call("GET", path)).code == "unauthorized"


async def test_one_choice_needs_one_layout(
    me: Holder,  # noqa: F811
    season: list[str],
    live_server: LiveServer,
    lines: Lines,
) -> None:
    group = await group_of(me, season[0])
    await live_server.deploy(hall_of_300("other-hall"))
    other = await live_server.new_event(group=group, layout="other-hall")
    both = {"events": [season[0], other], "seats": me.seats(1)}
    assert (await me.call("POST", f"/groups/{group}/holds", both)).code == "invalid_message"
    line = await lines.greeted(live_server, event=season[0])
    assert (await line.ask("hold_group", events=[other], seats=[1]))["code"] == "invalid_message"


async def test_a_season_on_the_socket(
    live_server: LiveServer, lines: Lines, season: list[str], fmt: wire.Format
) -> None:
    first, second = season
    line = await lines.greeted(live_server, fmt, event=first)
    there = await lines.greeted(live_server, fmt, event=second, token=line.token)
    answer = await line.ask("hold_group", seats=[3, {"seat": 4, "type": "standard"}], areas={"floor": 1}, key="k")
    assert set(answer) == {"type", "id", "holds", "now_ms"}
    assert [(one["event"], one["value"]["seats"], one["seq"]) for one in answer["holds"]] == [
        (first, [3, 4], 1),
        (second, [3, 4], 1),
    ]
    holds = [one["hold"] for one in answer["holds"]]
    assert (await there.hear("hold_changed"))["hold"] == holds[1]
    await line.hear_seats({3: HELD, 4: HELD})
    assert "hold_changed" not in line.kinds(), "who asked is answered"
    assert (await line.ask("hold_group", seats=[3, 4], areas={"floor": 1}, key="k"))["holds"] == answer["holds"]
    put_off = await line.ask("extend_group", holds=holds)
    assert [one["value"]["extensions_left"] for one in put_off["holds"]] == [1, 1]
    moved = await line.ask("move_group", holds=holds[:1], events=[second], seats=[8])
    assert [(one["event"], one.get("value", {}).get("seats")) for one in moved["holds"]] == [
        (second, [8]),
        (first, None),
    ]
    rival = await lines.greeted(live_server, fmt, event=second)
    refusal = await rival.ask("hold_group", events=season, seats=[3])
    assert (refusal["code"], [one["event"] for one in refusal["events"]]) == ("seat_taken", [second])
    assert refusal["events"][0]["seats"] == [3]
    assert (await rival.ask("release_group", holds=[holds[1]]))["code"] == "hold_not_found"
    gone = await line.ask("release_group", holds=[holds[1]])
    assert "value" not in gone["holds"][0]
    assert (await line.ask("hold_group", events=["x y"], seats=[3]))["code"] == "invalid_message"


async def test_a_season_with_the_python_client(live_server: LiveServer, season: list[str]) -> None:
    async with LiveClient(live_server.url, season[0], fmt=wire.MSGPACK) as live:
        match await live.hold_group(seats=[20, 21]):
            case GroupResult(holds):
                assert list(holds) == season
            case other:
                pytest.fail(f"{other}")
        mine = holds[season[0]]
        assert mine is not None
        assert live.holds == {mine.id: mine}, "of several events, this one's"
        ids = [hold.id for hold in holds.values() if hold is not None]
        match await live.extend_group(ids):
            case GroupResult(holds):
                assert live.holds[mine.id] == holds[season[0]] != mine
            case other:
                pytest.fail(f"{other}")
        match await live.move_group(ids, [season[1]], [22]):
            case GroupResult(holds):
                assert (holds[season[0]], live.holds) == (None, {})
            case other:
                pytest.fail(f"{other}")
        match await live.release_group(ids):
            case Refusal("hold_not_found", events=events):
                assert [one.event for one in events] == season[:1]
            case other:
                pytest.fail(f"{other}")
        assert isinstance(await live.release_group(ids[1:]), GroupResult)
