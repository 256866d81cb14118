"""Whether MongoDB keeps the rules of layouts, and whether a changed one is found: tried, not read. Safe in production.

`check_rules` writes to the real collections in transactions that are never committed. `check_immutability` takes a
scratch layout through its whole life, and changes it behind the library's back at each step; it has collections of its
own for that (`stored.SCRATCH`), since versions of the real ones can never be deleted by the server.
"""

import copy
import logging
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any, Final

import msgspec

from lml_live.clock import Clock, system_clock_ms
from lml_live.errors import Conflict, InvalidInput, LmlError, NotFound, Refused, Unavailable
from lml_live.infra.mongo import Collections, Database, Document, Prefixed, driver_errors, transaction
from lml_live.values import new_id
from lml_live.venues.assembly import LayoutDamaged
from lml_live.venues.layout import Layout, Row, Seat, Section, Viewport, decode_layout, seal_layout, seat_id, seats_of
from lml_live.venues.library import DraftMoved, Library
from lml_live.venues.normal_form import in_nfc
from lml_live.venues.past import Past
from lml_live.venues.schema import INDEXES
from lml_live.venues.stored import (
    PLANS,
    SCRATCH,
    SECTIONS,
    VERSIONS,
    LayoutVersion,
    collection_rules,
    documents_of,
)

_LEFT_BEHIND_MS: Final = 3_600_000
"""Scratch documents older than this are those of a check that was killed."""

_VECTOR: Final = ("hall", "Stalls", "A", "1", "e7c88e6b4e765573688e2bf97ccb1b89f3f601bba4d68f9b40881652dfabb883")
_SEAT: Final = "section.rows.0.seats.0"

_REFUSALS: Final = (LayoutDamaged, DraftMoved, Conflict, Refused, NotFound, InvalidInput)

_log: Final = logging.getLogger(__name__)
# What the library says of a scratch layout that was damaged on purpose alarms nobody.
_log.setLevel(logging.CRITICAL)


class RuleOutcome(msgspec.Struct, frozen=True):
    """What became of one rule; `detail` says what was seen."""

    rule: str
    passed: bool
    detail: str


class Verdict(msgspec.Struct, frozen=True):
    """What a self-check came to: `passed` where every rule has."""

    passed: bool
    rules: tuple[RuleOutcome, ...]


async def check_rules(database: Database) -> Verdict:
    """MongoDB's own rules for layouts: those of this version, and it refuses what breaks them; and the ids of seats.

    Nothing is kept of what is written. Raises `Unavailable` where MongoDB does not answer.
    """
    rules = [*_seat_ids()]
    rules += [outcome async for outcome in _written_down(database)]
    rules += [outcome async for outcome in _refusals(database)]
    return _verdict(rules)


async def check_immutability(database: Database, clock: Clock = system_clock_ms) -> Verdict:
    """The life of a layout from draft to retired, and every change on the way that must be refused or found.

    Nothing is kept of what is written; what a check that was killed has left goes with the next after an hour.
    Raises `Unavailable` where MongoDB does not answer.
    """
    scratch = Prefixed(database, SCRATCH)
    layout_id = new_id("selfcheck")
    await _sweep(scratch, clock() - _LEFT_BEHIND_MS)
    seen: list[RuleOutcome] = []
    try:
        record = _Record()
        async for outcome in _life(scratch, Library(scratch, clock, _log, history=record), record, layout_id):
            seen.append(outcome)  # noqa: PERF401 - what was seen before a step that failed is told, too
    except _REFUSALS as error:
        seen.append(RuleOutcome("the steps after that", False, f"could not be tried: {error.message}"))
    finally:
        await _remove(scratch, layout_id)
    return _verdict(seen)


def _verdict(rules: Sequence[RuleOutcome]) -> Verdict:
    return Verdict(all(outcome.passed for outcome in rules), tuple(rules))


