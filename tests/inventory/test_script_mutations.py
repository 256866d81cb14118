"""Each guard of the scripts taken away in a copy: the judge of acts turns red, so it would see the guard fail.

What is sold is tests/booking/test_mutations.py's; here are the acts that only hold, move, block and hand over.
"""

from collections.abc import Awaitable, Callable

import pytest
from acts import broken_rules, check
from inventory_fixtures import (  # noqa: F401
    house_fixture,
    inventory_dsn_fixture,
    pool_fixture,
    scripts_keep_their_word,
)
from inventory_house import House, change_script
from witness import EXTENSIONS, HOLD_SECONDS, LIFETIME_SECONDS, MAX_SIZE, PIT, SEATS, Witness

from lml_live.inventory import seatmap

Acts = Callable[[Witness], Awaitable[None]]
LATE_MS, SOON_MS = HOLD_SECONDS * 1000 + 1_000, HOLD_SECONDS * 800
"""After a hold's deadline, and before it."""
RULES = {
    "seats": SEATS,
    "max_seats": MAX_SIZE,
    "extensions": EXTENSIONS,
    "hold_seconds": HOLD_SECONDS,
    "lifetime_seconds": LIFETIME_SECONDS,
}


async def open_events(house: House) -> Witness:
    """Two events of a group."""
    first = await house.open_event(areas={"pit": PIT}, **RULES)  # type: ignore[arg-type]
    return Witness(house, [first, await house.open_event(group=first, areas={"pit": PIT}, **RULES)])  # type: ignore[arg-type]


# --- Acts. With everything as it is each is clean; with one guard taken away it breaks a rule.


async def add_what_others_hold(w: Witness) -> None:
    await w.hold("ben", 3, pit=3)
    hold = await w.hold("anna", 1)
    await w.add("anna", hold, 3)
    await w.add("anna", hold, pit=3)


async def add_too_much(w: Witness) -> None:
    await w.add("anna", await w.hold("anna", 1, 2, 3), 4, 5)


async def add_late(w: Witness) -> None:
    hold = await w.hold("anna", 1)
    w.house.pass_ms(LATE_MS)
    await w.add("anna", hold, 3)


async def add_to_anothers(w: Witness) -> None:
    await w.add("ben", await w.hold("anna", 1), 3)


async def add_plainly(w: Witness) -> None:
    await w.add("anna", await w.hold("anna", 1, pit=1), 3, pit=1)


async def add_with_one_key(w: Witness) -> None:
    hold = await w.hold("anna", 1)
    await w.add("anna", hold, 3, key="k")
    await w.add("anna", hold, 4, key="k")


async def replace_by_what_others_hold(w: Witness) -> None:
    await w.hold("ben", 3, pit=3)
    hold = await w.hold("anna", 1)
    await w.replace("anna", hold, 3)
    await w.replace("anna", hold, pit=3)


async def replace_plainly(w: Witness) -> None:
    await w.replace("anna", await w.hold("anna", 1, 2, pit=1), 2, 3, pit=2)


async def replace_by_more(w: Witness) -> None:
    await w.replace("anna", await w.hold("anna", 1), 2, 3, 4, 5, 6)


async def replace_late(w: Witness) -> None:
    hold = await w.hold("anna", 1)
    w.house.pass_ms(LATE_MS)
    await w.replace("anna", hold, 3)


async def move_onto_others(w: Witness) -> None:
    await w.hold("ben", 3, pit=3)
    await w.block(7, state=seatmap.BYTE_KILL)
    hold = await w.hold("anna", 1)
    await w.move(hold, 3)
    await w.move(hold, pit=3)
    await w.move(hold, 7, over_house=True)


async def move_over_the_house(w: Witness) -> None:
    await w.block(7)
    hold = await w.hold("anna", 1)
    await w.move(hold, 7)
    await w.move(hold, 7, over_house=True)


async def move_late(w: Witness) -> None:
    hold = await w.hold("anna", 1)
    w.house.pass_ms(LATE_MS)
    await w.move(hold, 3)


async def move_and_die(w: Witness) -> None:
    await w.move_and_die(await w.hold("anna", 1), 3)


async def move_when_it_is_settled(w: Witness) -> None:
    await w.move_late(await w.hold("anna", 1), 3)


async def move_plainly(w: Witness) -> None:
    await w.move(await w.hold("anna", 1, pit=1), 2, pit=2)


