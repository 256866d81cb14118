"""`lml partner …`: API keys for those who sell for us elsewhere."""

import click

from lml_live.cli.events import open_pool, postgres_dsn, run, tell
from lml_live.guard.partners import Partners


@click.group("partner")
def partner_group() -> None:
    """Partners, who sell through a channel of their own: add, end.

    \b
    Examples:
      lml partner add "The Agency" --channel agency
      lml partner end agency
    """


@partner_group.command("add")
@click.argument("name")
@click.option("--channel", required=True, metavar="ID", help="What they sell through, in the events that have it.")
def add_command(name: str, channel: str) -> None:
    """Makes a partner and prints the API key, which is shown this once.

    \b
    Examples:
      lml partner add "The Agency" --channel agency
    """

    async def act() -> str:
        async with open_pool(postgres_dsn()) as pool:
            return await Partners(pool).add(name, channel)

    key = run(act())
    tell(f"{name} sells through {channel}")
    click.echo(key)


@partner_group.command("end")
@click.argument("channel")
def end_command(channel: str) -> None:
    """Takes the keys of a channel's partners away.

    Their customers' tokens are renewed no more and end within 24 hours; to stop those at once, open the channel's
    seats to all: lml event channel open EVENT CHANNEL

    \b
    Examples:
      lml partner end agency
    """

    async def act() -> int:
        async with open_pool(postgres_dsn()) as pool:
            return await Partners(pool).end(channel)

    tell(f"{run(act())} keys of {channel} are good no more")
