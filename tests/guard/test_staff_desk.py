"""Staff sign in: one shape of refusal, a throttle that all workers share, tokens and passwords that no table tells."""

import asyncio
from collections.abc import AsyncIterator

import argon2
import pytest

from lml_live import limits
from lml_live.errors import InvalidInput, Overloaded, Unauthorized
from lml_live.guard import passwords
from lml_live.guard.accounts import Accounts
from lml_live.guard.partners import Partner, Partners
from lml_live.guard.passwords import Passwords
from lml_live.guard.staff import FIRST_ADMIN_EMAIL, Role, Staff, StaffDesk
from lml_live.infra import postgres
from lml_live.infra.postgres import Pool

EMAIL, PASSWORD = "boss@example.com", "correct horse battery"


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[Pool]:
    pool = await postgres.connect_pool(postgres_dsn)
    yield pool
    await pool.close()


@pytest.fixture
async def desk(pool: Pool) -> StaffDesk:
    desk = StaffDesk(pool)
    await desk.ensure_admin(EMAIL, PASSWORD)
    return desk


async def test_who_signs_in_is_known_by_the_token(desk: StaffDesk) -> None:
    signed_in = await desk.sign_in(f" {EMAIL.upper()} ", PASSWORD)
    assert signed_in.roles == ("admin",)
    known = await desk.who(signed_in.token)
    assert known is not None
    assert (known.email, known.roles) == (EMAIL, ("admin",))
    for other in ("", "x", signed_in.token[:-1], signed_in.token + "x", "x" * 5000, "\ud800"):
        assert await desk.who(other) is None


def test_hashes_are_as_the_rfc_would_have_them(product_hasher: argon2.PasswordHasher) -> None:
    """RFC 9106, section 4, for where memory is scarce."""
    made = argon2.extract_parameters(product_hasher.hash(PASSWORD))
    assert (made.type, made.time_cost, made.memory_cost, made.parallelism) == (argon2.Type.ID, 3, 65_536, 4)


async def test_neither_password_nor_token_is_in_the_database(desk: StaffDesk, pool: Pool) -> None:
    token = (await desk.sign_in(EMAIL, PASSWORD)).token
    async with postgres.connection(pool) as connected:
        stored = await connected.fetchval("SELECT string_agg(staff::text, '') FROM staff")
        sessions = await connected.fetch("SELECT token_hash FROM staff_session")
    assert "$argon2id$" in stored
    assert PASSWORD not in stored
    assert len(sessions) == 1
    assert token.encode() not in sessions[0]["token_hash"]


async def test_a_session_ends(desk: StaffDesk, pool: Pool) -> None:
    token = (await desk.sign_in(EMAIL, PASSWORD)).token
    async with postgres.connection(pool) as connected:
        await connected.execute("UPDATE staff_session SET expires_at = now()")
    assert await desk.who(token) is None
    await desk.sign_in(EMAIL, PASSWORD)
    async with postgres.connection(pool) as connected:
        assert await connected.fetchval("SELECT count(*) FROM staff_session") == 1


async def test_a_refusal_looks_the_same_whatever_was_wrong(desk: StaffDesk) -> None:
    refusals = set()
    for email, password in ((EMAIL, "wrong"), ("nobody@example.com", PASSWORD), ("no address\0", "x"), ("", "")):
        with pytest.raises(Unauthorized) as caught:
            await desk.sign_in(email, password)
        refusals.add((caught.value.code, caught.value.message, caught.value.errors, caught.value.retry_after_ms))
    assert len(refusals) == 1


