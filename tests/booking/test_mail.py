"""Mails to buyers: decided with what they tell of, handed to a real mail server, once where nothing dies."""

import asyncio
import datetime
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from databases import FIT_PAYMENT
from mail_house import BOOKING, MailHouse, open_mail, serving

from lml_live.booking.letters import Facts, compose, show_amount, write
from lml_live.booking.mailer import Mailbox
from lml_live.errors import InvalidInput
from lml_live.gateway import mailbox
from lml_live.gateway.problems import problems_middleware
from lml_live.infra.config import load_settings, mask_secrets
from lml_live.infra.smtp import MailFault, SendMail, Smtp

SENT = ("sent", 1, None)


@pytest.fixture(name="house")
async def house_fixture(postgres_dsn: str) -> AsyncIterator[MailHouse]:
    async with open_mail(postgres_dsn) as house:
        yield house


# --- Decided

# the moves of a booking · the mails they decide
DECIDED: list[tuple[tuple[str, ...], list[tuple[str, int]]]] = [
    (("authorized", "confirmed"), [("confirmed", 1)]),
    (("authorized", "failed"), [("failed", 1)]),
    (("cancelling", "cancelled"), [("cancelled", 1)]),
    (("expiring", "expired"), [("expired", 1)]),
    (("expiring", "confirmed"), [("confirmed", 1)]),
    (("confirmed", "disputed", "confirmed"), [("confirmed", 1)]),
    (("confirmed", "disputed", "charged_back"), [("confirmed", 1)]),
    (("confirmed", "partially_refunded", "refunded"), [("confirmed", 1)]),  # of refunds their own rows tell
]


async def test_what_a_booking_tells_its_buyer(house: MailHouse) -> None:
    for number, (moves, mails) in enumerate(DECIDED):
        await house.pool.execute(BOOKING, f"b{number}", "Anna", "anna@example.org")
        await house.move(f"b{number}", *moves)
        assert [(kind, n) for booking, kind, n in await house.mails() if booking == f"b{number}"] == mails, moves


REFUND = """
    INSERT INTO refund (id, booking_id, key, amount, venue, fees, tax, owed, lines, reason)
    VALUES ($1, 'b1', $1, 100, 100, 0, 0, 0, '{}', 'a string broke')
"""
ACCEPT = "UPDATE refund SET accepted = coalesce(accepted, now()), looked_at = now()"


async def test_every_refund_that_stripe_took_is_told_and_on_record(house: MailHouse) -> None:
    await house.book()
    await house.pool.execute(REFUND, "r1")
    assert await house.mails() == [("b1", "confirmed", 1)], "Stripe may still refuse it"
    for _ in range(2):
        await house.pool.execute(ACCEPT)
    await house.pool.execute("UPDATE refund SET state = 'succeeded'")
    await house.pool.execute(REFUND, "r2")
    await house.pool.execute(ACCEPT)
    assert (await house.mails())[1:] == [("b1", "refunded", 1), ("b1", "refunded", 2)]
    rows = await house.pool.fetch("SELECT * FROM audit_record WHERE subject_kind = 'refund' ORDER BY number")
    assert [(row["event_id"], row["action"], row["subject_id"]) for row in rows] == [
        ("aida", "refund.made", "r1"),
        ("aida", "refund.changed", "r1"),
        ("aida", "refund.changed", "r1"),
        ("aida", "refund.made", "r2"),
        ("aida", "refund.changed", "r2"),
    ], "that Stripe was asked is no change"


async def test_a_changed_event_tells_those_who_have_places_and_nobody_tells_what_was_undone(house: MailHouse) -> None:
    await house.book(booking="b1")
    await house.pool.execute(BOOKING, "b2", "Ben", "ben@example.org")
    async with house.pool.acquire() as connected:
        undone = connected.transaction()
        await undone.start()
        await connected.execute(FIT_PAYMENT, "b2", "expired")
        await connected.execute("UPDATE booking SET state = 'expired' WHERE id = 'b2'")
        await undone.rollback()
    await house.pool.execute("UPDATE event SET name = 'Aïda', epoch = 2")
    assert await house.mails() == [("b1", "confirmed", 1)]
    for _ in range(2):
        await house.pool.execute("UPDATE event SET starts_at = starts_at + interval '1 hour'")
    assert (await house.mails())[1:] == [("b1", "event_changed", 1), ("b1", "event_changed", 2)]


