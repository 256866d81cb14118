"""A table in CSV: a row for each seat and area, with the columns that the import knows. Pure."""

import csv
import io
from typing import Final

from lml_live.venues.exporters.measure import Measure
from lml_live.venues.exporters.unsaid import Unsaid
from lml_live.venues.layout import Layout

_COLUMNS: Final = (
    *("section", "row", "number", "x", "y", "category", "capacity"),
    *("accessible", "companion", "restricted_view"),
)


def table_text(layout: Layout, unsaid: Unsaid) -> str:
    """The table. Labels stand there as they are: who opens it in a spreadsheet imports the columns as text."""
    measure = Measure(layout)
    unsaid.add_id(layout, layout.layout_id)
    unsaid.add("name of the layout", layout.name != layout.layout_id)
    unsaid.add("size of the plan: only distances between seats stay")
    unsaid.add("categories that are listed", len(layout.categories))
    unsaid.add("shapes", len(layout.shapes))
    unsaid.add("entrances", len(layout.entrances))
    unsaid.add("focal point", layout.focal_point is not None)
    unsaid.add("colours of categories", sum(category.color is not None for category in layout.categories))
    unsaid.add_seats(layout, ("features",))
    unsaid.add_rows(layout)
    unsaid.add_labels(layout.sections)
    unsaid.add_area_ids(layout)
    unsaid.add_all_of_sections(layout.sections)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for section in layout.sections:
        if section.capacity is not None:
            writer.writerow([section.name, "", "", "", "", section.category, section.capacity, "", "", ""])
        for row in section.rows:
            for seat in row.seats:
                x, y = measure.pixels((seat.x, seat.y))
                flags = ["yes" if flag else "" for flag in (seat.accessible, seat.companion, seat.restricted_view)]
                writer.writerow([section.name, row.label, seat.number, x, y, seat.category, "", *flags])
    return file.getvalue()
