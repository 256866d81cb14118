"""The live socket, message by message (contract, section 3), in both subprotocols: hello, state and diffs."""

import base64
import time
from typing import Any

import msgspec
import pytest
from lines import SEAT_COUNT, Lines
from serving import LiveServer

from lml_live import limits
from lml_live.gateway import wire
from lml_live.gateway.session import Act, Greet, Hang, Renew, Say, Session
from lml_live.gateway.tokens import LIFE_MS, RENEWAL_MS, HolderToken, HolderTokens
from lml_live.values import AVAILABLE, BLOCKED, HELD

COMMON = {
    *("type", "event", "epoch", "seq", "areas", "holder", "token", "holds", "limits", "layout", "now_ms", "tick_ms"),
}


async def holder_tokens(server: LiveServer) -> HolderTokens:
    """Signs tokens as the server does."""
    async with server.pool() as pool:
        return HolderTokens(await pool.fetchval("SELECT secret FROM house"))


# --- hello and welcome


async def test_welcome_says_all_and_nothing_else(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.open(live_server, fmt)
    welcome = await line.hello()
    assert set(welcome) == COMMON | {"seats"}
    assert set(welcome["event"]) == {"id", "state", "on_sale_at_ms", "prices_version"}
    assert (welcome["event"]["id"], welcome["event"]["state"]) == (live_server.event, "open")
    assert welcome["areas"] == {"floor": {"available": 40, "held": 0, "sold": 0, "blocked": 0}}
    assert welcome["limits"] == {
        "max_seats": 8,
        "hold_seconds": 300,
        "extensions": 2,
        "lifetime_seconds": 1800,
        "orphan_rule": "off",
        "expired_holds": 3,
        "cooldown_seconds": 120,
        "rehold_seconds": 60,
        "release_jitter_seconds": 0,
        "address_holds": 100,
        "address_seats": 500,
    }
    assert set(welcome["layout"]) == {"id", "version", "hash", "url", "seat_count"}
    assert welcome["layout"]["seat_count"] == SEAT_COUNT
    assert isinstance(welcome["epoch"], str)
    assert welcome["holds"] == []
    assert welcome["tick_ms"] == limits.TICK_MS
    assert abs(welcome["now_ms"] - time.time() * 1000) < 60_000
    assert welcome["token"].startswith("lmlh_")


async def test_seats_are_two_bits_each_and_deflated_only_where_accepted(
    live_server: LiveServer, lines: Lines, fmt: wire.Format
) -> None:
    taker = await lines.greeted(live_server, fmt)
    await taker.ask("hold", seats=[0, 5, 299])
    await taker.hear_seats({0: HELD, 5: HELD, 299: HELD})
    plain, deflated = await lines.open(live_server, fmt), await lines.open(live_server, fmt)
    raw = (await plain.hello())["seats"]
    packed = raw if fmt.binary else base64.b64decode(raw, validate=True)
    assert len(packed) == 75
    assert (packed[0], packed[1], packed[74]) == (0b01, 0b0100, 0b01_00_00_00)
    assert (await deflated.hello(accept=["gzip", "deflate"]))["encoding"] == "deflate"
    assert deflated.seats == plain.seats == taker.seats


async def test_the_default_subprotocol_is_json(live_server: LiveServer, lines: Lines) -> None:
    async with (
        live_server.session() as http,
        http.ws_connect(f"/api/v1/events/{live_server.event}/live") as socket,
    ):
        await socket.send_str('{"type": "hello"}')
        assert '"type":"welcome"' in (await socket.receive()).data


async def test_the_first_message_must_be_hello(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.open(live_server, fmt)
    answer = await line.ask("hold", seats=[1])
    assert (answer["type"], answer["code"]) == ("error", "invalid_message")
    assert (await line.hello())["type"] == "welcome"


async def test_a_room_that_is_not_there_or_a_draft_has_no_socket(live_server: LiveServer) -> None:
    draft = await live_server.new_event(state="draft")
    async with live_server.session() as http:
        for event in ("no-such-event", draft, "..%2fx"):
            async with http.get(f"/api/v1/events/{event}/live") as answer:
                assert (answer.status, (await answer.json())["code"]) == (404, "not_found")


# --- Tokens


async def test_without_a_token_everybody_is_somebody_new(live_server: LiveServer, lines: Lines) -> None:
    first, second = await lines.greeted(live_server), await lines.greeted(live_server)
    assert first.holder != second.holder


async def test_with_a_token_it_is_the_same_holder_with_the_same_holds(
    live_server: LiveServer, lines: Lines, fmt: wire.Format
) -> None:
    first = await lines.greeted(live_server, fmt)
    held = (await first.ask("hold", seats=[7], areas={"floor": 2}))["hold"]
    second = await lines.open(live_server, fmt)
    welcome = await second.hello(token=first.token)
    assert (welcome["holder"], welcome["token"]) == (first.holder, first.token), "a good token is not renewed"
    assert welcome["holds"] == [held]


@pytest.mark.parametrize("kind", ["empty", "rubbish", "tampered", "unsigned", "expired", "staff", "partner"])
async def test_a_bad_token_never_makes_a_new_holder(
    live_server: LiveServer, lines: Lines, fmt: wire.Format, kind: str
) -> None:
    tokens = await holder_tokens(live_server)
    good = tokens.issue("h-1", int(time.time() * 1000))
    body, signature = good.split(".")
    token = {
        "empty": "",
        "rubbish": "lmlh_x",
        "tampered": body[:-2] + ("AA" if body[-2:] != "AA" else "BB") + "." + signature,
        "unsigned": body + ".",
        "expired": tokens.issue("h-1", int(time.time() * 1000) - LIFE_MS),
        "staff": "staff-unknown",
        "partner": "partner-unknown",
    }[kind]
    line = await lines.open(live_server, fmt)
    await line.say("hello", token=token)
    assert await line.closed() == wire.CLOSE_UNAUTHORIZED
    assert [(message["type"], message.get("code")) for message in line.heard] == [("error", "unauthorized")]
    assert token not in str(line.heard) or not token


async def test_a_token_in_its_last_quarter_is_renewed(live_server: LiveServer, lines: Lines) -> None:
    old = (await holder_tokens(live_server)).issue("h-old", int(time.time() * 1000) - LIFE_MS + RENEWAL_MS - 60_000)
    line = await lines.greeted(live_server, token=old)
    assert (line.holder, line.token != old) == ("h-old", True)
    assert (await lines.greeted(live_server, token=line.token)).holder == "h-old"


async def test_a_later_hello_may_bear_no_other_holders_token(
    live_server: LiveServer, lines: Lines, fmt: wire.Format
) -> None:
    line, other = await lines.greeted(live_server, fmt), await lines.greeted(live_server, fmt)
    assert (await line.hello(token=line.token))["holder"] == line.holder
    await line.say("hello", token=other.token)
    assert await line.closed() == wire.CLOSE_UNAUTHORIZED
    assert line.heard[-1]["code"] == "unauthorized"


def test_an_ended_token_ends_acting_but_not_watching() -> None:
    tokens, now = HolderTokens(b"s" * 32), 1_000_000
    session = Session(tokens, now)
    session.greeted("h-1", tokens.issue("h-1", now), now)
    hold, ping = b'{"type":"hold","id":1,"seats":[1]}', b'{"type":"ping","id":2}'
    assert isinstance(session.receive(hold, wire.JSON, now + LIFE_MS - 1), Act)
    late = session.receive(hold, wire.JSON, now + LIFE_MS)
    assert isinstance(late, Hang)
    assert (late.code, late.message and late.message.code) == (wire.CLOSE_UNAUTHORIZED, "unauthorized")
    said = session.receive(ping, wire.JSON, now + LIFE_MS)
    assert isinstance(said, Say), "who only watches is not cut off"
    assert isinstance(said.message, wire.Pong)
    assert said.message.token is None, "what has ended is not renewed"


def test_a_ping_renews_a_token_in_its_last_quarter() -> None:
    tokens, now = HolderTokens(b"s" * 32), 1_000_000
    session = Session(tokens, now)
    session.greeted("h-1", tokens.issue("h-1", now), now)
    for at, renewed in ((RENEWAL_MS * 3, False), (RENEWAL_MS * 3 + 1, True), (RENEWAL_MS * 3 + 2, False)):
        said = session.receive(b'{"type":"ping","id":1}', wire.JSON, now + at)
        assert isinstance(said, Say)
        assert isinstance(said.message, wire.Pong)
        assert (said.message.token is not None) is renewed


def test_a_partners_customer_is_renewed_while_the_partner_sells() -> None:
    """Neither a ping nor a later `hello` made a new token of one in its last quarter by itself."""
    tokens, now = HolderTokens(b"s" * 32), 1_000_000
    session, written = Session(tokens, now), tokens.issue("h-1", now, "agency")
    greet = session.receive(msgspec.json.encode({"type": "hello", "token": written}), wire.JSON, now)
    assert greet == Greet("h-1", written, None, deflate=False, channel="agency")
    session.greeted("h-1", written, now)
    late = now + RENEWAL_MS * 3 + 1
    assert session.receive(b'{"type":"ping","id":7}', wire.JSON, late) == Renew(7, "agency")
    assert session.pong(7, late, renew=False).token is None
    soon = session.receive(b'{"type":"ping","id":7}', wire.JSON, late + limits.RENEWAL_ASK_MS - 1)
    assert soon == Say(wire.Pong(id=7, now_ms=late + limits.RENEWAL_ASK_MS - 1)), (
        "pings do not ask PostgreSQL each time"
    )
    late += limits.RENEWAL_ASK_MS
    assert session.receive(b'{"type":"ping","id":7}', wire.JSON, late) == Renew(7, "agency")
    hello = session.receive(b'{"type":"hello"}', wire.JSON, late)
    assert hello == Greet("h-1", written, None, deflate=False, channel="agency", renew=True)
    renewed = session.pong(8, late, renew=True).token
    assert renewed is not None
    assert tokens.read(renewed, late) == HolderToken("h-1", late + LIFE_MS, "agency")
    assert isinstance(session.receive(b'{"type":"ping","id":9}', wire.JSON, late + 1), Say), "once is enough"
    ended = session.receive(b'{"type":"hello"}', wire.JSON, late + LIFE_MS)
    assert ended == Greet("h-1", None, None, deflate=False, channel="agency"), (
        "what has ended is no token to go on with"
    )


# --- Resume


async def test_who_comes_back_is_told_precisely_what_changed(
    live_server: LiveServer, lines: Lines, fmt: wire.Format
) -> None:
    watcher, taker = await lines.greeted(live_server, fmt), await lines.greeted(live_server, fmt)
    first = (await taker.ask("hold", seats=[1, 2, 3]))["hold"]["id"]
    await watcher.hear_seats({3: HELD})
    epoch, seq, token = watcher.heard[0]["epoch"], watcher.seq, watcher.token
    watcher.drop()
    await taker.ask("release", hold=first, seats=[2])
    await taker.ask("hold", seats=[10], areas={"floor": 3})
    there_and_back = (await taker.ask("hold", seats=[20]))["hold"]["id"]
    released = await taker.ask("release", hold=there_and_back)
    while taker.seq < released["seq"]:
        await taker.receive()
    await taker.hear_seats({20: AVAILABLE, 10: HELD, 2: AVAILABLE})
    again = await lines.open(live_server, fmt)
    again.seats = watcher.seats
    resumed = await again.hello(token=token, resume={"epoch": epoch, "seq": seq})
    assert set(resumed) == COMMON | {"available", "held"}
    assert (resumed["available"], resumed["held"]) == ([2, 20], [10])
    assert resumed["areas"]["floor"] == {"available": 37, "held": 3, "sold": 0, "blocked": 0}
    assert resumed["holder"] == watcher.holder
    await again.hear_seats({1: HELD, 2: AVAILABLE, 3: HELD, 10: HELD, 20: AVAILABLE})
    same = await again.hello(resume={"epoch": epoch, "seq": again.seq})
    assert set(same) == COMMON, "nothing changed, nothing is listed"


NOTHING: list[Any] = [
    *(5, "x", [], {}, True, {"epoch": 1, "seq": 0}, {"epoch": "own"}, {"seq": 0}),
    *({"epoch": "own", "seq": -1}, {"epoch": "own", "seq": 2**63 - 1}, {"epoch": "own", "seq": 1.5}),
    *({"epoch": "own", "seq": "0"}, {"epoch": "own", "seq": True}, {"epoch": "own", "seq": None}),
    *({"epoch": "own", "seq": 2**53 - 1}, {"epoch": "other", "seq": 0}, {"epoch": "x" * 5000, "seq": 0}),
    {"epoch": "own", "seq": 2**64},
]


async def test_what_cannot_be_resumed_is_welcomed(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    epoch = line.heard[0]["epoch"]
    for resume in NOTHING:
        if isinstance(resume, dict) and resume.get("epoch") == "own":
            resume = {**resume, "epoch": epoch}
        if fmt.binary and isinstance(resume, dict) and resume.get("seq") == 2**64:
            resume["seq"] = 2**64 - 1  # msgpack has no greater
        one = await lines.open(live_server, fmt)
        assert (await one.hello(resume=resume))["type"] == "welcome", resume
        await one.quiet()
        assert one.kinds()[0] == "welcome"
        await one.close()


async def test_a_history_that_was_outgrown_is_a_welcome(live_server: LiveServer, lines: Lines) -> None:
    line = await lines.greeted(live_server)
    epoch, seq = line.heard[0]["epoch"], line.seq
    # More than a fourth of 300 seats changed: the map itself is smaller than the replay.
    for start in range(0, 80, 8):
        taker = await lines.greeted(live_server)
        await taker.ask("hold", seats=list(range(start, start + 8)))
    await line.hear_seats({79: HELD})
    assert (await line.hello(resume={"epoch": epoch, "seq": seq}))["type"] == "welcome"
    assert (await line.hello(resume={"epoch": epoch, "seq": line.seq}))["type"] == "resumed"


# --- Diffs


async def test_everybody_hears_the_same_diffs_in_a_chain(
    live_server: LiveServer, lines: Lines, fmt: wire.Format
) -> None:
    watchers = [await lines.greeted(live_server, fmt), await lines.greeted(live_server, wire.JSON)]
    taker = await lines.greeted(live_server, fmt)
    first = await taker.ask("hold", seats=[3, 1], areas={"floor": 2})
    second = await taker.ask("hold", seats=[50])
    await taker.ask("release", hold=first["hold"]["id"], seats=[1])
    assert first["seq"] < second["seq"]
    for watcher in watchers:
        await watcher.hear_seats({1: AVAILABLE, 3: HELD, 50: HELD})
        diffs = [message for message in watcher.heard if message["type"] == "diff"]
        assert all(
            set(diff) <= {"type", "seq", "prev", "available", "held", "sold", "blocked", "areas"} for diff in diffs
        )
        assert [diff["prev"] for diff in diffs] == [watcher.heard[0]["seq"], *[diff["seq"] for diff in diffs[:-1]]]
        assert watcher.areas["floor"] == {"available": 38, "held": 2, "sold": 0, "blocked": 0}
        assert [] not in [diff.get(name) for diff in diffs for name in ("available", "held", "sold", "blocked")]


async def test_the_changes_of_a_tick_are_one_diff(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    event = await live_server.new_event(tick_ms=600)
    watcher, taker = [await lines.greeted(live_server, fmt, event=event) for _ in range(2)]
    assert watcher.heard[0]["tick_ms"] == 600
    await taker.ask("hold", seats=[0])
    await taker.hear("diff")  # a tick just went by
    first = (await taker.ask("hold", seats=[5]))["hold"]["id"]
    await taker.ask("release", hold=first)
    last = await taker.ask("hold", seats=[6, 7])
    await watcher.hear_seats({6: HELD})
    diff = watcher.heard[-1]
    assert (diff["seq"] - diff["prev"], diff["held"]) == (3, [6, 7]), "seat 5 came and went within the tick"
    assert diff["seq"] == last["seq"]
    assert "available" not in diff


async def test_blocked_seats_show_as_blocked(live_server: LiveServer, lines: Lines, fmt: wire.Format) -> None:
    line = await lines.greeted(live_server, fmt)
    async with live_server.session() as http:
        async with http.get(line.heard[0]["layout"]["url"]) as answer:
            rows = (await answer.json(content_type=None))["sections"][0]["rows"]
        body = {"seats": [rows[0]["seats"][4]["seat_id"]], "areas": {"floor": 5}, "kind": "house", "reason": "Press"}
        path, staff = f"/api/v1/events/{live_server.event}/seats", await live_server.sign_in()
        async with http.post(f"{path}/block", json=body, headers={**staff, "Idempotency-Key": "b"}) as answer:
            assert answer.status == 200, await answer.text()
    await line.hear_seats({4: BLOCKED})
    await line.hear_area("floor", blocked=5)
    assert (await line.ask("hold", seats=[4]))["code"] == "seat_taken"
    late = await lines.greeted(live_server, fmt)
    assert late.seats[4] == BLOCKED
