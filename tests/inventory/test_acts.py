"""The judge of acts: a clean history is clean, and each forged one breaks its rule."""

from typing import Any

import pytest
from acts import Act, History, Hold, Rest, broken_rules, check
from msgspec.structs import replace

ANNAS = Hold(holder="anna", seats=frozenset({1, 2}), places=1, until_ms=100, cap_ms=150)
TOOK = Act(
    client="anna", verb="hold", hold="1-a", seats=frozenset({1, 2}), places=1, key="k", granted=True, began_ms=0,
    ended_ms=1, got=ANNAS,
)  # fmt: skip
GONE = Act(client="ben", verb="hold", hold="1-b", seats=frozenset({3}), granted=True, began_ms=2, ended_ms=3,
           got=Hold(holder="ben", seats=frozenset({3}), until_ms=102, cap_ms=153))  # fmt: skip
BACK = Act(client="ben", verb="release", hold="1-b", granted=True, began_ms=4, ended_ms=5)
BLOCKED = Act(client="", verb="block", seats=frozenset({3}), places=1, granted=True, began_ms=6, ended_ms=7)
LONGER = replace(ANNAS, until_ms=140, extensions=1)
PUT_OFF = Act(client="anna", verb="extend", hold="1-a", granted=True, began_ms=8, ended_ms=9, got=LONGER)
DENIED = Act(client="ben", verb="hold", seats=frozenset({1}), request="r", granted=False, began_ms=10, ended_ms=11)
REST = Rest(
    seats=bytes([0, 1, 1, 3]), counts=(3, 1, 0, 1), capacity=5, holds={"1-a": LONGER}, now_ms=50, lifetime_ms=150,
    extensions=1, max_size=3,
)  # fmt: skip
ACTS = (TOOK, GONE, BACK, BLOCKED, PUT_OFF, DENIED)
LATER: dict[str, Any] = {"began_ms": 20, "ended_ms": 21}
BENS = Hold(holder="ben", seats=frozenset({0}), until_ms=120, cap_ms=160)
BEN_TOOK = replace(GONE, hold="1-c", seats=BENS.seats, got=BENS, **LATER)

GIVEN = Act(client="", verb="assign", seats=frozenset({0}), channel="agency", granted=True, **LATER)
PAID = replace(PUT_OFF, verb="checkout", began_ms=12, ended_ms=13)
PAUSED = Act(client="", verb="pause", granted=True, **LATER)


def but(act: Act, **changes: Any) -> tuple[Act, ...]:
    """The acts with one of them changed."""
    return tuple(replace(one, **changes) if one is act else one for one in ACTS)


def at_rest(**changes: Any) -> dict[str, Any]:
    return {"rest": {"e": replace(REST, **changes)}}


def then(*acts: Act) -> dict[str, Any]:
    return {"acts": (*ACTS, *acts)}


def test_a_clean_history_is_clean() -> None:
    assert check(History(ACTS, {"e": REST})) == []
    assert check(History((), {})) == []


