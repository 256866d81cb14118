"""The audit trail on a real PostgreSQL: nothing is changed in it, everything gets its link, and tampering is found."""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))

from trail_house import EVENT, SEAT, TrailHouse, open_trail

from lml_live import limits
from lml_live.backoffice.anchors import anchor_key
from lml_live.backoffice.chain import ChainCheck, Link, genesis, next_hash
from lml_live.cli import lml
from lml_live.errors import Unavailable
from lml_live.infra import acting, postgres

LOGS = ("audit_record", "booking_history", "status_change", "audit_link", "audit_anchor")


@pytest.fixture(name="house")
async def house_fixture(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[TrailHouse]:
    async with open_trail(postgres_dsn, tmp_path) as house:
        yield house


# --- What is written


async def test_nothing_is_changed_or_removed_not_even_by_the_owner(house: TrailHouse) -> None:
    await house.chain()
    await house.anchoring.anchor()
    for table in LOGS:
        column = "hash = hash" if table in ("audit_link", "audit_anchor") else "at = now()"
        for statement in (f"UPDATE {table} SET {column}", f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(asyncpg.CheckViolationError) as refused:
                await house.pool.execute(statement)
            assert refused.value.constraint_name in ("audit_stays", "status_change_stays")


async def test_who_what_why_and_from_where(house: TrailHouse) -> None:
    """Whoever acts in a request is on record, and after it nobody is."""
    with acting.acting_ends():
        acting.act_as("staff", "clara", "from-clara")
        async with postgres.transaction(house.pool) as connected:
            await connected.execute("UPDATE event SET state = 'open', revision = 2, epoch = 7 WHERE id = 'aida'")
            await connected.execute("UPDATE booking SET state = 'cancelling' WHERE id = 'b1' AND state = 'cancelling'")
            await connected.execute(SEAT, "aida", "d")
            await connected.execute(
                "INSERT INTO event_price (event_id, category, type, label, amount, fee, tax_rate, position)"
                " VALUES ('aida', 'A', 'adult', 'Adult', 900, 10, 7, 0), ('aida', 'B', 'adult', 'Adult', 500, 10, 7, 1)"
            )
            await connected.execute(
                "INSERT INTO staff (id, email, password_hash, roles) VALUES ('s', 'ben@x', 'argon', '{manager}')"
            )
            await connected.execute("UPDATE staff SET password_hash = 'other' WHERE id = 's'")
    await house.pool.execute("UPDATE event SET epoch = 8, redis_run_id = 'r' WHERE id = 'aida'")
    await house.pool.execute("UPDATE event SET name = 'Aïda' WHERE id = 'aida'")
    rows = await house.pool.fetch("SELECT * FROM audit_record WHERE number > 2 ORDER BY number")
    acts = [(row["actor_kind"], row["actor_id"], row["origin"], row["action"]) for row in rows]
    clara = ("staff", "clara", "from-clara")
    assert acts == [
        (*clara, "event.changed"),
        (*clara, "prices.made"),
        (*clara, "staff.made"),
        (*clara, "staff.changed"),
        ("system", None, None, "event.changed"),
    ], "an epoch is no act"
    details = [json.loads(row["detail"]) for row in rows]
    assert details[0] == {"state": ["draft", "open"]}
    assert [price["amount"] for price in details[1]] == [900, 500]
    assert "argon" not in str(details), "a password's hash is nobody's business"
    assert details[3] == {"password_hash": "changed"}
    assert rows[-1]["worker"] == "lml"
    moves = await house.pool.fetch("SELECT * FROM booking_history WHERE booking_id = 'b1' ORDER BY number")
    assert [(row["to_state"], row["actor_kind"], row["actor_id"], row["origin"]) for row in moves] == [
        ("pending_payment", "holder", "anna", "from-anna"),
        ("expiring", "system", None, None),
    ]
    seats = await house.pool.fetch("SELECT staff_id, reason, origin FROM status_change ORDER BY number")
    assert [row["origin"] for row in seats] == [None, None, None, "from-clara"]


# --- The chain


async def test_every_record_gets_its_link_in_the_chain_of_its_event(house: TrailHouse) -> None:
    assert await house.chain() == 9
    assert await house.faults() == []
    rows = await house.pool.fetch("SELECT chain, count(*) AS links, max(seq) AS last FROM audit_link GROUP BY chain")
    assert {row["chain"]: (row["links"], row["last"]) for row in rows} == {"aida": (8, 8), "": (1, 1)}
    assert await house.trail.chain() == 0


async def test_what_commits_late_with_a_low_number_is_chained_all_the_same(house: TrailHouse) -> None:
    """Numbers are drawn before they are committed. A floor waits for every transaction that may still bring one."""
    async with house.pool.acquire() as slow:
        late = slow.transaction()
        await late.start()
        await slow.execute(SEAT, "aida", "late")
        number = await slow.fetchval("SELECT max(number) FROM status_change")
        await house.pool.execute(SEAT, "aida", "early")
        await house.settle()
        floor = await house.pool.fetchval("SELECT number FROM audit_floor WHERE log = 'seat'")
        assert floor < number
        await late.commit()
    assert await house.chain() == 1
    await house.floor_reaches("seat", number + 1)
    assert await house.faults() == []
    links = await house.pool.fetch("SELECT number FROM audit_link WHERE log = 'seat' ORDER BY seq DESC LIMIT 2")
    assert [row["number"] for row in links] == [number, number + 1], "in the order in which they could be seen"


async def test_two_sequencers_at_once_make_one_chain(house: TrailHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AUDIT_BATCH", 1)
    made = await asyncio.gather(*(house.trail.chain() for _ in range(6)))
    assert 0 < sum(made) + await house.chain() == 9
    assert await house.faults() == []


async def test_after_a_restore_into_another_cluster_the_floor_goes_on(house: TrailHouse) -> None:
    """Its transactions are numbered from the beginning: what the floor waited for will not come for years."""
    await house.settle()
    await house.pool.execute("UPDATE audit_floor SET next_number = number, next_xid = 1 << 40, next_at = now()")
    await house.pool.execute(SEAT, "aida", "new")
    await house.floor_reaches("seat", await house.pool.fetchval("SELECT max(number) FROM status_change"))


# --- Tampering

# what somebody does past the program · what is found then (kind, log, number)
TAMPERED: list[tuple[str, str, tuple[str, str, int]]] = [
    ("a seat's reason", "UPDATE status_change SET reason = 'fire' WHERE number = 2", ("edited", "seat", 2)),
    ("a move", "UPDATE booking_history SET to_state = 'confirmed' WHERE number = 4", ("edited", "booking", 4)),
    ("an act's time", "UPDATE audit_record SET at = at + interval '1 us' WHERE number = 1", ("edited", "act", 1)),
    ("who did it", "UPDATE audit_record SET actor_id = 'ben' WHERE number = 2", ("edited", "act", 2)),
    ("a record gone", "DELETE FROM booking_history WHERE number = 3", ("deleted", "booking", 3)),
    (
        "a link's hash",
        "UPDATE audit_link SET hash = sha256('x') WHERE log = 'seat' AND number = 2",
        ("edited", "seat", 2),
    ),
    (
        "a record gone with its link",
        "WITH gone AS (DELETE FROM status_change WHERE number = 2)"
        " DELETE FROM audit_link WHERE log = 'seat' AND number = 2",
        ("links_missing", "seat", 3),
    ),
    (
        "a record put in",
        "INSERT INTO status_change (number, event_id, act, seat_id, staff_id) OVERRIDING SYSTEM VALUE"
        " VALUES (-5, 'aida', 'block', 'z', 'clara')",
        ("inserted", "seat", -5),
    ),
]


@pytest.mark.parametrize(("statement", "found"), [row[1:] for row in TAMPERED], ids=[row[0] for row in TAMPERED])
async def test_tampering_is_found_and_named(house: TrailHouse, statement: str, found: tuple[str, str, int]) -> None:
    await house.floor_reaches("seat", 3)
    assert await house.faults() == []
    await house.tamper(statement)
    await house.chain()
    assert await house.kinds() == [found]


async def test_a_cut_off_end_and_a_chain_written_anew_are_found_by_the_anchors(house: TrailHouse) -> None:
    await house.chain()
    assert await house.anchoring.anchor() == 1
    assert await house.anchoring.anchor() is None, "nothing was chained since"
    await house.pool.execute(SEAT, "aida", "d")
    await house.chain()
    assert await house.anchoring.anchor(3600) is None, "the last is young"
    assert await house.anchoring.anchor() == 2
    assert await house.faults() == []
    assert (house.verdict.chains, house.verdict.links, house.verdict.anchors) == (2, 10, 2)

    # The last record goes, with its link: what is left is a chain without a fault in itself.
    await house.tamper("DELETE FROM audit_link WHERE log = 'seat' AND number = 4")
    await house.tamper("DELETE FROM status_change WHERE number = 4")
    [cut] = await house.faults()
    assert (cut.kind, cut.chain, cut.seq) == ("cut_off", "aida", 9)

    # All of it is written anew, with another reason.
    await house.tamper("DELETE FROM audit_link WHERE chain = 'aida'")
    await house.tamper("DELETE FROM audit_floor")
    await house.tamper("UPDATE status_change SET reason = 'fire'")
    await house.pool.execute(SEAT, "aida", "e")
    await house.chain()
    [anew] = await house.faults()
    assert (anew.kind, anew.chain, anew.seq) == ("rewritten", "aida", 8)

    # A chain that is gone as a whole.
    await house.tamper("DELETE FROM audit_link WHERE chain = 'aida'")
    assert [(fault.kind, fault.chain, fault.seq) for fault in await house.faults() if fault.kind == "cut_off"] == [
        ("cut_off", "aida", 1)
    ]


async def test_anchors_cannot_be_changed_lost_or_forgotten(house: TrailHouse) -> None:
    await house.chain()
    assert await house.anchoring.anchor() == 1
    await house.pool.execute(EVENT, "carmen")
    await house.chain()
    assert await house.anchoring.anchor() == 2
    files = [house.directory / anchor_key(number) for number in (1, 2)]
    first, second = (file.read_bytes() for file in files)
    assert json.loads(second)["previous"] == hashlib.sha256(first).hexdigest()

    files[0].write_bytes(first.replace(b'"links":9', b'"links":8'))
    assert await house.kinds() == [("anchor_edited", None, None)]
    files[0].unlink()
    assert await house.kinds() == [("anchor_lost", None, None)]
    files[0].write_bytes(first)
    await house.tamper("DELETE FROM audit_anchor WHERE number = 2")
    assert await house.kinds() == [], "written, and its worker died before it noted it"
    await house.pool.execute(EVENT, "tosca")
    await house.chain()
    assert await house.anchoring.anchor() == 2, "what is there is taken over"
    assert files[1].read_bytes() == second
    await house.tamper("DELETE FROM audit_anchor")
    assert await house.kinds() == [("anchor_lost", None, None)] * 2
    assert await house.anchoring.anchor() == 1
    files[0].write_bytes(second)
    await house.tamper("DELETE FROM audit_anchor")
    assert await house.anchoring.anchor() is None, "another database's"


async def test_a_store_that_is_away_is_said_to_be_away(house: TrailHouse) -> None:
    await house.chain()
    (house.directory / "audit").write_text("a file in the folder's place")
    with pytest.raises(Unavailable):
        await house.anchoring.anchor()


BODIES = st.lists(st.binary(min_size=1, max_size=6), min_size=1, max_size=9, unique=True)


@given(bodies=BODIES, choice=st.data())
def test_any_one_change_of_a_chain_is_found(bodies: list[bytes], choice: st.DataObject) -> None:
    links, before = [], genesis("e")
    for seq, body in enumerate(bodies, 1):
        before = next_hash(before, body)
        links.append(Link(seq, "act", seq, before))
    records = {("act", seq): body for seq, body in enumerate(bodies, 1)}
    head = before

    def found(links: list[Link], records: dict[tuple[str, int], bytes]) -> bool:
        check = ChainCheck("e", anchored=[len(bodies)])
        return bool([*check.check(links, records)]) or check.compare(len(bodies), head, 1) is not None

    assert not found(links, records)
    at = choice.draw(st.integers(0, len(bodies) - 1))
    name = ("act", at + 1)
    how = choice.draw(st.sampled_from(["edit", "delete", "unlink", "cut", "swap", "rehash"]))
    if how == "edit":
        records[name] += b"x"
    elif how == "delete":
        del records[name]
    elif how == "unlink":
        del links[at]
    elif how == "cut":
        del links[at:]
    elif how == "swap" and len(bodies) > 1:
        other = ("act", (at + 1) % len(bodies) + 1)
        records[name], records[other] = records[other], records[name]
    else:
        link = links[at]
        links[at] = Link(link.seq, link.log, link.number, next_hash(link.hash, b""))
    assert found(links, records)


# --- The commands


async def test_the_commands_verify_and_export(
    house: TrailHouse, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def command(*arguments: str) -> Result:
        # A command runs a loop of its own.
        return await asyncio.to_thread(CliRunner().invoke, lml, ("audit", *arguments))

    monkeypatch.setenv("LML_POSTGRES_DSN", postgres_dsn)
    monkeypatch.setenv("LML_DATA_DIR", str(tmp_path))
    waiting = await command("verify")
    assert (waiting.exit_code, waiting.stdout) == (0, "")
    assert "9 records wait" in waiting.stderr
    await house.chain()
    await house.anchoring.anchor()
    clean = await command("verify")
    assert (clean.exit_code, clean.stdout, clean.stderr) == (0, "", "2 chains, 9 records, 1 anchors: 0 faults\n")

    exported = await command("export", "aida")
    assert exported.exit_code == 0
    before = hashlib.sha256(b"lml audit chain aida").digest()
    for line in exported.stdout.splitlines():
        record = line[line.index('"record":') + 9 : -1]
        before = hashlib.sha256(before + record.encode()).digest()
        assert json.loads(line)["hash"] == before.hex()
    assert json.loads(exported.stdout.splitlines()[0])["record"]["action"] == "event.made"
    assert json.loads((await command("export", "--house")).stdout)["record"]["subject_id"] == "hall"

    await house.tamper("UPDATE booking_history SET to_state = 'confirmed' WHERE number = 4")
    found = await command("verify")
    assert found.exit_code == 1
    assert found.stdout.startswith("edited\taida\t")
    assert "\tbooking\t4\t" in found.stdout
    assert (await command("export", "nothing")).exit_code == 1
    assert (await command("export")).exit_code == 2
