"""The browser's protocol without a socket: how a client stays right (contract, section 3)."""

from typing import Any

import pytest
from box_office import pack
from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

LAYOUT = {"id": "l", "version": 1, "hash": "x", "url": "/layouts/l/x", "seat_count": 6}
EVENT = {"id": "e", "state": "open", "on_sale_at_ms": 0, "prices_version": 1}
SECOND = 1000


async def play(blank: Page, *steps: list[Any], **options: Any) -> dict[str, Any]:
    """What the protocol did and knows after these inputs. `random` is always 0.5, keys are key1, key2, …"""
    result: dict[str, Any] = await blank.evaluate(
        "async ([steps, options]) => (await import('/test/scenario.js')).play(steps, options)", [list(steps), options]
    )
    return result


def welcome(seq: int = 10, epoch: str = "e1", states: list[int] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "type": "welcome",
        "event": EVENT,
        "epoch": epoch,
        "seq": seq,
        "seats": pack(states or [0] * 6),
        "areas": {"pit": {"available": 5, "held": 0, "sold": 0, "blocked": 0}},
        "holder": "h",
        "token": "t1",
        "holds": [],
        "limits": {"max_seats": 4, "hold_seconds": 60, "extensions": 1, "lifetime_seconds": 300},
        "layout": LAYOUT,
        "now_ms": 1_000_000,
        "tick_ms": 50,
    } | changes


def resumed(seq: int, **changes: Any) -> dict[str, Any]:
    message = welcome(seq) | {"type": "resumed"} | changes
    del message["seats"]
    return message


def diff(prev: int, seq: int, **lists: Any) -> list[Any]:
    return ["received", {"type": "diff", "prev": prev, "seq": seq, **lists}, 100]


def hold(hold_id: str = "h1", seats: list[int] | None = None, **changes: Any) -> dict[str, Any]:
    return {"id": hold_id, "lines": [], "seats": seats or [2], "areas": {}, "state": "active"} | changes


def held(request_id: int, seq: int, value: dict[str, Any], epoch: str = "e1") -> list[Any]:
    message = {"type": "held", "id": request_id, "epoch": epoch, "seq": seq, "hold": value, "now_ms": 1_000_100}
    return ["received", message, 100]


def hold_changed(hold_id: str, seq: int, state: str = "gone", reason: str = "expired", **changes: Any) -> list[Any]:
    message = {"type": "hold_changed", "hold": hold_id, "state": state, "reason": reason, "epoch": "e1", "seq": seq}
    return ["received", message | changes, 100]


LIVE: list[list[Any]] = [["start", 0], ["opened", 10], ["received", welcome(), 20]]
TAKE = ["request", {"type": "hold", "seats": [2]}, 50]


async def test_says_hello_and_shows_what_the_welcome_says(blank: Page) -> None:
    told = await play(blank, ["start", 0], ["opened", 10], ["received", welcome(states=[0, 1, 2, 3, 0, 1]), 20])
    assert told["did"] == ["connect", "token"]
    assert told["sent"] == [{"type": "hello"}]
    assert told["seats"] == [0, 1, 2, 3, 0, 1]
    assert (told["connection"], told["seq"], told["token"]) == ("live", 10, "t1")
    assert told["clockOffset"] == 1_000_000 - 20


async def test_a_kept_token_is_shown_and_kept_while_it_is_the_same(blank: Page) -> None:
    told = await play(blank, *LIVE, token="t1")
    assert told["sent"] == [{"type": "hello", "token": "t1"}]
    assert told["tokens"] == []


