"""Each guard of what staff, bookings and adopt do taken away in a copy of its script: the judge of acts turns red.

As `test_script_mutations`, which has the holders' acts; what is sold is tests/booking/test_mutations.py's.
"""

import re
from pathlib import Path

import pytest
import test_script_mutations
from acts import broken_rules, check
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import SCRIPTS, House, change_script
from test_script_mutations import FULL, RULES, TAKEN, Acts
from witness import AGENCY, PIT, Witness

ROOT = Path(__file__).parents[2]


async def open_event(house: House) -> Witness:
    """An event of which a channel may have a part."""
    return Witness(house, [await house.open_event(areas={"pit": PIT}, channels=[AGENCY], **RULES)])  # type: ignore[arg-type]


# --- Acts. With everything as it is each is clean; with one guard taken away it breaks a rule.


async def sell_what_is_held(w: Witness) -> None:
    await w.hold("ben", 3, pit=3)
    await w.sell("kim", 3)
    await w.sell("kim", pit=3)


async def sell_and_undo(w: Witness) -> None:
    await w.block(3)
    await w.undo(await w.sell("kim", 3, 4, pit=1), 3)


async def sell_over_house_places(w: Witness) -> None:
    await w.block(pit=3)
    await w.hold("ben", pit=1)
    await w.sell("kim", pit=2)  # one is for sale, and one the house's


async def undo_over_house_places(w: Witness) -> None:
    await w.block(pit=3)
    await w.hold("ben", pit=1)
    await w.undo(await w.sell("kim", pit=2))


async def unblock_before_it_is_undone(w: Witness) -> None:
    await w.block(pit=3)
    await w.hold("ben", pit=2)
    hold = await w.sell("kim", pit=2)
    await w.block(pit=0)
    await w.undo(hold)


async def sell_killed_places(w: Witness) -> None:
    """The house has one place, and two clerks sell it at once."""
    await w.block(pit=3, killed=2)
    await w.hold("ben", pit=2)
    await w.sell("kim", pit=1)
    await w.give("kim", pit=1, over_house=True)
    await w.sell("kim", pit=1)


async def withdraw_plainly(w: Witness) -> None:
    await w.withdraw(await w.hold("anna", 1, 2, pit=2))


async def withdraw_what_the_house_lent(w: Witness) -> None:
    await w.block(7, pit=3)
    await w.hold("ben", pit=2)
    hold = await w.give("kim", 3, 7, pit=2, over_house=True)
    await w.withdraw_what_nobody_knows(hold, 7)


async def withdraw_what_is_paid_for(w: Witness) -> None:
    hold = await w.hold("anna", 1)
    await w.checkout("anna", hold)
    await w.withdraw(hold)


async def close_all(w: Witness) -> None:
    await w.hold("anna", 1, pit=1)
    await w.give("ben", 2)
    hold = await w.hold("ben", 3)
    await w.checkout("ben", hold)
    await w.close()


async def keep_a_part(w: Witness) -> None:
    hold = await w.hold("anna", 1, 2, pit=2)
    await w.checkout("anna", hold)
    await w.keep(hold, 2, pit=1)


async def keep_for_another(w: Witness) -> None:
    hold = await w.hold("anna", 1, 2)
    await w.checkout("anna", hold)
    await w.keep(hold, 2, booking="b-other")


async def assign_what_is_held(w: Witness) -> None:
    await w.hold("anna", 1, pit=3)
    await w.assign(1, 2, pit=3)
    await w.hold("ben", 2)


async def assign_and_sell(w: Witness) -> None:
    await w.assign(1, 2, pit=4)
    await w.hold("ben", 2, pit=2)
    await w.hold("cleo", 1, pit=2, through=AGENCY)


async def open_what_is_held(w: Witness) -> None:
    await w.assign(1, 2, pit=2)
    await w.hold("cleo", 1, pit=1, through=AGENCY)
    await w.open_agency()


async def pause_and_go_on(w: Witness) -> None:
    await w.pause()
    await w.hold("anna", 1)


async def adopt_two_holds(w: Witness) -> None:
    await w.hold("anna", 1, pit=1)
    await w.hold("ben", 2)
    await w.adopt()


