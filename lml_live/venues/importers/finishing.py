"""From a draft to a sealed layout: standing sections made, labels tidied, seats placed, everything checked."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from lml_live import limits
from lml_live.venues.checks import check_and_seal
from lml_live.venues.findings import Findings, shown
from lml_live.venues.importers.draft import (
    Box,
    Draft,
    DraftSeat,
    DraftSection,
    DraftTable,
    Imported,
    Polygon,
    Renaming,
    SeatOrder,
    Spot,
)
from lml_live.venues.importers.labels import cut_label, first_free, part_floors, tidy_label, tidy_sections
from lml_live.venues.importers.outlines import join_pieces, signed_area, steps_to_join
from lml_live.venues.importers.placing import bounds_of, place_seats, rows_of
from lml_live.venues.importers.reading import Rejected
from lml_live.venues.layout import (
    COORDINATE_DECIMALS,
    Category,
    Layout,
    LayoutType,
    Point,
    Row,
    Seat,
    Section,
    Shape,
    Table,
    Viewport,
)
from lml_live.venues.normal_form import in_nfc
from lml_live.venues.overlaps import are_of_one_kind, look_at_outlines

_MARGIN: Final = 0.03
"""Room around the plan, as a part of its longer side: seats have a size, their coordinates have none."""


_VIEWPORT_SIDE_MIN: Final = 100.0
"""Hundredths of a side below 1 are a proportion of one digit or two, or none at all."""
_VIEWPORT_SIDE_MAX: Final = limits.VIEWPORT_MAX / 10
_UNITS_MAX: Final = 10**300
"""Beyond it a unit's part is no number of the machine's; a plan that is smaller yet has no size, and is refused."""


class Options(msgspec.Struct, frozen=True):
    """What whoever imports asks for, whatever the format."""

    layout_id: str | None = None
    name: str | None = None
    standing: tuple[str, ...] = ()
    strict: bool = False
    stem: str = "layout"
    """The file's name without its ending: the id and the name where nothing else gives them."""


def slug(text: str) -> str:
    """A public id made of a text: ASCII letters, digits and single hyphens. Empty where nothing of it can stay."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:64].strip("-")


def finish_draft(draft: Draft, options: Options) -> Imported | Rejected:
    """The layout of a draft, or every violation found in it."""
    findings = Findings()
    seat_count = sum(len(section.seats) for section in draft.sections)
    if seat_count > limits.LAYOUT_SEATS_MAX:
        findings.add("", f"has {seat_count} seats; at most {limits.LAYOUT_SEATS_MAX} are expected")
        return Rejected(findings.closed())
    wanted_standing = (*draft.standing, *options.standing)
    _make_standing(draft, wanted_standing, findings)
    empty = [shown(section.name) for section in draft.sections if not _has_places(section)]
    if empty:
        draft.notes.append(f"{len(empty)} sections without any place were left out: {', '.join(empty[:10])}")
    # Not by its name: another floor may have one of the same name that has places.
    draft.sections = [section for section in draft.sections if _has_places(section)]
    if not draft.sections:
        findings.add("", "holds no seats and no areas")
    renamings = [*draft.renamings, *part_floors(draft), *tidy_sections(draft, findings)]
    if options.strict:
        for renaming in renamings:
            findings.add(renaming.path, f"is {shown(renaming.before)}; it would be renamed to {shown(renaming.after)}")
    if findings.count:
        return Rejected(findings.closed())
    place_seats(draft)
    layout = _with_outlines_apart(_layout_of(draft, options), draft.notes)
    return finish_layout(layout, tuple(renamings), tuple(draft.notes))


def finish_layout(
    layout: Layout, renamings: tuple[Renaming, ...] = (), notes: tuple[str, ...] = ()
) -> Imported | Rejected:
    """Checks and seals a layout, its texts in normal form C as wherever one is stored."""
    report, sealed = check_and_seal(in_nfc(layout))
    if sealed is None:
        return Rejected(report.violations)
    return Imported(sealed, renamings, notes, report.warnings)


def _has_places(section: DraftSection) -> bool:
    return bool(section.seats) or section.capacity is not None


def _make_standing(draft: Draft, wanted: Sequence[str], findings: Findings) -> None:
    named: dict[str, list[DraftSection]] = {}
    for section in draft.sections if wanted else ():
        for name in {section.name, tidy_label(section.name)}:
            named.setdefault(name, []).append(section)
    for name in wanted:
        if name not in named:
            known = ", ".join(shown(section.name) for section in draft.sections[:20])
            findings.add("--standing", f"is {shown(name)}; a section of this file is expected: {known}")
        for section in named.get(name, ()):
            if section.seats:
                _seats_to_area(section)
                draft.notes.append(f"Section {section.name}: {section.capacity} seats became an area of that capacity")


def _seats_to_area(section: DraftSection) -> None:
    section.capacity = len(section.seats) + (section.capacity or 0)
    if not section.category:
        section.category = Counter(seat.category for seat in section.seats).most_common(1)[0][0]
    spots = [seat.spot for seat in section.seats if seat.spot is not None]
    if not section.outlines and spots:
        box = bounds_of(spots)
        section.outlines = [_corners(box)]
    section.seats = []


def _corners(box: Box) -> Polygon:
    right, bottom = box.x + box.width, box.y + box.height
    return [(box.x, box.y), (right, box.y), (right, bottom), (box.x, bottom)]


class _Frame(msgspec.Struct, frozen=True):
    """The part of the file's plane that becomes the viewport."""

    box: Box

    def point(self, spot: Spot) -> Point:
        x, y = (spot[0] - self.box.x) / self.box.width, (spot[1] - self.box.y) / self.box.height
        # Rounding alone can leave 1.0000000000000002 at the far edge.
        return min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)

    def table(self, table: DraftTable) -> Table:
        x, y = self.point(table.middle)
        width, height = min(table.width / self.box.width, 1.0), min(table.height / self.box.height, 1.0)
        return Table(x, y, width, height, table.form, table.turn)

    def points(self, polygon: Polygon) -> tuple[Point, ...]:
        return tuple(self.point(spot) for spot in polygon)


