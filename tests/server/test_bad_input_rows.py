"""Bad input over REST and webhooks, row by row, and where each is tested; and the rows that no other room has."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from buying import Buying, buy, call
from serving import LiveServer
from waiting import eventually

from lml_live.devstack.stripe.process import StripeDouble

TESTS = Path(__file__).parents[1]
HOLDERS, BOOKINGS = "server/test_rest_holders.py", "server/test_bookings_rest.py"
HTTP = "gateway/test_http_bad_input.py"
PROBLEMS, NOTICES, HERE = "gateway/test_problems.py", "booking/test_notices.py", "server/test_bad_input_rows.py"

ROWS: dict[str, tuple[tuple[str, str], ...]] = {
    "seats: none, twice, unknown, of another event, 10,001, ids with {} : NUL ../ 10 kB or emoji": (
        (HOLDERS, "test_bad_bodies_are_told_so_and_change_nothing"),
        (HOLDERS, "test_seats_of_another_event_are_unknown_here"),
        (HOLDERS, "test_events_that_are_none_are_not_found"),
        (BOOKINGS, "test_ids_that_no_booking_can_have"),
    ),
    "quantities: -1, 0, 1.5, 1e309, a text, true, 2^63, NaN; places mixed with seats": (
        (HOLDERS, "test_bad_bodies_are_told_so_and_change_nothing"),
        (HERE, "test_what_staff_cannot_ask_of_a_booking"),
    ),
    "price, fee, currency, state, user or role from the client": (
        (HOLDERS, "test_bad_bodies_are_told_so_and_change_nothing"),
        (BOOKINGS, "test_bodies_that_are_refused_and_change_nothing"),
        ("gateway/test_organisations.py", "test_who_may_what_and_whose_it_is"),
    ),
    "currencies without and with three decimals, amounts above 2^53, totals that overflow, amounts below 0": (
        ("pricing/test_currencies.py", "test_prices_that_no_card_could_be_charged"),
        ("booking/test_amounts.py", "test_a_total_of_legal_lines_stays_exact_on_the_wire"),
        ("booking/test_amounts.py", "test_a_total_above_what_stripe_takes_is_refused_and_the_hold_stays"),
        ("gateway/test_staff.py", "test_what_no_event_can_be"),
    ),
    "Idempotency-Key: missing, 256 characters, with another body, of another user, fifty at once": (
        (HOLDERS, "test_the_rules_of_the_key"),
        (HOLDERS, "test_fifty_at_once_with_one_key_are_one_hold"),
        (BOOKINGS, "test_keys_that_are_none"),
        (BOOKINGS, "test_the_same_key_is_answered_the_same_and_another_body_refused"),
        (BOOKINGS, "test_fifty_at_once_are_one_booking"),
    ),
    "JSON: members twice, 10,000 deep, large, BOM, invalid UTF-8, lone surrogates, trailing, huge, __proto__": (
        (PROBLEMS, "test_a_body_is_read_strictly"),
        (PROBLEMS, "test_a_body_has_a_largest_size"),
        (HOLDERS, "test_bad_bodies_are_told_so_and_change_nothing"),
    ),
    "Content-Encoding: bombs, empty members": (
        (HTTP, "test_an_encoded_body_is_never_unpacked"),
        (HOLDERS, "test_only_plain_json_is_read"),
    ),
    "CL and TE, obs-fold, smuggling by an upgrade, 200 headers, heads that trickle": (
        (HTTP, "test_a_head_that_can_be_read_in_two_ways_is_not_read"),
        (HTTP, "test_the_body_of_an_upgrade_is_not_a_request"),
        (HTTP, "test_nothing_is_served_behind_a_tunnel_that_was_refused"),
        (HTTP, "test_a_head_that_trickles_in_is_given_up"),
    ),
    "another's hold, booking or ticket; ids in a row; tokens that ended, have alg none or are another's": (
        (HOLDERS, "test_another_ones_hold_is_nobodys"),
        (BOOKINGS, "test_what_is_anothers_is_as_if_it_were_not_there"),
        (BOOKINGS, "test_a_clerk_gives_a_line_back_and_the_booking_shows_it"),
        (HTTP, "test_a_bad_token_is_nobody"),
        (HTTP, "test_a_signature_is_compared_in_constant_time"),
    ),
    "webhooks: a bad signature, no v1, v0 only, too old, ahead, two times, another body, another secret, test mode": (
        (BOOKINGS, "test_a_forged_webhook_is_400_and_leaves_no_trace"),
        (NOTICES, "test_everything_else_is_refused_without_an_echo"),
        (NOTICES, "test_a_notice_of_test_mode_is_refused_in_live_mode"),
    ),
    "webhooks of another account": ((BOOKINGS, "test_a_connected_account_is_looked_at_if_it_is_ours"),),
    "refunds: more than was captured, twice, of what is not there; transfers to another's account": (
        (HERE, "test_what_staff_cannot_ask_of_a_booking"),
        (HERE, "test_no_more_goes_back_than_was_paid"),
        ("booking/test_refunds.py", "test_postgresql_keeps_refunds_within_what_was_captured"),
        ("booking/test_transfers.py", "test_the_database_pays_nobody_else_and_no_more"),
        ("gateway/test_organisations.py", "test_who_may_what_and_whose_it_is"),
    ),
    "layouts: seats twice, seats on one place, too many, members with $, text that would be markup": (
        ("venues/test_checks.py", "test_a_broken_rule_is_told_with_path_finding_and_expectation"),
        ("venues/test_oddities.py", "test_what_is_odd_is_said_and_nothing_else"),
        ("venues/test_checks.py", "test_every_bound_bites_at_one"),
        ("gateway/test_staff_layouts.py", "test_a_wrong_layout_hears_every_rule_that_it_breaks"),
        ("venues/test_library.py", "test_the_schema_refuses"),
        ("infra/test_mongo_rights.py", "test_the_servers_user_cannot_pass_the_rules_by"),
        ("web/test_web_layout_editor.py", "test_a_real_venue_is_imported_and_mended"),
    ),
    "signed addresses of private layouts: too late, another object, another method, the bucket's list": (
        ("venues/test_links.py", "test_a_link_opens_one_object_until_its_time"),
        ("venues/test_links.py", "test_cookies_open_one_layout_and_no_other"),
        ("venues/test_links.py", "test_s3s_own_link_opens_one_object_until_its_time"),
    ),
}


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_row_has_a_test() -> None:
    for row, found in ROWS.items():
        assert [f"{file}::{name}" for file, name in found if name not in functions(file)] == [], row


# --- Refunds, tickets

WHY = {"reason": "Ill"}
SCAN = {"ticket": "TICKET", "event": "EVENT", "gate": "north"}
# call · body · status
WRONG: list[tuple[str, Any, int]] = [
    *(("refund", body, 422) for body in ({}, {"reason": ""}, {"reason": "a\0b"}, {"reason": "x" * 10_000}, [])),
    *(("refund", {**WHY, "amount": amount}, 422) for amount in (-1, 0, 1.5, "100", True, [], 2**53, 2**63, 10**400)),
    *(
        ("refund", {**WHY, "lines": lines}, 422)
        for lines in ([], [1.5], ["1"], [True], "1", [[1]], list(range(10_001)))
    ),
    ("refund", {**WHY, "lines": [1], "amount": 1}, 422),
    *(("refund", {**WHY, "lines": lines}, 422) for lines in ([0], [3], [-1], [1, 1], [2**63])),
    *(("refund", {**WHY, field: 1}, 422) for field in ("currency", "state", "staff", "booking", "__proto__")),
    *(("reprint", {**WHY, "lines": lines}, 422) for lines in ([], ["1"], [1.5], list(range(51)))),
    *(("reprint", {**WHY, "lines": lines}, 409) for lines in ([0], [3], [2**63])),
    ("reprint", {}, 422),
    *(("scan", {**SCAN, "ticket": code}, 422) for code in ("", "{x}", "a:b", "\0", "../x", "x" * 65, "🎫", 1, None)),
    *(("scan", {**SCAN, "event": event}, 422) for event in ("", "{x}", "x" * 65, None)),
    *(("scan", {**SCAN, "gate": gate}, 422) for gate in ("", "a\0b", 1, "x" * 10_000)),
    ("scan", {**SCAN, "ticket": "t-" + "0" * 32}, 404),
    ("scan", {**SCAN, "state": "valid"}, 422),
]


@pytest.fixture
async def bought(shop: LiveServer, stripe_double: StripeDouble) -> Buying:
    await stripe_double.steering.change_settings(webhook_url=f"{shop.url}/api/v1/webhooks/stripe")
    made = await buy(shop, await shop.new_event(), 0, 1)

    async def is_confirmed() -> bool:
        return bool((await made.read())["state"] == "confirmed")

    await eventually(is_confirmed, 30)
    return made


async def test_what_staff_cannot_ask_of_a_booking(shop: LiveServer, bought: Buying) -> None:
    clerk = (await shop.sign_in())["Authorization"].removeprefix("Bearer ")
    [ticket, _] = (await call(shop, "GET", f"/bookings/{bought.id}/tickets", token=bought.access))["items"]
    before = await bought.read()
    named = {"TICKET": ticket["ticket"], "EVENT": bought.booking["event"]}
    others = []
    for act, body, status in WRONG:
        path, sent = f"/bookings/{bought.id}/{act}", body
        if act == "scan":
            path = "/tickets/scan"
            sent = {name: named.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
        problem = await call(shop, "POST", path, sent, token=clerk, status=None)
        if problem["status"] != status or problem["code"] not in ("invalid_message", "conflict", "not_found"):
            others.append((act, str(body)[:100], problem))
        assert "xxxx" not in str(problem), "what was sent is not echoed"
    assert others == []
    for token in (bought.access, None):
        await call(shop, "POST", f"/bookings/{bought.id}/refund", WHY, token=token, status=401)
    await call(shop, "POST", "/bookings/b-none/refund", WHY, token=clerk, status=404)
    assert await bought.read() == before
    [same, _] = (await call(shop, "GET", f"/bookings/{bought.id}/tickets", token=bought.access))["items"]
    assert same == ticket, "neither printed anew nor used"


async def test_no_more_goes_back_than_was_paid(shop: LiveServer, stripe_double: StripeDouble, bought: Buying) -> None:
    clerk = (await shop.sign_in())["Authorization"].removeprefix("Bearer ")
    path, paid = f"/bookings/{bought.id}/refund", bought.booking["amount"]
    await call(shop, "POST", path, {**WHY, "amount": paid + 1}, token=clerk, status=409)
    await call(shop, "POST", path, {**WHY, "amount": paid - 1}, token=clerk, status=201)
    for wish in ({"amount": 2}, {"lines": [1]}):
        await call(shop, "POST", path, {**WHY, **wish}, token=clerk, status=409)
    await call(shop, "POST", path, WHY, token=clerk, status=201)
    for wish in ({}, {"amount": 1}, {"lines": [1]}):
        await call(shop, "POST", path, {**WHY, **wish}, token=clerk, status=409)
    ledger = await stripe_double.steering.ledger()
    assert (sum(one.amount for one in ledger.refunds), ledger.net_captured()) == (paid, {"eur": 0})
