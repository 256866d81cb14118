"""A layout that uses every member there is, for the tests."""

from typing import Any

import msgspec

from lml_live.venues.layout import Category, Entrance, Layout, Row, Seat, Section, Shape, Table, Viewport


def theatre(**fields: Any) -> Layout:
    """A layout that uses every member there is."""
    stalls = Row("A", (Seat("1", 0.25, 0.5, "I", features=("hearing_loop", "aisle")), Seat("2", 0.3, 0.5, "I")))
    table = Row(
        "T", (Seat("1", 0.5, 0.9, "II"), Seat("2", 0.6, 0.9, "II")), True, Table(0.55, 0.92, 0.04, 0.02, turn=45)
    )
    bench = Row("U", (Seat("1", 0.7, 0.9, "II", accessible=True),), table=Table(0.7, 0.95, 0.1, 0.1, "rectangle"))
    layout = Layout(
        layout_id="theatre",
        name="שדרות Theatre",
        type="hybrid",
        viewport=Viewport(800, 500, "px"),
        sections=(
            Section("Stalls", "seated", (stalls,), floor="Ground", entrance="North"),
            Section("Box 1", "seated", (table, bench), within=("Balcony", "Boxes"), floor="First", sold_whole=False),
            Section("Pit", "standing", (), "pit", 50, "III", floor="Ground", within=("Arena",)),
        ),
        shapes=(Shape("stage", ((0.1, 0), (0.9, 0), (0.5, 0.1)), floor="Ground"),),
        categories=(Category("I", "#aa0000"), Category("II"), Category("III", "#00bb00")),
        entrances=(Entrance("North", (0.5, 0.0), "Ground"), Entrance("Lift", (1 / 3, 1.0))),
    )
    return msgspec.structs.replace(layout, **fields)
