"""`lml staff …`: accounts for those who work with the server."""

import secrets
from typing import Final, get_args

import click

from lml_live.cli.events import open_pool, postgres_dsn, run, tell
from lml_live.guard.staff import Role, StaffDesk

_PASSWORD_BYTES: Final = 12


@click.group("staff")
def staff_group() -> None:
    """Accounts of staff: add.

    \b
    Examples:
      lml staff add door@example.com --role box_office
    """


@staff_group.command("add")
@click.argument("email")
@click.option("--role", "roles", type=click.Choice(get_args(Role)), multiple=True, required=True, help="Repeatable.")
@click.option("--ask-password", is_flag=True, help="Ask for the password; else one is made and printed.")
def add_command(email: str, roles: tuple[Role, ...], ask_password: bool) -> None:
    """Makes an account, or gives the one of this address a new password and these roles.

    \b
    Examples:
      lml staff add door@example.com --role box_office
      lml staff add boss@example.com --role manager --role box_office --ask-password
    """
    if ask_password:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = secrets.token_urlsafe(_PASSWORD_BYTES)

    async def act() -> None:
        async with open_pool(postgres_dsn()) as pool:
            await StaffDesk(pool).add_staff(email, password, roles)

    run(act())
    tell(f"{email}: {', '.join(roles)}")
    if not ask_password:
        click.echo(password)
