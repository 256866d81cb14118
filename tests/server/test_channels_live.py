"""Sales channels against a running server: given, sold through, opened, reported; and each view's own picture."""

import base64
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lines import Line, Lines
from test_counter import PASSWORD, Counter, counter  # noqa: F401
from test_socket_contract import holder_tokens

from lml_live.client import BlockResult, LiveClient, OpenResult, Refusal
from lml_live.gateway import wire
from lml_live.gateway.tokens import LIFE_MS, RENEWAL_MS
from lml_live.guard.partners import Partners
from lml_live.guard.staff import StaffDesk
from lml_live.inventory import seatmap
from lml_live.values import AVAILABLE, BLOCKED, HELD

KEYS: dict[str, str] = {}
"""The partner's key, once a server."""


async def agency_key(counter: Counter) -> str:  # noqa: F811
    if counter.server.dsn not in KEYS:
        async with counter.server.pool() as pool:
            KEYS[counter.server.dsn] = await Partners(pool).add("The Agency", "agency")
    return KEYS[counter.server.dsn]


async def assign(counter: Counter, channel: str, *seats: int, floor: int | None = None, **more: Any) -> Any:  # noqa: F811
    areas = {} if floor is None else {"floor": floor}
    body = {"channel": channel, "seats": [counter.seats[seat] for seat in seats], "areas": areas, "reason": "contract"}
    answer = await counter.call("POST", f"/events/{counter.event}/channels", body | more, who="manager", key=None)
    assert answer.status == 200, answer.raw
    return answer.body


async def report(counter: Counter) -> dict[str, Any]:  # noqa: F811
    answer = await counter.call("GET", f"/events/{counter.event}/channels")
    assert answer.status == 200, answer.raw
    return {item["channel"]: item for item in answer.body["items"]}


def shown(line: Line, *seats: int) -> list[int]:
    return [line.seats[seat] for seat in seats]


async def test_each_view_has_its_own_picture_of_one_event(counter: Counter, lines: Lines) -> None:  # noqa: F811
    """Web, agency and staff watch one event: assigning, holding and blocking is told to each as it may see it."""
    counter.event = await counter.server.new_event(max_seats=50)
    await assign(counter, "web", 0, 1)
    key = await agency_key(counter)
    public = await lines.greeted(counter.server, event=counter.event)
    agency = await lines.greeted(counter.server, wire.MSGPACK, event=counter.event, token=key)
    staff = await lines.greeted(counter.server, event=counter.event, token=counter.tokens["box_office"])
    assert (shown(public, 0, 2), shown(agency, 0, 2)) == ([AVAILABLE, AVAILABLE], [BLOCKED, AVAILABLE])
    assert shown(staff, 0, 2) == [AVAILABLE, AVAILABLE]
    assert staff.heard[0]["token"] == counter.tokens["box_office"]
    assert staff.heard[0]["channels"] == {"web": 1}
    details = base64.b64decode(staff.heard[0]["details"])
    assert (len(details), details[0], details[2]) == (300, 8, 0)
    assert all("details" not in line.heard[0] and "channels" not in line.heard[0] for line in (public, agency))

    given = await assign(counter, "agency", 2, 3, floor=10)
    assert (given["seats"], given["areas"], given["refused_seats"]) == (2, {"floor": 10}, [])
    await public.hear_seats({2: BLOCKED, 3: BLOCKED})
    await public.hear_area("floor", available=30, blocked=10)
    told = await staff.hear("details")
    assert (told["seats"], told["channels"]) == ([[2, 16], [3, 16]], {"web": 1, "agency": 2})

    taken = await public.ask("hold", seats=[2, 5])
    assert (taken["type"], taken["code"], taken["seats"]) == ("error", "seat_taken", [2])
    assert (await agency.ask("hold", seats=[0]))["code"] == "seat_taken"
    holding = await agency.ask("hold", seats=[2, 5], areas={"floor": 12})
    assert holding["type"] == "held", holding
    best = await agency.ask("hold_best", quantity=1)
    assert best["type"] == "held", best
    assert not {0, 1} & set(best["hold"]["seats"]), "what is the web's is not offered"
    await public.hear_seats({2: HELD, 5: HELD, 3: BLOCKED})
    await public.hear_area("floor", available=28, held=12, blocked=0)
    await agency.hear_seats({2: HELD})
    assert shown(agency, 0, 3) == [BLOCKED, AVAILABLE]

    await counter.block("house", 7)
    await public.hear_seats({7: BLOCKED})
    assert (await staff.hear("details", seats=[[7, 3]]))["type"] == "details"
    assert (await staff.ask("hold", seats=[8]))["code"] == "forbidden"
    assert (await staff.hello())["type"] == "welcome", "said again, hello needs no token"
    assert not [kind for line in (public, agency) for kind in line.kinds() if kind == "details"]

    again = await lines.greeted(counter.server, event=counter.event, token=agency.token)
    assert again.holder == agency.holder
    assert shown(again, 0, 3) == [BLOCKED, AVAILABLE], "the token that the partner's customer got is the agency's"


