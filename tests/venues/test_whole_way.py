"""The project's own venues all the way: at the edge, sold on, changed in MongoDB, caught. The real ones: see
`test_real_venues`."""

import pytest
from theatres import theatre
from whole_way import Road, go_the_whole_way, road_fixture

from lml_live.venues.demo import arena
from lml_live.venues.exporters import export_layout
from lml_live.venues.importers import Imported, import_layout
from lml_live.venues.layout import Layout, seal_layout

__all__ = ["road_fixture"]


@pytest.mark.parametrize("layout", [arena(), seal_layout(theatre())], ids=["arena", "theatre"])
async def test_our_own_venues_go_all_the_way(layout: Layout, road: Road) -> None:
    exported = export_layout(layout, "native")
    imported = import_layout(exported.data, filename=exported.filename)
    assert isinstance(imported, Imported)
    await go_the_whole_way(imported.layout, road)