async def give_what_others_hold(w: Witness) -> None:
    await w.hold("ben", 3, pit=3)
    await w.block(7, state=seatmap.BYTE_KILL)
    await w.give("anna", 3)
    await w.give("anna", pit=3)
    await w.give("anna", 7, over_house=True)


async def give_when_it_is_settled(w: Witness) -> None:
    await w.give_late("anna", 3, settled=NOW_US, asked=NOW_US)


async def give_what_is_older(w: Witness) -> None:
    await w.give_late("anna", 3, settled=NOW_US, asked=NOW_US)
    await w.give_late("ben", 4, settled=NOW_US - 9, asked=NOW_US - 1)


async def give_twice(w: Witness) -> None:
    await w.give("anna", pit=1, again=5)
    await w.give("anna", pit=1, again=5)


async def give_plainly(w: Witness) -> None:
    await w.block(3)
    await w.give("anna", 3, 4, pit=1, over_house=True)


async def hold_in_both(w: Witness) -> None:
    await w.hold_both("anna", 1, 2)


async def hold_in_both_what_others_hold(w: Witness) -> None:
    other = Witness(w.house, w.events[::-1])
    other.acts = w.acts
    await other.hold("ben", 3)
    await w.hold_both("anna", 2, 3)


async def hold_in_both_with_one_key(w: Witness) -> None:
    await w.hold_both("anna", 1, key="k")
    await w.hold_both("anna", 2, key="k")


async def move_to_the_other_evening(w: Witness) -> None:
    hold = await w.hold("anna", 1)
    w.house.pass_ms(20_000)
    await w.move_to("anna", hold, w.events[1], 3)


async def move_anothers_to_the_other_evening(w: Witness) -> None:
    await w.move_to("ben", await w.hold("anna", 1), w.events[1], 3)


async def move_late_to_the_other_evening(w: Witness) -> None:
    hold = await w.hold("anna", 1)
    w.house.pass_ms(LATE_MS)
    await w.move_to("anna", hold, w.events[1], 3)


async def release_both(w: Witness) -> None:
    await w.release_both("anna", await w.hold_both("anna", 1))


async def release_anothers(w: Witness) -> None:
    await w.release_both("ben", await w.hold_both("anna", 1))


async def extend_often(w: Witness) -> None:
    hold = await w.hold("anna", 1)
    for _ in range(EXTENSIONS + 1):
        w.house.pass_ms(20_000)
        await w.extend("anna", hold)


async def extend_far(w: Witness) -> None:
    hold = await w.hold("anna", 1)
    w.house.pass_ms(SOON_MS)
    await w.extend("anna", hold)


async def extend_late(w: Witness) -> None:
    hold = await w.hold("anna", 1)
    w.house.pass_ms(LATE_MS)
    await w.extend("anna", hold)


async def extend_both_often(w: Witness) -> None:
    holds = await w.hold_both("anna", 1)
    for _ in range(EXTENSIONS + 1):
        w.house.pass_ms(20_000)
        await w.extend_both("anna", holds)


async def extend_both_far(w: Witness) -> None:
    holds = await w.hold_both("anna", 1)
    w.house.pass_ms(SOON_MS)
    await w.extend_both("anna", holds)


async def hand_over_more_than_fits(w: Witness) -> None:
    await w.hold("anon", 1, 2)
    await w.hold("anna", 3, 4, 5)
    await w.hand_over("anon", "anna")


async def hand_over_late(w: Witness) -> None:
    await w.hold("anon", 1)
    w.house.pass_ms(LATE_MS)
    await w.hand_over("anon", "anna")


async def hand_over_and_release(w: Witness) -> None:
    hold = await w.hold("anon", 1)
    await w.hand_over("anon", "anna")
    await w.release("anon", hold)


async def block_what_is_held(w: Witness) -> None:
    await w.hold("anna", 3, pit=3)
    await w.block(3, 4, pit=3)


async def unblock_what_is_held(w: Witness) -> None:
    await w.block(4)
    await w.hold("anna", 3)
    await w.unblock(3, 4)


# --- Mutations

TAKEN = "if #taken > 0 then return {'taken', unpack(taken)} end"
NOW_US = 1_790_000_000_123_456
FULL = "if #full > 0 then return {'full', unpack(full)} end"
OURS = "own_active_hold(found[4], holder, now)"
ANYBODYS = "own_active_hold(found[4], found[4] and cmsgpack.unpack(found[4])[HOLDER], now)"
WISH = "own_active_hold(book.raw, holder, now)"
REFUSED = "  if refusal then refusals[#refusals + 1] = {i, unpack(refusal)} end\n"
HALF = (
    "  if not refusal then put_hold(book, new_record(holder, now + 1e5, now + 1e5, 0, now, 0), 'hold', request) end\n"
)
BLOCKED = "{[HOUSE] = true, [KILL] = true}"

