"""`/openapi.json`, `/asyncapi.json` and `/docs`: valid, complete, and drawn without anything from elsewhere."""

import re
from typing import Any

import jsonschema
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from lml_live.errors import STATUS_BY_CODE
from lml_live.gateway import documents, events, layouts, staff, wire
from lml_live.gateway.operations import Operation, bind
from lml_live.gateway.problems import Problem

OPERATIONS = (*events.OPERATIONS, *staff.OPERATIONS, *layouts.OPERATIONS)


def test_every_call_is_in_the_document() -> None:
    """That the whole document is valid, tests/server/test_house_routes.py asks a server."""
    document = documents.openapi_document(OPERATIONS)
    assert document["openapi"].startswith("3.1")
    calls = [call for path in document["paths"].values() for call in path.values()]
    assert {call["operationId"] for call in calls} == {operation.name for operation in OPERATIONS}
    assert all(call["summary"] for call in calls)


def test_what_must_be_sent_is_said() -> None:
    document = documents.openapi_document(OPERATIONS)
    create = document["paths"]["/api/v1/events"]["post"]
    assert [(p["name"], p["in"]) for p in create["parameters"]] == [("Idempotency-Key", "header")]
    assert create["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/NewEvent"}
    assert create["security"] == [{"bearer": []}]
    codes = {
        code
        for answer in create["responses"].values()
        for content in answer.get("content", {}).values()
        for code in content["schema"].get("properties", {}).get("code", {}).get("enum", [])
    }
    assert {"idempotency_mismatch", "invalid_json", "invalid_message", "unauthorized", "forbidden"} <= codes
    assert codes <= set(STATUS_BY_CODE)
    required = set(document["components"]["schemas"]["NewEvent"]["required"])
    assert required == {"name", "venue", "starts_at", "currency", "layout", "prices"}


def test_a_problem_fits_its_schema() -> None:
    document = documents.openapi_document(OPERATIONS)
    answer = document["paths"]["/api/v1/events"]["post"]["responses"]["409"]["content"]["application/problem+json"]
    schema = {**answer["schema"], "components": document["components"]}
    problem = Problem(type="/docs#problem-conflict", title="Conflict", status=409, detail="No.", code="conflict")
    jsonschema.validate(msgspec.to_builtins(problem), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(msgspec.to_builtins(msgspec.structs.replace(problem, code="internal")), schema)


def test_a_careless_table_is_refused() -> None:
    one = events.OPERATIONS[0]
    with pytest.raises(ValueError, match="one name"):
        documents.openapi_document((one, msgspec.structs.replace(one, method="POST")))
    with pytest.raises(ValueError, match="one name"):
        documents.openapi_document((one, msgspec.structs.replace(one, name="other")))
    with pytest.raises(ValueError, match="differ"):
        bind((one,), {})
    with pytest.raises(ValueError, match="no codes"):
        Operation(
            name="x", method="GET", path="/x", who="anyone", summary="x", answers={200: None}, codes=("nonsense",)
        )


def test_every_message_of_the_socket_is_described() -> None:
    document = documents.asyncapi_document()
    assert document["asyncapi"] == "3.0.0"
    messages = document["components"]["messages"]
    for union, name in ((wire.ClientMessage, "say"), (wire.ServerMessage, "hear")):
        tags = {shape.__struct_config__.tag for shape in union.__args__}
        listed = {message["$ref"].rsplit("/", 1)[1] for message in document["operations"][name]["messages"]}
        assert listed == tags <= set(messages)


def test_error_and_close_codes_of_the_socket_are_published() -> None:
    said = documents.asyncapi_document()["info"]["description"]
    assert [code for code in STATUS_BY_CODE if f"`{code}`" not in said] == []
    closing = {value for name, value in vars(wire).items() if name.startswith("CLOSE_")}
    assert [code for code in closing if f"{code} (" not in said] == []


def test_every_reference_leads_somewhere() -> None:
    for document in (documents.openapi_document(OPERATIONS), documents.asyncapi_document()):
        for reference in re.findall(r'"\$ref":"#/([^"]+)"', msgspec.json.encode(document).decode()):
            found: Any = document
            for step in reference.split("/"):
                found = found[step]
            assert found


def test_a_message_fits_its_schema() -> None:
    document = documents.asyncapi_document()
    schema = {**document["components"]["messages"]["hold"]["payload"], "components": document["components"]}
    request = wire.HoldRequest(id=1, seats=[3, wire.SeatPick(4, "child")], areas={"floor": 2})
    jsonschema.validate(msgspec.json.decode(wire.JSON.encode(request)), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"type": "hold", "id": -1}, schema)


async def test_the_documents_are_served() -> None:
    app = web.Application()
    app.add_routes(documents.routes(OPERATIONS))
    async with TestClient(TestServer(app)) as client:
        for path, content_type in (
            ("/openapi.json", "application/json"),
            ("/asyncapi.json", "application/json"),
            ("/docs", "text/html"),
            ("/docs/docs.js", "text/javascript"),
            ("/docs/docs.css", "text/css"),
        ):
            answer = await client.get(path)
            assert (answer.status, answer.content_type) == (200, content_type)
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            text = await answer.text()
            assert re.search(r"""(?:src|href|import|url)\W+https?:""", text) is None, "nothing comes from elsewhere"
            assert "<script>" not in text
            assert " style=" not in text
            again = await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
            assert again.status == 304
