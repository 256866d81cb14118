"""What banks are told in disputes, as PostgreSQL keeps it: planned with the dispute, assembled once, submitted once.

The submission is an outbox row of the transaction that hears of the dispute, due after the event (who was let in says
more than all else) and two days before the bank hears no more at the latest. What is submitted is written down before
it is sent, so that every try under one key says the same (docs/decisions/025).
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import asyncpg
import msgspec
from msgspec import Struct

from lml_live import limits
from lml_live.booking.dossier import Case, GivenBack, Issued, Line, Mailed, Move, Taken, write_fields
from lml_live.booking.payments import DisputeState
from lml_live.errors import Conflict, NotFound
from lml_live.infra import postgres
from lml_live.infra.postgres import Connection, Pool

log = logging.getLogger(__name__)

_SQL: Final = postgres.statements("evidence")
_fields: Final = msgspec.json.Decoder(dict[str, str])

Round = Literal["inquiry", "dispute"]
EvidenceState = Literal["planned", "submitted", "found", "refused"]


class Submission(Struct, frozen=True, kw_only=True):
    """What a row of the outbox submits; `fields` are Stripe's."""

    key: str
    dispute: str
    booking: str
    state: EvidenceState
    fields: dict[str, str]


class EvidenceShown(Struct, frozen=True, kw_only=True):
    """How the evidence in a dispute stands. `found`: the bank heard somebody else's, or hears none any more. Work that
    Stripe refuses for days is `stuck` until somebody asks again."""

    round: Round
    state: EvidenceState
    due: datetime | None
    assembled: datetime | None
    ended: datetime | None
    stuck: datetime | None
    fault: str | None


class DisputeShown(Struct, frozen=True, kw_only=True):
    """A dispute, in minor units of its booking's currency; `fees` by the currency that Stripe took them in."""

    id: str
    booking: str
    event: str
    state: DisputeState
    reason: str
    amount: int
    currency: str
    fees: dict[str, int]
    opened: datetime
    closed: datetime | None
    due_by: datetime | None


class Pack(Struct, frozen=True, kw_only=True):
    """The evidence: what is on record, and the fields that Stripe is sent; of what was submitted, those it was sent."""

    evidence: tuple[EvidenceShown, ...]
    fields: dict[str, str]
    case: Case


async def plan_evidence(
    connected: Connection, booking: str, dispute: str, stage: Round, due_by: datetime | None
) -> None:
    """Plans what a bank is told, in the transaction that hears of its dispute; once for each round."""
    key = f"{booking}:submit_evidence:{dispute}:{stage}"
    if await connected.fetchval(_SQL["plan_evidence"], key, dispute, booking, stage) is not None:
        waits = (limits.EVIDENCE_AFTER_EVENT_SECONDS, limits.EVIDENCE_MARGIN_SECONDS)
        await connected.execute(_SQL["write_submission"], booking, key, due_by, *map(float, waits))