# what is taken away · the script · its line · what it is instead · the acts that need it · the rule that is broken then
MUTATIONS: list[tuple[str, str, str, str, Acts, str]] = [
    ("a seat is added once", "add_to_hold", TAKEN, "", add_what_others_hold, "I3"),
    ("places are added where there are any", "add_to_hold", FULL, "", add_what_others_hold, "I5"),
    ("what is added counts", "add_to_hold", "if tally[1] + size_of", "if 0 * size_of", add_too_much, "limits"),
    ("nothing is added late", "add_to_hold", OURS, OURS.replace("now", "nil"), add_late, "I9"),
    ("nothing is added to another's", "add_to_hold", OURS, ANYBODYS, add_to_anothers, "I9"),
    ("what is added comes to the rest", "add_to_hold", "merge_seats(record[SEATS], seats)", "seats", add_plainly, "I4"),
    ("what is added is shown", "add_to_hold", "set_seats(KEYS[1], runs, HELD, changed_seats)", "", add_plainly, "I7"),
    ("one key adds once", "add_to_hold", "if marker[2] ~= request_hash then", "if false then", add_with_one_key, "I24"),
    ("a seat is exchanged once", "replace_hold", TAKEN, "", replace_by_what_others_hold, "I3"),
    ("places are exchanged where there are any", "replace_hold", FULL, "", replace_by_what_others_hold, "I5"),
    ("what is exchanged counts", "replace_hold", "if size > tonumber(ARGV[9])", "if false", replace_by_more, "limits"),
    ("nothing is exchanged late", "replace_hold", OURS, OURS.replace("now", "nil"), replace_late, "I9"),
    (
        "what is exchanged is free",
        "replace_hold",
        "set_seats(KEYS[1], runs_of(leaving, 2), AVAILABLE, changed_seats)",
        "",
        replace_plainly,
        "I7",
    ),
    (
        "the old places go back",
        "replace_hold",
        "record[AREAS], 'held', 'available', ",
        "",
        replace_plainly,
        "I6",
    ),
    ("staff move onto what is free", "move_hold", TAKEN, "", move_onto_others, "I3"),
    ("staff move to places that are there", "move_hold", FULL, "", move_onto_others, "I5"),
    ("staff say when they move over the house", "move_hold", "tonumber(ARGV[6])", "3", move_over_the_house, "I3"),
    ("staff move nothing late", "move_hold", "found[2], holder, now)", "found[2], holder, nil)", move_late, "I9"),
    ("a move keeps the time", "move_hold", "record[REASON] = seats, areas, 'staff'",
     "record[REASON], record[LIFETIME] = seats, areas, 'staff', now + 1e7", move_plainly, "I8"),
    ("what was done is told to who comes next", "move_hold", "note_act(KEYS[2], act,", "note_act(KEYS[2], 0,",
     move_and_die, "I4"),
    ("what is settled as not done is not done", "move_hold", "or overtaken_refusal(found[3], act)", "",
     move_when_it_is_settled, "I4"),
    ("and it is settled for good", "settle_act", "redis.call('HSET', KEYS[1], 'act', cmsgpack.pack({number}))", "",
     move_when_it_is_settled, "I4"),
    ("what is settled as not taken is not taken", "hold_for_customer", "tonumber(found[4]) >= tonumber(ARGV[14])",
     "false", give_when_it_is_settled, "I4"),
    ("and for good", "settle_hold", "redis.call('HSET', KEYS[1], 'noted', note)", "", give_when_it_is_settled, "I4"),
    ("nor is what is older", "settle_hold", "if tonumber(note) > tonumber(found[3] or 0) then", "if true then",
     give_what_is_older, "I4"),
    ("staff give what is free", "hold_for_customer", TAKEN, "", give_what_others_hold, "I3"),
    ("staff give places that are there", "hold_for_customer", FULL, "", give_what_others_hold, "I5"),
    ("a request is told twice", "hold_for_customer", "if found[3] then", "if false then", give_twice, "I6"),
    ("what staff give is shown", "hold_for_customer", "set_seats(KEYS[1], runs, HELD", "set_seats(KEYS[1], {}, HELD",
     give_plainly, "I7"),
    ("a seat is held once, over events", "hold_group", TAKEN, "", hold_in_both_what_others_hold, "I3"),
    ("all events ask before one is done", "hold_group", REFUSED, REFUSED + HALF, hold_in_both_what_others_hold, "I4"),
    ("what is held is shown, over events", "hold_group", "if book.fresh_runs then set", "if false then set",
     hold_in_both, "I7"),
    ("one key holds once, over events", "hold_group", "if cmsgpack.unpack(book.marker)[2] ~= request_hash", "if false",
     hold_in_both_with_one_key, "I24"),
    ("a hold lives no longer elsewhere", "move_group", "math.min(lifetime, record[LIFETIME])", "lifetime",
     move_to_the_other_evening, "I8"),
    ("a hold's time goes with it", "move_group", "math.min(deadline, record[DEADLINE])", "deadline",
     move_to_the_other_evening, "I8"),
    ("what it was put off goes with it", "move_group", "math.max(extensions, record[EXTENSIONS])", "-1",
     move_to_the_other_evening, "I8"),
    ("nobody moves another's", "move_group", WISH, "own_active_hold(book.raw, 'anna', now)",
     move_anothers_to_the_other_evening, "I9"),
    ("nothing is moved late", "move_group", WISH, WISH.replace("now", "nil"), move_late_to_the_other_evening, "I9"),
    ("nobody releases another's", "release_group", "own_active_hold(book.raw, ARGV[2], nil)",
     "own_active_hold(book.raw, 'anna', nil)", release_anothers, "I9"),
    ("what is released is free", "release_group", "runs_of(seats_not_in(record[SEATS], seats), 2)", "{}",
     release_both, "I7"),
    ("what is released is gone", "release_group", "if #seats + #areas == 0 then", "if false then", release_both, "I4"),
    ("a hold is put off so often", "extend_hold", "record[EXTENSIONS] >= tonumber(ARGV[8])", "false", extend_often,
     "I8"),
    ("a hold has a last moment", "extend_hold", "math.min(now + ARGV[9], record[LIFETIME])", "now + ARGV[9]",
     extend_far, "I8"),
    ("what is over is not put off", "extend_hold", "own_active_hold(found[2], ARGV[3], now)",
     "own_active_hold(found[2], ARGV[3], nil)", extend_late, "I9"),
    ("holds are put off so often", "extend_group", "record[EXTENSIONS] >= book.change.max_extensions", "false",
     extend_both_often, "I8"),
    ("holds have a last moment", "extend_group", "math.min(now + book.change.hold_ms, record[LIFETIME])",
     "now + book.change.hold_ms", extend_both_far, "I8"),
    ("an account takes over what fits", "hand_over", "has[1] + size_of(record[SEATS], record[AREAS]) >",
     "0 >", hand_over_more_than_fits, "limits"),
    ("an account takes over what lives", "hand_over", "if record[DEADLINE] <= now then", "if false then",
     hand_over_late, "I9"),
    ("what was taken over is another's", "hand_over", "record[HOLDER], record[REASON] = to, 'own'", "",
     hand_over_and_release, "I9"),
    ("what is held is not blocked", "block_seats", "[AVAILABLE] = true, ", "[AVAILABLE] = true, [HELD] = true, ",
     block_what_is_held, "I3"),
    ("places that are held are not blocked", "block_seats", "more > 0 and more > left", "false", block_what_is_held,
     "I5"),
    ("only what is blocked is unblocked", "unblock_seats", BLOCKED, BLOCKED[:-1] + ", [HELD] = true}",
     unblock_what_is_held, "I7"),
    ("what is unblocked is for sale", "unblock_seats", "runs_of(blocked, 1), AVAILABLE", "{}, AVAILABLE",
     unblock_what_is_held, "I6"),
]  # fmt: skip


async def test_all_that_is_done_below_is_clean(house: House) -> None:
    for acts in dict.fromkeys(row[4] for row in MUTATIONS):
        witness = await open_events(house)
        await acts(witness)
        assert check(await witness.rest()) == [], acts.__name__


@pytest.mark.parametrize(
    ("script", "old", "new", "acts", "rule"), [row[1:] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS]
)
async def test_a_guard_that_is_taken_away_is_missed(
    house: House, script: str, old: str, new: str, acts: Acts, rule: str
) -> None:
    witness = await open_events(house)
    change_script(house, script, old, new)
    await acts(witness)
    assert rule in broken_rules(await witness.rest())
