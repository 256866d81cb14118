"""Stripe's webhooks: the row `webhook` of reliability.md, section 4, as a table."""

import hmac
import json
from typing import Any

import pytest

from lml_live import limits
from lml_live.booking.notices import Notice, read_notice
from lml_live.errors import InvalidInput

SECRET, OTHER = "whsec_ours", "whsec_another_endpoints"
NOW = 1_800_000_000
INTENT = {"id": "pi_1", "object": "payment_intent", "status": "requires_capture", "metadata": {"booking": "b-1"}}


def event(**changes: Any) -> bytes:
    """An event as Stripe sends it, with spaces and an order of its own."""
    shown = {
        "id": "evt_1",
        "object": "event",
        "type": "payment_intent.amount_capturable_updated",
        "livemode": False,
        "created": NOW,
        "data": {"object": INTENT, "previous_attributes": {"status": "requires_payment_method"}},
        **changes,
    }
    return json.dumps(shown, indent=2).encode()


def digest(body: bytes, stamp: object = NOW, secret: str = SECRET) -> str:
    return hmac.digest(secret.encode(), f"{stamp}.".encode() + body, "sha256").hex()


def signed(body: bytes, stamp: object = NOW, secret: str = SECRET) -> str:
    return f"t={stamp},v1={digest(body, stamp, secret)}"


BODY = event()
CHARGE = {"id": "ch_1", "object": "charge", "payment_intent": "pi_9"}

# what it is · body · header · the intent that is read
GOOD: list[tuple[str, bytes, str, str | None]] = [
    ("plain", BODY, signed(BODY), "pi_1"),
    ("as old as allowed", BODY, signed(BODY, NOW - limits.WEBHOOK_TOLERANCE_SECONDS), "pi_1"),
    ("as far ahead as allowed", BODY, signed(BODY, NOW + limits.WEBHOOK_TOLERANCE_SECONDS), "pi_1"),
    ("two secrets while one is rolled", BODY, f"{signed(BODY, secret=OTHER)},v1={digest(BODY)}", "pi_1"),
    ("a scheme of the past beside", BODY, f"{signed(BODY)},v0={'0' * 64}", "pi_1"),
    ("about a charge", event(data={"object": CHARGE}), signed(event(data={"object": CHARGE})), "pi_9"),
    ("about no payment", event(data={"object": {}}), signed(event(data={"object": {}})), None),
]


@pytest.mark.parametrize(("body", "header", "intent"), [row[1:] for row in GOOD], ids=[row[0] for row in GOOD])
def test_a_genuine_notice_is_read(body: bytes, header: str, intent: str | None) -> None:
    notice = read_notice(body, header, SECRET, NOW * 1000, live=False)
    assert notice == Notice("evt_1", "payment_intent.amount_capturable_updated", intent)


