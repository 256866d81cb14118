"""MongoDB's rules against the types that they are generated from: what msgspec refuses, MongoDB refuses."""

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect
from pymongo.errors import WriteError
from theatres import theatre

from lml_live import limits
from lml_live.errors import InvalidInput
from lml_live.infra.mongo import driver_errors
from lml_live.venues.layout import Seat, seal_layout
from lml_live.venues.stored import (
    PLANS,
    SECTIONS,
    VERSIONS,
    LayoutVersion,
    StoredPlan,
    StoredSection,
    collection_rules,
    document_schema,
    documents_of,
    layout_of,
)

SHA = "0" * 64
PLAN, [STALLS, BOX, PIT] = msgspec.json.decode(msgspec.json.encode(documents_of(seal_layout(theatre()), "upload-1")))
VERSION = {
    "_id": "theatre:1",
    **msgspec.to_builtins(
        LayoutVersion("theatre", 1, "draft", SHA, SHA, "upload-1", "Theatre", "hybrid", 3, 53, 900, 1_000)
    ),
}
GOOD = {VERSIONS: VERSION, PLANS: PLAN, SECTIONS: STALLS}
KINDS = {VERSIONS: LayoutVersion, PLANS: StoredPlan, SECTIONS: StoredSection}
SEAT = "section.rows.0.seats.0"
NAN = float("nan")

REFUSED: list[tuple[str, str, object]] = [
    (VERSIONS, "layout_id", "a/b"),
    (VERSIONS, "layout_id", "hall\n"),
    (VERSIONS, "version", 0),
    (VERSIONS, "version", 1.5),
    (VERSIONS, "state", "sold"),
    (VERSIONS, "hash", "abc"),
    (VERSIONS, "name", ""),
    (VERSIONS, "name", "x" * 101),
    (VERSIONS, "seat_count", limits.LAYOUT_SEATS_MAX + 1),
    (VERSIONS, "seat_count", "many"),
    (VERSIONS, "type", "round"),
    (VERSIONS, "published_ms", "today"),
    (VERSIONS, "unknown", 1),
    (PLANS, "viewport.width", 0),
    (PLANS, "viewport.units", "cm"),
    (PLANS, "viewport", None),
    (PLANS, "focal_point", [0.5]),
    (PLANS, "focal_point", [0.5, 1.5]),
    (PLANS, "shapes.0.points", []),
    (PLANS, "categories.0.color", "red"),
    (PLANS, "entrances.0.point.0", "left"),
    (PLANS, "part_count", 0),
    (SECTIONS, "section.kind", "lying"),
    (SECTIONS, "section.within", ["x"] * 9),
    (SECTIONS, "section.capacity", 0),
    (SECTIONS, "section.children", []),
    (SECTIONS, f"{SEAT}.x", 1.01),
    (SECTIONS, f"{SEAT}.x", -0.01),
    (SECTIONS, f"{SEAT}.x", NAN),
    (SECTIONS, f"{SEAT}.x", float("inf")),
    (SECTIONS, f"{SEAT}.x", "0.5"),
    (SECTIONS, f"{SEAT}.number", 1),
    (SECTIONS, f"{SEAT}.number", ""),
    (SECTIONS, f"{SEAT}.seat_id", "A" * 64),
    (SECTIONS, f"{SEAT}.accessible", "yes"),
    (SECTIONS, f"{SEAT}.features", ["window"]),
    (SECTIONS, f"{SEAT}.price", 5),
    (SECTIONS, "section.rows.0.table", {"x": 0, "y": 0, "width": 2, "height": 0}),
    (SECTIONS, "section.rows.0.table", {"x": 0, "y": 0, "width": 0, "height": 0, "turn": 360}),
]


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    document = copy.deepcopy(document)
    *way, last = path.split(".")
    inner: Any = document
    for step in way:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner[int(last) if isinstance(inner, list) else last] = value
    return document


async def test_mongodb_refuses_what_msgspec_refuses(mongo_database: Any) -> None:
    for collection, document in GOOD.items():
        await mongo_database[collection].insert_one(document)
    for collection, path, value in REFUSED:
        wrong = changed(GOOD[collection], path, value)
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({name: given for name, given in wrong.items() if name != "_id"}, KINDS[collection])
        with pytest.raises(InvalidInput), driver_errors():
            await mongo_database[collection].insert_one({**wrong, "_id": "other"})
        with pytest.raises(WriteError):
            await mongo_database[collection].update_one({"_id": wrong["_id"]}, {"$set": {path: value}})
    for collection, kind in KINDS.items():
        for name in (field.encode_name for field in inspect.type_info(kind).fields if field.required):  # type: ignore[attr-defined]
            with pytest.raises(WriteError):
                await mongo_database[collection].update_one({}, {"$unset": {name: ""}})


