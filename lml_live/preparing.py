"""What is done once, before the workers: schemas, the first administrator, demonstration data, copies of layouts.

Apart from `wiring`: who starts the workers, and waits for them for weeks, has no use for the rest of the house, which
takes half a second to import and tens of megabytes to keep.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack

import msgspec

from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.trail import Trail
from lml_live.devstack.demo import load_demonstration
from lml_live.errors import Conflict, Unavailable
from lml_live.guard.staff import StaffDesk
from lml_live.infra import mongo, postgres
from lml_live.infra.config import Settings
from lml_live.infra.rights import grant_rights, shorten, sign_in_of
from lml_live.pricing.catalogue import Catalogue
from lml_live.venues.backups import open_backups
from lml_live.venues.library import Library
from lml_live.venues.schema import prepare_database


class Prepared(msgspec.Struct, frozen=True):
    """What preparing found out. `admin_login` is told once, where a first administrator was made."""

    admin_login: str | None


async def prepare(settings: Settings, report: Callable[[str], None], *, demonstration: bool = True) -> Prepared:
    """Brings the engines to what this version needs; every step says a line through `report`. Safe to repeat."""
    dsn, url = given(settings)
    owner = settings.postgres_owner_dsn
    for name in await postgres.migrate(owner or dsn):
        report(f"migration {name} applied")
    if owner is not None:
        role, password = sign_in_of(dsn)
        left = await grant_rights(owner, role, password)
        if left.too_little and not left.newer:
            raise Conflict(f"PostgreSQL: {role} lacks {shorten(left.too_little)}, and the owner may not grant it.")
        if left:
            report(f"PostgreSQL: the rights of {role} are not as they should be; `lml doctor` says where")
    async with AsyncExitStack() as stack:
        pool = await postgres.connect_pool(dsn, application_name="lml prepare", size_max=4)
        stack.push_async_callback(pool.close)
        await prepare_database(url, settings.mongo_owner_url, settings.mongo_database)
        database = mongo.connect_database(url, settings.mongo_database)
        stack.callback(mongo.close_database, database)
        login = await StaffDesk(pool).ensure_admin(settings.admin_email, settings.admin_password)
        library = Library(database, backups=await stack.enter_async_context(open_backups(settings)))
        if demonstration:
            await load_demonstration(library, Catalogue(pool, DeployedLayouts(library)), Trail(pool), report)
    return Prepared(f"{login[0]} / {login[1]}" if login else None)


def given(settings: Settings) -> tuple[str, str]:
    """The addresses of PostgreSQL and MongoDB, which nothing goes without."""
    if settings.postgres_dsn is None or settings.mongo_url is None:
        raise Unavailable("LML_POSTGRES_DSN and LML_MONGO_URL must be set.")
    return settings.postgres_dsn, settings.mongo_url