async def test_an_unknown_address_costs_a_hash_too(desk: StaffDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    matches = passwords._matches
    monkeypatch.setattr(passwords, "_matches", lambda *args: checked.append(args) or matches(*args))
    for email in (EMAIL, "nobody@example.com"):
        with pytest.raises(Unauthorized):
            await desk.sign_in(email, "wrong")
    assert len(checked) == 2


async def test_an_address_gets_so_many_attempts_over_all_workers(
    desk: StaffDesk, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_ATTEMPTS_PER_ADDRESS", 1)
    with pytest.raises(Unauthorized):
        await desk.sign_in("a@example.com", "wrong", address="192.0.2.1")
    with pytest.raises(Overloaded) as caught:
        await StaffDesk(pool).sign_in(EMAIL, PASSWORD, address="192.0.2.1")
    assert caught.value.retry_after_ms is not None
    assert 0 < caught.value.retry_after_ms <= limits.SIGN_IN_WINDOW_SECONDS * 1000
    await desk.sign_in(EMAIL, PASSWORD, address="192.0.2.2")
    async with postgres.connection(pool) as connected:
        await connected.execute("UPDATE sign_in_attempt SET since = since - interval '1 hour'")
    await desk.sign_in(EMAIL, PASSWORD, address="192.0.2.1")


async def test_an_account_gets_so_many_attempts_from_anywhere(desk: StaffDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_ATTEMPTS_PER_EMAIL", 1)
    with pytest.raises(Unauthorized):
        await desk.sign_in(EMAIL, "wrong", address="192.0.2.1")
    with pytest.raises(Overloaded):
        await desk.sign_in(EMAIL, PASSWORD, address="192.0.2.2")


async def test_who_signs_in_starts_to_count_anew(desk: StaffDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SIGN_IN_ATTEMPTS_PER_ADDRESS", 2)
    for _ in range(5):
        await desk.sign_in(EMAIL, PASSWORD, address="192.0.2.1")


async def test_signing_in_between_two_guesses_is_no_way_around(
    desk: StaffDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody has an account of their own: each sign-in gave the address all of its attempts at others' again."""
    monkeypatch.setattr(limits, "SIGN_IN_ATTEMPTS_PER_ADDRESS", 3)
    for victim in ("a@example.com", "b@example.com"):
        await desk.sign_in(EMAIL, PASSWORD, address="192.0.2.1")
        with pytest.raises(Unauthorized):
            await desk.sign_in(victim, "wrong", address="192.0.2.1")
    await desk.sign_in(EMAIL, PASSWORD, address="192.0.2.1")
    with pytest.raises(Unauthorized):
        await desk.sign_in("c@example.com", "wrong", address="192.0.2.1")
    with pytest.raises(Overloaded):
        await desk.sign_in("d@example.com", "wrong", address="192.0.2.1")


async def test_who_signs_in_while_the_password_is_changed_has_no_session(pool: Pool) -> None:
    """Compared with the old password, opened after the new one had ended all sessions: it was good for weeks."""
    accounts = Accounts(pool, Passwords(), b"s" * 32, sends_mail=True)

    async def choose(password: str) -> None:
        await accounts.invite("anna@example.com")
        async with postgres.connection(pool) as connected:
            number = await connected.fetchval("SELECT id FROM account_invitation ORDER BY created DESC LIMIT 1")
        await accounts.accept(accounts.invitation(number), password)

    class Slow(Passwords):
        async def verify(self, stored: str | None, password: str) -> None:
            await super().verify(stored, password)
            await choose("another password")

    await choose(PASSWORD)
    with pytest.raises(Unauthorized):
        await Accounts(pool, Slow(), b"s" * 32, sends_mail=True).sign_in("anna@example.com", PASSWORD)
    await accounts.sign_in("anna@example.com", "another password")


async def test_a_mailbox_gets_so_many_mails_however_many_ask_at_once(pool: Pool) -> None:
    accounts = Accounts(pool, Passwords(), b"s" * 32, sends_mail=True)
    await asyncio.gather(*(accounts.invite("flood@example.com") for _ in range(3 * limits.INVITATIONS_PER_EMAIL)))
    async with postgres.connection(pool) as connected:
        mails = "SELECT count(*) FROM mail JOIN account_invitation i ON i.id = invitation_id WHERE email = $1"
        assert await connected.fetchval(mails, "flood@example.com") == limits.INVITATIONS_PER_EMAIL


async def test_few_hashes_wait(desk: StaffDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PASSWORD_HASHES_WAITING_MAX", 0)
    with pytest.raises(Overloaded):
        await desk.sign_in(EMAIL, PASSWORD)


async def test_processes_that_start_at_once_make_one_administrator(pool: Pool) -> None:
    made = await asyncio.gather(*(StaffDesk(pool).ensure_admin() for _ in range(4)))
    (first,) = [pair for pair in made if pair is not None]
    assert first[0] == FIRST_ADMIN_EMAIL
    assert (await StaffDesk(pool).sign_in(*first)).roles == ("admin",)
    assert await StaffDesk(pool).ensure_admin(EMAIL, PASSWORD) is None


async def test_credentials_that_nobody_could_use_are_refused(pool: Pool) -> None:
    with pytest.raises(InvalidInput) as caught:
        await StaffDesk(pool).ensure_admin("nonsense", "short")
    assert [violation.path for violation in caught.value.errors] == ["email", "password"]


async def test_an_account_is_made_and_given_another_password(desk: StaffDesk) -> None:
    await desk.add_staff("Door@example.com", PASSWORD, ("box_office",))
    await desk.add_staff("door@example.com", "another password", ("box_office", "manager"))
    assert (await desk.sign_in("door@example.com", "another password")).roles == ("box_office", "manager")
    with pytest.raises(Unauthorized):
        await desk.sign_in("door@example.com", PASSWORD)


@pytest.mark.parametrize(
    ("roles", "role", "may"),
    [
        (("box_office",), "box_office", True),
        (("box_office",), "manager", False),
        (("manager",), "box_office", False),
        (("manager",), "admin", False),
        (("box_office", "manager"), "manager", True),
        (("admin",), "manager", True),
        (("admin",), "box_office", True),
    ],
)
def test_roles(roles: tuple[Role, ...], role: Role, may: bool) -> None:
    assert Staff("s1", EMAIL, roles).may(role) is may


async def test_who_signs_out_is_nobody(desk: StaffDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STAFF_TOKENS_ASKED_MAX", 1)
    stays, goes = [(await desk.sign_in(EMAIL, PASSWORD)).token for _ in range(2)]
    assert await desk.sign_out(goes)
    assert not await desk.sign_out(goes)
    assert await desk.who(goes) is None
    assert await desk.signed_out({stays, goes, "staff-unknown"}) == {goes, "staff-unknown"}


# --- Partners


async def test_a_partner_is_known_by_its_key(pool: Pool) -> None:
    partners = Partners(pool)
    key = await partners.add("The Agency", "agency")
    found = await partners.who(key)
    assert isinstance(found, Partner)
    assert (found.name, found.channel) == ("The Agency", "agency")
    for wrong in ("", "partner-", key[:-1], key.upper(), key.removeprefix("partner-"), "partner-" + "x" * 5_000):
        assert await partners.who(wrong) is None
    assert await pool.fetchval("SELECT count(*) FROM partner WHERE encode(key_hash, 'escape') LIKE '%' || $1", key) == 0
    assert await partners.sells("agency")
    assert (await partners.end("agency"), await partners.end("agency")) == (1, 0)
    assert await partners.who(key) is None
    assert not await partners.sells("agency")


@pytest.mark.parametrize("channel", ["web", "box-office", "open", "public", "staff", "", "a b", "x" * 65, "a\n"])
async def test_a_partner_sells_through_a_channel_of_its_own(pool: Pool, channel: str) -> None:
    with pytest.raises(InvalidInput):
        await Partners(pool).add("The Agency", channel)