async def test_a_changed_event_is_told_of_the_places_that_are_left(house: MailHouse) -> None:
    """Who had given one of two back was told of two, and of the price of both."""
    await house.book()
    line = "INSERT INTO booking_line VALUES ('b1', $1, NULL, 'floor', 'adult', 2375, 0, 0)"
    await house.pool.executemany(line, [(1,), (2,)])
    await house.pool.execute(REFUND.replace("'{}'", "'{2}'"), "r1")
    await house.pool.execute(ACCEPT)
    await house.pool.execute("UPDATE event SET venue = 'Park'")
    await house.mailer.turn()
    _, _, (_, message) = house.server.taken
    text = message.get_body(("plain",)).get_content()
    assert "Aïda & Co, Park, 01 December 2030, 19:30 UTC. One place." in " ".join(text.split())


# --- Sent


async def test_a_mail_is_sent_once_and_says_all(house: MailHouse) -> None:
    await house.book("Zoë <b>Ünal</b>", "zoe@bücher.example")
    assert await house.mailer.turn() == 1
    assert await house.mailer.turn() == 0
    assert await house.state() == SENT
    [(recipients, message)] = house.server.taken
    assert recipients == ["zoe@xn--bcher-kva.example"]
    assert message["Subject"] == "Booked: Aïda & Co"
    assert message["From"] == "Box office <tickets@example.org>"
    assert message["To"].addresses[0].display_name == "Zoë <b>Ünal</b>"
    assert message["Message-ID"].endswith(".b1@example.org>")
    text, page = (message.get_body((kind,)).get_content() for kind in ("plain", "html"))
    for words in ("Dear Zoë <b>Ünal</b>,", "01 December 2030, 19:30 UTC", "47.50 EUR"):
        assert words in text
    assert "https://tickets.example.org/bookings/b1#secret-of-b1" in text.split()
    assert "Aïda &amp; Co" in page
    assert "Zoë &lt;b&gt;Ünal&lt;/b&gt;" in page
    assert '<a href="https://tickets.example.org/bookings/b1#secret-of-b1">' in page


async def test_two_workers_send_one_mail(house: MailHouse) -> None:
    for number in range(4):
        await house.book(booking=f"b{number}", address=f"a{number}@example.org")
    done = await asyncio.gather(house.mailer.turn(), house.new_mailer().turn())
    assert sum(done) == 4
    assert sorted(house.told()) == [f"a{number}@example.org" for number in range(4)]


async def test_a_worker_that_dies_before_its_note_sends_twice_and_never_loses(house: MailHouse) -> None:
    class Dying(Smtp):
        @asynccontextmanager
        async def connect(self) -> AsyncIterator[SendMail]:
            async with super().connect() as send:

                async def send_and_die(recipient: str, message: EmailMessage) -> None:
                    await send(recipient, message)
                    raise asyncio.CancelledError

                yield send_and_die

    await house.book()
    with pytest.raises(asyncio.CancelledError):
        await house.new_mailer(Dying(house.server.url, own_name="test")).turn()
    assert await house.mailer.turn() == 0, "its lease lasts"
    await house.later()
    assert await house.mailer.turn() == 1
    assert await house.state() == ("sent", 2, None)
    first, second = (message["Message-ID"] for _, message in house.server.taken)
    assert first == second


# what the server says to the first mail · what becomes of it · what is noted · whether the others must wait
REFUSED: list[tuple[str, list[str | None], list[str | None], str, str, bool]] = [
    ("busy", ["450 later"], [], "open", "the recipient was refused (450)", False),
    ("no such box", ["550 no such user anna@example.org"], [], "given up", "the recipient was refused (550)", False),
    ("not now", [], ["451 try again"], "open", "the server refused the mail (451)", False),
    ("spam", [], ["554 looks like spam"], "given up", "the server refused the mail (554)", False),
    ("goes away", [], ["421 shutting down"], "open", "the server refused the mail (421)", True),
    ("cuts the mail", [], [None], "open", "the server does not answer (SMTPServerDisconnected)", True),
    ("cuts before", [None], [], "open", "the server does not answer (SMTPServerDisconnected)", True),
]