@pytest.mark.parametrize(
    ("moments", "fits"),
    [
        ({"state": "draft"}, True),
        ({"state": "draft", "published_ms": 1}, False),
        ({"state": "published"}, False),
        ({"state": "published", "published_ms": 1}, True),
        ({"state": "deployed", "published_ms": 1}, False),
        ({"state": "deployed", "published_ms": 1, "deployed_ms": 2}, True),
        ({"state": "deployed", "published_ms": 1, "deployed_ms": 2, "retired_ms": 3}, False),
        ({"state": "retired", "published_ms": 1, "retired_ms": 3}, True),
        ({"state": "retired", "published_ms": 1, "deployed_ms": 2}, False),
    ],
)
async def test_a_state_has_its_moments(mongo_database: Any, moments: dict[str, Any], fits: bool) -> None:
    insert = mongo_database[VERSIONS].insert_one(VERSION | moments)
    if fits:
        await insert
    else:
        with pytest.raises(WriteError):
            await insert


def test_every_member_of_every_type_has_its_rule() -> None:
    """The generated rules beside the types, member by member, down to the seat."""
    seen = set()
    for kind in KINDS.values():
        schema = document_schema(kind)
        del schema["properties"]["_id"]
        schema["required"].remove("_id")
        for struct, rules in walk(inspect.type_info(kind), schema):
            seen.add(struct.cls)
            assert set(rules["properties"]) == {field.encode_name for field in struct.fields}
            required = {field.encode_name for field in struct.fields if field.required}
            assert set(rules["required"]) == required | ({"seat_id"} if struct.cls is Seat else set())
            assert rules["additionalProperties"] is False
    assert {kind.__name__ for kind in seen} >= {"Seat", "Row", "Table", "Section", "Shape", "Category", "Entrance"}


def walk(kind: inspect.Type, schema: Any) -> Iterator[tuple[inspect.StructType, Any]]:
    match kind:
        case inspect.StructType():
            yield kind, schema
            for field in kind.fields:
                yield from walk(field.type, schema["properties"][field.encode_name])
        case inspect.VarTupleType():
            assert (schema.get("minItems"), schema.get("maxItems")) == (kind.min_length, kind.max_length)
            yield from walk(kind.item_type, schema["items"])
        case inspect.UnionType():
            assert "null" in schema["bsonType"]
            real = [member for member in kind.types if not isinstance(member, inspect.NoneType)]
            yield from walk(real[0], schema)
        case inspect.StrType():
            found = tuple(schema.get(name) for name in ("minLength", "maxLength", "pattern"))
            # A stored seat has its id; a file may leave it out.
            assert found == (kind.min_length, kind.max_length, kind.pattern) or "^$|" in (kind.pattern or "")
        case inspect.LiteralType():
            assert schema["enum"] == list(kind.values)
        case inspect.IntType() | inspect.FloatType():
            least = kind.ge if kind.gt is None else kind.gt
            most = kind.le if kind.lt is None else kind.lt
            assert (schema.get("minimum"), schema.get("maximum")) == (least, most)
            assert schema.get("exclusiveMinimum", False) == (kind.gt is not None)
            assert schema.get("exclusiveMaximum", False) == (kind.lt is not None)


async def test_the_validators_are_strict_and_the_rules_generated(mongo_database: Any) -> None:
    found = {each["name"]: each["options"] async for each in await mongo_database.list_collections()}
    for name, rules in collection_rules().items():
        assert found[name]["validator"] == rules
        assert (found[name]["validationLevel"], found[name]["validationAction"]) == ("strict", "error")
    assert mongo_database.write_concern.document == {"w": "majority", "j": True}
    assert mongo_database.read_concern.level == "majority"


def test_documents_and_back_nothing_changes() -> None:
    layout = seal_layout(theatre())
    assert layout_of(PLAN, [STALLS, BOX, PIT]) == layout
    for wrong in ([STALLS, BOX], [BOX, STALLS, PIT], [STALLS, BOX, PIT, PIT], [STALLS, STALLS, PIT]):
        with pytest.raises(msgspec.ValidationError):
            layout_of(PLAN, wrong)