async def hold_while_it_is_adopted(w: Witness) -> None:
    await w.hold("anna", 1)
    await w.adopt(until="adopt_finish", meanwhile=w.hold("ben", 3))


async def adopt_twice_at_once(w: Witness) -> None:
    await w.hold("anna", 1)
    await w.adopt()
    await w.finish_late()


async def take_turns_at_one_address(w: Witness) -> None:
    await w.house.change_event(w.event, address_holds=1)
    await w.house.book.restamp(w.event)
    await w.hold("anna", 1, address="cafe")
    await w.forget_addresses()
    await w.hold("ben", 2, address="cafe")


async def check_what_is_damaged(w: Witness) -> None:
    await w.hold("anna", pit=1)
    await w.look("check_book")


async def read_what_is_damaged(w: Witness) -> None:
    await w.hold("anna", pit=1)
    await w.look("read_inventory")


# --- Mutations

FREED = "end_for_good({}, record, hold_id, {}, now, changed_seats, changed_areas)"
GONE = "record[STATE], record[REASON] = 'gone', {}"
OWNER = "record[BOOKING] ~= ARGV[4] or "
MISSING = "math.max(0, places[area] - open)"
KILLED = "blocked - (house[i + 1] - house[i + 2])"
WHOLE = "redis.call('HLEN', areas) == tonumber(area_fields)"

# what is taken away · the script · its line · what it is instead · the acts that need it · the rule that is broken then
MUTATIONS: list[tuple[str, str, str, str, Acts, str]] = [
    ("the counter sells what is free", "take_for_sale", TAKEN, "", sell_what_is_held, "I3"),
    ("the counter sells places that are there", "take_for_sale", FULL, "", sell_what_is_held, "I5"),
    ("what is undone is the house's again", "undo_taking", "runs_of(kept, 1), HOUSE", "{}, HOUSE", sell_and_undo, "I6"),
    ("what is undone is for sale", "undo_taking", FREED.format("keys", "'staff'"), GONE.format("'staff'"),
     sell_and_undo, "I7"),
    ("what the house lends is sold last", "take_for_sale", MISSING, "places[area]", sell_over_house_places, "I6"),
    ("what is killed is not lent", "take_for_sale", KILLED, "blocked",
     sell_killed_places, "I5"),
    ("nor to a customer", "hold_for_customer", KILLED, "blocked",
     sell_killed_places, "I5"),
    ("places that were lent are the house's again", "undo_taking", "changed_areas, nil, back,",
     "changed_areas, nil, {},", undo_over_house_places, "I6"),
    ("unless somebody has put them on sale", "undo_taking", "(off_sale[lent[i]] or 0) - blocked", "lent[i + 1]",
     unblock_before_it_is_undone, "I6"),
    ("what staff end is for sale", "withdraw_hold", FREED.format("keys", "'staff'"), GONE.format("'staff'"),
     withdraw_plainly, "I7"),
    ("but for the seats that the house kept", "withdraw_hold", "cmsgpack.unpack(ARGV[6])", "{}",
     withdraw_what_the_house_lent, "I6"),
    ("and the places", "withdraw_hold", "cmsgpack.unpack(ARGV[7])", "{}", withdraw_what_the_house_lent, "I6"),
    ("staff end nothing that is paid for", "withdraw_hold", "if not record then return not_active end",
     "record = record or cmsgpack.unpack(found[2])", withdraw_what_is_paid_for, "I9"),
    ("a closed sale spares what is paid for", "close_holds", "record[STATE] == 'active'", "record[STATE] ~= 'gone'",
     close_all, "I4"),
    ("a closed sale ends the rest", "close_holds", "record[STATE] == 'active'", "false", close_all, "I4"),
    ("what a closed sale ends is free", "close_holds", FREED.format("KEYS", "'closed'"), GONE.format("'closed'"),
     close_all, "I7"),
    ("a booking keeps what it keeps", "keep_places", "take_out_seats(record[SEATS], seats)",
     "take_out_seats(record[SEATS], {})", keep_a_part, "I4"),
    ("a booking keeps no more places", "keep_places", "math.min(had, areas[j + 2])", "had", keep_a_part, "I4"),
    ("what a booking gives back is free", "keep_places", "set_seats(KEYS[1], runs_of(going, 2), AVAILABLE,",
     "set_seats(KEYS[1], {}, AVAILABLE,", keep_a_part, "I7"),
    ("its places are, too", "keep_places", "record[CHANNEL], going_areas,", "record[CHANNEL], {},", keep_a_part,
     "I6"),
    ("a booking gives back its own", "keep_places", OWNER, "", keep_for_another, "I9"),
    ("what somebody has is given to no channel", "assign_seats", "if state == HELD or state == SOLD then",
     "if false then", assign_what_is_held, "channels"),
    ("places are given that are there", "assign_seats", "places > taken and", "false and", assign_what_is_held,
     "channels"),
    ("what is given is the channel's", "assign_seats", "        byte = 8 * channel + state\n", "",
     assign_and_sell, "channels"),
    ("what was given is opened", "open_seats", "byte >= low and byte <= high", "false", open_what_is_held, "channels"),
    ("what is opened stays held", "open_seats", "byte - low", "0", open_what_is_held, "I7"),
    ("places are opened, too", "open_seats", "set_allotment(KEYS[3], area, allotments, channel, 0, 0)", "",
     open_what_is_held, "channels"),
    ("older rules never win", "stamp_event", "if revision > tonumber(ARGV[2]) then", "if false then", pause_and_go_on,
     "sale"),
    ("a book that is adopted is closed", "adopt_begin", "redis.call('HDEL', KEYS[1], 'stamp')", "",
     hold_while_it_is_adopted, "I4"),
    ("all of a batch is written", "adopt_write", "unpack(ARGV, 3, field_parts + 2)", "unpack(ARGV, 3, 4)",
     adopt_two_holds, "I4"),
    ("a late adopter finishes nothing", "adopt_finish", "if redis.call('HGET', KEYS[2], 'adopting') ~= ARGV[1] then",
     "if false then", adopt_twice_at_once, "I4"),
    ("an address counts while it has something", "forget_address", "state == 'active' or state == 'checkout'", "false",
     take_turns_at_one_address, "limits"),
    ("a damaged book is closed", "check_book", WHOLE, "true", check_what_is_damaged, "I6"),
    ("a damaged book is not read", "read_inventory", WHOLE, "true", read_what_is_damaged, "I6"),
]  # fmt: skip