def _layout_of(draft: Draft, options: Options) -> Layout:
    frame = _Frame(_frame_box(draft))
    kinds = {"standing" if section.capacity is not None else "seated" for section in draft.sections}
    layout_type: LayoutType = "hybrid" if len(kinds) == 2 else "standing" if "standing" in kinds else "seated"
    name = options.name or cut_label(draft.name) or options.stem
    if draft.name and not options.name and name != draft.name:
        draft.notes.append(f"The plan's name became {shown(name)}")
    taken_ids: dict[str, int] = {}
    uncategorised: list[str] = []
    sections = [_section_of(section, frame, draft.seat_order, taken_ids, uncategorised) for section in draft.sections]
    if uncategorised:
        draft.notes.append(
            f"{len(uncategorised)} sections have seats without a price category: the section's name is their category"
        )
    shapes = [Shape(shape.kind, frame.points(shape.points), shape.label, shape.floor or None) for shape in draft.shapes]
    layout = Layout(
        layout_id=options.layout_id or draft.layout_id or slug(name) or slug(options.stem) or "layout",
        name=name[: limits.LABEL_CHARS_MAX].strip(),
        type=layout_type,
        viewport=_viewport_of(frame.box, draft),
        sections=tuple(sections),
        focal_point=frame.point(_focal_of(draft)) if draft.focal or draft.field else None,
        shapes=tuple(shapes),
        categories=_listed(draft.categories, sections),
    )
    return _with_pieces(layout, draft, frame)