@pytest.mark.parametrize(
    ("steps", "seq", "state_of_3", "hellos"),
    [
        ([diff(10, 11, held=[3])], 11, 1, 1),
        ([diff(10, 11, held=[3]), diff(11, 12, available=[3])], 12, 0, 1),
        ([diff(7, 10, held=[3])], 10, 0, 1),  # seq ≤ own: dropped
        ([diff(7, 12, held=[3])], 12, 1, 1),  # prev ≤ own < seq: applied, states are absolute
        ([diff(11, 12, held=[3])], 10, 0, 2),  # prev > own: a gap
        ([diff(11, 12, held=[3]), diff(12, 13, held=[3])], 10, 0, 2),  # at most one unanswered hello
        ([diff(10, 10)], 10, 0, 1),  # the idle room's empty diff
        ([diff(10, 11, held=[3], epoch="other")], 10, 0, 2),  # a diff of another epoch cannot be applied
        ([diff(10, 11, held=[3, 99])], 11, 1, 1),  # an index outside the layout is nobody's seat
    ],
)
async def test_diffs(blank: Page, steps: list[Any], seq: int, state_of_3: int, hellos: int) -> None:
    told = await play(blank, *LIVE, *steps)
    assert (told["seq"], told["seats"][3], len(told["sent"])) == (seq, state_of_3, hellos)
    if hellos == 2:
        assert told["sent"][1] == {"type": "hello", "token": "t1", "resume": {"epoch": "e1", "seq": 10}}


async def test_resumed_closes_the_gap(blank: Page) -> None:
    told = await play(
        blank, *LIVE, diff(11, 12, held=[3]), ["received", resumed(12, held=[3], sold=[4]), 120], diff(12, 13, sold=[5])
    )
    assert told["seats"] == [0, 0, 0, 1, 2, 2]
    assert (told["seq"], told["gaps"], told["connection"]) == (13, 1, "live")


async def test_a_resumed_of_another_epoch_asks_for_everything(blank: Page) -> None:
    told = await play(blank, *LIVE, diff(11, 12), ["received", resumed(12, epoch="e2", held=[3]), 120])
    assert told["sent"][-1] == {"type": "hello", "token": "t1"}
    assert told["seats"][3] == 0


async def test_nothing_is_applied_before_this_sockets_welcome(blank: Page) -> None:
    told = await play(blank, *LIVE, ["closed", 1006, 200], ["tick", 1000], ["opened", 1010], diff(10, 11, held=[3]))
    assert (told["connection"], told["seq"], told["seats"][3]) == ("syncing", 10, 0)


async def test_an_unasked_welcome_replaces_everything(blank: Page) -> None:
    """A new epoch: the hold that is not listed is gone, and the page is told."""
    told = await play(blank, *LIVE, TAKE, held(1, 11, hold()), ["received", welcome(3, "e2", [2] * 6), 200])
    assert (told["epoch"], told["seq"], told["seats"], told["holds"]) == ("e2", 3, [2] * 6, [])
    assert "holds_lost" in told["notices"]


async def test_only_welcome_resumed_and_diff_set_the_seq(blank: Page) -> None:
    told = await play(blank, *LIVE, TAKE, held(1, 15, hold()))
    assert told["seq"] == 10
    assert [one["id"] for one in told["holds"]] == ["h1"]


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([held(1, 11, hold()), hold_changed("h1", 12)], []),
        ([hold_changed("h1", 12), held(1, 11, hold())], []),  # the answer is older than what came before it
        ([held(1, 12, hold()), hold_changed("h1", 11)], ["h1"]),
        ([held(1, 11, hold(), epoch="e0")], []),  # a word of another epoch says nothing about this one
        ([held(1, 11, hold()), hold_changed("h1", 12, "checkout", "own", value=hold())], ["h1"]),
        ([held(1, 11, hold()), hold_changed("h1", 12, "sold", "booked", value=hold(), booking="b")], []),
    ],
)
async def test_of_two_words_about_a_hold_the_higher_seq_is_right(
    blank: Page, steps: list[Any], left: list[str]
) -> None:
    told = await play(blank, *LIVE, TAKE, *steps)
    assert [one["id"] for one in told["holds"]] == left


async def test_an_answer_during_a_resume_is_not_undone_by_it(blank: Page) -> None:
    """The list of holds in `resumed` was read before the hold was made; its answer overtook it."""
    told = await play(blank, *LIVE, diff(12, 13), TAKE, held(1, 14, hold()), ["received", resumed(13), 120])
    assert [one["id"] for one in told["holds"]] == ["h1"]


async def test_a_hold_that_ended_while_away_does_not_come_back(blank: Page) -> None:
    told = await play(
        blank,
        *LIVE,
        TAKE,
        held(1, 14, hold()),
        ["closed", 1006, 200],
        ["tick", 1000],
        ["opened", 1010],
        ["received", resumed(12), 1020],
    )
    assert told["holds"] == []


