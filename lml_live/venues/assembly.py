"""From a layout to what the library stores of it, and back: checked, put together, hashed anew. Pure."""

from typing import Final

import msgspec

from lml_live.errors import LmlError, Violation
from lml_live.venues.checks import check_and_spell
from lml_live.venues.findings import InvalidLayout
from lml_live.venues.layout import Layout, Spelling, count_places, count_seats, seat_ids, spell_layout
from lml_live.venues.normal_form import in_nfc
from lml_live.venues.stored import Document, LayoutVersion, documents_of, layout_of

_LATER_RULES: Final = frozenset({"outline_crossing", "outline_overlap"})


class LayoutDamaged(LmlError):
    """What MongoDB has of a version is not what was stored: nobody may publish, deploy or sell on it."""

    code = "layout_damaged"


class Checked(msgspec.Struct, frozen=True):
    """A layout that keeps every rule, sealed, how it is spelled, and what is odd in it."""

    layout: Layout
    spelling: Spelling
    warnings: tuple[Violation, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The hash that the content has as version 1."""
        return self.spelling.hash_as(1)


def check_layout(layout: Layout) -> Checked:
    """The layout as it may be stored. Raises `InvalidLayout` with every broken rule."""
    report, spelled = check_and_spell(in_nfc(layout))
    if spelled is None:
        raise InvalidLayout(report)
    return Checked(*spelled, report.warnings)


def check_again(layout: Layout) -> Checked:
    """A layout that was stored before as it may be stored again. What has become a rule since then (docs/decisions/036)
    is a warning here: no backup becomes worthless by it. Raises `InvalidLayout` for all else."""
    try:
        return check_layout(layout)
    except InvalidLayout as error:
        report = error.report
        if report.violation_count != len(report.violations) or not all(
            violation.rule in _LATER_RULES for violation in report.violations
        ):
            raise
        return msgspec.structs.replace(spell_again(layout), warnings=(*report.violations, *report.warnings))


def spell_again(layout: Layout) -> Checked:
    """A layout that was stored, and so was checked, once before."""
    return Checked(layout, spell_layout(layout))


def make_documents(checked: Checked, version: int, upload: str) -> tuple[Layout, int, Document, list[Document]]:
    """The sealed layout under another version number, the size of its bytes, and its documents."""
    found = checked.spelling.hash_as(version)
    sealed = msgspec.structs.replace(checked.layout, version=version, hash=found)
    return sealed, len(checked.spelling.bytes_as(version, found)), *documents_of(sealed, upload)


def put_together(version: LayoutVersion, plan: Document | None, sections: list[Document]) -> tuple[Layout, bytes]:
    """The layout of a version's documents, and its canonical bytes. Raises `LayoutDamaged` where they are others, or
    the version's own document says something else of them."""
    damaged = LayoutDamaged(f"What is stored of {version.key} does not have the hash {version.hash}.")
    if plan is None:
        raise damaged
    try:
        layout = layout_of(plan, sections)
        spelling = spell_layout(layout)
        data = spelling.bytes_as(layout.version, layout.hash)
    except (msgspec.ValidationError, ValueError) as error:
        raise damaged from error
    if (layout.layout_id, layout.version) != (version.layout_id, version.version):
        raise damaged
    if not has_hash(layout, spelling, version.hash):
        raise damaged
    if described(version, layout, spelling, len(data)) != version:
        raise LayoutDamaged(f"What is stored about {version.key} is not true of its content.")
    return layout, data


def has_hash(layout: Layout, spelling: Spelling, expected: str) -> bool:
    """Whether a layout says that it has this hash, and has it: as `verify_bytes`, of one that is spelled already."""
    return layout.hash == spelling.hash_as(layout.version) == expected


def hold_ids_to_labels(layout: Layout) -> None:
    """Raises `LayoutDamaged` where the id of a seat does not follow from its labels: a hash says that content is what
    was stored, and not that our program has stored it."""
    for section in layout.sections:
        for row in section.rows:
            right = seat_ids(layout.layout_id, section.name, row.label, [seat.number for seat in row.seats])
            if right == [seat.seat_id for seat in row.seats]:
                continue
            wrong = next(seat for seat, identity in zip(row.seats, right, strict=True) if seat.seat_id != identity)
            where = f"section {section.name}, row {row.label}, seat {wrong.number}"
            raise LayoutDamaged(f"The id of a seat of {layout.layout_id} is not its labels': {where}.")


def described(version: LayoutVersion, layout: Layout, spelling: Spelling, size_bytes: int) -> LayoutVersion:
    """The version with what follows from its content."""
    return msgspec.structs.replace(
        version,
        fingerprint=spelling.hash_as(1),
        name=layout.name,
        type=layout.type,
        seat_count=count_seats(layout),
        place_count=count_places(layout),
        size_bytes=size_bytes,
    )