async def test_all_that_is_done_below_is_clean(house: House) -> None:
    for acts in dict.fromkeys(row[4] for row in MUTATIONS):
        witness = await open_event(house)
        await acts(witness)
        assert check(await witness.rest()) == [], acts.__name__


@pytest.mark.parametrize(
    ("script", "old", "new", "acts", "rule"), [row[1:] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS]
)
async def test_a_guard_that_is_taken_away_is_missed(
    house: House, script: str, old: str, new: str, acts: Acts, rule: str
) -> None:
    witness = await open_event(house)
    change_script(house, script, old, new)
    await acts(witness)
    assert rule in broken_rules(await witness.rest())


WRITES = re.compile(
    r"redis\.call\('(SET|HSET|HDEL|SETRANGE|XADD|ZADD|ZREM|UNLINK|RENAME)'"
    r"|\b(write_log|log_packed|append_entry|put_hold|write_hold|seq_of_whole)\("
)


def test_every_script_that_changes_something_has_a_guard_that_is_missed() -> None:
    """A new script without a mutation turns this red. What only looks cannot break a rule of these."""
    bookings = (ROOT / "tests" / "booking" / "test_mutations.py").read_text(encoding="utf-8")
    known = {row[1] for row in (*MUTATIONS, *test_script_mutations.MUTATIONS)}
    known |= set(re.findall(r'script\(\s*"([a-z_]+)"', bookings))
    own = {name: (ROOT / "lua" / f"{name}.lua").read_text(encoding="utf-8") for name in SCRIPTS}
    assert {name for name, text in own.items() if WRITES.search(text)} <= known
    assert known <= own.keys()