class Evidence:
    """The evidence of the house. `terms_url` is where buyers read its terms."""

    def __init__(self, pool: Pool, *, terms_url: str | None = None) -> None:
        self._pool = pool
        self._terms_url = terms_url

    async def load(self, key: str) -> Submission:
        """What this row of the outbox submits: assembled now, or as it was when it was first tried."""
        async with postgres.transaction(self._pool) as connected:
            row = await connected.fetchrow(_SQL["load_evidence"], key)
            assert row is not None
            if row["body"] is None and row["state"] == "planned":
                case = await self._case(connected, row["booking_id"], row["dispute_id"])
                body = msgspec.json.encode(write_fields(case)).decode()
                await connected.execute(_SQL["keep_body"], key, body)
                row = await connected.fetchrow(_SQL["load_evidence"], key)
                assert row is not None
        return Submission(
            key=key,
            dispute=row["dispute_id"],
            booking=row["booking_id"],
            state=row["state"],
            fields=_read_fields(row),
        )

    async def ended(self, key: str, state: EvidenceState, fault: str | None = None) -> None:
        """The bank has it, or hears none any more."""
        async with postgres.connection(self._pool) as connected:
            await connected.execute(_SQL["end_evidence"], key, state, fault)

    async def list(
        self,
        *,
        state: DisputeState | None = None,
        of: str | None = None,
        after: tuple[datetime, str] | None = None,
        limit: int,
    ) -> Sequence[DisputeShown]:
        """Disputes, the newest first; `of` is a member of staff who sees only those of their organisations' events."""
        async with postgres.connection(self._pool) as connected:
            rows = await connected.fetch(_SQL["list_disputes"], state, *(after or (None, None)), of, limit)
            fees = await connected.fetch(_SQL["fees_of_disputes"], [row["id"] for row in rows])
        costs: dict[str, dict[str, int]] = {}
        for fee in fees:
            costs.setdefault(fee["dispute_id"], {})[fee["currency"]] = fee["amount"]
        return [_show(row, costs.get(row["id"], {})) for row in rows]

    async def pack(self, booking: str, dispute: str) -> Pack:
        """All of it, as of one moment. Raises `NotFound`."""
        async with (
            postgres.connection(self._pool) as connected,
            connected.transaction(isolation="repeatable_read", readonly=True),
        ):
            if await connected.fetchrow(_SQL["load_dispute"], dispute, booking) is None:
                raise NotFound("There is no such dispute.")
            case = await self._case(connected, booking, dispute)
            rows = await connected.fetch(_SQL["evidence_of_dispute"], dispute)
        told = next((_read_fields(row) for row in rows if row["body"] is not None), None)
        return Pack(
            evidence=tuple(map(_show_evidence, rows)), fields=write_fields(case) if told is None else told, case=case
        )

    async def hurry(self, booking: str, dispute: str) -> None:
        """The bank is told now. Raises `NotFound`, and `Conflict` where nothing is left to be told."""
        async with postgres.transaction(self._pool) as connected:
            if await connected.fetchrow(_SQL["load_dispute"], dispute, booking) is None:
                raise NotFound("There is no such dispute.")
            if not await connected.fetch(_SQL["hurry_submission"], dispute):
                raise Conflict("No evidence is waiting: the bank was told, or hears none any more.")

    async def _case(self, connected: Connection, booking: str, dispute: str) -> Case:
        row = await connected.fetchrow(_SQL["load_case"], booking)
        assert row is not None
        return Case(
            dispute=dispute,
            booking=booking,
            intent=row["intent_id"],
            buyer_name=row["buyer_name"] or "",
            buyer_email=row["buyer_email"] or "",
            amount=row["amount"],
            currency=row["currency"],
            created=row["created"],
            origin=row["origin"],
            event=row["event"],
            venue=row["venue"],
            starts_at=row["starts_at"],
            max_seats=row["max_seats"],
            terms_url=self._terms_url,
            lines=tuple(
                Line(one["line"], _place(one), one["type"], one["amount"] + one["fee"])
                for one in await connected.fetch(_SQL["case_lines"], booking)
            ),
            moves=tuple(
                Move(
                    *(one["at"], one["from_state"], one["to_state"], one["actor_kind"], one["origin"]),
                    *(one["seq"], one["hash"]),
                )
                for one in await connected.fetch(_SQL["case_moves"], booking)
            ),
            mails=tuple(
                Mailed(one["kind"], one["created"], one["sent"])
                for one in await connected.fetch(_SQL["case_mails"], booking)
            ),
            tickets=tuple(
                Issued(
                    *(one["line"], one["state"], one["issued"], one["reprinted"], one["used_at"], one["used_gate"]),
                )
                for one in await connected.fetch(_SQL["case_tickets"], booking)
            ),
            refunds=tuple(
                GivenBack(one["amount"], one["reason"], one["state"], one["created"])
                for one in await connected.fetch(_SQL["case_refunds"], booking)
            ),
            disputes=tuple(
                Taken(one["id"], one["amount"], one["reason"], one["state"], one["opened"])
                for one in await connected.fetch(_SQL["case_disputes"], booking)
            ),
        )


def _place(line: asyncpg.Record) -> str:
    return f"area {line['area_id']}" if line["seat_id"] is None else f"seat {line['seat_id'][:12]}"


def _read_fields(row: asyncpg.Record) -> dict[str, str]:
    return {} if row["body"] is None else _fields.decode(row["body"])


def _show(row: asyncpg.Record, fees: dict[str, int]) -> DisputeShown:
    return DisputeShown(
        id=row["id"],
        booking=row["booking_id"],
        event=row["event_id"],
        state=row["state"],
        reason=row["reason"],
        amount=row["amount"],
        currency=row["currency"],
        fees=fees,
        opened=row["opened"],
        closed=row["closed"],
        due_by=row["due_by"],
    )


def _show_evidence(row: asyncpg.Record) -> EvidenceShown:
    return EvidenceShown(
        round=row["round"],
        state=row["state"],
        due=None if row["stuck"] is not None else row["due"],
        assembled=row["assembled"],
        ended=row["ended"],
        stuck=row["stuck"],
        fault=row["fault"] or row["refusal"],
    )
