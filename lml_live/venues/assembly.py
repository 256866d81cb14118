"""From a layout to what the library stores of it, and back: checked, put together, hashed anew. Pure."""

import msgspec

from lml_live.errors import LmlError, Violation
from lml_live.venues.checks import check_and_seal
from lml_live.venues.findings import InvalidLayout
from lml_live.venues.layout import Layout, canonical_bytes, spell_layout, verify_bytes
from lml_live.venues.normal_form import in_nfc
from lml_live.venues.stored import Document, LayoutVersion, documents_of, layout_of


class LayoutDamaged(LmlError):
    """What MongoDB has of a version is not what was stored: nobody may publish, deploy or sell on it."""

    code = "layout_damaged"


def check_layout(layout: Layout) -> tuple[Layout, str, tuple[Violation, ...]]:
    """The sealed layout, its fingerprint, and what is odd in it. Raises `InvalidLayout` with every broken rule."""
    report, sealed = check_and_seal(in_nfc(layout))
    if sealed is None:
        raise InvalidLayout(report)
    first = sealed if sealed.version == 1 else spell_layout(msgspec.structs.replace(sealed, version=1))[0]
    return sealed, first.hash, report.warnings


def make_documents(layout: Layout, version: int, upload: str) -> tuple[Layout, int, Document, list[Document]]:
    """The sealed layout under another version number, the size of its bytes, and its documents."""
    sealed, size_bytes = spell_layout(msgspec.structs.replace(layout, version=version))
    return sealed, size_bytes, *documents_of(sealed, upload)


def put_together(version: LayoutVersion, plan: Document | None, sections: list[Document]) -> tuple[Layout, bytes]:
    """The layout of a version's documents, and its canonical bytes. Raises `LayoutDamaged` where they are others."""
    damaged = LayoutDamaged(f"What is stored of {version.key} does not have the hash {version.hash}.")
    if plan is None:
        raise damaged
    try:
        layout = layout_of(plan, sections)
        data = canonical_bytes(layout)
    except (msgspec.ValidationError, ValueError) as error:
        raise damaged from error
    if (layout.layout_id, layout.version) != (version.layout_id, version.version) or not verify_bytes(
        data, version.hash
    ):
        raise damaged
    return layout, data
