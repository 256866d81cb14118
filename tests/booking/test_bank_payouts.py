"""What goes from organisations' accounts to their banks: known by notices or without, once, and told when it fails."""

import itertools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import asyncpg
import msgspec
import pytest
from booking_fixtures import (  # noqa: F401
    booking_dsn_fixture,
    house_fixture,
    inventory_dsn_fixture,
)
from booking_house import BookingHouse
from checker import check
from databases import past_guards
from mail_house import SENDER, URL, serving
from payout_house import (  # noqa: F401
    DUE,
    account_of,
    nobody_is_known_fixture,
    organised,
    paid_out,
    their_event,
)

from lml_live import limits
from lml_live.booking import bank_payouts, payout_states
from lml_live.booking.bank_payouts import BankPayouts, Payout
from lml_live.booking.connect import StripePayout
from lml_live.booking.mailer import Mailer
from lml_live.booking.matching import Matching
from lml_live.booking.money import compare_payouts
from lml_live.booking.organisations import Organisation, Organisations
from lml_live.booking.payments import PaymentFault
from lml_live.booking.payout_states import PAYOUT_MOVES, PAYOUT_STATES, PayoutState, may_follow, reason
from lml_live.infra.smtp import Smtp

DAY = 86_400


async def paid(house: BookingHouse) -> tuple[Organisation, str]:
    """An organisation that has the money of one seat in its account; answers that, too."""
    one = await organised(house, by_day=True)
    await house.sold(await their_event(house, one), 3)
    await paid_out(house)
    return one, await account_of(house, one)


async def known(house: BookingHouse, one: Organisation) -> list[tuple[int, str]]:
    """The (amount, state) of its payouts, the newest first."""
    return [(payout.amount, payout.state) for payout in await BankPayouts(house.pool).list(one.id, limit=100)]


async def notice(house: BookingHouse, account: str, payout: str, kind: str = "payout.updated", n: int = 0) -> None:
    """Stripe tells of a payout, as the gateway keeps it; and somebody heeds it."""
    await house.bookings.keep_notice(f"evt_{kind}_{payout}_{n}", kind, None, account, payout)
    await house.rest()


async def forget_the_look(house: BookingHouse) -> None:
    """The next look is due."""
    await house.pool.execute("UPDATE connected_account SET payouts_looked_at = payouts_looked_at - interval '2 hours'")


# --- The table


def test_the_diagram_in_the_documents_is_the_table() -> None:
    told = (Path(__file__).parents[2] / "docs" / "bookings.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{payout_states.draw()}```" in told


def test_the_table_has_stripes_words_and_ends_where_money_is_back() -> None:
    assert set(PAYOUT_MOVES) == set(PAYOUT_STATES) == set(get_args(PayoutState))
    assert {state for state in PAYOUT_STATES if not PAYOUT_MOVES[state]} == {"failed", "canceled"}
    for before, after in itertools.product(PAYOUT_STATES, repeat=2):
        assert (before in may_follow(after)) == (before == after or after in PAYOUT_MOVES[before])


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("account_closed", "the bank account is closed"),
        ("no_account", "there is no bank account with these details"),
        ("of_tomorrow", "the bank gave no reason that we know"),
        (None, "the bank gave no reason that we know"),
    ],
)
def test_why_a_bank_refuses_is_said_in_words(code: str | None, says: str) -> None:
    assert reason(code) == says


async def test_postgresql_has_the_table_and_refuses_all_else(house: BookingHouse) -> None:
    rows = await house.pool.fetch("SELECT from_state, to_state FROM payout_move")
    moves = {(before, after) for before, to in PAYOUT_MOVES.items() for after in to}
    assert {(row["from_state"], row["to_state"]) for row in rows} == moves
    one = await organised(house)
    account = await account_of(house, one)
    add = (
        "INSERT INTO payout"
        " (stripe_id, organisation_id, account_id, amount, currency, state, automatic, arrives, created)"
        " VALUES ($1, $2, $3, 900, 'EUR', $4, true, now(), now())"
    )
    for before, after in itertools.product(PAYOUT_STATES, repeat=2):
        name = f"po_{before}_{after}"
        await house.pool.execute(add, name, one.id, account, before)
        change = house.pool.execute("UPDATE payout SET state = $2 WHERE stripe_id = $1", name, after)
        if before == after or (before, after) in moves:
            await change
            continue
        with pytest.raises(asyncpg.CheckViolationError) as met:
            await change
        assert met.value.constraint_name == "payout_moves_legally"