def sample_layout(layout_id: str) -> Layout:
    """A small hall of six seats in two sections, and a floor; one label is spelled with a combining accent."""

    def row(label: str, y: float) -> Row:
        return Row(label, tuple(Seat(str(number), number / 10, y, "Front") for number in (1, 2, 3)))

    balcony = unicodedata.normalize("NFD", "Galerie supérieure")
    return Layout(
        layout_id,
        "Self-check",
        "hybrid",
        Viewport(100, 100),
        (
            Section("Stalls", "seated", (row("A", 0.3),)),
            Section(balcony, "seated", (row("A", 0.6),)),
            Section("Floor", "standing", area_id="floor", capacity=50, category="Floor"),
        ),
    )


# --- What MongoDB refuses


def _seat_ids() -> list[RuleOutcome]:
    *parts, expected = _VECTOR
    found = seat_id(*parts)
    sealed = [seal_layout(sample_layout("hall"), version=version) for version in (1, 2)]
    ids = [[seat.seat_id for _, _, seat in seats_of(layout)] for layout in sealed]
    spelled = [seat_id("hall", unicodedata.normalize(form, "é"), "A", "1") for form in ("NFC", "NFD")]
    return [
        RuleOutcome("seat ids: SHA-256 of layoutId_section_row_number", found == expected, f"{found[:16]}…"),
        RuleOutcome("seat ids: one for each seat", len(set(ids[0])) == len(ids[0]), f"{len(ids[0])} seats"),
        RuleOutcome("seat ids: the same in every version", ids[0] == ids[1], "versions 1 and 2 were compared"),
        RuleOutcome("seat ids: the same however an accent is spelled", len(set(spelled)) == 1, "NFC and NFD"),
    ]


async def _written_down(database: Database) -> AsyncIterator[RuleOutcome]:
    """What the collections say of themselves."""
    concern = database.write_concern.document
    yield RuleOutcome(
        "writes: answered when a majority has them", concern.get("w") == "majority", f"w: {concern.get('w')}"
    )
    for name, validator in collection_rules().items():
        with driver_errors():
            found = [one async for one in await database.list_collections(filter={"name": name})]
            known = await database[name].index_information()
        options: Mapping[str, Any] = found[0]["options"] if found else {}
        yield RuleOutcome(
            f"{name}: the rules are those of this version",
            options.get("validator") == validator,
            "compared with the types" if found else "there is no such collection",
        )
        level = f"{options.get('validationLevel')}, {options.get('validationAction')}"
        yield RuleOutcome(f"{name}: every write is checked", level == "strict, error", level)
        lacking = [
            index.name
            for index in INDEXES[name]
            if known.get(index.name, {}).get("key") != list(index.keys)
            or bool(known[index.name].get("unique")) != index.unique
        ]
        yield RuleOutcome(
            f"{name}: has its indexes", not lacking, f"missing or others: {lacking}" if lacking else "all"
        )


async def _refusals(database: Database) -> AsyncIterator[RuleOutcome]:
    """What the collections do with documents that keep the rules, and with those that break one."""
    layout, upload = seal_layout(sample_layout(new_id("selfcheck"))), new_id("upload")
    plan, sections = documents_of(layout, upload)
    version = _version_document(layout, upload)
    good = {VERSIONS: version, PLANS: plan, SECTIONS: sections[0]}
    # Lists, as MongoDB gives them back, and not tuples: members of members are changed.
    good = msgspec.json.decode(msgspec.json.encode(good), type=dict[str, Document])
    for name, document in good.items():
        seen = await _try(database, (name, document))
        yield RuleOutcome(
            f"{name}: takes what keeps the rules", seen is None, seen.message if seen else "taken, undone"
        )
    for name, rule, path, value in _BROKEN:
        seen = await _try(database, (name, _changed(good[name], path, value)))
        yield _refused(f"{name}: {rule}", seen, InvalidInput)
    other = {**version, "_id": f"{layout.layout_id}:2", "version": 2}
    yield _refused(
        f"{VERSIONS}: one draft a layout", await _try(database, (VERSIONS, version), (VERSIONS, other)), Conflict
    )
    again = {**version, "_id": new_id("other"), **_PUBLISHED}
    yield _refused(
        f"{VERSIONS}: one document a version", await _try(database, (VERSIONS, version), (VERSIONS, again)), Conflict
    )
    twin = {**sections[0], "_id": new_id("other")}
    yield _refused(
        f"{SECTIONS}: one document a part", await _try(database, (SECTIONS, sections[0]), (SECTIONS, twin)), Conflict
    )


