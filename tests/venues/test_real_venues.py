"""The eight real venues go in by the very commands of docs/importing.md. Their files lie outside the repository."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from lml_live.cli.layouts import layout_group
from lml_live.venues.importers import Imported, import_layout
from lml_live.venues.layout import count_seats, index_layout

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
COMMANDS = {
    Path(shlex.split(line)[3]).name: shlex.split(line)[2:]
    for line in re.findall(r"^lml layout import .*$", (ROOT / "docs" / "importing.md").read_text("utf-8"), re.MULTILINE)
}

pytestmark = pytest.mark.skipif(not VENUES.is_dir(), reason="the real venues' files are not beside this checkout")


def test_every_venue_has_its_line() -> None:
    assert COMMANDS.keys() == PLACES.keys()


@pytest.mark.parametrize("name", PLACES)
def test_the_documented_command_prints_the_number_of_places(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    answer = CliRunner().invoke(layout_group, [*COMMANDS[name], "--dry-run"])
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout == f"{PLACES[name]}\n"


@pytest.mark.parametrize("name", PLACES)
def test_seat_ids_are_unique_and_places_differ(name: str) -> None:
    imported = read(name)
    index = index_layout(imported.layout)
    standing = sum(area.capacity for area in index.areas)
    assert index.seat_count + standing == PLACES[name]
    assert len(index.index_of) == index.seat_count == count_seats(imported.layout)
    assert not imported.warnings
    assert standing == (900 if name.startswith("ticketland") else 0)


@cache
def read(name: str) -> Imported:
    command = COMMANDS[name]
    mapping = ROOT / command[command.index("--map") + 1] if "--map" in command else None
    standing = (command[command.index("--standing") + 1],) if "--standing" in command else ()
    answer = import_layout(
        (VENUES / name).read_bytes(),
        filename=name,
        mapping=mapping.read_bytes() if mapping else None,
        standing=standing,
    )
    assert isinstance(answer, Imported), answer
    return answer


def test_the_stadiums_rows_face_the_pitch() -> None:
    """Row 1 is nearer to the pitch than the last row, in every sector, on the stadium's own canvas."""
    layout = read("metalist-stadium-39616.json").layout
    assert (layout.viewport.width, layout.viewport.height) == (896, 613)
    for section in layout.sections:
        first, last = section.rows[0].seats, section.rows[-1].seats
        near = min(abs(seat.x - 0.5) * 896 + abs(seat.y - 0.49) * 613 for seat in first)
        far = max(abs(seat.x - 0.5) * 896 + abs(seat.y - 0.49) * 613 for seat in last)
        assert near < far or len(section.rows) == 1, section.name