async def test_an_ended_partners_customers_go_on_until_their_tokens_end(counter: Counter, lines: Lines) -> None:  # noqa: F811
    """They renewed themselves for ever: the partner whose key was taken away sold on."""
    tokens, late = await holder_tokens(counter.server), int(time.time() * 1000) - LIFE_MS + RENEWAL_MS - 60_000
    old = counter.tokens["old"] = tokens.issue("h-old", late, "travel")
    async with counter.server.pool() as pool:
        partners = Partners(pool)
        for ended in (False, True):
            if ended:
                await partners.end("travel")
            else:
                await partners.add("Travel", "travel")
            line = await lines.greeted(counter.server, event=counter.event, token=old)
            assert (line.holder, line.token == old) == ("h-old", ended)
            assert (await line.ask("ping")).get("token") is None, "renewed by the welcome already, or not at all"
            assert ((await line.hello())["token"] == old) is ended
            assert (await line.ask("hold", seats=[20 + ended]))["type"] == "held"
            fresh = await counter.call("POST", "/holders", who="old", key=None)
            assert fresh.status == (403 if ended else 201)


async def test_managers_block_over_the_socket(counter: Counter, lines: Lines) -> None:  # noqa: F811
    counter.event = await counter.server.new_event(max_seats=50)
    public = await lines.greeted(counter.server, event=counter.event)
    clerk, manager = [
        await lines.greeted(counter.server, fmt, event=counter.event, token=counter.tokens[role])
        for role, fmt in (("box_office", wire.JSON), ("manager", wire.MSGPACK))
    ]
    await public.ask("hold", seats=[2], areas={"floor": 30})
    asked: dict[str, Any] = {"seats": [0, 1, 2], "areas": {"floor": 11}, "kind": "kill", "reason": "mixer"}
    for line in (public, clerk):
        assert (await line.ask("block", **asked))["code"] == "forbidden"
    done = await manager.ask("block", **asked)
    assert (done["type"], done["seats"], done["refused_seats"]) == ("blocked", [0, 1], [2])
    assert (done.get("areas"), done["refused_areas"]) == (None, {"floor": 10})
    await public.hear_seats({0: BLOCKED, 1: BLOCKED, 2: HELD})
    (seat,) = await counter.details(0)
    assert (seat["status"], seat["reason"]) == ("kill", "mixer")
    await counter.block("house", 3)
    async with counter.server.pool() as pool:
        rows = await pool.fetch("SELECT staff_id, origin FROM status_change WHERE event_id = $1", counter.event)
        by = {(row["staff_id"], row["origin"]) for row in rows}
        assert len(by) == 1, "over the socket as over REST: the same member of staff, from the same address"
        assert all(by.pop())
    assert (await manager.ask("block", areas={"floor": 4}, kind="house", reason="press"))["areas"] == {"floor": 4}
    back = await manager.ask("unblock", seats=[1, 5], areas={"floor": 4})
    assert (back["type"], back["seats"], back["refused_seats"], back["areas"]) == ("unblocked", [1], [5], {"floor": 4})
    await public.hear_seats({0: BLOCKED, 1: AVAILABLE})
    for wrong, code in (
        ({"seats": [300]}, "unknown_seat"),
        ({"areas": {"nowhere": 1}}, "unknown_area"),
        ({}, "invalid_message"),
        ({"seats": [0], "kind": "other"}, "invalid_message"),
        ({"seats": [0], "reason": ""}, "invalid_message"),
        ({"seats": [0] * 1001}, "invalid_message"),
    ):
        refused = await manager.ask("block", **{"kind": "house", "reason": "x", **wrong})
        assert (refused["type"], refused["code"]) == ("error", code), wrong
    async with LiveClient(counter.server.url, counter.event, token=counter.tokens["manager"]) as client:
        done = await client.block([4, 2], {"floor": 3}, kind="house", reason="press")
        assert done == BlockResult((4,), {"floor": 3}, (2,), {})
        await client.wait_for(lambda live: live.seats[4] == BLOCKED)
        assert await client.unblock([4, 5], {"floor": 4}) == BlockResult((4,), {}, (5,), {"floor": 3})
        refused = await client.block([300], kind="kill", reason="x")
        assert isinstance(refused, Refusal)
        assert (refused.code, refused.seats) == ("unknown_seat", (300,))
    assert not {"reason", "kind", "staff"} & {name for message in public.heard for name in message}


