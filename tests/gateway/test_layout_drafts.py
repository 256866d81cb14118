"""Two managers and one draft, new versions and their difference, the end of a version: over REST, with a library."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from test_staff_layouts import HALL, House, backups, changed, house, library, pool

from lml_live import limits
from lml_live.backoffice.layout_record import LayoutRecord
from lml_live.backoffice.layout_steps import Drafted, record_step
from lml_live.backoffice.trail import Trail
from lml_live.infra.postgres import Pool
from lml_live.venues.layout import decode_layout
from lml_live.venues.stored import SECTIONS

__all__ = ["backups", "house", "library", "pool"]

MOVED = changed("sections/0/rows/0/seats/0/x", 0.15)
RENAMED = HALL | {"name": "Great Hall"}


async def put(
    house: House, body: dict[str, Any], match: str | None, who: str = "manager"
) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {house.tokens[who]}", "Content-Type": "application/json"}
    headers |= {} if match is None else {"If-Match": match}
    path = f"/api/v1/layouts/{body['layout_id']}"
    answer = await house.client.put(path, data=json.dumps(body).encode(), headers=headers)
    return answer.status, await answer.json(content_type=None)


async def tag_of(house: House) -> tuple[str, bytes]:
    headers = {"Authorization": f"Bearer {house.tokens['manager']}"}
    answer = await house.client.get("/api/v1/layouts/hall/draft", headers=headers)
    assert answer.status == 200
    return answer.headers["ETag"], await answer.read()


async def test_of_two_managers_one_hears_what_the_other_did(house: House) -> None:
    await house.call("POST", "/layouts", HALL)
    tag, data = await tag_of(house)
    assert f'"{decode_layout(data).hash}"' == tag
    assert (await put(house, MOVED, tag))[0] == 200
    status, problem = await put(house, RENAMED, tag)
    assert (status, problem["code"]) == (412, "precondition_failed")
    # What hers would have made of the draft as it is now: his seat would go back.
    assert problem["diff"]["counts"]["moved"] == 1
    assert [seat["number"] for seat in problem["diff"]["moved"]] == ["1"]
    assert problem["diff"]["other"] == ["name"]
    fresh, data = await tag_of(house)
    assert problem["draft"]["hash"] == fresh.strip('"')
    assert decode_layout(data).name == "Hall", "nothing was overwritten"
    assert (await put(house, RENAMED, fresh))[0] == 200
    renamed, _ = await tag_of(house)
    # Who sends hers again, as the answer was lost, is not told that somebody else has saved.
    for match in (fresh, tag, renamed):
        status, again = await put(house, RENAMED, match)
        assert (status, again["hash"]) == (200, renamed.strip('"'))
    assert (await put(house, MOVED, fresh))[0] == 412
    # Without having looked nobody replaces anything.
    for status, problem in (await put(house, HALL, None), await house.call("POST", "/layouts", HALL)):
        assert (status, problem["code"]) == (428, "precondition_required")
    assert (await house.call("POST", "/layouts", RENAMED))[0] == 200, "this is the draft"


async def test_nobody_publishes_what_another_has_saved_unseen(house: House) -> None:
    """One manager was shown the difference, another saved, and the first published that."""
    _, shown = await house.call("POST", "/layouts", HALL)
    assert (await put(house, MOVED, f'"{shown["hash"]}"'))[0] == 200
    status, problem = await house.call("POST", "/layouts/hall/publish")
    assert (status, problem["code"]) == (428, "precondition_required")
    status, problem = await house.call("POST", "/layouts/hall/publish", match=shown["hash"])
    assert (status, problem["code"]) == (412, "precondition_failed")
    assert "diff" not in problem, "there is no version before it"
    first = problem["draft"]
    assert (first["state"], (await tag_of(house))[0]) == ("draft", f'"{first["hash"]}"')
    # Who repeats it, as the answer was lost, hears the same.
    for _ in range(2):
        status, published = await house.call("POST", "/layouts/hall/publish", match=first["hash"])
        assert (status, published["state"], published["hash"]) == (200, "published", first["hash"])
    _, second = await house.call("POST", "/layouts", HALL)
    assert (await put(house, RENAMED, f'"{second["hash"]}"'))[0] == 200
    status, problem = await house.call("POST", "/layouts/hall/publish", match=second["hash"])
    # What publishing it would change against version 1.
    assert (status, problem["draft"]["version"], problem["diff"]["other"]) == (412, 2, ["name"])
    assert [seat["number"] for seat in problem["diff"]["moved"]] == ["1"]
    assert (await house.publish())[0] == 200
    status, problem = await house.call("POST", "/layouts/hall/publish", match=second["hash"])
    assert (status, problem["code"]) == (412, "precondition_failed")
    assert "draft" not in problem


async def test_of_many_who_replace_one_draft_one_does(house: House) -> None:
    await house.call("POST", "/layouts", HALL)
    tag, _ = await tag_of(house)
    # More at once than a server takes would hear 429, some of them, on a slow machine.
    many = limits.LAYOUT_BODIES_MAX
    answers = await asyncio.gather(*(put(house, HALL | {"name": f"Hall {at}"}, tag) for at in range(many)))
    assert sorted(status for status, _ in answers) == [200, *[412] * (many - 1)]


async def test_an_asterisk_names_the_draft_that_is_there_whichever_it_is(house: House) -> None:
    """`If-Match: *` (RFC 9110, 13.1.1) was answered as a tag that does not match."""
    assert (await put(house, HALL, "*"))[0] == 412, "there is none yet"
    await house.call("POST", "/layouts", HALL)
    assert (await put(house, RENAMED, "*"))[0] == 200
    assert decode_layout((await tag_of(house))[1]).name == "Great Hall"
    assert (await put(house, HALL, '"*"'))[0] == 412, "a tag that is called so is another's"
    headers = {"Authorization": f"Bearer {house.tokens['manager']}", "If-Match": "*"}
    assert (await house.client.post("/api/v1/layouts/hall/publish", headers=headers)).status == 200
    assert (await house.client.post("/api/v1/layouts/hall/publish", headers=headers)).status == 409
    assert (await put(house, HALL, "*"))[0] == 412, "what is published is no draft"


LISTED = [
    ('{draft}, "other"', 200),
    ('"other",\t{draft}', 200),
    ('"a,b" , , W/{draft},', 200),
    ('"other", "another"', 412),
    ('"other", *', 412),
    ('"a{draft}', 412),
    ('""', 412),
    (" , ", 428),
]


@pytest.mark.parametrize(("match", "status"), LISTED)
async def test_one_of_the_drafts_that_are_named_is_enough(house: House, match: str, status: int) -> None:
    """A list of tags (RFC 9110, 13.1.1) was one tag, with commas, that matched nothing."""
    await house.call("POST", "/layouts", HALL)
    named = match.replace("{draft}", (await tag_of(house))[0])
    assert (await put(house, RENAMED, named))[0] == status
    named = match.replace("{draft}", (await tag_of(house))[0])
    headers = {"Authorization": f"Bearer {house.tokens['manager']}", "If-Match": named}
    for _ in range(2):
        assert (await house.client.post("/api/v1/layouts/hall/publish", headers=headers)).status == status


@pytest.mark.parametrize("match", ['"0"', '"' + "0" * 64 + '"'])
async def test_a_draft_that_nobody_has_seen_is_not_replaced(house: House, match: str) -> None:
    assert (await put(house, HALL, match))[0] == 412
    await house.call("POST", "/layouts", HALL)
    assert (await put(house, RENAMED, match))[0] == 412
    await house.publish()
    assert (await put(house, RENAMED, match))[0] == 412
    status, problem = await put(house, RENAMED | {"type": "seated"}, match)
    assert (status, problem["code"]) == (422, "invalid_message")


async def test_from_an_old_version_to_a_new_one_with_the_difference(house: House) -> None:
    await house.call("POST", "/layouts", HALL)
    assert (await house.call("POST", "/layouts/hall/draft", {"version": 1}))[0] == 409
    await house.publish()
    await house.call("POST", "/layouts/hall/deploy")
    status, draft = await house.call("POST", "/layouts/hall/draft", {"version": 1})
    assert (status, draft["version"], draft["state"]) == (201, 2, "draft")
    assert (await house.call("POST", "/layouts/hall/draft", {"version": 7}))[0] == 404
    body = changed("sections/0/rows/0/seats/0/x", 0.15)
    seats = body["sections"][0]["rows"][0]["seats"]
    seats[1]["category"] = "Standing"
    seats[2]["number"] = "4"
    seats.append({"number": "5", "x": 0.9, "y": 0.5, "category": "Stalls"})
    body["sections"][1]["capacity"] = 60
    assert (await put(house, body, f'"{draft["hash"]}"'))[0] == 200
    status, diff = await house.call("GET", "/layouts/hall/diff?from=1&to=2")
    assert (status, diff["counts"]) == (
        200,
        {"added": 2, "removed": 1, "moved": 1, "recategorised": 1, "changed": 0},
    )
    for kind, numbers in {"added": ["4", "5"], "removed": ["3"], "moved": ["1"], "recategorised": ["2"]}.items():
        assert [seat["number"] for seat in diff[kind]] == numbers
    assert diff["areas"] == [{"area_id": "floor", "before": 50, "after": 60}]
    assert (await house.call("GET", "/layouts/hall/diff?from=1&to=1"))[1]["counts"]["moved"] == 0
    for query, expected in (("from=1&to=9", 404), ("from=1", 422), ("from=-1&to=2", 422), ("from=1&to=%C2%B2", 422)):
        assert (await house.call("GET", f"/layouts/hall/diff?{query}"))[0] == expected


async def test_a_retired_version_is_deployed_no_more(house: House) -> None:
    await house.call("POST", "/layouts", HALL)
    assert (await house.call("POST", "/layouts/hall/retire", {"version": 1}))[0] == 409
    await house.publish()
    await house.call("POST", "/layouts/hall/deploy")
    for _ in range(2):
        status, version = await house.call("POST", "/layouts/hall/retire", {"version": 1})
        assert (status, version["state"]) == (200, "retired")
    for body in ({"version": 1}, None):
        assert (await house.call("POST", "/layouts/hall/deploy", body))[0] == 409
    assert (await house.call("POST", "/layouts/hall/publish", match=version["hash"]))[0] == 412
    # Its content can live on in another version.
    assert (await house.call("POST", "/layouts/hall/draft", {"version": 1}))[0] == 201
    await house.publish()
    assert (await house.call("POST", "/layouts/hall/deploy"))[1]["version"] == 2


async def test_of_many_who_ask_for_one_step_at_once_all_hear_the_same(house: House) -> None:
    """One heard 200, and nine 409: sent again while the first was under way, a step was no longer once."""
    await house.call("POST", "/layouts", HALL)
    await house.publish()
    for step, state in (("deploy", "deployed"), ("retire", "retired")):
        asked = (house.call("POST", f"/layouts/hall/{step}", {"version": 1}) for _ in range(10))
        answers = await asyncio.gather(*asked)
        assert {(status, answer["state"]) for status, answer in answers} == {(200, state)}
        assert len({answer[f"{state}_at"] for _, answer in answers}) == 1


async def test_damage_is_told_and_stops_every_step(house: House, mongo_database: Any) -> None:
    _, draft = await house.call("POST", "/layouts", HALL)
    await mongo_database[SECTIONS].update_many({"position": 0}, {"$set": {"section.rows.0.seats.0.x": 0.7}})
    for method, path in (
        ("POST", "/layouts/hall/publish"),
        ("GET", "/layouts/hall/draft"),
        ("GET", "/layouts/hall/diff?from=1&to=1"),
    ):
        status, problem = await house.call(method, path, match=draft["hash"])
        assert (status, problem["code"]) == (409, "layout_damaged")
    [version] = (await house.call("GET", "/layouts/hall/versions"))[1]["items"]
    assert version["damaged_at"] is not None
    await mongo_database[SECTIONS].update_many({"position": 0}, {"$set": {"section.rows.0.seats.0.x": 0.1}})
    assert (await house.publish())[0] == 200
    await mongo_database[SECTIONS].update_many({"position": 0}, {"$set": {"section.rows.0.seats.0.x": 0.7}})
    for path, body in (("deploy", None), ("draft", {"version": 1})):
        status, problem = await house.call("POST", f"/layouts/hall/{path}", body)
        assert (status, problem["code"]) == (409, "layout_damaged")


async def test_drafts_are_for_managers(house: House) -> None:
    for method, path, body in (
        ("GET", "/layouts/hall/draft", None),
        ("POST", "/layouts/hall/draft", {"version": 1}),
        ("POST", "/layouts/hall/retire", {"version": 1}),
        ("GET", "/layouts/hall/diff?from=1&to=1", None),
    ):
        assert (await house.call(method, path, body, who="box_office"))[0] == 403
        assert (await house.call(method, path, body))[0] == 404
    assert (await put(house, HALL, '"0"', who="box_office"))[0] == 403


async def test_what_is_saved_again_is_put_on_record_where_it_is_not(house: House, pool: Pool) -> None:
    """A worker that died in between left a draft that nobody could publish: it is saved again, and is on record."""
    house.library._history = LayoutRecord(pool)
    _, saved = await house.call("POST", "/layouts", HALL)
    assert (await house.publish())[0] == 200, "it may be from before there was a record"
    _, saved = await house.call("POST", "/layouts", HALL | {"name": "Other"})
    for method, path in (("POST", "/layouts"), ("PUT", "/layouts/hall")):
        status, again = await house.call(method, path, HALL | {"name": "Other"}, match=saved["hash"])
        assert (status, again["hash"]) == (200, saved["hash"])
    assert [step for step in house.steps if step[0] == "saved"] == [("saved", 1), *[("saved", 2)] * 3]
    draft = await house.library.find_draft("hall")
    assert draft is not None
    await record_step(Trail(pool), "saved", Drafted(draft))
    await house.call("POST", "/layouts", HALL | {"name": "Other"})
    assert house.steps.count(("saved", 2)) == 3, "once it is there, it is there"


async def test_what_is_not_on_record_is_not_retired(house: House, pool: Pool) -> None:
    house.library._history = LayoutRecord(pool)
    await house.call("POST", "/layouts", HALL)
    await house.publish()
    [version] = await house.library.status("hall")
    await record_step(Trail(pool), "published", msgspec.structs.replace(version, hash="0" * 64))
    status, problem = await house.call("POST", "/layouts/hall/retire", {"version": 1})
    assert (status, problem["code"]) == (409, "layout_damaged")
    assert ("retired", 1) not in house.steps
