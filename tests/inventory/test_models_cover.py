"""Which model exercises what: every script and every act of the inventory is some rule's, or this turns red."""

import inspect
import re
from typing import Any

import pytest
from hypothesis.stateful import RULE_MARKER
from inventory_house import SCRIPTS
from season import Season
from story_house import HouseRules

from lml_live.inventory.channels import Channels
from lml_live.inventory.groups import GroupHolds
from lml_live.inventory.handing import HandOvers
from lml_live.inventory.holds import Holds
from lml_live.inventory.returns import Returns
from lml_live.inventory.staff_holds import StaffHolds

ACTS: dict[str, tuple[type, str]] = {
    "hold_seats": (HouseRules, "hold"),
    "hold_best": (HouseRules, "best"),
    "add_to_hold": (HouseRules, "add"),
    "replace_hold": (HouseRules, "replace"),
    "release_hold": (HouseRules, "release"),
    "gather": (HouseRules, "decide_together"),
    "extend_hold": (HouseRules, "extend"),
    "read_hold": (HouseRules, "look"),
    "read_holds": (HouseRules, "look"),
    "find_key": (HouseRules, "look"),
    "hand_over": (HouseRules, "hand_over"),
    "checkout_hold": (HouseRules, "checkout"),
    "sell_hold": (HouseRules, "settle"),
    "free_booking": (HouseRules, "settle"),
    "restore_hold": (HouseRules, "settle"),
    "keep_places": (HouseRules, "keep_places"),
    "block_seats": (HouseRules, "block"),
    "unblock_seats": (HouseRules, "block"),
    "assign_seats": (HouseRules, "assign"),
    "open_seats": (HouseRules, "open_channel"),
    "hold_for_customer": (HouseRules, "hold_for_customer"),
    "hold_id": (HouseRules, "hold_for_customer"),
    "take_for_sale": (HouseRules, "sell_at_once"),
    "counter_hold_id": (HouseRules, "sell_at_once"),
    "undo_taking": (HouseRules, "sell_at_once"),
    "move_hold": (HouseRules, "move"),
    "withdraw_hold": (HouseRules, "withdraw"),
    "settle_act": (HouseRules, "withdraw"),
    "settle_hold": (HouseRules, "hold_for_customer"),
    "restamp": (HouseRules, "change_rules"),
    "close_holds": (HouseRules, "close"),
    "sweep": (HouseRules, "sweep"),
    "step": (HouseRules, "forget_addresses"),
    "recover": (HouseRules, "adopt"),
    "check_book": (HouseRules, "damage"),
    "read_inventory": (HouseRules, "damage"),
    "hold_group": (Season, "hold_group"),
    "move_group": (Season, "move_group"),
    "release_group": (Season, "release_group"),
    "extend_group": (Season, "extend_group"),
}
"""What a rule of a model calls, be it through others."""

BY_ANOTHER_NAME = {
    "hold_together": "gather",
    "expire_holds": "sweep",
    "stamp_event": "restamp",
    "forget_address": "step",
    **dict.fromkeys(("adopt_begin", "adopt_write", "adopt_finish"), "recover"),
}
"""The scripts that are not called as what calls them."""

ELSEWHERE = {
    "ask_to_hold": "the sockets' way to hold_seats: tests/server/test_model_live.py",
    "ask_to_release": "and to release_hold",
    "distrust": "has a book adopted, as damage does: tests/backoffice/test_staff_acts.py",
    "event_of_hold": "reads PostgreSQL only",
    "find": "plain reads of books, before a hand-over: tests/booking/test_handing.py",
    "renew": "reads PostgreSQL again",
    "count": "counts what read_inventory answers",
    "seat_bytes": "shows what read_inventory answers",
    "own_places": "tells what a record has",
    "find_hold": "a plain read of a record",
    "find_hold_and_epoch": "the same",
    "seat_names": "reads the layout only",
    "read_anew": "reads PostgreSQL only",
    "under": "calls nothing: tests/gateway/test_layout_race.py",
    "find_holds": "plain reads of a book",
}
"""What no rule calls, and why not."""


def reached(machine: type, name: str) -> str:
    """The source of a rule and of all methods of its machine that it calls."""
    found, waiting = dict[str, str](), [name]
    while waiting:
        one = waiting.pop()
        method: Any = getattr(machine, one, None)
        if one not in found and inspect.isfunction(method):
            found[one] = inspect.getsource(method)
            waiting += re.findall(r"self\.(\w+)", found[one])
    return "".join(found.values())


@pytest.mark.parametrize("act", ACTS)
def test_each_act_is_some_rules(act: str) -> None:
    machine, name = ACTS[act]
    assert hasattr(getattr(machine, name), RULE_MARKER), f"{name} of {machine.__name__} is no rule"
    assert re.search(rf'[."]{act}\b', reached(machine, name)), f"{name} of {machine.__name__} does not call {act}"


def test_every_script_is_some_rules() -> None:
    assert {BY_ANOTHER_NAME.get(script, script) for script in SCRIPTS} <= ACTS.keys()


def test_everything_that_can_be_asked_of_the_inventory_is_some_rules() -> None:
    rooms = (Holds, GroupHolds, StaffHolds, Channels, HandOvers, Returns)
    acts = {name for room in rooms for name, _ in inspect.getmembers(room, inspect.isfunction) if name[0] != "_"}
    assert acts - ACTS.keys() == ELSEWHERE.keys()