@pytest.mark.parametrize("kind", ["block", "unblock"])
async def test_a_key_of_a_manager_is_one_requests(counter: Counter, lines: Lines, kind: str) -> None:  # noqa: F811
    """Another one under the same key was done, or had its seats changed and was then refused for its places."""
    counter.event = await counter.server.new_event(max_seats=50)
    first, second = [
        await lines.greeted(counter.server, fmt, event=counter.event, token=counter.tokens["manager"])
        for fmt in (wire.JSON, wire.MSGPACK)
    ]
    assert (await first.ask("block", seats=[2, 3], areas={"floor": 20}, kind="house", reason="x"))["type"] == "blocked"
    before = await counter.details(0, 1, 2, 3)
    seat, floor = (0, 15) if kind == "block" else (2, 25)
    asked: dict[str, Any] = {"seats": [seat], "areas": {"floor": 5}, "kind": "house", "reason": "x", "key": "k"}
    made = await first.ask(kind, **asked)
    assert (made["type"], made["seats"], made["areas"]) == (f"{kind}ed", [seat], {"floor": 5})
    after = await counter.details(0, 1, 2, 3)
    assert after != before
    for other_kind, other in (
        (kind, {**asked, "seats": [1, 3]}),
        (kind, {**asked, "seats": [1, 3], "areas": {}}),
        (kind, {**asked, "areas": {}}),
        (kind, {**asked, "areas": {"floor": 6}}),
        (kind, {**asked, "kind": "kill"}),
        (kind, {**asked, "reason": "y"}),
        ("unblock" if kind == "block" else "block", asked),
        ("sell", {"seats": [1], "tender": "cash", "key": "k"}),
    ):
        assert (await second.ask(other_kind, **other)).get("code") == "idempotency_mismatch", other
        assert await counter.details(0, 1, 2, 3) == after, "nothing of it was done"
    again = await second.ask(kind, **asked)
    assert (again["type"], again["areas"]) == (f"{kind}ed", {"floor": 5})
    assert await counter.details(0, 1, 2, 3) == after
    # Once, of the floor's 40 places; and without a key each time.
    await first.hear_area("floor", available=floor)
    assert (await second.ask(kind, **{**asked, "key": None}))["areas"] == {"floor": 5}
    await first.hear_area("floor", available=floor + (-5 if kind == "block" else 5))


