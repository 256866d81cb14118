"""Foreign seating plans made into layouts. Pure: bytes in, a layout or a list of violations out."""

from pathlib import PurePath
from typing import Final, Literal, get_args

from lml_live.errors import Violation
from lml_live.venues.importers.draft import Imported, Renaming
from lml_live.venues.importers.finishing import Options
from lml_live.venues.importers.mapping import import_mapped
from lml_live.venues.importers.mapping_language import Mapping, decode_mapping
from lml_live.venues.importers.native import import_native
from lml_live.venues.importers.pretix import import_pretix, looks_like_pretix
from lml_live.venues.importers.reading import Rejected, looks_like_json, read_json, read_table, read_text, records_of
from lml_live.venues.importers.seatsio import import_seatsio, looks_like_seatsio
from lml_live.venues.importers.svg import import_svg, looks_like_svg
from lml_live.venues.importers.table import import_table

__all__ = ["FORMATS", "Format", "Imported", "Rejected", "Renaming", "import_layout"]

Format = Literal["auto", "native", "pretix", "seatsio", "svg", "table"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def import_layout(
    raw: bytes,
    *,
    filename: str,
    format: Format = "auto",  # noqa: A002  # the name of the option that it is
    layout_id: str | None = None,
    name: str | None = None,
    mapping: bytes | None = None,
    standing: tuple[str, ...] = (),
    strict: bool = False,
) -> Imported | Rejected:
    """Makes a sealed layout (version 1) of a file's bytes, or says everything that is in the way.

    `mapping` is the content of a mapping file and decides over `format`. `standing` names sections whose seats become
    one area each. Importers may rename labels and list every renaming; `strict` refuses instead. No input raises.
    """
    options = Options(layout_id, name, standing, strict, PurePath(filename).stem or "layout")
    rules: Mapping | Rejected | None = None if mapping is None else decode_mapping(mapping)
    if isinstance(rules, Rejected):
        return rules
    text = read_text(raw)
    if isinstance(text, Rejected):
        return text
    if looks_like_json(text) and format != "svg":
        tree = read_json(text)
        return tree if isinstance(tree, Rejected) else _import_tree(tree, rules, format, options)
    if format == "svg" or (format == "auto" and rules is None and looks_like_svg(text)):
        return import_svg(text, options)
    if format in ("native", "pretix", "seatsio"):
        return Rejected((Violation("", "is no JSON object; this format is JSON"),))
    records = read_table(text)
    if isinstance(records, Rejected):
        return records
    return import_table(records, options) if rules is None else import_mapped(records, rules, options)


def _import_tree(tree: object, rules: Mapping | None, wanted: Format, options: Options) -> Imported | Rejected:
    if rules is not None:
        return import_mapped(tree, rules, options)
    if wanted == "pretix" or (wanted == "auto" and looks_like_pretix(tree)):
        return import_pretix(tree, options)
    if wanted == "seatsio" or (wanted == "auto" and looks_like_seatsio(tree)):
        return import_seatsio(tree, options)
    if wanted == "table" or (wanted == "auto" and isinstance(tree, list)):
        records = records_of(tree)
        return records if isinstance(records, Rejected) else import_table(records, options)
    return import_native(tree, options)