_PUBLISHED: Final[Mapping[str, object]] = {"state": "published", "published_ms": 1}
_GONE: Final = object()
_BROKEN: Final[tuple[tuple[str, str, str, object], ...]] = (
    (VERSIONS, "needs a hash", "hash", _GONE),
    (VERSIONS, "knows its states", "state", "sold"),
    (VERSIONS, "a draft was never published", "published_ms", 1),
    (VERSIONS, "what is deployed was published", "state", "deployed"),
    (VERSIONS, "counts from version 1", "version", 0),
    (VERSIONS, "knows no other fields", "note", "x"),
    (PLANS, "needs a viewport", "viewport", _GONE),
    (PLANS, "needs a positive width", "viewport.width", 0),
    (PLANS, "needs a hash of its form", "hash", "abc"),
    (SECTIONS, "a seat needs its id", f"{_SEAT}.seat_id", _GONE),
    (SECTIONS, "a seat's id is lower-case hex", f"{_SEAT}.seat_id", "A" * 64),
    (SECTIONS, "a seat is inside the plan", f"{_SEAT}.x", 1.01),
    (SECTIONS, "a coordinate is a number", f"{_SEAT}.x", float("nan")),
    (SECTIONS, "a number is not empty", f"{_SEAT}.number", ""),
    (SECTIONS, "a seat knows no other fields", f"{_SEAT}.price", 5),
    (SECTIONS, "knows its kinds", "section.kind", "lying"),
)


class _Undone(Exception):
    """Ends a transaction whose writes were taken, so that they are not kept."""


async def _try(database: Database, *writes: tuple[str, Document]) -> InvalidInput | Conflict | None:
    """What MongoDB says to these inserts; None where it takes them. Nothing of them stays."""
    try:
        async with transaction(database) as session:
            for name, document in writes:
                await database[name].insert_one(copy.deepcopy(document), session=session)
            raise _Undone
    except _Undone:
        return None
    except (InvalidInput, Conflict) as error:
        return error


def _version_document(layout: Layout, upload: str) -> Document:
    version = LayoutVersion(
        layout_id=layout.layout_id,
        version=1,
        state="draft",
        hash=layout.hash,
        fingerprint=layout.hash,
        upload=upload,
        name=layout.name,
        type=layout.type,
        seat_count=6,
        place_count=56,
        size_bytes=1,
        saved_ms=1,
    )
    return {"_id": f"{layout.layout_id}:1", **msgspec.to_builtins(version)}


def _changed(document: Document, path: str, value: object) -> Document:
    """A copy with one member replaced or, for `_GONE`, left out."""
    document = copy.deepcopy(document)
    *way, last = path.split(".")
    inner: Any = document
    for step in way:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    if value is _GONE:
        del inner[last]
    else:
        inner[last] = value
    return document


# --- The life of a layout, tampered with