@pytest.mark.parametrize(
    ("recipients", "answers", "state", "fault", "waits"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_a_refusal_for_now_is_tried_again_and_one_for_good_is_not(
    house: MailHouse,
    caplog: pytest.LogCaptureFixture,
    recipients: list[str | None],
    answers: list[str | None],
    state: str,
    fault: str,
    waits: bool,
) -> None:
    await house.book()
    await house.book("Ben", "ben@example.org", "b2")
    house.server.recipients, house.server.answers = recipients, answers
    with caplog.at_level(logging.INFO):
        await house.mailer.turn()
    assert await house.state() == (state, 1, fault)
    assert house.told() == ([] if waits else ["ben@example.org"])
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("mail.")]
    assert ours
    assert "@" not in "".join(ours), "addresses are not logged"
    await house.mailer.turn()
    assert await house.state("b2") == SENT
    assert await house.state() == (state, 1, fault), "it is not due yet"
    await house.later()
    await house.mailer.turn()
    assert (await house.state())[0] == ("sent" if state == "open" else "given up")
    assert sorted(house.told()) == (["anna@example.org"] if state == "open" else []) + ["ben@example.org"]


async def test_a_server_that_is_away_or_turns_us_away_costs_no_mail_a_try(house: MailHouse) -> None:
    await house.book()
    away = house.new_mailer(Smtp("smtp://127.0.0.1:1", own_name="test"))
    assert await away.turn() == 0
    assert await away.turn() == 0
    assert away._pause > 0
    assert await house.state() == ("open", 0, None)
    assert await house.mailer.turn() == 1


async def test_what_can_never_arrive_is_given_up(house: MailHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, address in enumerate(("a b,c@example.org", "x@" + "ü" * 80, "grüße@example.org")):
        await house.book(booking=f"b{number}", address=address)
    await house.book(booking="old")
    await house.pool.execute("UPDATE mail SET created = now() - interval '4 days' WHERE booking_id = 'old'")
    assert await house.mailer.turn() == 4
    assert house.server.taken == []
    for booking in ("b0", "b1", "b2", "old"):
        assert (await house.state(booking))[0] == "given up"
    await house.book(booking="tired")
    await house.pool.execute("UPDATE mail SET tries = 29 WHERE booking_id = 'tired'")
    house.server.recipients = ["450 later"]
    assert await house.mailer.turn() == 1
    assert (await house.state("tired"))[0] == "given up"


FACTS = Facts(
    id=7,
    kind="confirmed",
    booking="b1",
    name="Anna",
    email="anna@example.org",
    amount=1500,
    currency="JPY",
    places=2,
    event="Aida",
    venue="Hall",
    starts_at=datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
    link="https://example.org/bookings/b1#secret",
)


@pytest.mark.parametrize("kind", ["confirmed", "cancelled", "expired", "failed", "refunded", "event_changed"])
def test_no_header_can_be_put_into_a_mail(kind: str) -> None:
    evil = "Anna\r\nBcc: all@example.org\r\n\r\nhello\u2028x\x00"
    facts = Facts(
        **{name: getattr(FACTS, name) for name in FACTS.__struct_fields__}
        | {  # type: ignore[arg-type]
            "kind": kind,
            "name": evil,
            "event": evil,
            "venue": evil,
        }
    )
    raw = compose(facts, "tickets@example.org", FACTS.starts_at).as_bytes(policy=POLICY)
    headers = raw.split(b"\r\n\r\n", 1)[0].decode()
    names = {line.partition(":")[0] for line in headers.split("\r\n") if not line.startswith((" ", "\t"))}
    assert names == {*("Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type")}


def test_nobody_is_told_of_money_for_what_cost_nothing() -> None:
    letter = write(msgspec.structs.replace(FACTS, kind="refunded", amount=0))
    assert not any("money" in text or "bank" in text for text in letter.paragraphs)


@pytest.mark.parametrize(
    ("amount", "currency", "shown"), [(5, "EUR", "0.05 EUR"), (1500, "JPY", "1500 JPY"), (12_345, "KWD", "12.345 KWD")]
)
def test_amounts_are_shown_with_their_currencys_decimals(amount: int, currency: str, shown: str) -> None:
    assert show_amount(amount, currency) == shown


# --- The way to the server


def _certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "cert.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


async def test_passwords_go_over_tls_to_whom_they_are_meant_for_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    message = compose(FACTS, "tickets@example.org", FACTS.starts_at)
    async with serving(context) as server, serving() as plain:
        port = server.url.rsplit(":", 1)[1]

        async def send(url: str) -> None:
            async with Smtp(url, own_name="test").connect() as deliver:
                await deliver("anna@example.org", message)

        secret = f"smtp+starttls://box:s3cr%3At%2F@localhost:{port}"
        with pytest.raises(MailFault, match="does not answer") as unknown:
            await send(secret)
        assert not unknown.value.permanent
        assert server.logins == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(MailFault, match=r"\(535\)"):
            await send(secret.replace("s3cr", "wrong"))
        await send(secret)
        assert server.logins[-1] == (b"box", b"s3cr:t/")
        assert server.secure == [True]
        # Somebody on the way who hides that the server can do TLS gets nothing.
        with pytest.raises(MailFault) as stripped:
            await send(secret.replace(port, plain.url.rsplit(":", 1)[1]))
        assert not stripped.value.permanent
        assert plain.taken == []


MAIL = {"LML_MAIL_FROM": "Box office <tickets@example.org>", "LML_PUBLIC_URL": "https://tickets.example.org"}


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"LML_SMTP_URL": "smtps://mail.example.org"}, "LML_MAIL_FROM"),
        (MAIL | {"LML_SMTP_URL": "http://mail.example.org"}, "LML_SMTP_URL"),
        (MAIL | {"LML_SMTP_URL": "smtp://box:secret@mail.example.org"}, "LML_SMTP_URL"),
        (MAIL | {"LML_SMTP_URL": "smtps://box@mail.example.org"}, "LML_SMTP_URL"),
        *((MAIL | {"LML_SMTP_URL": f"smtps://box:secret{mark}x@mail.example.org"}, "LML_SMTP_URL") for mark in "#?/"),
        (MAIL | {"LML_SMTP_URL": "smtps://mail.example.org:secret"}, "LML_SMTP_URL"),
        (MAIL | {"LML_SMTP_URL": "smtps://box:secret@[mail"}, "LML_SMTP_URL"),
        (MAIL | {"LML_MAIL_FROM": "tickets@"}, "LML_MAIL_FROM"),
        (MAIL | {"LML_MAIL_FROM": "a@example.org, b@example.org"}, "LML_MAIL_FROM"),
        (MAIL | {"LML_PUBLIC_URL": "https://example.org/shop"}, "LML_PUBLIC_URL"),
        (MAIL | {"LML_SMTP_URL": "smtps://mail.example.org", "LML_MAILBOX": "1"}, "LML_MAILBOX"),
    ],
)
def test_settings_that_could_not_send(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings(environ)
    assert caught.value.errors[0].path == variable
    assert "secret" not in str(caught.value)


def test_settings_that_send() -> None:
    url = "smtps://box:secret@mail.example.org"
    assert load_settings(MAIL | {"LML_SMTP_URL": url}).smtp_url == url
    assert mask_secrets(f"no answer of {url}") == "no answer of smtps://box:***@mail.example.org"


# --- The mailbox


async def test_the_mailbox_is_shown_to_this_machine_only_and_runs_nothing(house: MailHouse) -> None:
    kept = Mailbox(house.pool)
    await house.book("<script>alert(1)</script>", '"<img>"@example.org')
    await house.pool.execute("UPDATE event SET name = '<script>alert(2)</script>'")
    assert await house.new_mailer(kept).turn() == 1
    app = web.Application(middlewares=[problems_middleware])
    app.add_routes(mailbox.routes(kept))
    assert mailbox.routes(None) == []
    async with TestClient(TestServer(app)) as client:
        async with client.get("/mailbox") as answer:
            listed = await answer.text()
            assert answer.status == 200
            assert answer.headers["Cache-Control"] == "no-store"
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        [mail] = await kept.list()
        async with client.get(f"/mailbox/{mail.id}") as answer:
            shown = await answer.text()
        for page in (listed, shown):
            assert "<script" not in page
            assert "<img>" not in page
            assert "&lt;script&gt;alert(2)" in page
        assert '<a href="https://tickets.example.org/bookings/b1#secret-of-b1">' in shown
        for path in ("/mailbox/99", "/mailbox/0", "/mailbox/x", "/mailbox/" + "9" * 30):
            async with client.get(path) as answer:
                assert answer.status == 404
        for headers in ({"Host": "evil.example"}, {"X-Forwarded-For": "1.2.3.4"}, {"Forwarded": "for=1.2.3.4"}):
            async with client.get("/mailbox", headers=headers) as answer:
                assert answer.status == 404, headers