async def test_managers_assign_and_open_over_the_socket(counter: Counter, lines: Lines) -> None:  # noqa: F811
    """As over REST: each view is told, what is held elsewhere is refused, and the channel opens when it is time."""
    public = await lines.greeted(counter.server, event=counter.event)
    manager = await lines.greeted(counter.server, event=counter.event, token=counter.tokens["manager"])
    assert (await public.ask("hold", seats=[2]))["type"] == "held"
    asked = {"channel": "agency", "seats": [0, 1, 2], "areas": {"floor": 10}, "reason": "contract"}
    given = await manager.ask("assign_seats", **asked)
    assert (given["type"], given["seats"], given["refused_seats"], given["areas"]) == (
        *("assigned", [0, 1], [2]),
        {"floor": 10},
    )
    await public.hear_seats({0: BLOCKED, 1: BLOCKED})
    await public.hear_area("floor", available=30, blocked=10)
    too_many = await manager.ask("assign_seats", channel="agency", areas={"floor": 41}, reason="x")
    assert too_many["refused_areas"] == {"floor": 40}
    assert (await report(counter))["agency"]["seats"]["assigned"] == 2
    listed = await counter.call("GET", f"/events/{counter.event}/channels")
    assert [item.get("opens_at") for item in listed.body["items"] if item["channel"] == "agency"] == [None]
    opened = await manager.ask("open_channel", channel="agency", reason="unsold")
    assert (opened["type"], opened["channel"]) == ("opened", "agency")
    await public.hear_seats({0: AVAILABLE, 1: AVAILABLE})
    await public.hear_area("floor", available=40, blocked=0)
    log = await counter.call("GET", f"/events/{counter.event}/status-changes")
    assert {(item["act"], item["reason"]) for item in log.body["items"]} >= {("assign", "contract"), ("open", "unsold")}

    clerk = await lines.greeted(counter.server, event=counter.event, token=counter.tokens["box_office"])
    for line, code in ((clerk, "forbidden"), (public, "forbidden")):
        assert (await line.ask("assign_seats", **asked))["code"] == code
        assert (await line.ask("open_channel", channel="agency", reason="x"))["code"] == code
    for kind, wrong, code in (
        ("assign_seats", {"seats": [300]}, "unknown_seat"),
        ("assign_seats", {"areas": {"nowhere": 1}}, "unknown_area"),
        ("assign_seats", {}, "invalid_message"),
        ("assign_seats", {"channel": "staff", "seats": [0]}, "invalid_message"),
        ("assign_seats", {"channel": "open", "areas": {"floor": 1}}, "invalid_message"),
        ("assign_seats", {"channel": "a b", "seats": [0]}, "invalid_message"),
        ("assign_seats", {"seats": [0], "opens_at_ms": -1}, "invalid_message"),
        ("assign_seats", {"seats": [0], "opens_at_ms": 10**15}, "invalid_message"),
        ("open_channel", {"channel": "nobody"}, "not_found"),
    ):
        line = await lines.greeted(counter.server, event=counter.event, token=counter.tokens["manager"])
        refused = await line.ask(kind, **{"channel": "web", "reason": "x", **wrong})
        assert (refused["type"], refused["code"]) == ("error", code), (kind, wrong)


async def test_a_manager_assigns_and_opens_with_the_client(counter: Counter) -> None:  # noqa: F811
    later_ms = 4_000_000_000_000
    async with LiveClient(counter.server.url, counter.event, token=counter.tokens["manager"]) as client:
        done = await client.assign_seats("agency", "contract", [0], {"floor": 3}, opens_at_ms=later_ms)
        assert done == BlockResult((0,), {"floor": 3}, (), {})
        assert await _opens_at(counter) == "2096-10-02T07:06:40Z"
        await client.assign_seats("agency", "more", [1])
        assert await _opens_at(counter) == "2096-10-02T07:06:40Z", "as was planned"
        await client.assign_seats("agency", "for good", [1], opens_at_ms=None)
        assert await _opens_at(counter) is None
        assert await client.open_channel("agency", "unsold") == OpenResult("agency")
        refused = await client.open_channel("nobody", "x")
        assert isinstance(refused, Refusal)
        assert refused.code == "not_found"


async def _opens_at(counter: Counter) -> str | None:  # noqa: F811
    opens_at: str | None = (await report(counter))["agency"].get("opens_at")
    return opens_at


async def test_who_signed_out_blocks_no_more(counter: Counter, lines: Lines) -> None:  # noqa: F811
    async with counter.server.pool() as pool:
        desk = StaffDesk(pool)
        await desk.add_staff("leaving@example.com", PASSWORD, ("manager",))
        token = counter.tokens["leaving"] = (await desk.sign_in("leaving@example.com", PASSWORD)).token
    line = await lines.greeted(counter.server, token=token)
    assert (await counter.call("DELETE", "/sessions", who="leaving")).status == 204
    assert (await counter.call("DELETE", "/sessions", who="leaving")).code == "unauthorized"
    assert (await counter.call("DELETE", "/sessions", who=await counter.browser())).code == "unauthorized"
    # Sockets are closed by what is told of the sign-out; what is asked before that is refused.
    await line.say("block", id=1, seats=[0], kind="kill", reason="grudge")
    assert await line.closed() == wire.CLOSE_UNAUTHORIZED
    assert [message["code"] for message in line.heard[1:]] in ([], ["unauthorized"])


