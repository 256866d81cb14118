"""Managers back layouts up and restore them, over REST, with a library."""

from pathlib import Path

from test_staff_layouts import HALL, House, backups, house, library, pool

__all__ = ["backups", "house", "library", "pool"]


async def test_backed_up_before_each_step_listed_and_restored(house: House) -> None:
    assert (await house.call("GET", "/layouts/hall/backups"))[0] == 404
    _, draft = await house.call("POST", "/layouts", HALL)
    assert (await house.call("GET", "/layouts/hall/backups"))[1] == {"items": [], "next": None}
    await house.publish()
    await house.call("POST", "/layouts/hall/deploy")
    status, made = await house.call("POST", "/layouts/hall/backups", {"version": 1})
    assert (status, made["hash"], made["version"], made["reason"]) == (201, draft["hash"], 1, "publish")
    assert made["taken_at"].endswith("Z")
    _, listed = await house.call("GET", "/layouts/hall/backups")
    assert listed == {"items": [made], "next": None}, "one content, one backup"

    await house.call("POST", "/layouts", HALL | {"name": "Other"})
    status, other = await house.call("POST", "/layouts/hall/backups", {})
    assert (status, other["version"], other["reason"]) == (201, 2, "asked")
    _, first = await house.call("GET", "/layouts/hall/backups?limit=1")
    assert first["items"] == [other]
    _, rest = await house.call("GET", f"/layouts/hall/backups?limit=1&cursor={first['next']}")
    assert rest == {"items": [made], "next": None}

    restored = {"backup": made["id"]}
    status, problem = await house.call("POST", "/layouts/hall/restore", restored)
    assert (status, problem["code"]) == (409, "conflict")
    status, back = await house.call("POST", "/layouts/hall/restore", restored | {"replace": True})
    assert (status, back["version"], back["state"], back["name"]) == (201, 2, "draft", "Hall")
    assert house.steps[-2:] == [("backed_up", 2), ("restored", 2)]


REFUSED: list[tuple[str, str, object, int]] = [
    ("POST", "/layouts/hall/backups", {}, 404),
    ("POST", "/layouts/hall/backups", {"version": 0}, 422),
    ("POST", "/layouts/hall/restore", {}, 404),
    ("POST", "/layouts/hall/restore", {"backup": "../../etc/passwd"}, 422),
    ("GET", "/layouts/hall/backups?cursor=no", None, 422),
]


async def test_what_is_not_there_is_not_restored(house: House) -> None:
    for method, path, body, status in REFUSED:
        assert (await house.call(method, path, body))[0] == status, path
        assert (await house.call(method, path, body, who="box_office"))[0] == 403, path


async def test_what_cannot_be_backed_up_is_not_published(house: House, tmp_path: Path) -> None:
    """A full disk, say: then the step is not taken, and may be tried again. Where the server keeps its files was told,
    too."""
    await house.call("POST", "/layouts", HALL)
    (tmp_path / "backups").write_text("not a folder")
    status, problem = await house.publish()
    assert (status, problem["code"]) == (503, "unavailable")
    assert str(tmp_path) not in str(problem)
    assert problem["detail"].startswith("backups/hall/"), "which one, as the store calls it"
    assert (await house.call("GET", "/layouts/hall/versions"))[1]["items"][0]["state"] == "draft"
    (tmp_path / "backups").unlink()
    assert (await house.publish())[0] == 200
