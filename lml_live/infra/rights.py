"""What the server's role may do in PostgreSQL, as one table, and how its owner grants just that (docs/decisions/019).

The tables belong to one role, which migrates; workers and commands sign in as another. What that one may not do,
PostgreSQL refuses, whatever the program was made to ask for: it adds to ledger and trails and changes nothing in them,
and of most rows it may write only the columns that a statement of `sql/` writes. A test holds the table against those
statements, in both directions.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Struct

from lml_live.errors import Conflict, InvalidInput
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection

_SQL: Final = postgres.statements("rights")


def _may(*verbs: str, update: str = "") -> frozenset[str]:
    return frozenset(verbs) | {f"UPDATE ({column})" for column in update.split()}


_ADD: Final = _may("SELECT", "INSERT")
"""Only ever added to."""

RIGHTS: Final[Mapping[str, frozenset[str]]] = {
    # Money and trails.
    "ledger_account": frozenset(),  # A foreign key looks there, as the owner.
    "ledger_transaction": _may("INSERT", "SELECT (number)", "SELECT (booking_id)"),
    "ledger_entry": _may("INSERT"),
    "audit_record": _ADD,
    "audit_link": _ADD,
    "audit_anchor": _ADD,
    "audit_floor": _may("SELECT", "INSERT", update="number next_number next_xid next_at"),
    "booking_history": _ADD,
    "status_change": _ADD,
    "stripe_transaction": _ADD,
    "money_match": _ADD,
    # Bookings. What they are of and what they cost cannot be changed, and whose they are only with a hand-over.
    "booking_move": _may("SELECT"),
    "booking": _may("SELECT", "INSERT", update="state changed holder"),
    "payment_move": _may("SELECT"),
    "payment_fit": _may("SELECT"),
    "payment": _may("SELECT", "INSERT", update="state intent_id client_secret looked_at save_card"),
    "payment_attempt": _may("SELECT", "INSERT", update="tries outcome ended fault"),
    "surplus_payment": _may("SELECT", "INSERT", update="refund_id returned"),
    "stripe_customer": _may("SELECT", "INSERT", update="attempt customer_id gone"),
    "booking_line": _ADD,
    "comp_line": _ADD,
    "booking_seat": _may("SELECT", "INSERT", update="state"),
    "booking_area": _may("SELECT", "INSERT", update="state quantity"),
    "refund": _may("SELECT", "INSERT", update="state stripe_id accepted looked_at fault"),
    "dispute": _may(
        "SELECT",
        "INSERT",
        update="state amount bank_amount bank_currency due_by closed lost_venue lost_fees lost_tax lost_owed looked_at",
    ),
    "surplus_dispute": _may("SELECT", "INSERT", update="state amount bank_amount bank_currency closed looked_at"),
    "dispute_fee": _ADD,
    "dispute_evidence": _may("SELECT", "INSERT", update="body assembled state fault ended"),
    "ticket": _may("SELECT", "INSERT", update="state used_at used_gate used_by used_key"),
    "outbox": _may("SELECT", "INSERT", update="tries attempt due leased_until done struck fault stuck"),
    "stripe_pace": _may("SELECT", "INSERT", update="next_at background_at share slowed_at"),
    "stripe_notice": _may("SELECT", "INSERT", update="due done"),
    "mail": _may("SELECT", "INSERT", update="due tries leased_until sent given_up fault"),
    "mail_kept": _ADD,
    "idempotency_key": _may("SELECT", "INSERT", "DELETE", update="request_hash attempt status body location created"),
    # Who is paid. Terms are only ever added to, and an account is opened once.
    "organisation": _may("SELECT", "INSERT", update="name hold_back_days"),
    "organisation_terms": _ADD,
    "organisation_member": _may("SELECT", "INSERT", "DELETE", update="member_id"),
    "venue": _ADD,
    "connected_account": _may(
        "SELECT",
        "INSERT",
        update="country attempt account_id details_submitted charges_enabled payouts_enabled transfers_enabled"
        " looked_at noticed payouts_looked_at",
    ),
    "transfer": _may("SELECT", "INSERT", update="state venue tax fee netted sent account_id stripe_id decided made"),
    "transfer_reversal": _may("SELECT", "INSERT", update="state stripe_id fault ended"),
    "payout_move": _may("SELECT"),
    "payout": _may("SELECT", "INSERT", update="state arrives failure_code"),
    "receivable": _may("SELECT", "INSERT", update="recovered"),
    "netting": _may("SELECT", "INSERT", update="amount"),
    "surplus_transfer": _may("SELECT", "INSERT", update="state reversal_id fault ended"),
    "surplus_reversal": _ADD,
    "transfer_again": _may("SELECT", "INSERT", update="state stripe_id made"),
    # Events and their inventory.
    "event": _may(
        "SELECT",
        "INSERT",
        update="name venue starts_at on_sale_at state max_seats hold_seconds extensions lifetime_seconds orphan_rule"
        " expired_holds cooldown_seconds rehold_seconds release_jitter_seconds address_holds address_seats revision"
        " prices_version epoch redis_run_id venue_id layout_version layout_hash seat_count",
    ),
    "event_price": _may("SELECT", "INSERT", "DELETE"),
    "event_area": _may("SELECT", "INSERT", "DELETE", update="taken name category capacity position"),
    "event_channel": _may("SELECT", "INSERT", update="opens_at opened_at told_at staff_id reason"),
    "seat_channel": _may("SELECT", "INSERT", "DELETE", update="channel"),
    "area_channel": _may("SELECT", "INSERT", "DELETE", update="places"),
    "seat_block": _may("SELECT", "INSERT", "DELETE", update="kind reason staff_id"),
    "area_block": _may("SELECT", "INSERT", "DELETE", update="quantity reason staff_id"),
    "area_block_request": _may("SELECT", "INSERT", "DELETE"),
    "customer": _ADD,
    "staff_hold": _may(
        "SELECT",
        "INSERT",
        "DELETE",
        update="state channel asked seat_ids seat_types area_ids area_types area_quantities",
    ),
    "staff_act": _may("SELECT", "INSERT", "DELETE", update="state"),
    # Who may come in.
    "house": _ADD,
    "staff": _may("SELECT", "INSERT", update="password_hash roles"),
    "staff_session": _may("SELECT", "INSERT", "DELETE"),
    "account": _may("SELECT", "INSERT", update="password_hash"),
    "account_session": _may("SELECT", "INSERT", "DELETE"),
    "account_invitation": _may("SELECT", "INSERT", "DELETE", update="used"),
    "hand_over": _may("SELECT", "INSERT", "DELETE", update="due done"),
    "sign_in_attempt": _may("SELECT", "INSERT", "DELETE", update="attempts since"),
    "partner": _may("SELECT", "INSERT", update="ended"),
    "migration": _may("SELECT"),
}
"""By table. `UPDATE (column)` for each; locking a row for a decision needs one of them."""


class Differences(Struct, frozen=True):
    """Where a role's rights are not those of the table; each says `RIGHT ON table`."""

    too_little: tuple[str, ...]
    too_much: tuple[str, ...]
    newer: bool = False
    """A program of a later version has been here: what it granted is right, whatever this one thinks of it."""

    def __bool__(self) -> bool:
        return bool(self.too_little or self.too_much)