async def test_a_holder_does_not_become_staff(counter: Counter, lines: Lines) -> None:  # noqa: F811
    line = await lines.greeted(counter.server)
    await line.say("hello", token=counter.tokens["manager"])
    assert (await line.hear("error"))["code"] == "unauthorized"
    assert await line.closed() == wire.CLOSE_UNAUTHORIZED


async def test_availability_is_the_callers_view(counter: Counter) -> None:  # noqa: F811
    counter.event = await counter.server.new_event()
    await assign(counter, "agency", 0)
    path, key = f"/events/{counter.event}/availability", await agency_key(counter)
    seen = {}
    for who in (None, key, "manager"):
        answer = await counter.call("GET", path, who=who)
        assert (answer.status, answer.headers["Vary"]) == (200, "Authorization")
        seen[answer.headers["ETag"]] = seatmap.unpack(base64.b64decode(answer.body["seats"]), 300)[0]
        assert ("details" in answer.body) == (who == "manager")
    assert list(seen.values()) == [BLOCKED, AVAILABLE, AVAILABLE]
    assert len(seen) == 3, "views have tags of their own"
    assert (await counter.call("GET", path, who="partner-unknown")).code == "unauthorized"


async def test_a_partner_sells_through_its_channel_over_rest(counter: Counter) -> None:  # noqa: F811
    """Customers of the partner and of the box office hold what is theirs; the report counts it."""
    counter.event = await counter.server.new_event()
    await assign(counter, "agency", 0, 1, floor=5)
    await assign(counter, "box-office", 2)
    path, key = f"/events/{counter.event}/holds", await agency_key(counter)
    customer, clerks, browser = await counter.customer(key), await counter.customer(), await counter.browser()
    for who, seat, status in (
        *((browser, 0, 409), (browser, 2, 409), (clerks, 0, 409)),
        *((customer, 2, 409), (customer, 0, 201), (clerks, 2, 201)),
    ):
        answer = await counter.call("POST", path, {"seats": [counter.seats[seat]]}, who=who)
        assert answer.status == status, (who, seat, answer.raw)
    made = await counter.call("POST", path, {"areas": {"floor": 2}}, who=customer)
    assert made.status == 201, made.raw
    fresh = await counter.call("POST", "/holders", who=customer, key=None)
    counter.tokens["fresh"] = fresh.body["token"]
    assert (
        await counter.call("PATCH", f"/holds/{made.body['id']}", {"add": {"areas": {"floor": 3}}}, who="fresh")
    ).status == 200
    listed = await report(counter)
    assert list(listed) == ["open", "agency", "box-office"]
    assert listed["agency"]["seats"] == {"assigned": 2, "available": 1, "held": 1, "sold": 0, "blocked": 0}
    assert listed["agency"]["areas"] == {"floor": {"assigned": 5, "available": 0, "held": 5, "sold": 0}}
    assert listed["box-office"]["seats"]["held"] == 1
    assert listed["open"]["seats"]["available"] == 297
    assert listed["open"]["areas"] == {"floor": {"assigned": 35, "available": 35, "held": 0, "sold": 0}}
    (seat,) = await counter.details(0)
    assert (seat["status"], seat["channel"]) == ("held", "agency")
    moved = await counter.call("GET", f"/events/{counter.event}/status-changes?seat={counter.seats[0]}")
    assert [(item["act"], item["channel"], item["reason"]) for item in moved.body["items"]] == [
        ("assign", "agency", "contract")
    ]


