"""What a format cannot say of a layout, counted: nothing is dropped in silence. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from lml_live.venues.exporters.measure import Measure
from lml_live.venues.importers.finishing import slug
from lml_live.venues.importers.labels import cut_label, tidy_label
from lml_live.venues.layout import Layout, Section, seats_of

BOXES: Final = "sections that sell whole, as boxes"
NESTED: Final = "sections that are within others"
INVENTED_COLOR: Final = "#7f7f7f"
"""Of categories without one, where the format needs it."""


class Unsaid:
    """Gathers what an exporter leaves out. Mutable: it lives inside one export."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, what: str, count: int = 1) -> None:
        """Notes that so many of something are not in the file."""
        if count:
            self._counts[what] += count

    def told(self) -> tuple[str, ...]:
        """Each with its number, the most frequent first."""
        return tuple(f"{count} × {what}" for what, count in self._counts.most_common())

    def add_seats(self, layout: Layout, members: Iterable[str]) -> None:
        """Members of seats that the format does not have, where a seat has them."""
        for member in members:
            words = member.replace("_", " ")
            self.add(f"seats that are {words}", sum(bool(getattr(seat, member)) for *_, seat in seats_of(layout)))

    def add_sections(self, sections: Iterable[Section], **words: str) -> None:
        """Members of sections that the format does not have, where a section has them, by their words."""
        for section in sections:
            for member, what in words.items():
                self.add(what, bool(getattr(section, member)))

    def add_id(self, layout: Layout, named: str) -> None:
        """The layout's id, on which all seat ids hang, where it is not what the import makes of the file's name."""
        self.add("id of the layout: name it when you import the file", slug(named) != layout.layout_id)

    def add_name(self, layout: Layout, measure: Measure) -> None:
        """The layout's own name, id, units and size, where the import makes others of them."""
        self.add_id(layout, layout.name)
        self.add("name of the layout: it gets single spaces", cut_label(layout.name) != layout.name)
        self.add("units of the plan: they are pixels there", layout.viewport.units != "px")
        self.add("size of the plan: it is another one there", not measure.size_is_kept)

    def add_labels(self, sections: Collection[Section]) -> None:
        """Labels that the import tidies: whose seats are in the file, but get other ids."""
        rows = [(section, row) for section in sections for row in section.rows]
        # 200,000 seats have a few thousand numbers between them.
        untidy = {number for number in {seat.number for _, row in rows for seat in row.seats} if _is_untidy(number)}
        names = {section.name for section in sections if _is_untidy(section.name)}
        count = len(names) + sum(_is_untidy(row.label) for _, row in rows)
        if untidy:
            count += sum(seat.number in untidy for _, row in rows for seat in row.seats)
        self.add("labels with several or no-break spaces: they get single ones, and their seats other ids", count)

    def add_words(self, words: Iterable[str | None]) -> None:
        """Words of a drawing that the import tidies."""
        count = sum(cut_label(word) != word for word in words if word is not None)
        self.add("words of shapes and floors with several or no-break spaces: they get single ones", count)

    def add_colors(self, colors: Mapping[str, str | None], used: Iterable[str]) -> None:
        """Categories without a colour, where the format needs one."""
        self.add("colours of categories: some were invented", sum(not colors.get(name) for name in {*used}))

    def add_all_of_sections(self, sections: Iterable[Section]) -> None:
        """What sections have, where the format knows of them no more than a name."""
        self.add_sections(
            sections,
            outline="outlines of sections",
            floor="sections that are on a floor",
            entrance="sections that have an entrance",
            sold_whole=BOXES,
            within=NESTED,
        )

    def add_rows(self, layout: Layout) -> None:
        """Tables and rows that sell whole, where the format has neither."""
        rows = [row for section in layout.sections for row in section.rows]
        self.add("tables' drawings", sum(row.table is not None for row in rows))
        self.add("rows that sell whole, as tables", sum(row.sold_whole for row in rows))

    def add_area_ids(self, layout: Layout) -> None:
        """Ids of areas that are not what the import makes of their names."""
        areas = [section for section in layout.sections if section.area_id is not None]
        self.add("ids of areas: theirs are made of their names", sum(each.area_id != slug(each.name) for each in areas))


def _is_untidy(label: str) -> bool:
    return tidy_label(label) != label