async def test_a_hold_has_a_key_and_is_asked_again_with_it_after_a_break(blank: Page) -> None:
    told = await play(
        blank, *LIVE, TAKE, ["closed", 1006, 60], ["tick", 400], ["opened", 410], ["received", resumed(10), 420]
    )
    asked = [message for message in told["sent"] if message["type"] == "hold"]
    assert asked == [{"type": "hold", "seats": [2], "id": 1, "key": "key1"}] * 2


BACK: list[list[Any]] = [["closed", 1006, 60], ["tick", 400], ["opened", 410]]


@pytest.mark.parametrize(
    ("wish", "holds", "keys", "answer"),
    [
        ({"seats": [2]}, [], ["key1", "key2"], None),  # not held: asked anew, under a key of the new epoch
        ({"seats": [2]}, [hold()], ["key1"], "held"),  # the hold was made and survived
        ({"areas": {"pit": 1}}, [], ["key1"], "interrupted"),  # places are not told apart: better none than twice
        ({"type": "hold_best", "quantity": 2}, [], ["key1"], "interrupted"),  # nor what the server would choose now
    ],
)
async def test_a_new_epoch_ends_a_keys_scope(
    blank: Page, wish: dict[str, Any], holds: list[Any], keys: list[str], answer: str | None
) -> None:
    told = await play(
        blank,
        *LIVE,
        ["request", {"type": "hold", **wish}, 50],
        *BACK,
        ["received", welcome(1, "e2", holds=holds), 420],
    )
    assert [message["key"] for message in told["sent"] if "key" in message] == keys
    assert [message.get("code", message["type"]) for message in told["answers"]] == ([answer] if answer else [])


async def test_a_new_epoch_on_the_same_socket_leaves_the_request_to_be_answered(blank: Page) -> None:
    told = await play(blank, *LIVE, TAKE, ["received", welcome(1, "e2"), 80], held(1, 2, hold(), epoch="e2"))
    assert [message["type"] for message in told["answers"]] == ["held"]
    assert [one["id"] for one in told["holds"]] == ["h1"]


async def test_unavailable_is_asked_again_with_the_same_key(blank: Page) -> None:
    refusal = {"type": "error", "id": 1, "code": "unavailable", "message": "", "retry_after_ms": 400}
    told = await play(blank, *LIVE, TAKE, ["received", refusal, 100], ["tick", 399], ["tick", 400])
    keys = [message.get("key") for message in told["sent"] if message["type"] == "hold"]
    assert (keys, told["answers"]) == (["key1", "key1"], [])


def on_layout(name: str, epoch: str = "e2") -> list[Any]:
    """Sent away, and welcomed on this layout."""
    bye = {"type": "bye", "reason": "layout", "retry_after_ms": 0}
    return [
        ["received", bye, 100],
        ["tick", 100],
        ["opened", 110],
        ["received", welcome(1, epoch, layout=LAYOUT | {"hash": name}), 120],
        ["tick", 9 * SECOND],
    ]


BYE: list[list[Any]] = [["received", {"type": "bye", "reason": "layout", "retry_after_ms": 0}, 40]]
UNAVAILABLE: list[list[Any]] = [
    ["received", {"type": "error", "id": 1, "code": "unavailable", "message": "", "retry_after_ms": 400}, 60]
]


def wishes_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [message for message in told["sent"] if message["type"] not in ("hello", "ping")]


@pytest.mark.parametrize(
    ("before", "after"), [([], UNAVAILABLE), ([], []), (BYE, [])], ids=["refused", "lost", "not sent yet"]
)
@pytest.mark.parametrize(
    "wish",
    [
        {"type": "hold", "seats": [2]},
        {"type": "hold", "seats": [{"seat": 2, "type": "child"}]},
        {"type": "hold", "seats": [2], "areas": {"pit": 1}},
        {"type": "hold_best", "quantity": 2},
        {"type": "release", "hold": "h1", "seats": [2]},
    ],
)
async def test_no_seat_is_asked_for_under_another_layout(
    blank: Page, wish: dict[str, Any], before: list[Any], after: list[Any]
) -> None:
    """It was repeated with its indexes, and another seat was taken than the one that was pointed at."""
    told = await play(blank, *LIVE, *before, ["request", wish, 50], *after, *on_layout("y"))
    assert len(wishes_of(told)) == (0 if before else 1)
    (answer,) = told["answers"]
    assert answer["code"] == "unavailable"
    if wish["type"] != "release" or not after:  # a release has no key, so that a refusal is its answer
        assert answer["reason"] == "layout"