def _with_pieces(layout: Layout, draft: Draft, frame: _Frame) -> Layout:
    """The layout with the outlines that are drawn in several pieces, such as the tiers of a stand. A section has one
    outline: the pieces are joined by lines between them. Where that is in the way of another outline, or its own, the
    largest stays, and the others are drawn, but say nothing."""
    budget = limits.OUTLINE_LOOKS_MAX
    joined: dict[int, tuple[Point, ...]] = {}
    for at, section in enumerate(draft.sections):
        pieces = _by_size(section.outlines)
        budget -= steps_to_join(pieces)
        if len(pieces) > 1 and budget >= 0 and len(whole := join_pieces(pieces)) <= limits.OUTLINE_POINTS_MAX:
            joined[at] = frame.points(whole)
    if joined:
        in_the_way = outlines_in_the_way(_with_outlines(layout, joined)).keys() - outlines_in_the_way(layout).keys()
        joined = {at: outline for at, outline in joined.items() if at not in in_the_way}
        if not in_the_way.isdisjoint(outlines_in_the_way(_with_outlines(layout, joined))):
            joined = {}  # what is in the way of one that was joined keeps its outline
    shapes = list(layout.shapes)
    for at, section in enumerate(draft.sections):
        if at not in joined:
            pieces = _by_size(section.outlines)[1:]
            shapes += [Shape("section", frame.points(polygon), floor=section.floor or None) for polygon in pieces]
    return msgspec.structs.replace(_with_outlines(layout, joined), shapes=tuple(shapes))


def _with_outlines(layout: Layout, outlines: Mapping[int, tuple[Point, ...]]) -> Layout:
    sections = list(layout.sections)
    for at, outline in outlines.items():
        sections[at] = msgspec.structs.replace(sections[at], outline=outline)
    return msgspec.structs.replace(layout, sections=tuple(sections))


def _with_outlines_apart(layout: Layout, notes: list[str]) -> Layout:
    """The layout with no outline that breaks a rule of ours: they are no rules of other formats, whose outlines are
    pictures, and a box that is drawn around seats here meets whatever is there. Such a one is decoration."""
    why = outlines_in_the_way(layout)
    if not why:
        return layout
    sections, shapes = list(layout.sections), list(layout.shapes)
    for at, words in sorted(why.items()):
        section = sections[at]
        sections[at] = msgspec.structs.replace(section, outline=())
        shapes.append(Shape("section", section.outline, floor=section.floor))
        notes.append(f"Section {section.name}: its outline {words}, so it is decoration")
    return msgspec.structs.replace(layout, sections=tuple(sections), shapes=tuple(shapes))


def outlines_in_the_way(layout: Layout) -> dict[int, str]:
    """Sections, by their places, whose outlines cannot stay when a layout is imported, and why."""
    drawing = look_at_outlines(layout)
    why = dict.fromkeys(drawing.crossed, "crosses itself")
    for pair in drawing.overlaps:
        if are_of_one_kind(layout, pair) and why.keys().isdisjoint(pair):
            why[pair[1]] = f"lies over that of {layout.sections[pair[0]].name}"
    return why


def _viewport_of(box: Box, draft: Draft) -> Viewport:
    width, height, smaller = viewport_size(box.width, box.height)
    if smaller > 1:
        draft.notes.append(
            f"The plan is {box.width:.3g} by {box.height:.3g} of its units: it is said in units 1/{smaller} as large"
        )
    return Viewport(width, height, draft.units)


def viewport_size(width: float, height: float) -> tuple[float, float, int]:
    """The size of a plan as it is imported: in hundredths of the file's unit, or, where the unit is larger than the
    plan, of one that is as many times smaller as the last number says (1: it is the file's own)."""
    smaller = 1
    while (
        min(width, height) < 1
        and smaller < _UNITS_MAX
        and min(width, height) * smaller < _VIEWPORT_SIDE_MIN
        and max(width, height) * smaller < _VIEWPORT_SIDE_MAX
    ):
        smaller *= 10
    return round(width * smaller, 2), round(height * smaller, 2), smaller


def _listed(colors: Mapping[str, str | None], sections: Sequence[Section]) -> tuple[Category, ...]:
    """The categories that the file lists and, since a layout lists all or none, those that it only uses; each once,
    however its accents are spelled."""
    if not colors:
        return ()
    used = {seat.category: None for section in sections for row in section.rows for seat in row.seats}
    used |= {section.category: None for section in sections if section.category is not None}
    listed: dict[str, str | None] = {}
    for name, color in (*colors.items(), *used.items()):
        listed.setdefault(unicodedata.normalize("NFC", name), color)
    return tuple(Category(name, color) for name, color in listed.items())


def _focal_of(draft: Draft) -> Spot:
    if draft.focal is not None:
        return draft.focal
    assert draft.field is not None
    return draft.field.x + draft.field.width / 2, draft.field.y + draft.field.height / 2