async def compare_rights(connected: Connection, role: str) -> Differences:
    """A role's rights beside `RIGHTS`, by whatever way it has them. The database has every migration."""
    held = {row["right"] for row in await connected.fetch(_SQL["held_rights"], role)}
    wanted = {f"{right} ON {table}" for table, rights in RIGHTS.items() for right in rights}
    # A column's right is implied by the whole table's, which is then what is too much.
    lacking = {right for right in wanted - held if re.sub(r" \(\w+\)", "", right) not in held}
    return Differences(tuple(sorted(lacking)), tuple(sorted(held - wanted)), await postgres.is_newer(connected))


async def grant_rights(owner_dsn: str, role: str, password: str | None = None) -> Differences:
    """Gives a role the rights of the table and no others; answers what still differs and is not the owner's to change.

    A role that is not there is made, where there is a password for it and the owner may. Workers that are signed in as
    the role notice nothing: all is one transaction. Where a newer program has migrated, its rights are left alone.
    Raises `Conflict` where there is no such role and none can be made, or where it is the owner itself.
    """
    async with postgres.migrating(owner_dsn) as connected:
        known = await connected.fetchrow(_SQL["look_for_role"], role)
        assert known is not None
        if known["is_owner"]:
            raise Conflict(f"{role} owns the tables: the server needs a role of its own.")
        async with connected.transaction():
            if not known["is_there"]:
                if password is None or not known["may_make_it"]:
                    raise Conflict(
                        f"There is no role {role}, and {known['owner']} cannot make it: as an administrator of"
                        f" PostgreSQL, CREATE ROLE {role} LOGIN PASSWORD '…', then try again."
                    )
                await connected.execute(await connected.fetchval(_SQL["making_role"], role, password))
            differs = await compare_rights(connected, role)
            if not differs or differs.newer:
                return differs
            rights = {table: ", ".join(sorted(rights)) for table, rights in RIGHTS.items() if rights}
            for row in await connected.fetch(_SQL["granting"], role, list(rights), list(rights.values())):
                await connected.execute(row["statement"])
            return await compare_rights(connected, role)


def sign_in_of(dsn: str) -> tuple[str, str | None]:
    """Role and password of an address. Raises `InvalidInput` where it names no role."""
    address = urlsplit(dsn)
    asked = parse_qs(address.query)
    role = unquote(address.username) if address.username else next(iter(asked.get("user", ())), "")
    if not role:
        raise InvalidInput("The address of PostgreSQL names no role: postgresql://role:password@host/database")
    return role, unquote(address.password) if address.password else next(iter(asked.get("password", ())), None)


def shorten(rights: Iterable[str], most: int = 4) -> str:
    """The first few of some rights, in words."""
    listed = list(rights)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