async def test_what_is_held_elsewhere_is_refused_and_listed(counter: Counter) -> None:  # noqa: F811
    counter.event = await counter.server.new_event()
    anna = await counter.browser()
    await counter.public_hold(anna, 0)
    given = await assign(counter, "agency", floor=41, runs=[[counter.seats[0], counter.seats[4]]])
    assert (given["seats"], given["refused_seats"]) == (4, [{"seat_id": counter.seats[0], "code": "seat_taken"}])
    assert given["refused_areas"] == [{"area_id": "floor", "code": "area_full", "available": 40}]
    listed = await report(counter)
    assert (listed["agency"]["seats"]["assigned"], listed["agency"]["areas"]) == (4, {})
    (seat,) = await counter.details(0)
    assert "channel" not in seat, "PostgreSQL took it back as well"
    again = await assign(counter, "web", 1, 2)
    assert (again["seats"], (await report(counter))["agency"]["seats"]["assigned"]) == (2, 2), "moved"
    back = await assign(counter, "open", 1)
    assert (back["seats"], (await report(counter))["web"]["seats"]["assigned"]) == (1, 1), "opened"


async def test_an_allotment_opens_when_its_time_has_come(counter: Counter, lines: Lines) -> None:  # noqa: F811
    counter.event = await counter.server.new_event()
    line = await lines.greeted(counter.server, event=counter.event)
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await assign(counter, "agency", 0, 1, floor=10, opens_at=later)
    await line.hear_seats({0: BLOCKED})
    assert (await report(counter))["agency"]["opens_at"][:16] == later[:16]
    await assign(counter, "agency", 2)
    assert (await report(counter))["agency"]["opens_at"][:16] == later[:16], "not said again, it stays"
    await assign(counter, "agency", 0, opens_at=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())
    await line.hear_seats({0: AVAILABLE, 1: AVAILABLE})
    await line.hear_area("floor", available=40, blocked=0)
    listed = await report(counter)
    assert listed["agency"]["opened_at"] is not None
    assert listed["open"]["seats"]["available"] == 300
    opened = await counter.call("GET", f"/events/{counter.event}/status-changes?seat={counter.seats[1]}")
    assert [item["act"] for item in opened.body["items"]] == ["assign", "open"]

    await assign(counter, "agency", 5)
    await line.hear_seats({5: BLOCKED})
    for _ in range(2):
        path = f"/events/{counter.event}/channels/agency/open"
        answer = await counter.call("POST", path, {"reason": "slow"}, who="manager", key=None)
        assert (answer.status, answer.body["seats"]["assigned"]) == (200, 0)
    await line.hear_seats({5: AVAILABLE})


@pytest.mark.parametrize(
    ("who", "body", "code"),
    [
        ("box_office", {"channel": "web"}, "forbidden"),
        (None, {"channel": "web"}, "unauthorized"),
        ("manager", {"channel": "web"}, "invalid_message"),
        ("manager", {"channel": "staff", "runs": "some"}, "invalid_message"),
        ("manager", {"channel": "a b", "runs": "some"}, "invalid_message"),
        ("manager", {"channel": "open", "areas": {"floor": 1}}, "invalid_message"),
        ("manager", {"channel": "web", "areas": {"nowhere": 1}}, "invalid_message"),
        ("manager", {"channel": "web", "areas": {"floor": -1}}, "invalid_message"),
        ("manager", {"channel": "web", "runs": "some", "opens_at": "tomorrow"}, "invalid_message"),
    ],
)
async def test_what_cannot_be_assigned(counter: Counter, who: str | None, body: dict[str, Any], code: str) -> None:  # noqa: F811
    if body.get("runs") == "some":
        body = {**body, "runs": [[counter.seats[0], counter.seats[1]]]}
    path = f"/events/{counter.event}/channels"
    assert (await counter.call("POST", path, {"reason": "x", **body}, who=who, key=None)).code == code


async def test_a_channel_that_is_not_there_cannot_be_opened(counter: Counter) -> None:  # noqa: F811
    """PostgreSQL, which has no text with a NUL in it, was asked for one, and the answer was 500."""
    for nobody in ("%00", "a%20b", "x" * 65, "nobody"):
        path = f"/events/{counter.event}/channels/{nobody}/open"
        assert (await counter.call("POST", path, {"reason": "x"}, who="manager", key=None)).code == "not_found", nobody
    assert (await counter.call("POST", path, {"reason": "x"}, key=None)).code == "forbidden"
    assert (await counter.call("GET", f"/events/{counter.event}/channels", who=None)).code == "unauthorized"
