"""Layouts out to another format and in again, for the tests."""

from lml_live.venues.exporters import ExportFormat, export_layout
from lml_live.venues.importers import Imported, import_layout
from lml_live.venues.layout import Layout, seats_of


def back(layout: Layout, wanted: ExportFormat) -> Imported:
    exported = export_layout(layout, wanted)
    answer = import_layout(exported.data, filename=exported.filename, layout_id=layout.layout_id, name=layout.name)
    assert isinstance(answer, Imported), answer
    assert not answer.renamings
    return answer


def the_same_seats(one: Layout, other: Layout, wanted: ExportFormat) -> None:
    """Labels, ids, categories and what the format says of a seat; places, too, where it has a canvas."""
    for (section, row, seat), (section2, row2, seat2) in zip(seats_of(one), seats_of(other), strict=True):
        assert (section.name, row.label, seat.number) == (section2.name, row2.label, seat2.number)
        assert (seat.seat_id, seat.category) == (seat2.seat_id, seat2.category)
        if wanted != "pretix":
            flags = (seat.accessible, seat.companion, seat.restricted_view)
            assert flags == (seat2.accessible, seat2.companion, seat2.restricted_view)
        if wanted != "csv":
            assert (seat.x, seat.y) == (seat2.x, seat2.y)
    if wanted != "pretix":
        assert areas_of(one) == areas_of(other)


def areas_of(layout: Layout) -> list[tuple[str, int | None, str | None]]:
    standing = (section for section in layout.sections if section.kind == "standing")
    return [(section.name, section.capacity, section.category) for section in standing]
