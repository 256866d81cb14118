"""What the socket answers as REST does: the same in both formats, and never more than one client's queue takes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import msgspec
import pytest

from lml_live import limits, values
from lml_live.backoffice.reports import ChannelReport, PlaceCounts, SeatCounts, StatusChange
from lml_live.gateway import documents, paging, wire
from lml_live.gateway.shown import BookingLineShown, BookingShown, BuyerShown, PaymentShown, RefundShown
from lml_live.inventory import seatmap

NOW = datetime(2026, 5, 1, 19, 30, 0, 123456, UTC)
MANY = limits.AREA_CAPACITY_MAX
LONG_ID = "x" * 64


def a_booking() -> BookingShown:
    line = BookingLineShown(line=1, seat_id="ab", type="full", amount=4500, fee=250, tax=294)
    refund = RefundShown(
        id="r", booking="b", amount=1, lines=(1,), reason="ill", state="pending", created=NOW, accepted=None
    )
    return BookingShown(
        id="b-1",
        state="confirmed",
        event="evening",
        hold="1-c-2",
        lines=(line,),
        seats=("ab",),
        areas={},
        amount=4750,
        currency="EUR",
        expires_at=NOW,
        access="lmlb_0",
        payment=PaymentShown(status="none"),
        refunds=(refund,),
        buyer=BuyerShown("Kim", None),
        tender="cash",
    )


def a_change(number: int) -> StatusChange:
    """As long as one can be."""
    text = "🎫" * limits.EVENT_NAME_CHARS_MAX
    ids: dict[str, Any] = dict.fromkeys(
        ("hold", "holder", "booking", "channel", "staff", "area_id", "seat_id"), LONG_ID
    )
    return StatusChange(
        number=10**18 - 1 - number,
        at=NOW,
        act="release",
        quantity=MANY,
        status="available",
        staff_email="e" * 320,
        reason=text,
        **ids,
    )


def a_report(number: int) -> ChannelReport:
    areas = {f"{area:064}": PlaceCounts(MANY, MANY, MANY, MANY) for area in range(limits.LAYOUT_AREAS_MAX)}
    seats = SeatCounts(*[limits.LAYOUT_SEATS_MAX] * 5)
    return ChannelReport(channel=f"{number:064}", opens_at=NOW, opened_at=NOW, seats=seats, areas=areas)


ANSWERS: tuple[wire.Sold | wire.StatusChanges | wire.Channels, ...] = (
    wire.Sold(id=1, booking=a_booking()),
    wire.StatusChanges(id=2, items=tuple(map(a_change, range(limits.PAGE_ITEMS_MAX))), next="c" * 132),
    wire.Channels(id=3, items=tuple(map(a_report, range(seatmap.CHANNEL_MAX + 1)))),
)
"""The last two are the largest that there are."""


@pytest.mark.parametrize("answer", ANSWERS, ids=["sold", "status_changes", "channels"])
def test_both_formats_say_the_same(answer: Any) -> None:
    """In msgpack a time was of msgpack's own type, which the document does not tell of."""
    in_json = msgspec.json.decode(wire.JSON.encode(answer))
    assert msgspec.msgpack.decode(wire.MSGPACK.encode(answer)) == in_json
    document = documents.asyncapi_document()
    payload = document["components"]["messages"][in_json["type"]]["payload"]
    jsonschema.validate(in_json, {**payload, "components": document["components"]})
    for fmt in (wire.JSON, wire.MSGPACK):
        assert fmt.decode_server(fmt.encode(answer)) == answer


def test_a_sold_booking_is_what_rest_shows() -> None:
    in_json = msgspec.json.decode(wire.JSON.encode(ANSWERS[0]))
    assert in_json["booking"] == msgspec.json.decode(msgspec.json.encode(a_booking()))


@pytest.mark.parametrize("fmt", [wire.JSON, wire.MSGPACK], ids=["json", "msgpack"])
def test_the_largest_answers_fit_in_a_clients_queue(fmt: wire.Format) -> None:
    """Who asks for one is not cut for having been slow."""
    for answer in ANSWERS:
        assert len(fmt.encode(answer)) < limits.CLIENT_QUEUE_BYTES_MAX


def test_a_cursor_of_ours_is_never_too_long_and_moments_are_rests() -> None:
    assert len(paging.write_cursor(NOW, LONG_ID)) <= limits.CURSOR_CHARS_MAX
    first, after = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
    ms = timedelta(milliseconds=1)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert ((first - epoch) // ms, (after - epoch) // ms - 1) == (values.MOMENT_MS_MIN, values.MOMENT_MS_MAX)
