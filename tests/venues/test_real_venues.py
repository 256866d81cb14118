"""The eight real venues go in by the very commands of docs/importing.md, and all the way: published, at the edge, sold
on, changed in MongoDB, caught. Their files lie outside the repository."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from round_trips import assert_all_is_told, back, the_same_seats
from whole_way import Road, go_the_whole_way, road_fixture

from lml_live.cli import layouts
from lml_live.venues.exporters import ExportFormat
from lml_live.venues.importers import Imported, import_layout
from lml_live.venues.layout import Layout, count_seats
from lml_live.venues.seat_index import index_layout

__all__ = ["road_fixture"]

ROOT = Path(__file__).resolve().parents[2]
VENUES = ROOT.parent / "shared" / "data" / "venues"
PLACES = {
    "city-hall-688.json": 688,
    "ull-paraninfo-603.json": 603,
    "pretix-plan-two-floor-738.json": 738,
    "ticketland-club-mixed-1115.json": 1115,
    "dinamo-west-stand-4226.json": 4226,
    "xinzhuang-baseball-6967.csv": 6967,
    "taoyuan-baseball-10504.csv": 10504,
    "metalist-stadium-39616.json": 39616,
}
ODD = {
    "city-hall-688.json": {"outside", "numbering_gap"},
    "pretix-plan-two-floor-738.json": {"unreachable_category"},
    # Two blocks of tables stand on the dance floor.
    "ticketland-club-mixed-1115.json": {"outline_overlap"},
    "xinzhuang-baseball-6967.csv": {"numbering_gap"},
    "taoyuan-baseball-10504.csv": {"numbering_gap"},
    "metalist-stadium-39616.json": {"numbering_gap"},
}
"""What the files themselves have that mostly is a mistake."""
FORMATS_OF: dict[str, tuple[ExportFormat, ...]] = {
    "xinzhuang-baseball-6967.csv": ("csv",),
    "taoyuan-baseball-10504.csv": ("seatsio",),
    "metalist-stadium-39616.json": ("pretix",),
}
"""The large ones go out and in again once; the small ones in every format."""
COMMANDS = {
    Path(shlex.split(line)[3]).name: shlex.split(line)[2:]
    for line in re.findall(r"^lml layout import .*$", (ROOT / "docs" / "importing.md").read_text("utf-8"), re.MULTILINE)
}

pytestmark = pytest.mark.skipif(not VENUES.is_dir(), reason="the real venues' files are not beside this checkout")


def test_every_venue_has_its_line() -> None:
    assert COMMANDS.keys() == PLACES.keys()


@pytest.mark.parametrize("name", PLACES)
async def test_the_documented_command_takes_every_place_and_it_goes_all_the_way(
    name: str, monkeypatch: pytest.MonkeyPatch, road: Road
) -> None:
    answers: list[object] = []

    def import_once(*given: Any, **named: Any) -> object:
        answers.append(import_layout(*given, **named))
        return answers[-1]

    monkeypatch.setattr(layouts, "import_layout", import_once)
    monkeypatch.chdir(ROOT)
    said = CliRunner().invoke(layouts.layout_group, [*COMMANDS[name], "--dry-run"])
    assert said.exit_code == 0, said.stderr
    assert said.stdout == f"{PLACES[name]}\n"
    [imported] = answers
    assert isinstance(imported, Imported)
    assert {warning.rule for warning in imported.warnings if warning.rule} <= ODD.get(name, set())
    index = index_layout(imported.layout)
    standing = sum(area.capacity for area in index.areas)
    assert standing == (900 if name.startswith("ticketland") else 0)
    assert index.seat_count + standing == PLACES[name]
    assert len(index.index_of) == index.seat_count == count_seats(imported.layout), "seat ids are unique"
    for wanted in FORMATS_OF.get(name, ("pretix", "seatsio", "csv")):
        the_same_seats(imported.layout, back(imported.layout, wanted).layout, wanted)
        assert_all_is_told(imported.layout, wanted)
    if name.startswith("metalist"):
        the_rows_face_the_pitch(imported.layout)
    await go_the_whole_way(imported.layout, road)


def the_rows_face_the_pitch(layout: Layout) -> None:
    """Row 1 is nearer to the pitch than the last row, in every sector, on the stadium's own canvas."""
    assert (layout.viewport.width, layout.viewport.height) == (896, 613)
    for section in layout.sections:
        first, last = section.rows[0].seats, section.rows[-1].seats
        near = min(abs(seat.x - 0.5) * 896 + abs(seat.y - 0.49) * 613 for seat in first)
        far = max(abs(seat.x - 0.5) * 896 + abs(seat.y - 0.49) * 613 for seat in last)
        assert near < far or len(section.rows) == 1, section.name
