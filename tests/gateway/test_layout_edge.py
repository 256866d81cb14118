"""Managers push layouts to the edge, roll back and sign links, over REST, on the S3 double."""

import secrets
from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from test_staff_layouts import HALL, House, backups, house, library, pool

from lml_live.backoffice.layout_steps import Step
from lml_live.gateway import layout_edge
from lml_live.gateway.idempotency import IdempotencyKeys
from lml_live.gateway.layout_edge import EdgeServices
from lml_live.gateway.layouts import LayoutServices
from lml_live.gateway.problems import problems_middleware
from lml_live.guard.staff import StaffDesk
from lml_live.infra import postgres
from lml_live.infra.config import Settings
from lml_live.venues.edge import Pointer, pointer_key
from lml_live.venues.links import Links
from lml_live.venues.publishing import open_edge

__all__ = ["backups", "house", "library", "pool"]


async def test_pushed_rolled_back_and_linked(
    house: House, pool: postgres.Pool, s3_endpoint_url: str, tmp_path: Path
) -> None:
    settings = Settings(
        s3_bucket=f"layouts-{secrets.token_hex(6)}", s3_endpoint_url=s3_endpoint_url, private_layouts=("hall",)
    )
    steps: list[tuple[Step, int]] = []

    async def stepped(step: Step, what: object) -> None:
        assert isinstance(what, Pointer) or hasattr(what, "version")
        steps.append((step, what.version))  # type: ignore[attr-defined]

    for name in ("Hall", "Other"):
        await house.call("POST", "/layouts", HALL | {"name": name})
        await house.publish()
        await house.call("POST", "/layouts/hall/deploy")
    services = LayoutServices(StaffDesk(pool), house.library, IdempotencyKeys(pool), stepped)  # type: ignore[arg-type]
    async with open_edge(settings) as edge:

        async def opened() -> object:
            return edge

        app = web.Application(middlewares=[problems_middleware])
        app.add_routes(layout_edge.routes(EdgeServices(services, opened, Links(settings))))  # type: ignore[arg-type]
        async with TestClient(TestServer(app)) as client:
            at_edge = House(client, house.tokens, [], house.library, [], [])
            for path in ("push", "rollback", "link"):
                body = {"version": 1} if path == "link" else {}
                assert (await at_edge.call("POST", f"/layouts/hall/{path}", body, who="box_office"))[0] == 403
            status, tried = await at_edge.call("POST", "/layouts/hall/push", {"dry_run": True})
            assert (status, tried["dry_run"], [each["did"] for each in tried["steps"]]) == (
                *(200, True),
                ["uploaded", "uploaded", "uploaded", "moved"],
            )
            assert steps == []
            for version in (1, 2):
                _, pushed = await at_edge.call("POST", "/layouts/hall/push", {"version": version})
                assert pushed["steps"][-1]["key"] == pointer_key("hall", private=True)
            assert (await at_edge.call("POST", "/layouts/hall/push", {"version": 9}))[0] == 409
            assert (await at_edge.call("POST", "/layouts/nothing/push", {}))[0] == 404
            assert (await at_edge.call("POST", "/layouts/nothing/rollback", {}))[0] == 404
            status, back = await at_edge.call("POST", "/layouts/hall/rollback", {})
            assert (status, [each["did"] for each in back["steps"]]) == (200, ["moved"])
            assert (await at_edge.call("POST", "/layouts/hall/rollback", {}))[0] == 409
            status, link = await at_edge.call("POST", "/layouts/hall/link", {"version": 2})
            assert status == 200
            assert link["url"].startswith(f"{s3_endpoint_url}/{settings.s3_bucket}/private/hall/")
            async with client.session.get(link["url"]) as answer:
                assert (await answer.json())["name"] == "Other"
            await house.library.retire("hall", 1)
            await at_edge.call("POST", "/layouts/hall/push", {"version": 2})
            assert (await at_edge.call("POST", "/layouts/hall/rollback", {}))[0] == 409, "1 is retired"
            assert steps == [("pushed", 1), ("pushed", 2), ("rolled_back", 1), ("linked", 2), ("pushed", 2)]