async def _life(
    scratch: Collections, library: Library, record: "_Record", layout_id: str
) -> AsyncIterator[RuleOutcome]:
    layout, tamper = sample_layout(layout_id), _Tampering(scratch, layout_id)
    draft = (await library.save_draft(layout)).version
    sealed = decode_layout(await library.load_draft_bytes(draft))
    yield RuleOutcome("draft: what is read has the hash of what was stored", sealed.hash == draft.hash, draft.hash)
    yield RuleOutcome(
        "draft: it is what was saved", sealed == seal_layout(in_nfc(layout)), f"{draft.place_count} places"
    )
    moved = msgspec.structs.replace(layout, name="Another draft")
    yield _refused(
        "draft: nobody's work is overwritten", await _said(library.replace_draft(moved, "0" * 64)), DraftMoved
    )

    await tamper.change(SECTIONS, _FIRST, {f"{_SEAT}.category": "Cheap"})
    yield _refused("draft: a changed one is not published", await _said(library.publish(layout_id)), LayoutDamaged)
    await tamper.undo()
    published = await library.publish(layout_id)
    record.note(published)
    yield RuleOutcome("published: it is the draft that was checked", published.hash == draft.hash, published.state)
    yield _refused("published: twice is refused", await _said(library.publish(layout_id)), Conflict)
    yield _refused(
        "published: its version cannot be saved again", await _said(library.save_draft(moved, version=1)), Refused
    )
    yield _refused(
        "published: it cannot be replaced", await _said(library.replace_draft(moved, draft.hash)), DraftMoved
    )
    yield _refused(
        "published: it cannot be a draft again", await tamper.change(VERSIONS, {}, {"state": "draft"}), InvalidInput
    )
    yield _refused(
        "published: a field that nobody knows is refused",
        await tamper.change(SECTIONS, _FIRST, {f"{_SEAT}.price": 5}),
        InvalidInput,
    )
    await tamper.change(SECTIONS, _FIRST, _MOVED)
    yield _refused("published: a changed one is not deployed", await _said(library.deploy(layout_id, 1)), LayoutDamaged)
    await tamper.undo()
    deployed = await library.deploy(layout_id, 1)
    record.note(deployed)
    yield RuleOutcome("deployed: it is what was published", deployed.hash == draft.hash, deployed.state)
    yield RuleOutcome("deployed: seen whole, it is not called damaged", deployed.damaged_ms is None, deployed.state)

    for rule, name, where, members in _DAMAGES:
        await tamper.change(name, where, members)
        yield _refused(f"deployed: {rule} is found", await _said(library.load_index(layout_id, 1)), LayoutDamaged)
        await tamper.undo()
    await tamper.change(VERSIONS, {}, _DRAFT_AGAIN)
    for rule, act in (
        ("is not published again", library.publish(layout_id)),
        ("cannot be replaced", library.replace_draft(moved, draft.hash)),
    ):
        yield _refused(f"deployed: set back to a draft, it {rule}", await _said(act), LayoutDamaged)
    await tamper.undo()
    whole = await library.load_bytes(layout_id, draft.hash)
    yield RuleOutcome("deployed: put right, it is served again", whole is not None, draft.hash)
    await tamper.change(SECTIONS, _FIRST, _MOVED)
    found = await library.scrub(deployed)
    # Of its own layout: a check in another worker may be at the same step.
    noted = [version for version in await library.damaged_versions() if version.layout_id == layout_id]
    yield RuleOutcome("deployed: the scrub finds and notes it", not found and len(noted) == 1, f"{len(noted)} noted")
    await tamper.undo()

    retired = await library.retire(layout_id, 1)
    record.note(retired)
    yield _refused("retired: it is not deployed again", await _said(library.deploy(layout_id, 1)), Conflict)
    await tamper.change(VERSIONS, {}, {"state": "deployed", "retired_ms": None})
    yield _refused(
        "retired: set back to deployed, no event is made on it",
        await _said(library.newest_deployed(layout_id)),
        LayoutDamaged,
    )
    await tamper.undo()
    second = await library.begin_draft(layout_id, retired.version)
    anew = decode_layout(await library.load_draft_bytes(second))
    same = [seat.seat_id for *_, seat in seats_of(anew)] == [seat.seat_id for *_, seat in seats_of(sealed)]
    yield RuleOutcome("a new version: its seats have the same ids", same, f"version {second.version}")


