"""pretix's seating-plan JSON: a zone for each section, its rows and seats, categories, and shapes as areas. Pure."""

from typing import Any, Final

from lml_live.venues.exporters.measure import Measure
from lml_live.venues.exporters.unsaid import INVENTED_COLOR, Unsaid
from lml_live.venues.layout import Layout, Section, Shape

_CLEAR: Final = "#eeeeee"


def pretix_plan(layout: Layout, unsaid: Unsaid) -> dict[str, Any]:
    """The plan's JSON. pretix knows no areas, floors, tables or entrances, and of a seat no more than its place."""
    measure = Measure(layout)
    listed = {category.name: category.color for category in layout.categories}
    used = [seat.category for section in layout.sections for row in section.rows for seat in row.seats]
    names = dict.fromkeys([*listed, *used])
    seated = [section for section in layout.sections if section.kind == "seated"]
    unsaid.add_name(layout, measure)
    unsaid.add_labels(seated)
    unsaid.add_words(shape.label for shape in layout.shapes)
    standing = len(layout.sections) - len(seated)
    unsaid.add("areas with their places: pretix sells them as plain tickets", standing)
    unsaid.add("entrances", len(layout.entrances))
    unsaid.add("focal point", layout.focal_point is not None)
    unsaid.add_colors(listed, names)
    unsaid.add_seats(layout, ("accessible", "companion", "restricted_view", "features"))
    unsaid.add_rows(layout)
    unsaid.add_all_of_sections(seated)
    unsaid.add("floors of shapes", sum(shape.floor is not None for shape in layout.shapes))
    kept = ((_word(shape).strip().lower() == "stage") == (shape.kind == "stage") for shape in layout.shapes)
    known = (shape.kind in ("stage", "area") for shape in layout.shapes)
    unsaid.add("kinds of shapes", sum(not (each and other) for each, other in zip(kept, known, strict=True)))
    unlabelled = sum(shape.kind == "stage" and not shape.label for shape in layout.shapes)
    unsaid.add("stages without a label: they are called Stage there", unlabelled)
    unsaid.add("lines: one end of them is there", sum(len(shape.points) == 2 for shape in layout.shapes))
    zones = [_zone(section, measure) for section in seated]
    if zones:
        zones[0]["areas"] = [_area(shape, measure) for shape in layout.shapes]
    else:
        unsaid.add("plan without a seat: it has nothing that can be imported again")
        unsaid.add("shapes: there is no zone to draw them in", len(layout.shapes))
    return {
        "name": layout.name,
        "categories": [{"name": name, "color": (listed.get(name) or INVENTED_COLOR).upper()} for name in names],
        "zones": zones,
        "size": {"width": measure.width, "height": measure.height},
    }


def _zone(section: Section, measure: Measure) -> dict[str, Any]:
    rows = []
    for row in section.rows:
        x, y = measure.pixels((row.seats[0].x, row.seats[0].y))
        seats = []
        for seat in row.seats:
            seat_x, seat_y = measure.pixels((seat.x, seat.y))
            seats.append(
                {
                    "seat_number": seat.number,
                    "seat_guid": seat.seat_id,
                    "uuid": seat.seat_id,
                    "position": {"x": seat_x - x, "y": seat_y - y},
                    "category": seat.category,
                }
            )
        position = {"x": x, "y": y}
        rows.append({"row_number": row.label, "row_number_position": "both", "position": position, "seats": seats})
    return {"name": section.name, "zone_id": section.name, "position": {"x": 0, "y": 0}, "rows": rows, "areas": []}


def _area(shape: Shape, measure: Measure) -> dict[str, Any]:
    points = [measure.pixels(point) for point in shape.points]
    x, y = points[0]
    moved = [{"x": px - x, "y": py - y} for px, py in points]
    middle = {axis: sum(point[axis] for point in moved) / len(moved) for axis in "xy"}
    drawn = {"shape": "polygon", "polygon": {"points": moved}} if len(moved) >= 3 else {"shape": "text"}
    return {
        **drawn,
        "color": _CLEAR,
        "border_color": INVENTED_COLOR,
        "rotation": 0,
        "position": {"x": x, "y": y},
        "text": {"position": middle, "color": "#333333", "text": _word(shape)},
    }


def _word(shape: Shape) -> str:
    # A stage is known again by its word.
    return shape.label or ("Stage" if shape.kind == "stage" else "")