BAD = (
    ("amount = amount + 1", "payout_moves_legally"),
    ("account_id = 'acct_other'", "payout_moves_legally"),
    ("created = created - interval '1 day'", "payout_moves_legally"),
    ("failure_code = 'no_account'", "payout_fails_for_a_reason"),
    ("state = 'lost'", "payout_moves_legally"),
)


async def test_a_payout_stays_the_one_it_was(house: BookingHouse) -> None:
    one, account = await paid(house)
    await notice(house, account, await house.double.steering.pay_out(account))
    for change, constraint in BAD:
        with pytest.raises(asyncpg.CheckViolationError) as met:
            await house.pool.execute(f"UPDATE payout SET {change}")
        assert met.value.constraint_name == constraint, change
    with pytest.raises(asyncpg.CheckViolationError):
        await house.pool.execute("DELETE FROM payout")
    other = await organised(house)
    copy = "INSERT INTO payout SELECT 'po_2', $1, account_id, {}, {}, state, true, arrives, NULL, created FROM payout"
    for owner, amount, currency, constraint in (
        (other.id, "900", "'EUR'", "payout_is_of_its_account"),
        (one.id, "0", "'EUR'", "payout_is_an_amount"),
        (one.id, "900", "'eur'", "payout_currency_is_iso"),
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
            await house.pool.execute(copy.format(amount, currency), owner)
        assert refused.value.constraint_name == constraint  # type: ignore[attr-defined]
    assert await known(house, one) == [(DUE, "pending")]


# --- By notices, and without


async def test_a_payout_is_followed_by_its_notices(house: BookingHouse) -> None:
    one, account = await paid(house)
    await house.double.steering.advance(4 * DAY)
    [made] = (await house.double.steering.ledger()).payouts[account]
    for state in ("pending", "in_transit", "paid"):
        for n in (1, 2):  # twice is once
            await notice(house, account, made.id, f"payout.of_{state}", n)
            assert await known(house, one) == [(DUE, state)]
        await house.double.steering.advance(3_600 if state == "pending" else 2 * DAY)
    [payout] = await BankPayouts(house.pool).list(one.id, limit=1)
    assert (payout.id, payout.automatic, payout.failure_reason) == (made.id, True, None)
    assert payout.arrives == datetime.fromtimestamp(made.arrival_date, UTC)
    told = "SELECT * FROM audit_record WHERE subject_kind = 'payout' AND subject_id = $1 ORDER BY number"
    rows = await house.pool.fetch(told, made.id)
    assert [(row["action"], row["subject_id"], row["actor_kind"]) for row in rows] == [
        ("payout.made", made.id, "system"),
        ("payout.changed", made.id, "system"),
        ("payout.changed", made.id, "system"),
    ]


async def test_without_notices_the_poller_finds_what_became_of_it(house: BookingHouse) -> None:
    """Also of one that had arrived: some fail after all."""
    one, account = await paid(house)
    await house.paying.turn()
    assert await known(house, one) == []
    await house.double.steering.advance(4 * DAY)
    await house.paying.turn()
    assert await known(house, one) == [], "it was asked about just now"
    for seconds, state in ((0, "pending"), (3_600, "in_transit"), (2 * DAY, "paid")):
        await house.double.steering.advance(seconds)
        await forget_the_look(house)
        await house.paying.turn()
        assert await known(house, one) == [(DUE, state)]
    [made] = (await house.double.steering.ledger()).payouts[account]
    await house.double.steering.end_payout(made.id, "failed", code="account_closed")
    await forget_the_look(house)
    await house.paying.turn()
    [payout] = await BankPayouts(house.pool).list(one.id, limit=1)
    assert (payout.state, payout.failure_code) == ("failed", "account_closed")
    assert payout.failure_reason == "the bank account is closed"


class Asked:
    """A Stripe that has no payouts, and remembers from when on it was asked."""

    def __init__(self) -> None:
        self.since: datetime | None = None

    async def find_payouts(self, _: str, since: datetime) -> tuple[StripePayout, ...]:
        self.since = since
        return ()


async def test_what_may_still_become_another_is_read_again(house: BookingHouse) -> None:
    one = await organised(house)
    account, now = await account_of(house, one), datetime.now(UTC)
    add = (
        "INSERT INTO payout VALUES ('po_1', $1, $2, 900, 'EUR', $3, true, $4::timestamptz, NULL,"
        " $4::timestamptz - interval '2 days')"
    )
    for state, days_ago, again in (
        ("pending", 30, True),
        ("in_transit", 30, True),
        ("paid", 13, True),
        ("paid", 15, False),
        ("failed", 1, False),
        ("canceled", 1, False),
    ):
        await past_guards(house.pool, "DELETE FROM payout")
        arrives, asked = now - timedelta(days=days_ago), Asked()
        await house.pool.execute(add, one.id, account, state, arrives)
        await house.pool.execute("UPDATE connected_account SET payouts_looked_at = now() - interval '2 hours'")
        assert await BankPayouts(house.pool, asked).look() == 1  # type: ignore[arg-type]
        assert asked.since is not None
        assert (asked.since < arrives) == again, (state, days_ago)


@pytest.mark.parametrize("kind", ["error_500", "rate_limit"])
async def test_what_cannot_be_read_now_is_read_later(house: BookingHouse, kind: Any) -> None:
    one, account = await paid(house)
    payout = await house.double.steering.pay_out(account)
    await forget_the_look(house)
    looked = await house.pool.fetchval("SELECT payouts_looked_at FROM connected_account")
    await house.double.steering.fault("payout_list", kind)
    await house.paying.banks.look()
    assert await house.pool.fetchval("SELECT payouts_looked_at FROM connected_account") == looked
    await house.double.steering.fault("payout_retrieve", kind)
    await notice(house, account, payout)
    assert await known(house, one) == []
    assert await house.pool.fetchval("SELECT count(*) FROM stripe_notice WHERE done IS NULL") == 1
    await house.pool.execute("UPDATE stripe_notice SET due = now()")
    await house.rest()
    assert await known(house, one) == [(DUE, "pending")]
    assert await house.pool.fetchval("SELECT count(*) FROM stripe_notice WHERE done IS NULL") == 0
    await house.paying.banks.look()
    assert await house.pool.fetchval("SELECT payouts_looked_at FROM connected_account") > looked


async def test_a_worker_that_dies_between_inbox_and_effect_leaves_it_to_the_next(
    house: BookingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the notice was kept, and after the payout was: whoever comes next has the same effect, once."""
    one, account = await paid(house)
    payout = await house.double.steering.pay_out(account)
    await house.double.steering.end_payout(payout, "failed", code="no_account")
    await house.bookings.keep_notice("evt_1", "payout.failed", None, account, payout)

    class Killed(BaseException):
        pass

    async def dies(*_: Any) -> None:
        raise Killed

    for owner, name in ((house.connect, "retrieve_payout"), (house.bookings, "finish_notice")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, dies)
            await house.completer.turn()
        assert await house.pool.fetchval("SELECT count(*) FROM stripe_notice WHERE done IS NULL") == 1
        assert len(await known(house, one)) == (name == "finish_notice")
    await house.rest()
    assert await known(house, one) == [(DUE, "failed")]
    assert await house.pool.fetchval("SELECT count(*) FROM audit_record WHERE subject_id = $1", payout) == 1
    assert await house.pool.fetchval("SELECT count(*) FROM stripe_notice WHERE done IS NULL") == 0


async def test_news_that_come_out_of_order_are_old_news(house: BookingHouse) -> None:
    """Of two looks that cross, the later answer is kept, whichever comes first."""
    one, account = await paid(house)
    name = await house.double.steering.pay_out(account)
    first = await house.connect.retrieve_payout(account, name)
    await house.double.steering.end_payout(name, "paid")
    second = await house.connect.retrieve_payout(account, name)
    await house.double.steering.end_payout(name, "failed", code="declined")
    third = await house.connect.retrieve_payout(account, name)
    for order in itertools.permutations((first, second, third)):
        await past_guards(house.pool, "DELETE FROM payout")
        await house.pool.execute("DELETE FROM mail")
        for found in order:
            await house.paying.banks._keep(account, found)
        assert await known(house, one) == [(DUE, "failed")], order


async def test_what_is_another_accounts_has_no_effect(house: BookingHouse) -> None:
    (one, account), other = await paid(house), await organised(house)
    others = await account_of(house, other)
    payout = await house.double.steering.pay_out(account)
    await notice(house, others, payout)
    await notice(house, "acct_unknown", payout)
    await notice(house, account, "po_unknown")
    assert (await known(house, one), await known(house, other)) == ([], [])
    assert await house.pool.fetchval("SELECT count(*) FROM stripe_notice WHERE done IS NULL") == 0
    await notice(house, account, payout, n=1)
    found = await house.connect.retrieve_payout(account, payout)
    await house.double.steering.end_payout(payout, "paid")
    await house.paying.banks._keep(others, found)
    await house.paying.banks._keep("acct_unknown", found)
    assert (await known(house, one), await known(house, other)) == ([(DUE, "pending")], [])


async def test_what_stripe_says_in_words_of_tomorrow_changes_nothing(house: BookingHouse) -> None:
    class Later:
        async def send(self, *_: Any, **__: Any) -> Any:
            return type("Payout", (), {"id": "po_1", "currency": "eur", "status": "posted"})()

    house.connect._send = Later().send  # type: ignore[method-assign]
    with pytest.raises(PaymentFault, match="which we do not know"):
        await house.connect.retrieve_payout("acct_1", "po_1")


@pytest.mark.parametrize(("amount", "currency"), [(900, "USDC"), (0, "UGX")])
async def test_what_is_no_money_of_ours_keeps_no_other_payout_from_being_known(
    house: BookingHouse, monkeypatch: pytest.MonkeyPatch, amount: int, currency: str
) -> None:
    """PostgreSQL refused it, and with it the whole turn, time and again: nobody's transfers were decided any more, and
    its notice was looked into without an end."""
    one, account = await paid(house)
    ours = await house.connect.retrieve_payout(account, await house.double.steering.pay_out(account))
    other = msgspec.structs.replace(ours, id="po_other", amount=amount, currency=currency)

    async def found(*_: Any) -> Any:
        return other, ours

    async def retrieved(*_: Any) -> Any:
        return other

    monkeypatch.setattr(house.connect, "find_payouts", found)
    monkeypatch.setattr(house.connect, "retrieve_payout", retrieved)
    await forget_the_look(house)
    await house.paying.turn()
    await notice(house, account, other.id)
    assert await known(house, one) == [(DUE, "pending")]
    assert await house.pool.fetchval("SELECT count(*) FROM stripe_notice WHERE done IS NULL") == 0
    assert await house.pool.fetchval("SELECT payouts_looked_at > now() - interval '1 hour' FROM connected_account")


async def test_payouts_that_cannot_be_read_keep_nobody_from_being_paid(
    house: BookingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await organised(house, by_day=True)
    await house.sold(await their_event(house, one), 3)

    async def fails(*_: Any) -> Any:
        raise TypeError("Stripe says something that nobody reads.")

    monkeypatch.setattr(house.connect, "find_payouts", fails)
    with pytest.raises(TypeError):
        await house.paying.turn()
    assert await house.pool.fetchval("SELECT count(*) FROM transfer WHERE state = 'decided'") == 1


async def test_all_pages_of_an_account_are_read_and_listed(
    house: BookingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, account = await paid(house)
    monkeypatch.setattr("lml_live.booking.stripe_connect._PAGE", 2)
    names = [await house.double.steering.pay_out(account, amount=100 + n) for n in range(5)]
    await forget_the_look(house)
    await house.paying.banks.look()
    listed: list[Payout] = []
    banks = BankPayouts(house.pool)
    while page := await banks.list(one.id, before=(listed[-1].created, listed[-1].id) if listed else None, limit=2):
        listed += page
    assert len(listed) == 5
    assert {payout.id for payout in listed} == set(names)
    monkeypatch.setattr(limits, "FIND_PAGES_MAX", 1)
    with pytest.raises(PaymentFault):
        await house.connect.find_payouts(account, datetime.now(UTC) - timedelta(days=1))


# --- Told


async def staff(house: BookingHouse, name: str, role: str) -> str:
    await house.pool.execute(
        "INSERT INTO staff (id, email, password_hash, roles) VALUES ($1::text, $1 || '@example.org', '', ARRAY[$2])"
        " ON CONFLICT DO NOTHING",
        *(name, role),
    )
    return f"{name}@example.org"


def mailer_of(house: BookingHouse, url: str) -> Mailer:
    return Mailer(house.pool, Smtp(url, own_name="test"), str, sender=SENDER, public_url=URL)


async def test_managers_are_told_once_that_a_bank_refused_and_what_to_do(house: BookingHouse) -> None:
    one, account = await paid(house)
    anna, ben = await staff(house, "anna", "manager"), await staff(house, "ben", "manager")
    await staff(house, "root", "admin")
    await staff(house, "clerk", "box_office")
    for email in (anna, ben, "clerk@example.org"):
        await Organisations(house.pool).add_member(one.id, email)
    payout = await house.double.steering.pay_out(account)
    await notice(house, account, payout, "payout.created")
    await house.double.steering.end_payout(payout, "failed", code="account_closed")
    for n in range(2):
        await notice(house, account, payout, "payout.failed", n)
    async with serving() as server:
        mailer = mailer_of(house, server.url)
        before = await house.pool.fetchval("SELECT count(*) FROM mail WHERE kind <> 'payout_failed'")
        while await mailer.turn():
            pass
        told = {to[0]: message for to, message in server.taken if "Not paid out" in message["Subject"]}
        assert len(server.taken) == before + 2
    assert set(told) == {anna, ben}
    text = told[anna].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    amount = f"{DUE // 100}.{DUE % 100:02} EUR"
    assert told[anna]["Subject"] == f"Not paid out: {amount} of City Opera"
    for part in (amount, "the bank account is closed", "name another one", f"Payout {payout}"):
        assert part in " ".join(text.split())
    assert f"{URL.rstrip('/')}/organisation?organisation={one.id}" in text.splitlines()


async def test_where_an_organisation_has_no_managers_the_administrators_are_told(house: BookingHouse) -> None:
    _, account = await paid(house)
    await staff(house, "root", "admin")
    await staff(house, "anna", "manager")
    payout = await house.double.steering.pay_out(account)
    await house.double.steering.end_payout(payout, "failed", code="no_account")
    await notice(house, account, payout, "payout.failed")  # the first word of it
    told = await house.pool.fetch("SELECT payout_id, member_id FROM mail WHERE kind = 'payout_failed'")
    assert [tuple(row) for row in told] == [(payout, "root")]


async def test_a_failure_of_long_ago_is_no_news(house: BookingHouse) -> None:
    one = await organised(house)
    account = await account_of(house, one)
    await staff(house, "root", "admin")
    long_ago = datetime.now(UTC) - timedelta(days=31)
    for name, created in (("po_1", long_ago), ("po_2", datetime.now(UTC))):
        await house.paying.banks._keep(
            account,
            StripePayout(
                id=name,
                amount=900,
                currency="EUR",
                state="failed",
                automatic=True,
                arrives=created,
                failure_code=None,
                created=created,
            ),
        )
    told = await house.pool.fetch("SELECT payout_id FROM mail WHERE kind = 'payout_failed'")
    assert [row["payout_id"] for row in told] == ["po_2"]


# --- Matched

# transferred, paid out by currency, whether that differs
SUMS: list[tuple[int, Mapping[str, int], bool]] = [
    (900, {}, False),
    (900, {"EUR": 900}, False),
    (900, {"EUR": 901}, True),
    (0, {"EUR": 1}, True),
    (900, {"EUR": -100}, False),
    (900, {"EUR": 100, "USD": 1}, True),
    (-5, {"EUR": 0}, True),
]


@pytest.mark.parametrize(("transferred", "out", "differs"), SUMS)
def test_no_account_sends_more_to_its_bank_than_was_its_own(
    transferred: int, out: Mapping[str, int], differs: bool
) -> None:
    found = compare_payouts("acct_1", "EUR", transferred, out)
    assert (found is not None) == differs
    assert found is None or "acct_1" in found.text


async def test_the_daily_match_lists_what_went_to_a_bank_and_was_nobodys_to_send(house: BookingHouse) -> None:
    one, account = await paid(house)
    await house.double.steering.pay_out(account)
    await forget_the_look(house)
    await house.paying.banks.look()
    await house.double.steering.advance(DAY)
    matching = Matching(house.pool, house.payments.read_transactions, settle_seconds=0)
    assert (await matching.match()).counts.get("payout_differs") is None
    # Somebody sends the account money by hand, at Stripe, and it goes to the bank, too.
    charge = (await house.double.steering.ledger()).charges[0]
    await house.payments.client.v1.transfers.create_async(
        {"amount": 40, "currency": "eur", "destination": account, "source_transaction": charge.id}
    )
    await house.double.steering.pay_out(account)
    await forget_the_look(house)
    await house.paying.banks.look()
    found = await matching.match()
    [differs] = [difference for difference in found.differences if difference.kind == "payout_differs"]
    assert (differs.intents, differs.amount, differs.taken) == ((account,), DUE, {"EUR": DUE + 40})
    await matching.have_looked_at(found)
    await house.pool.execute("INSERT INTO stripe_notice (id, type) VALUES ('evt_last', 'x')")
    asked = await house.pool.fetch("SELECT intent_id FROM stripe_notice WHERE intent_id = $1", account)
    assert asked == [], "no intent is looked for by an account's name"
    # What a bank refused counts no more.
    newest = (await BankPayouts(house.pool).list(one.id, limit=1))[0]
    await house.double.steering.end_payout(newest.id, "failed")
    await notice(house, account, newest.id, "payout.failed")
    assert (await matching.match()).counts.get("payout_differs") is None


# --- Guards taken away

Change = Callable[[str], str]
MUTATIONS: list[tuple[str, str, Change]] = [
    (
        "old news are taken for new",
        "keep_payout",
        lambda text: text.replace("AND known.state = ANY ($10::text[])", "AND $10::text[] IS NOT NULL"),
    ),
    (
        "what may fail after all is not read again",
        "accounts_to_ask",
        lambda text: text.replace("OR p.state = 'paid' AND", "OR p.state = 'lost' AND"),
    ),
]


@pytest.mark.parametrize(("statement", "change"), [row[1:] for row in MUTATIONS], ids=[row[0] for row in MUTATIONS])
async def test_without_a_part_of_the_statements_it_shows(
    house: BookingHouse, monkeypatch: pytest.MonkeyPatch, statement: str, change: Change
) -> None:
    statements = dict(bank_payouts._SQL)
    assert change(statements[statement]) != statements[statement]
    monkeypatch.setattr(bank_payouts, "_SQL", {**statements, statement: change(statements[statement])})
    test = (
        test_news_that_come_out_of_order_are_old_news
        if statement == "keep_payout"
        else test_what_may_still_become_another_is_read_again
    )
    with pytest.raises((AssertionError, asyncpg.CheckViolationError)):
        await test(house)


async def test_the_checker_reads_what_went_to_banks_and_sees_what_is_on_record_otherwise(
    house: BookingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await organised(house)
    event = await their_event(house, one)
    await house.sold(event, 3)
    await paid_out(house)
    account = await account_of(house, one)
    await notice(house, account, await house.double.steering.pay_out(account, amount=900))
    run = await house.read_run(event)
    assert [(row.account_id, row.amount, row.state) for row in run.paid_out] == [(account, 900, "pending")]
    assert check(run) == []
    statements = dict(bank_payouts._SQL)
    kept = "SELECT $2, organisation_id, account_id, $3,"
    assert kept in statements["keep_payout"]
    forged = statements["keep_payout"].replace(kept, kept.replace("$3", "$3::bigint + 1"))
    monkeypatch.setattr(bank_payouts, "_SQL", {**statements, "keep_payout": forged})
    await notice(house, account, await house.double.steering.pay_out(account, amount=100))
    assert {found.rule for found in check(await house.read_run(event))} == {"I16, as paid out"}
