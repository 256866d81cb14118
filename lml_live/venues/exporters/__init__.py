"""Layouts as other programs' files. Pure: a layout in, bytes and a list of what they cannot say out.

What is exported and imported again is the same seats: their labels and categories, whatever the format, and their
places, but in a table: it has no canvas, and only distances stay.
"""

from typing import Final, Literal, get_args

import msgspec

from lml_live.venues.exporters.pretix import pretix_plan
from lml_live.venues.exporters.seatsio import seatsio_chart
from lml_live.venues.exporters.table import table_text
from lml_live.venues.exporters.unsaid import Unsaid
from lml_live.venues.layout import Layout, canonical_bytes

ExportFormat = Literal["native", "pretix", "seatsio", "csv"]
EXPORT_FORMATS: Final[tuple[ExportFormat, ...]] = get_args(ExportFormat)


class Exported(msgspec.Struct, frozen=True):
    """A file, and everything of the layout that it does not say."""

    data: bytes
    filename: str
    content_type: str
    unsaid: tuple[str, ...] = ()


def export_layout(layout: Layout, format: ExportFormat) -> Exported:  # noqa: A002  # the name of the option that it is
    """A sealed layout as a file of that format."""
    unsaid = Unsaid()
    ending, kind = ("csv", "text/csv") if format == "csv" else ("json", "application/json")
    if format == "native":
        data = canonical_bytes(layout)
    elif format == "csv":
        data = table_text(layout, unsaid).encode()
    else:
        make = pretix_plan if format == "pretix" else seatsio_chart
        data = msgspec.json.format(msgspec.json.encode(make(layout, unsaid)), indent=1)
    name = layout.layout_id if format == "native" else f"{layout.layout_id}.{format}"
    return Exported(data, f"{name.removesuffix('.csv')}.{ending}", kind, unsaid.told())
