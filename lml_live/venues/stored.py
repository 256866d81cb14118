"""How MongoDB keeps a layout, and the rules it checks for itself, generated from the very types. Pure.

A document holds 16 MB and a layout of 200,000 seats has 30, so a layout is one document for the plan and one for each
section; a section of more than `limits.LAYOUT_PART_SEATS` seats is several, each with whole rows. All of them bear the
`upload` that the version's own document names (`library`), and are read by it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta, inspect

from lml_live import limits
from lml_live.values import ID_PATTERN, SEAT_ID_PATTERN
from lml_live.venues.layout import (
    Category,
    Entrance,
    Label,
    Layout,
    LayoutType,
    Point,
    Seat,
    Section,
    Shape,
    Viewport,
)

Document: TypeAlias = dict[str, Any]

VERSIONS: Final = "layout_versions"
PLANS: Final = "layout_plans"
SECTIONS: Final = "layout_sections"

CHUNKS: Final = "layout_chunks"
"""Where an earlier version of this program kept layouts, as pieces of their bytes."""

SCRATCH: Final = "scratch_"
"""What the names of collections begin with that nothing is sold on: the self-check's (`self_check`)."""

State = Literal["draft", "published", "deployed", "retired"]
STATES: Final[tuple[State, ...]] = get_args(State)

Id = Annotated[str, Meta(pattern=ID_PATTERN)]
Sha256 = Annotated[str, Meta(pattern=SEAT_ID_PATTERN)]
Count = Annotated[int, Meta(ge=0)]
Moment = Annotated[int, Meta(ge=0)]


_LOOK: Final = frozenset({"find", "listIndexes"})
_SCRATCH: Final = _LOOK | {"insert", "update", "remove"}
RIGHTS: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"listCollections"}),
    # A version's document is never deleted; the others are never changed, only replaced as a whole with their draft.
    VERSIONS: _LOOK | {"insert", "update"},
    PLANS: _LOOK | {"insert", "remove"},
    SECTIONS: _LOOK | {"insert", "remove"},
    CHUNKS: frozenset({"find", "remove"}),
    **{SCRATCH + name: _SCRATCH for name in (VERSIONS, PLANS, SECTIONS)},
}
"""What the server's user may do (`infra.mongo_rights`): no rule, no index and no collection is its to change."""


class LayoutVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of a layout, without its seats."""

    layout_id: Id
    version: Annotated[int, Meta(ge=1)]
    state: State
    hash: Sha256
    fingerprint: Sha256
    """The hash that the content has as version 1: equal for equal content, whatever the version."""
    upload: Id
    """Which documents are its content."""
    name: Label
    type: LayoutType
    seat_count: Annotated[int, Meta(ge=0, le=limits.LAYOUT_SEATS_MAX)]
    place_count: Annotated[int, Meta(ge=1)]
    size_bytes: Annotated[int, Meta(ge=1)]
    saved_ms: Moment
    published_ms: Moment | None = None
    deployed_ms: Moment | None = None
    retired_ms: Moment | None = None
    damaged_ms: Moment | None = None
    """When what is stored was first seen not to have its hash, while it has not; a note for people, no state."""

    @property
    def key(self) -> str:
        """What MongoDB has it under."""
        return f"{self.layout_id}:{self.version}"


class StoredPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A layout without its sections, and how many documents those are."""

    layout_id: Id
    upload: Id
    version: Annotated[int, Meta(ge=1)]
    hash: Sha256
    name: Label
    type: LayoutType
    viewport: Viewport
    part_count: Annotated[int, Meta(ge=1)]
    focal_point: Point | None = None
    shapes: Annotated[tuple[Shape, ...], Meta(max_length=limits.LAYOUT_SHAPES_MAX)] = ()
    categories: Annotated[tuple[Category, ...], Meta(max_length=limits.LAYOUT_CATEGORIES_MAX)] = ()
    entrances: Annotated[tuple[Entrance, ...], Meta(max_length=limits.LAYOUT_ENTRANCES_MAX)] = ()


class StoredSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A section, or some rows of one; `position` is that of the section, `part` counts its documents from 0."""

    layout_id: Id
    upload: Id
    position: Annotated[int, Meta(ge=0, lt=limits.LAYOUT_SECTIONS_MAX)]
    part: Annotated[int, Meta(ge=0, le=limits.LAYOUT_SEATS_MAX)]
    section: Section


def documents_of(layout: Layout, upload: str) -> tuple[Document, list[Document]]:
    """The documents of a sealed layout: the plan, and its sections in their order."""
    parts = [
        StoredSection(layout.layout_id, upload, position, part, section)
        for position, whole in enumerate(layout.sections)
        for part, section in enumerate(_parts(whole))
    ]
    plan = StoredPlan(
        *(layout.layout_id, upload, layout.version, layout.hash, layout.name, layout.type, layout.viewport, len(parts)),
        *(layout.focal_point, layout.shapes, layout.categories, layout.entrances),
    )
    sections = [{"_id": f"{upload}:{part.position}:{part.part}", **msgspec.to_builtins(part)} for part in parts]
    return {"_id": upload, **msgspec.to_builtins(plan)}, sections


def layout_of(plan_document: Document, section_documents: Sequence[Document]) -> Layout:
    """The layout of such documents; those of its sections in order of position and part.

    Raises `msgspec.ValidationError` where they are not of our making, or not all of one layout.
    """
    plan = msgspec.convert(_without_id(plan_document), StoredPlan)
    parts = msgspec.convert(list(map(_without_id, section_documents)), list[StoredSection])
    if len(parts) != plan.part_count or any(part.upload != plan.upload for part in parts):
        raise msgspec.ValidationError(f"{plan.part_count} documents of sections are expected, {len(parts)} are there")
    sections: list[Section] = []
    for part in parts:
        if (part.position, part.part) == (len(sections), 0):
            sections.append(part.section)
        elif part.part and part.position == len(sections) - 1:
            whole = sections[-1]
            sections[-1] = msgspec.structs.replace(part.section, rows=(*whole.rows, *part.section.rows))
        else:
            raise msgspec.ValidationError(f"part {part.part} of section {part.position} is out of its order")
    return Layout(
        *(plan.layout_id, plan.name, plan.type, plan.viewport, tuple(sections), plan.version, plan.hash),
        *(plan.focal_point, plan.shapes, plan.categories, plan.entrances),
    )


def _without_id(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "_id"}


def _parts(section: Section) -> Iterator[Section]:
    """The section cut between rows; as it is where it is small."""
    begun, seats = 0, 0
    for at, row in enumerate(section.rows):
        if seats + len(row.seats) > limits.LAYOUT_PART_SEATS and at > begun:
            yield msgspec.structs.replace(section, rows=section.rows[begun:at])
            begun, seats = at, 0
        seats += len(row.seats)
    yield section if begun == 0 else msgspec.structs.replace(section, rows=section.rows[begun:])


# --- The rules


def collection_rules() -> dict[str, Document]:
    """The validator of each collection."""
    return {
        VERSIONS: {
            "$and": [
                {"$jsonSchema": document_schema(LayoutVersion)},
                # What has happened has its moment, and what has not has none.
                {"$or": [{"state": "draft", "published_ms": None, "deployed_ms": None}, _since("published")]},
                {"$or": [{"state": {"$in": ["draft", "published", "retired"]}}, _since("deployed")]},
                {"$or": [{"state": {"$ne": "retired"}, "retired_ms": None}, _since("retired", state="retired")]},
            ]
        },
        PLANS: {"$jsonSchema": document_schema(StoredPlan)},
        SECTIONS: {"$jsonSchema": document_schema(StoredSection)},
    }


def _since(step: str, *, state: str | None = None) -> Document:
    return {"state": {"$ne": "draft"} if state is None else state, f"{step}_ms": {"$type": "number"}}


_STORED_ALWAYS: Final[Mapping[type, Mapping[str, Document]]] = {
    Seat: {"seat_id": {"bsonType": "string", "pattern": SEAT_ID_PATTERN}},
}
"""Members that a file may leave out, and MongoDB may not: a stored layout is sealed."""


def document_schema(kind: type[msgspec.Struct]) -> Document:
    """The `$jsonSchema` of a type's documents, `_id` and all: what msgspec refuses MongoDB refuses, too."""
    schema = _schema_of(inspect.type_info(kind))
    properties = {"_id": {"bsonType": "string"}, **schema["properties"]}
    return {**schema, "properties": properties, "required": ["_id", *schema["required"]]}


def _schema_of(kind: inspect.Type) -> Document:
    match kind:
        case inspect.StructType():
            always = _STORED_ALWAYS.get(kind.cls, {})
            properties = {field.encode_name: _schema_of(field.type) for field in kind.fields}
            required = [field.encode_name for field in kind.fields if field.required or field.encode_name in always]
            return {
                "bsonType": "object",
                "required": required,
                "properties": {**properties, **always},
                # A field that nobody knows is a field that nobody checks.
                "additionalProperties": False,
            }
        case inspect.UnionType():
            [real] = [_schema_of(member) for member in kind.types if not isinstance(member, inspect.NoneType)]
            types = real["bsonType"]
            return {**real, "bsonType": [*(types if isinstance(types, list) else [types]), "null"]}
        case inspect.VarTupleType():
            bounds: Document = {"minItems": kind.min_length, "maxItems": kind.max_length}
            return {"bsonType": "array", "items": _schema_of(kind.item_type), **_given(bounds)}
        case inspect.TupleType():
            count = len(kind.item_types)
            items = [_schema_of(item) for item in kind.item_types]
            return {"bsonType": "array", "items": items, "minItems": count, "maxItems": count}
        case inspect.LiteralType():
            return {"enum": list(kind.values)}
        case inspect.BoolType():
            return {"bsonType": "bool"}
        case inspect.StrType():
            bounds = {"minLength": kind.min_length, "maxLength": kind.max_length, "pattern": kind.pattern}
            return {"bsonType": "string", **_given(bounds)}
        case inspect.IntType():
            return {"bsonType": ["int", "long"], **_range(kind)}
        case inspect.FloatType():
            # A whole number comes as one from whoever wrote `1` for `1.0`.
            return {"bsonType": ["double", "int", "long"], **_range(kind)}
    raise TypeError(f"MongoDB has no rule for {kind}")


def _range(kind: "inspect.IntType | inspect.FloatType") -> Document:
    bounds: Document = {"minimum": kind.ge, "maximum": kind.le}
    if kind.gt is not None:
        bounds |= {"minimum": kind.gt, "exclusiveMinimum": True}
    if kind.lt is not None:
        bounds |= {"maximum": kind.lt, "exclusiveMaximum": True}
    return _given(bounds)


def _given(bounds: Document) -> Document:
    return {name: value for name, value in bounds.items() if value is not None}