@pytest.mark.parametrize(
    "wish",
    [
        {"type": "hold", "areas": {"pit": 1}},
        {"type": "release", "hold": "h1"},
        {"type": "release", "hold": "h1", "areas": {"pit": 1}},
        {"type": "extend", "hold": "h1"},
    ],
)
async def test_what_names_no_seat_waits_for_the_next_socket_whatever_its_layout(
    blank: Page, wish: dict[str, Any]
) -> None:
    told = await play(blank, *LIVE, *BYE, ["request", wish, 50], *on_layout("y"))
    assert [message["type"] for message in wishes_of(told)] == [wish["type"]]
    assert told["answers"] == []


async def test_a_layout_that_is_back_before_the_page_is_the_one_that_was_meant(blank: Page) -> None:
    told = await play(blank, *LIVE, TAKE, *on_layout("x", "e3"))
    assert [message["seats"] for message in wishes_of(told)] == [[2], [2]]
    assert told["answers"] == []


async def test_what_was_given_up_stays_so_and_a_second_change_ends_what_came_between(blank: Page) -> None:
    later = ["request", {"type": "hold", "seats": [3]}, 9 * SECOND]
    told = await play(blank, *LIVE, TAKE, *on_layout("y"), later, *on_layout("x", "e3"))
    assert [message["seats"] for message in wishes_of(told)] == [[2], [3]]
    assert [answer["id"] for answer in told["answers"]] == [1, 2]


async def test_a_seat_that_was_asked_for_before_any_layout_was_known_is_of_the_first_one(blank: Page) -> None:
    start: list[list[Any]] = [["start", 0], TAKE, ["opened", 60], ["received", welcome(), 70]]
    told = await play(blank, *start)
    assert [message["seats"] for message in wishes_of(told)] == [[2]]
    told = await play(blank, *start, *on_layout("y"))
    assert (len(wishes_of(told)), [answer["reason"] for answer in told["answers"]]) == (1, ["layout"])


async def test_a_seat_that_was_chosen_on_the_layout_before_is_refused_at_once(blank: Page) -> None:
    """It waited for an earlier pick, and its turn comes when the socket speaks of another layout."""
    late: list[list[Any]] = [[*TAKE, "x"], ["request", {"type": "hold", "areas": {"pit": 1}}, 50, "x"]]
    told = await play(blank, *LIVE, *on_layout("y"), *late)
    assert [message.get("areas") for message in wishes_of(told)] == [{"pit": 1}]
    assert [(answer["id"], answer["reason"]) for answer in told["answers"]] == [(1, "layout")]


async def test_a_request_is_answered_even_when_the_server_never_does(blank: Page) -> None:
    told = await play(blank, *LIVE, TAKE, ["tick", 50 + 30 * SECOND])
    assert told["answers"][0]["code"] == "unanswered"


async def test_requests_under_way_are_bounded(blank: Page) -> None:
    told = await play(blank, *LIVE, *[["request", {"type": "hold", "seats": [n]}, 50] for n in range(9)])
    assert len(told["sent"]) == 1 + 8


async def test_a_release_is_repeated_only_while_something_is_left_to_release(blank: Page) -> None:
    release = ["request", {"type": "release", "hold": "h1", "seats": [2]}, 60]
    away: list[list[Any]] = [["closed", 1006, 70], ["tick", 400], ["opened", 410]]
    start = [*LIVE, TAKE, held(1, 11, hold()), release, *away]
    still = await play(blank, *start, ["received", resumed(12, holds=[hold()]), 420])
    done = await play(blank, *start, ["received", resumed(12), 420])
    assert len([message for message in still["sent"] if message["type"] == "release"]) == 2
    assert len([message for message in done["sent"] if message["type"] == "release"]) == 1
    assert done["answers"][-1]["type"] == "released"