_DRAFT_AGAIN: Final[Mapping[str, object]] = {"state": "draft", "published_ms": None, "deployed_ms": None}
_FIRST: Final[Mapping[str, object]] = {"position": 0}
_MOVED: Final[Mapping[str, object]] = {f"{_SEAT}.x": 0.11}
_DAMAGES: Final[tuple[tuple[str, str, Mapping[str, object], Mapping[str, object] | None], ...]] = (
    ("a moved seat", SECTIONS, _FIRST, _MOVED),
    ("another id of a seat", SECTIONS, _FIRST, {f"{_SEAT}.seat_id": "0" * 64}),
    ("a seat made accessible", SECTIONS, _FIRST, {f"{_SEAT}.accessible": True}),
    ("another capacity", SECTIONS, {"position": 2}, {"section.capacity": 51}),
    ("a section that is gone", SECTIONS, _FIRST, None),
    ("another name", PLANS, {}, {"name": "Other"}),
    ("a plan that is gone", PLANS, {}, None),
    ("another hash", VERSIONS, {}, {"hash": "0" * 64}),
    ("another number of seats", VERSIONS, {}, {"seat_count": 7}),
)


class _Record:
    """What PostgreSQL has on record of a real layout; of a scratch one nothing is put there for good. Mutable."""

    def __init__(self) -> None:
        self._steps: dict[int, Past] = {}

    def note(self, version: LayoutVersion) -> None:
        moments = (version.published_ms, version.deployed_ms, version.retired_ms)
        self._steps[version.version] = Past(version.version, version.hash, *moments)

    async def of_layout(self, _layout_id: str) -> Mapping[int, Past]:
        """`past.History`: of the one layout that there is."""
        return self._steps

    async def hashes_of(self, _layout_id: str) -> frozenset[str]:
        """The same."""
        return frozenset(each.hash for each in self._steps.values())


class _Tampering:
    """Changes scratch documents as somebody with a shell would, and puts them back."""

    def __init__(self, scratch: Collections, layout_id: str) -> None:
        self._scratch, self._layout_id = scratch, layout_id
        self._before: tuple[str, Document] | None = None

    async def change(
        self, name: str, where: Mapping[str, object], members: Mapping[str, object] | None
    ) -> LmlError | None:
        """Sets some members of a document or, with None, deletes it; the refusal where MongoDB does not let it."""
        where = {"layout_id": self._layout_id, **where}
        collection = self._scratch[name]
        try:
            with driver_errors():
                if members is None:
                    found = await collection.find_one_and_delete(where)
                else:
                    found = await collection.find_one_and_update(where, {"$set": dict(members)})
        except InvalidInput as error:
            return error
        if found is None:
            raise Unavailable("The scratch documents of the self-check are gone: somebody else has deleted them.")
        self._before = (name, found)
        return None

    async def undo(self) -> None:
        """Everything as it was before the last change that was taken."""
        if self._before is None:
            return
        name, document = self._before
        self._before = None
        with driver_errors():
            await self._scratch[name].replace_one({"_id": document["_id"]}, document, upsert=True)


async def _sweep(scratch: Collections, before_ms: int) -> None:
    with driver_errors():
        old = await scratch[VERSIONS].distinct("layout_id", {"saved_ms": {"$lt": before_ms}})
    for layout_id in old:
        await _remove(scratch, layout_id)


async def _remove(scratch: Collections, layout_id: str) -> None:
    with driver_errors():
        # The versions last: by them the rest is found again.
        for name in (SECTIONS, PLANS, VERSIONS):
            await scratch[name].delete_many({"layout_id": layout_id})


# --- Outcomes


async def _said(act: Awaitable[object]) -> LmlError | None:
    """The refusal of a step, or None where it was done. Whatever is no refusal (`Unavailable`) is raised."""
    try:
        await act
    except _REFUSALS as error:
        return error
    return None


def _refused(rule: str, seen: LmlError | None, expected: type[LmlError]) -> RuleOutcome:
    """Passed where a refusal of that kind came."""
    if seen is None:
        return RuleOutcome(rule, False, "it was taken")
    return RuleOutcome(rule, isinstance(seen, expected), seen.message)
