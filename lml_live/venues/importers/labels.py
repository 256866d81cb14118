"""Labels that seat ids can be made of: tidied, made unique, and every change told."""

import unicodedata
from collections.abc import Iterable

from lml_live import limits
from lml_live.venues.findings import Findings, shown
from lml_live.venues.importers.draft import Draft, DraftSeat, DraftSection, Renaming

NO_LABEL = "-"
"""The label of what the file leaves unlabelled, such as the row of a table seat: a label cannot be empty."""


def tidy_label(text: str) -> str:
    """Normal form C, single spaces, `_` as `-`; an empty label becomes `NO_LABEL`."""
    joined = " ".join(unicodedata.normalize("NFC", text).split())
    return joined.replace("_", "-") or NO_LABEL


def cut_label(text: str) -> str:
    """Words of a drawing, which nothing is sold by, as long as they may be: single spaces, none at the ends."""
    return " ".join(text.split())[: limits.LABEL_CHARS_MAX].rstrip()


def first_free(wanted: str, taken: dict[str, int], numbered: str) -> str:
    """`wanted`, or the first that is not taken of it numbered from 2, as `{} {}` says; taken from then on.

    `taken` has with each name the number to go on from: 100,000 of one name are not each counted up to.
    """
    candidate, number = wanted, taken.get(wanted, 2)
    while candidate in taken:
        candidate, number = numbered.format(wanted, number), number + 1
    taken[wanted] = number
    taken.setdefault(candidate, 2)
    return candidate


def unique_labels(labels: Iterable[str]) -> dict[str, str]:
    """Each distinct label with its tidied form; where two would become one, the later gets a number: `A-1 2`."""
    labels = list(dict.fromkeys(labels))
    # A label that needs no change keeps it, wherever it comes in the file.
    taken = dict.fromkeys((label for label in labels if tidy_label(label) == label), 2)
    answer = {}
    for label in labels:
        tidy = tidy_label(label)
        if tidy != label:
            tidy = first_free(tidy, taken, "{} {}")
        answer[label] = tidy
    return answer


def part_floors(draft: Draft) -> list[Renaming]:
    """Sections of one name on several floors are as many sections, each with its floor in its name: a layout's sections
    are one list, and a name in it is one section's. Two on one floor stay, and are refused as such."""
    floors: dict[str, set[str]] = {}
    for section in draft.sections:
        floors.setdefault(section.name, set()).add(section.floor)
    taken = dict.fromkeys(floors, 2)
    names: dict[tuple[str, str], str] = {}
    renamings = []
    for section in draft.sections:
        if len(floors[section.name]) == 1:
            continue
        place, before = (section.name, section.floor), section.name
        if place not in names:
            names[place] = first_free(f"{section.name} ({section.floor})" if section.floor else before, taken, "{} {}")
        section.name = names[place]
        renamings.append(Renaming(section.path, before, section.name))
    return renamings


def tidy_sections(draft: Draft, findings: Findings) -> list[Renaming]:
    """Renames sections, rows and numbers in place. A seat that the file has twice is a violation, not a renaming."""
    renamings: list[Renaming] = []
    names = unique_labels(section.name for section in draft.sections)
    for section in draft.sections:
        _check_twice(section, findings)
        new_name = names[section.name]
        if new_name != section.name:
            renamings.append(Renaming(section.path, section.name, new_name))
            section.name = new_name
        _tidy_rows(section, renamings)
    return renamings


def _check_twice(section: DraftSection, findings: Findings) -> None:
    seen: dict[tuple[str, str], DraftSeat] = {}
    for seat in section.seats:
        before = seen.setdefault((seat.row, seat.number), seat)
        if before is not seat:
            label = f"section {shown(section.name)}, row {shown(seat.row)}, number {shown(seat.number)}"
            findings.add(seat.path, f"is {label}, as {before.path} is; each seat is expected once")


def _tidy_rows(section: DraftSection, renamings: list[Renaming]) -> None:
    rows = unique_labels(seat.row for seat in section.seats)
    numbers_of: dict[str, list[str]] = {}
    for seat in section.seats:
        numbers_of.setdefault(seat.row, []).append(seat.number)
    numbers = {row: unique_labels(labels) for row, labels in numbers_of.items()}
    told: set[str] = set()
    for seat in section.seats:
        row, number = rows[seat.row], numbers[seat.row][seat.number]
        if row != seat.row and row not in told:
            told.add(row)
            renamings.append(Renaming(f"{seat.path} (row)", seat.row, row))
        if number != seat.number:
            renamings.append(Renaming(f"{seat.path} (number)", seat.number, number))
        seat.row, seat.number = row, number