FORGED: list[tuple[str, str, dict[str, Any]]] = [
    ("two hold one seat", "I3", then(replace(BEN_TOOK, seats=frozenset({2}), got=replace(BENS, seats=frozenset({2}))))),
    ("a seat is held and blocked", "I3", {"acts": but(BLOCKED, seats=frozenset({2, 3}))}),
    (
        "a blocked seat is held",
        "I3",
        then(replace(BEN_TOOK, seats=frozenset({3}), got=replace(BENS, seats=GONE.seats))),
    ),
    ("half of what was asked for", "I4", {"acts": but(TOOK, seats=frozenset({1, 2, 3}))}),
    ("fewer places than were asked for", "I4", {"acts": but(TOOK, places=2)}),
    ("what was added is all there is", "I4", then(replace(PUT_OFF, verb="add", got=BENS, **LATER))),
    ("a grant that is not there", "I4", at_rest(holds={})),
    ("a grant that is another's by now", "I4", at_rest(holds={"1-a": replace(LONGER, holder="ben")})),
    ("what was given back is there", "I4", at_rest(holds={**REST.holds, "1-b": GONE.got})),
    ("refused, and there", "I4", at_rest(holds={**REST.holds, "1-x": BENS})),
    ("refused in one event, and granted in another", "I4", then(replace(BEN_TOOK, request="r"))),
    ("more places than there are", "I5", {"acts": but(BLOCKED, places=5)}),
    ("counted below nothing", "I5", at_rest(counts=(5, 1, 0, -1))),
    ("a place is lost", "I6", at_rest(counts=(2, 1, 0, 1))),
    ("a place is made", "I6", at_rest(counts=(4, 1, 0, 1))),
    ("a place is held by nobody", "I6", at_rest(counts=(2, 2, 0, 1))),
    ("a seat is blocked by nobody", "I6", at_rest(seats=bytes([4, 1, 1, 3]))),
    ("a block is forgotten", "I6", at_rest(seats=bytes([0, 1, 1, 0]))),
    ("a seat is held by nobody", "I7", at_rest(seats=bytes([1, 1, 1, 3]))),
    ("a held seat is for sale", "I7", at_rest(seats=bytes([0, 1, 0, 3]))),
    ("a hold never ends", "I7", at_rest(now_ms=140)),
    ("a hold longer than the event allows", "I8", {"acts": but(TOOK, got=replace(ANNAS, cap_ms=152))}),
    ("a deadline after the last moment", "I8", {"acts": but(PUT_OFF, got=replace(LONGER, until_ms=151))}),
    ("a last moment that is put off", "I8", {"acts": but(PUT_OFF, got=replace(LONGER, cap_ms=151))}),
    ("put off too often", "I8", {"acts": but(PUT_OFF, got=replace(LONGER, extensions=2))}),
    ("put off, and not counted", "I8", {"acts": but(PUT_OFF, got=replace(LONGER, extensions=0))}),
    ("time that is won by an exchange", "I8", {"acts": but(PUT_OFF, verb="replace")}),
    ("time that is won by a move", "I8", then(replace(BEN_TOOK, instead_of=("1-b",)))),
    ("granted on another's", "I9", {"acts": but(PUT_OFF, client="ben")}),
    ("granted on what was given back", "I9", then(replace(GONE, verb="extend", **LATER))),
    ("granted on what ran out", "I9", {"acts": but(PUT_OFF, began_ms=101)}),
    ("moved from what ran out", "I9", then(replace(BEN_TOOK, instead_of=("1-b",), began_ms=103))),
    ("one key, two holds", "I24", then(replace(BEN_TOOK, client="anna", key="k"))),
    ("one key, two requests", "I24", then(replace(TOOK, seats=frozenset({1}), **LATER))),
    ("more than one may have", "limits", at_rest(max_size=2)),
    (
        "more than an address may have",
        "limits",
        {**then(replace(BEN_TOOK, address="cafe")), **at_rest(max_from_address=0)},
    ),
    ("called whole with a part lost", "I6", then(replace(GIVEN, verb="look", places=5))),
    ("changed while it is paid for", "I9", {"acts": (*ACTS, PAID, replace(TOOK, verb="replace", key="", **LATER))}),
    ("kept by another booking", "I9", then(replace(TOOK, verb="keep", client="b-x", key="", **LATER))),
    ("given to a channel, held through none", "channels", then(replace(GIVEN, seats=frozenset({1})))),
    ("held through none, a channel's", "channels", then(GIVEN, replace(BEN_TOOK, began_ms=22, ended_ms=23))),
    ("more is kept than there is", "channels", then(replace(GIVEN, places=4))),
    ("given, and nobody's at rest", "channels", {"acts": (*ACTS, GIVEN)}),
    ("nobody's, and a channel's at rest", "channels", at_rest(allotted={"agency": 1})),
    ("granted while it is paused", "sale", then(PAUSED, replace(BEN_TOOK, began_ms=22, ended_ms=23))),
]


@pytest.mark.parametrize(("rule", "forged"), [row[1:] for row in FORGED], ids=[row[0] for row in FORGED])
def test_a_forged_history_turns_red(rule: str, forged: dict[str, Any]) -> None:
    assert rule in broken_rules(replace(History(ACTS, {"e": REST}), **forged))


def test_every_rule_has_a_forgery() -> None:
    assert {rule for _, rule, _ in FORGED} == {
        *(f"I{n}" for n in (3, 4, 5, 6, 7, 8, 9, 24)),
        *("limits", "channels", "sale"),
    }