async def test_bye_comes_back_after_a_random_part_of_the_time_and_resumes(blank: Page) -> None:
    bye = {"type": "bye", "reason": "restart", "retry_after_ms": 4000}
    told = await play(blank, *LIVE, ["received", bye, 100])
    assert (told["connection"], told["reconnectAt"], told["did"][-1]) == ("waiting", 2100, "disconnect")
    back = await play(blank, *LIVE, ["received", bye, 100], ["tick", 2100], ["opened", 2110])
    assert back["sent"][-1]["resume"] == {"epoch": "e1", "seq": 10}


async def test_a_changed_layout_is_told_and_not_resumed(blank: Page) -> None:
    bye = {"type": "bye", "reason": "layout", "retry_after_ms": 0}
    told = await play(blank, *LIVE, ["received", bye, 100], ["tick", 100], ["opened", 110])
    assert "layout" in told["notices"]
    assert told["sent"][-1] == {"type": "hello", "token": "t1"}


@pytest.mark.parametrize("failures", [1, 4, 20])
async def test_the_way_back_is_jittered_and_bounded(blank: Page, failures: int) -> None:
    steps: list[list[Any]] = [["start", 0]]
    for _ in range(failures):
        steps += [["closed", 1006, 0], ["start", 0]]
    told = await play(blank, *steps, ["closed", 1006, 0])
    assert told["reconnectAt"] == min(30 * SECOND, 500 * 2**failures) / 2


async def test_a_bad_token_is_forgotten_and_the_visitor_starts_anew(blank: Page) -> None:
    refusal = {"type": "error", "code": "unauthorized", "message": ""}
    told = await play(
        blank,
        ["start", 0],
        ["opened", 10],
        ["received", refusal, 20],
        ["closed", 4401, 30],
        ["tick", 5000],
        ["opened", 5010],
        token="old",
    )
    assert [message.get("token") for message in told["sent"]] == ["old", None]
    assert told["tokens"] == [None]
    assert told["notices"].count("token_lost") == 1


async def test_silence_means_the_peer_is_gone(blank: Page) -> None:
    told = await play(blank, *LIVE, ["tick", 20 + 25 * SECOND], ["tick", 20 + 51 * SECOND])
    assert told["sent"][-1] == {"type": "ping", "id": 1}
    assert (told["did"][-1], told["connection"]) == ("disconnect", "waiting")


async def test_a_hello_without_answer_ends_the_socket(blank: Page) -> None:
    told = await play(blank, ["start", 0], ["opened", 10], ["tick", 10 + 12 * SECOND])
    assert (told["did"][-1], told["connection"]) == ("disconnect", "waiting")


async def test_a_pong_sets_the_clock_and_renews_the_token(blank: Page) -> None:
    pong = {"type": "pong", "id": 1, "now_ms": 2_000_000, "token": "t2"}
    told = await play(blank, *LIVE, ["tick", 25 * SECOND + 20], ["received", pong, 25 * SECOND + 120])
    assert told["clockOffset"] == 2_000_000 - (25 * SECOND + 70)
    assert told["tokens"] == ["t1", "t2"]


async def test_a_welcome_with_too_few_seats_is_not_shown(blank: Page) -> None:
    told = await play(blank, ["start", 0], ["opened", 10], ["received", welcome() | {"seats": pack([0] * 20)}, 20])
    assert (told["seats"], told["connection"]) == (None, "waiting")


async def test_messages_and_fields_from_the_future_are_ignored(blank: Page) -> None:
    told = await play(
        blank, *LIVE, ["received", {"type": "fanfare", "seats": [1]}, 50], diff(10, 11, held=[1], colour="red")
    )
    assert (told["seats"][1], told["connection"]) == (1, "live")


async def test_areas_are_absolute_and_only_the_changed_ones_come(blank: Page) -> None:
    counts = {"available": 4, "held": 1, "sold": 0, "blocked": 0}
    told = await play(blank, *LIVE, diff(10, 11, areas={"pit": counts}))
    assert told["areas"] == {"pit": counts}
