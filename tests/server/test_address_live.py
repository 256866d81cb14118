"""What is taken from one network address counts there, whichever way it is asked for: REST, the socket, best seats."""

import secrets
from typing import Any

from lines import Lines
from serving import LiveServer
from test_rest_holders import Holder, seat_ids, somebody  # noqa: F401

FULL = "limit_exceeded"


async def test_every_way_of_taking_counts_for_the_address(
    live_server: LiveServer,
    somebody: Any,  # noqa: F811
    lines: Lines,
) -> None:
    """Four places an address; over REST and the socket, each with two of them taken."""
    address = {"X-Forwarded-For": f"2001:db8:{secrets.randbelow(65_536):x}::7"}  # of this run, by its network
    event = live_server.event = await live_server.new_event(
        group=f"g-{secrets.token_hex(4)}", address_seats=4, max_seats=8
    )
    anna, ben = await somebody(), await somebody()
    here: dict[str, Any] = {"X_Forwarded_For": address["X-Forwarded-For"]}
    group = (await anna.call("GET", f"/events/{event}")).body["group"]

    async def hold(who: Holder, *seats: int, **more: Any) -> Any:
        return await who.call("POST", f"/events/{event}/holds", {"seats": who.seats(*seats)}, **more)

    mine = await hold(anna, 0, 1, **here)
    assert mine.status == 201, mine.body
    path = f"/holds/{mine.body['id']}"
    three, five = anna.seats(20, 21, 22), anna.seats(20, 21, 22, 23, 24)
    assert (await hold(ben, 20, 21, 22, **here)).code == FULL, "whoever asks"
    for method, where, body in (
        ("POST", f"/events/{event}/holds/best", {"quantity": 3}),
        ("POST", f"/events/{event}/holds/best", {"quantity": 3, "into": mine.body["id"]}),
        ("POST", f"/events/{event}/holds/best", {"quantity": 5, "replace": mine.body["id"]}),
        ("PATCH", path, {"add": {"seats": three}}),
        ("PATCH", path, {"add": {"seats": anna.seats(20, 21, 22, 23)}, "release": {"seats": anna.seats(0)}}),
        ("POST", f"{path}/move", {"seats": five}),
        ("POST", f"/groups/{group}/holds", {"seats": three}),
        ("POST", f"/groups/{group}/holds/move", {"holds": [mine.body["id"]], "events": [event], "seats": five}),
    ):
        assert (await anna.call(method, where, body, **here)).code == FULL, (where, body)
    line = await lines.open(live_server, headers=address)
    await line.hello()
    for kind, fields in (
        ("hold", {"seats": [20, 21, 22]}),
        ("hold_best", {"quantity": 3}),
        ("hold_group", {"seats": [20, 21, 22]}),
    ):
        assert (await line.ask(kind, **fields)).get("code") == FULL, kind
    theirs = (await line.ask("hold", seats=[20, 21]))["hold"]["id"]
    for kind, fields in (
        ("hold", {"seats": [22], "into": theirs}),
        ("hold", {"seats": [22, 23, 24], "replace": theirs}),
        ("hold_best", {"quantity": 1, "into": theirs}),
        ("hold_best", {"quantity": 3, "replace": theirs}),
        ("move_group", {"holds": [theirs], "events": [event], "seats": [22, 23, 24]}),
    ):
        assert (await line.ask(kind, **fields)).get("code") == FULL, (kind, fields)
    assert (await line.ask("hold", seats=[22, 23], replace=theirs))["type"] == "held", "no more than before"
    assert (await hold(ben, 30, 31, 32)).status == 201, "from elsewhere"
