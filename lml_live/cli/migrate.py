"""`lml migrate`: what the tables' owner does before a server of this version may run."""

import click

from lml_live.cli.events import run, running, tell
from lml_live.cli.logs import set_up_logging
from lml_live.errors import InvalidInput
from lml_live.infra import postgres
from lml_live.infra.config import load_settings
from lml_live.infra.rights import grant_rights, shorten, sign_in_of
from lml_live.venues.schema import prepare_database


@click.command("migrate")
@click.option(
    "--server-role", help="The role that the server signs in as; that of LML_POSTGRES_DSN where it is not given."
)
def migrate_command(server_role: str | None) -> None:
    """Applies the missing migrations as the owner, and gives the server's role its rights, no more and no less.

    The same in MongoDB, where LML_MONGO_OWNER_URL names its owner and LML_MONGO_URL the server's user.

    LML_POSTGRES_OWNER_DSN is the owner's address, LML_POSTGRES_DSN the server's; a role that is not there yet is made
    with the password in the latter. Safe to repeat, beside running servers. Exit code 1 where something is refused, 3
    where the database cannot be reached.

    \b
    Examples:
      LML_POSTGRES_OWNER_DSN=postgresql://owner:…@db/lml LML_POSTGRES_DSN=postgresql://lml_server:…@db/lml lml migrate
      LML_POSTGRES_DSN=postgresql://owner:…@db/lml lml migrate --server-role lml_server
    """
    set_up_logging("migrate", "error")

    async def act() -> None:
        settings = load_settings()
        if settings.postgres_dsn is None:
            urls = running(settings)
            owner, server = urls.postgres_owner_dsn or urls.postgres_dsn, urls.postgres_dsn
        else:
            owner, server = settings.postgres_owner_dsn or settings.postgres_dsn, settings.postgres_dsn
        role, password = sign_in_of(server)
        if server_role is not None:
            role, password = server_role, password if role == server_role else None
        elif owner == server:
            raise InvalidInput("Which role is the server's? Set LML_POSTGRES_OWNER_DSN, or name it: --server-role")
        if settings.mongo_owner_url is not None:
            if settings.mongo_url is None:
                raise InvalidInput("Which user of MongoDB is the server's? Set LML_MONGO_URL.")
            await prepare_database(settings.mongo_url, settings.mongo_owner_url, settings.mongo_database)
            tell("MongoDB has the rules of this version, and the server's user its rights")
        for name in await postgres.migrate(owner):
            tell(f"migration {name} applied")
        left = await grant_rights(owner, role, password)
        tell(f"{role} has the rights of this version")
        for fault, words in (("lacks", left.too_little), ("may do more", left.too_much)):
            if words:
                tell(f"but {role} {fault}: {shorten(words)}")

    run(act())