def _frame_box(draft: Draft) -> Box:
    """The file's own canvas if everything lies on it, else what is drawn and a margin."""
    spots = [seat.spot for section in draft.sections for seat in section.seats if seat.spot is not None]
    spots += [spot for section in draft.sections for polygon in section.outlines for spot in polygon]
    spots += [spot for shape in draft.shapes for spot in shape.points]
    tables = [seat.table for section in draft.sections for seat in section.seats if seat.table is not None]
    spots += [table.middle for table in tables]
    canvas = draft.canvas
    if canvas is not None and not (canvas.width > 0 and canvas.height > 0):
        canvas = None
    if not spots:
        return canvas or Box(0, 0, 1, 1)
    if canvas is not None and all(map(_with_its_edge(canvas).contains, spots)):
        return canvas
    if canvas is not None:
        draft.notes.append("Something lies outside the file's own canvas: the viewport was drawn around everything")
    box = bounds_of([*spots, *(spot for table in tables for spot in _ends(table))])
    margin = max(box.width, box.height) * _MARGIN or 1.0
    return Box(box.x - margin, box.y - margin, box.width + 2 * margin, box.height + 2 * margin)


def _with_its_edge(canvas: Box) -> Box:
    """A canvas and what is rounded onto its edge: positions that were added up may end a breath beyond it."""
    dx, dy = (side * 0.5 * 10**-COORDINATE_DECIMALS for side in (canvas.width, canvas.height))
    return Box(canvas.x - dx, canvas.y - dy, canvas.width + 2 * dx, canvas.height + 2 * dy)


def _ends(table: DraftTable) -> Polygon:
    """How far a table reaches, however it is turned."""
    reach = max(table.width, table.height) / 2
    x, y = table.middle
    return [(x - reach, y - reach), (x + reach, y + reach)]


def _by_size(polygons: Sequence[Polygon]) -> list[Polygon]:
    """Distinct polygons, the largest first."""
    distinct = list({tuple(polygon): polygon for polygon in polygons}.values())
    return sorted(distinct, key=lambda polygon: abs(signed_area(polygon)), reverse=True)


def _section_of(
    section: DraftSection, frame: _Frame, order: SeatOrder, taken_ids: dict[str, int], uncategorised: list[str]
) -> Section:
    outlines = _by_size(section.outlines)
    outline = frame.points(outlines[0]) if outlines else ()
    if section.capacity is not None:
        category = section.category or section.name
        area_id = _new_area_id(section.name, taken_ids)
        floor = section.floor or None
        return Section(section.name, "standing", (), area_id, section.capacity, category, outline, floor=floor)
    if any(not seat.category for seat in section.seats) and not section.category:
        uncategorised.append(section.name)
    rows = [
        Row(
            label,
            tuple(_seat_of(seat, frame, section) for seat in _ordered(seats, order)),
            seats[0].sold_whole,
            None if seats[0].table is None else frame.table(seats[0].table),
        )
        for label, seats in rows_of(section).items()
    ]
    return Section(section.name, "seated", tuple(rows), outline=outline, floor=section.floor or None)


def _new_area_id(name: str, taken: dict[str, int]) -> str:
    return first_free(slug(name) or "area", taken, "{:.58}-{}")


def _seat_of(seat: DraftSeat, frame: _Frame, section: DraftSection) -> Seat:
    assert seat.spot is not None
    x, y = frame.point(seat.spot)
    category = seat.category or section.category or section.name
    return Seat(seat.number, x, y, category, "", seat.accessible, seat.companion, seat.restricted_view, seat.features)


def _ordered(seats: list[DraftSeat], order: SeatOrder) -> list[DraftSeat]:
    if order == "number":
        return sorted(seats, key=lambda seat: _natural(seat.number))
    if order == "place":
        box = bounds_of(seat.spot for seat in seats if seat.spot is not None)
        axis = 0 if box.width >= box.height else 1
        return sorted(seats, key=lambda seat: seat.spot[axis] if seat.spot is not None else 0.0)
    return seats


def _natural(text: str) -> list[tuple[int, int, str]]:
    """2 before 10, and 10 before 10a."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d{1,18})", text) if part]
