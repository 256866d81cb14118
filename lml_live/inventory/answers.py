"""What became of an act on a hold, read from what its script answered."""

import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from lml_live import limits
from lml_live.inventory.records import Record, Sale, decode_record
from lml_live.inventory.together import Act


class Changed(Struct, frozen=True, gc=False):
    """What a hold is now. `record` is None when nothing is left of it."""

    hold: str
    record: Record | None
    epoch: int
    seq: int
    now_ms: int


class Refusal(Struct, frozen=True):
    """Why nothing was changed; `code` is one of the contract's."""

    code: str
    message: str
    seats: tuple[int, ...] = ()
    areas: dict[str, int] = field(default_factory=dict)
    retry_after_ms: int | None = None


class Blocked(Struct, frozen=True):
    """What was blocked or assigned; the refused were left alone. Areas with what they have instead of enough."""

    seq: int
    epoch: int
    refused_seats: tuple[int, ...]
    refused_areas: dict[str, int]


def read_act(sale: Sale, act: Act, answer: Any) -> Changed | Refusal:
    """The answer to an act that `Together` had decided."""
    return read_granted(sale, act, answer) if type(answer) is bytes else read_answer(sale, answer, act.hold)


def read_granted(sale: Sale, act: Act, answer: bytes) -> Changed:
    """The answer to an act that was granted as it was asked for."""
    if answer.startswith(b"held"):
        record = decode_record(act.begun + answer[4:])
        return Changed(act.hold, record, sale.epoch, record.seq, record.created_ms)
    _, now_ms, _, seq = _RELEASED.unpack(answer[8:])
    return Changed(act.hold, None, sale.epoch, seq, now_ms)


_RELEASED: Final = struct.Struct(">BQBQ")


def read_answer(sale: Sale, answer: Sequence[Any], hold: str) -> Changed | Refusal:
    """A script's answer as a value; the first word is its meaning."""
    if answer[0] in _GRANTED:
        return read_changed(sale, answer, hold)
    match answer[0]:
        case b"same":
            return Changed(answer[4].decode(), decode_record(answer[2]), sale.epoch, int(answer[1]), int(answer[3]))
        case b"taken" | b"orphan" | b"not_in_hold":
            known = REFUSALS[answer[0]]
            return Refusal(known.code, known.message, tuple(map(int, answer[1:])))
        case b"full":
            left = {area.decode(): int(n) for area, n in zip(answer[1::2], answer[2::2], strict=True)}
            unknown = {area for area, n in left.items() if n < 0}
            if unknown:
                return Refusal("unknown_area", "This event has no such area.")
            return Refusal("area_full", "There are not enough places left.", areas=left)
        case b"not_in_area":
            return Refusal("invalid_message", "The hold has no such places; name a type where it has several.")
        case b"limit":
            return Refusal("limit_exceeded", f"At most {int(answer[1])} are allowed.")
        case b"cooling":
            return Refusal(
                "cooling_down", "Too many of your holds expired: please wait.", retry_after_ms=int(answer[1])
            )
        case b"barred":
            barred = tuple(map(int, answer[2:]))
            message = "You have just lost these seats: they go to others first."
            return Refusal("cooling_down", message, barred, retry_after_ms=int(answer[1]))
        case b"address_limit":
            return Refusal("limit_exceeded", f"At most {int(answer[1])} are allowed from one network address.")
        case b"not_open":
            return Refusal("sale_not_open", "The sale has not begun.")
        case word if word in REFUSALS:
            return REFUSALS[word]
    return read_changed(sale, answer, hold)


def read_changed(sale: Sale, answer: Sequence[Any], hold: str) -> Changed:
    """The answer to an act that was granted."""
    has_record = _GRANTED.get(answer[0])
    if has_record is None:
        raise AssertionError(f"a script answered {answer[0]!r}, which its header does not say")
    if has_record:
        _, seq, record, now_ms = answer
        return Changed(hold, decode_record(record), sale.epoch, int(seq), int(now_ms))
    _, seq, now_ms = answer
    return Changed(hold, None, sale.epoch, int(seq), int(now_ms))


def read_blocked(sale: Sale, answer: Sequence[Any]) -> Blocked:
    """The answer of block_seats and assign_seats."""
    areas = msgspec.msgpack.decode(answer[3], type=list[str | int])
    return Blocked(
        seq=int(answer[1]),
        epoch=sale.epoch,
        refused_seats=msgspec.msgpack.decode(answer[2], type=tuple[int, ...]),
        refused_areas=dict(zip(areas[::2], areas[1::2], strict=True)),  # type: ignore[arg-type]
    )


_GRANTED: Final = {
    **dict.fromkeys((b"held", b"kept", b"extended", b"marked", b"restored", b"sold", b"hold"), True),
    **dict.fromkeys((b"released", b"freed"), False),
}
"""The words of a change, and whether the hold's record comes with it."""
NEW: Final = Refusal("new", "This key was not used yet.")
"""Nobody but `Holds.find_key` is told."""
REFUSALS: Final[dict[bytes, Refusal]] = {
    b"new": NEW,
    b"draft": Refusal("sale_not_open", "The sale has not begun."),
    b"paused": Refusal("sale_paused", "The sale is paused."),
    b"closed": Refusal("sale_closed", "The sale is over."),
    b"taken": Refusal("seat_taken", "Somebody else was faster."),
    b"orphan": Refusal("orphan_seat", "That would leave a single seat alone."),
    b"not_in_hold": Refusal("unknown_seat", "The hold has no such seat."),
    b"too_many_holds": Refusal("limit_exceeded", "Too many holds: release one first."),
    b"too_many_places": Refusal(
        "limit_exceeded", f"At most {limits.GROUP_PLACES_MAX} places change in one step: name fewer holds."
    ),
    b"too_many_keys": Refusal("limit_exceeded", "This hold was changed too often: release it and start again."),
    b"changed": Refusal("conflict", "The hold was changed meanwhile: read it again."),
    b"mismatch": Refusal("idempotency_mismatch", "This key was used for another request."),
    b"expired": Refusal("hold_expired", "The hold's time is over."),
    b"not_found": Refusal("hold_not_found", "There is no such hold."),
    b"in_checkout": Refusal("hold_in_checkout", "The hold is being paid for."),
}
STAFF_HOLD: Final = Refusal("forbidden", "The box office holds this: it is changed and released there.")
