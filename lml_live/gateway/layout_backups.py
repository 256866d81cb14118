"""Backups of layouts over REST, for managers: made, listed, restored into a new draft (contract, section 2)."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from lml_live.backoffice.layout_steps import Restored
from lml_live.clock import to_datetime
from lml_live.errors import NotFound, Violation
from lml_live.gateway import paging
from lml_live.gateway.bodies import BackupList, BackupRequest, BackupShown, LayoutShown, RestoreRequest
from lml_live.gateway.callers import require_house, require_staff
from lml_live.gateway.layouts import LayoutServices, show_draft
from lml_live.gateway.operations import API, Operation, bind, respond_json
from lml_live.gateway.problems import read_body
from lml_live.venues.backups import Backups
from lml_live.venues.library import Saved
from lml_live.venues.retention import Backup

_MANAGER_CODES: Final = ("unauthorized", "forbidden")

OPERATIONS: Final = (
    Operation(
        name="list_layout_backups",
        method="GET",
        path=f"{API}/layouts/{{layout}}/backups",
        who="manager",
        summary="The backups of a layout, the newest first.",
        query=paging.QUERY,
        answers={200: BackupList},
        codes=(*_MANAGER_CODES, "not_found", "invalid_message"),
    ),
    Operation(
        name="back_up_layout",
        method="POST",
        path=f"{API}/layouts/{{layout}}/backups",
        who="manager",
        summary="Back up a version now, the latest where none is named; before publish and deploy it is done by itself."
        " Where the newest backup has this content, it is the answer.",
        body=BackupRequest,
        answers={201: BackupShown},
        codes=(*_MANAGER_CODES, "not_found", "conflict", "layout_damaged"),
        idempotent=True,
    ),
    Operation(
        name="restore_layout",
        method="POST",
        path=f"{API}/layouts/{{layout}}/restore",
        who="manager",
        summary="Make a new draft of a backup, where none is named of the newest that is whole, of those on record"
        " where there is one; `warnings` name it. A draft that is there gives way only with `replace`, and is backed up"
        " before.",
        body=RestoreRequest,
        answers={201: LayoutShown},
        codes=(*_MANAGER_CODES, "not_found", "conflict", "layout_damaged"),
        idempotent=True,
    ),
)


@dataclass(frozen=True)
class BackupServices:
    """What the handlers need beside what those of layouts do."""

    layouts: LayoutServices
    backups: Backups


def routes(services: BackupServices) -> list[web.RouteDef]:
    """The routes of `OPERATIONS`."""
    desk, library, keys = services.layouts.desk, services.layouts.library, services.layouts.keys

    async def list_layout_backups(request: web.Request) -> web.Response:
        await require_staff(request, desk, "manager")
        limit, after = paging.read_limit(request), paging.read_cursor(request)
        layout = request.match_info["layout"]
        found = await services.backups.of_layout(layout)
        if not found and not await library.status(layout):
            raise NotFound("There is no such layout.")
        if after is not None:
            found = [each for each in found if (to_datetime(each.taken_ms), each.id) < after]
        last = found[limit - 1] if len(found) > limit else None
        cursor = None if last is None else paging.write_cursor(to_datetime(last.taken_ms), last.id)
        return respond_json(BackupList(tuple(map(_shown, found[:limit])), cursor))

    async def back_up_layout(request: web.Request) -> web.Response:
        staff = await require_house(request, desk, "manager")

        async def act() -> web.Response:
            wanted = await read_body(request, BackupRequest)
            backup = await library.back_up(request.match_info["layout"], wanted.version)
            await services.layouts.stepped("backed_up", backup)
            return respond_json(_shown(backup), status=201)

        return await keys.once(request, staff.id, act)

    async def restore_layout(request: web.Request) -> web.Response:
        staff = await require_house(request, desk, "manager")

        async def act() -> web.Response:
            wanted = await read_body(request, RestoreRequest)
            saved = await library.restore(request.match_info["layout"], wanted.backup, replace=wanted.replace)
            await services.layouts.stepped("restored", Restored(saved.version, saved.backup))
            return show_draft(saved.version, (*_taken(saved, wanted), *saved.warnings), status=201)

        return await keys.once(request, staff.id, act)

    return bind(
        OPERATIONS,
        {
            "list_layout_backups": list_layout_backups,
            "back_up_layout": back_up_layout,
            "restore_layout": restore_layout,
        },
    )


def _taken(saved: Saved, wanted: RestoreRequest) -> tuple[Violation, ...]:
    """Which backup was taken, where none was named."""
    if wanted.backup is not None or saved.backup is None:
        return ()
    return (Violation("backup", f"was not named: {saved.backup.id}, of version {saved.backup.version}, was taken"),)


def _shown(backup: Backup) -> BackupShown:
    return BackupShown(
        id=backup.id,
        layout=backup.layout_id,
        version=backup.version,
        hash=backup.hash,
        reason=backup.reason,
        taken_at=to_datetime(backup.taken_ms),
        size_bytes=backup.size_bytes,
    )