LIVE, CONNECT = event(livemode=True), event(account="acct_1")
DEEP = b"[" * 100_000
# what it is · body · header
BAD: list[tuple[str, bytes, str]] = [
    ("no header", BODY, ""),
    ("header of noise", BODY, "a,b=c,,=,t,v1"),
    ("wrong signature", BODY, f"t={NOW},v1={'0' * 64}"),
    ("empty signature", BODY, f"t={NOW},v1="),
    ("signature cut short", BODY, signed(BODY)[:-1]),
    ("no v1", BODY, f"t={NOW}"),
    ("v0 only", BODY, f"t={NOW},v0={digest(BODY)}"),
    ("no time", BODY, f"v1={digest(BODY)}"),
    ("time not a number", BODY, signed(BODY, "now")),
    ("time negative", BODY, signed(BODY, -NOW)),
    ("time a number to others only", BODY, signed(BODY, "١٨٠٠٠٠٠٠٠٠")),
    ("time endless", BODY, signed(BODY, "9" * 5_000)),
    ("301 s old", BODY, signed(BODY, NOW - 301)),
    ("10 min ahead", BODY, signed(BODY, NOW + 600)),
    ("301 s ahead", BODY, signed(BODY, NOW + 301)),
    ("two times", BODY, f"t={NOW},{signed(BODY)}"),
    ("old one with a second, fresh time", BODY, f"{signed(BODY, NOW - 900)},t={NOW}"),
    ("re-serialised body", json.dumps(json.loads(BODY)).encode(), signed(BODY)),
    ("one byte more", BODY + b" ", signed(BODY)),
    ("no body", b"", signed(BODY)),
    ("another endpoint's secret", BODY, signed(BODY, secret=OTHER)),
    ("of live mode in test mode", LIVE, signed(LIVE)),
    ("of another account", CONNECT, signed(CONNECT)),
    ("bytes that are no ASCII", BODY, f"t={NOW},v1=\udcff"),
    ("signed garbage", b"\xff{", signed(b"\xff{")),
    ("signed, no JSON object", b"[]", signed(b"[]")),
    ("signed, too deep", DEEP, signed(DEEP)),
    ("signed, no id", b'{"type": "t", "data": {"object": {}}}', signed(b'{"type": "t", "data": {"object": {}}}')),
    ("signed, id a number", event(id=1), signed(event(id=1))),
    ("signed, id not Stripe's", event(id="evt_\0"), signed(event(id="evt_\0"))),
    ("signed, id endless", event(id="e" * 300), signed(event(id="e" * 300))),
    ("signed, intent not Stripe's", event(data={"object": {**INTENT, "id": "pi_\0"}}), ""),
]


@pytest.mark.parametrize(("body", "header"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_everything_else_is_refused_without_an_echo(body: bytes, header: str) -> None:
    header = header or (signed(body) if b"pi_\\u0000" in body else header)
    with pytest.raises(InvalidInput) as refused:
        read_notice(body, header, SECRET, NOW * 1000, live=False)
    assert "evt_" not in refused.value.message


def test_a_connected_account_is_told_of_by_its_own_endpoint() -> None:
    body = event(account="acct_1", data={"object": {"id": "acct_1", "object": "account"}})
    for secrets in (SECRET, f"{OTHER}, {SECRET}", f"{SECRET},"):
        assert read_notice(body, signed(body), secrets, NOW * 1000, live=False).account == "acct_1"
    other = event(account="acct_1", data={"object": {"id": "acct_2", "object": "account"}})
    for forged, header in ((other, signed(other)), (body, signed(body, secret="")), (body, signed(body, secret=","))):
        with pytest.raises(InvalidInput):
            read_notice(forged, header, f"{SECRET},", NOW * 1000, live=False)


def test_a_connected_account_tells_of_its_payouts() -> None:
    """And of its bank, for which the account is looked at."""
    for kind, payout in (("payout", "po_1"), ("bank_account", None), ("card", None)):
        body = event(account="acct_1", data={"object": {"id": payout or "ba_1", "object": kind}})
        notice = read_notice(body, signed(body), SECRET, NOW * 1000, live=False)
        assert (notice.account, notice.payout, notice.intent) == ("acct_1", payout, None)
    own = event(data={"object": {"id": "po_1", "object": "payout"}})
    assert read_notice(own, signed(own), SECRET, NOW * 1000, live=False).payout is None, "the house's own"
    for bad in (
        event(account="acct_1", data={"object": {"id": "po_1\n", "object": "payout"}}),
        event(account="acct/../1", data={"object": {"id": "po_1", "object": "payout"}}),
        event(account="acct_1", data={"object": {"id": "tr_1", "object": "transfer"}}),
    ):
        with pytest.raises(InvalidInput):
            read_notice(bad, signed(bad), SECRET, NOW * 1000, live=False)


def test_a_notice_of_test_mode_is_refused_in_live_mode() -> None:
    assert read_notice(LIVE, signed(LIVE), SECRET, NOW * 1000, live=True).id == "evt_1"
    with pytest.raises(InvalidInput):
        read_notice(BODY, signed(BODY), SECRET, NOW * 1000, live=True)
