"""`lml event …`: events on deployed layouts, made, opened, paused, closed, shown.

The commands work on PostgreSQL and MongoDB themselves; servers hear of a change at its commit. stdout carries what a
program wants (an id, JSON, a list), stderr what people want. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 an engine
cannot be reached.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec

from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.layout_record import LayoutRecord
from lml_live.errors import InvalidInput, LmlError, Unavailable, Violation
from lml_live.infra import mongo, postgres
from lml_live.infra.config import Settings, load_settings, mask_secrets
from lml_live.infra.postgres import Pool
from lml_live.pricing.catalogue import Catalogue, Layouts
from lml_live.pricing.events import Event, EventAct, EventChanges, NewEvent, SaleLimits, public_event
from lml_live.venues.library import Library

if TYPE_CHECKING:
    from lml_live.devstack.engines import EngineUrls

REFUSED: Final = 1
UNREACHABLE: Final = 3

T = TypeVar("T")
_MENDED: Final = {"told": "Redis was told of the sales", "adopted": "the inventory was built anew"}
_LIMITS: Final = SaleLimits.__struct_fields__
_PRICE: Final = re.compile(r"([0-9]{1,13})(?:\+([0-9]{1,13}))?")


class _Events(click.Group):
    """Imports what needs Redis as well when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "channel"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "channel":
            return super().get_command(ctx, cmd_name)
        from lml_live.cli.channels import channel_group

        return channel_group


@click.group("event", cls=_Events)
def event_group() -> None:
    """Events: create, open, pause, close, limit, check, list, show; and their sales channels.

    \b
    Examples:
      lml event create --layout city-hall --name "Die Zauberflöte" --venue "City Hall" \\
          --starts-at 2026-12-01T19:30:00Z --currency EUR --all-prices 4500+250 --open
      lml event pause die-zauberfloete-2026-12-01
      lml event list
    """


@event_group.command("create")
@click.option("--layout", "layout_id", required=True, metavar="ID", help="A deployed layout.")
@click.option("--layout-version", type=click.IntRange(min=1), help="Else its newest deployed version.")
@click.option("--name", required=True)
@click.option("--venue", required=True, help="The venue's name, as buyers read it.")
@click.option("--starts-at", required=True, metavar="TIME", help="With a zone, such as 2026-12-01T19:30:00Z.")
@click.option("--on-sale-at", metavar="TIME", help="When holds begin; else at once.")
@click.option("--currency", required=True, metavar="CODE", help="ISO 4217, such as EUR.")
@click.option(
    "--price", "prices", multiple=True, metavar="CATEGORY=AMOUNT[+FEE]", help="In minor units (cents). Repeatable."
)
@click.option("--all-prices", metavar="AMOUNT[+FEE]", help="For every category that --price does not name.")
@click.option("--tax-rate", default="0.00", show_default=True, help="Percent contained in all prices.")
@click.option("--id", "event_id", metavar="ID", help="Else made of name and day.")
@click.option("--group", metavar="ID", help="Events of one group can change in one step; else the event's id.")
@click.option("--max-seats", type=int, help="Seats a holder may hold; else 8.")
@click.option("--hold-seconds", type=int, help="How long a hold lasts; else 300.")
@click.option("--extensions", type=int, help="How often a hold may be put off; else 2.")
@click.option("--lifetime-seconds", type=int, help="When a hold ends for good; else 1800.")
@click.option("--orphan-rule", help="May a hold leave one seat alone? strict: no; lenient: if need be; else off: yes.")
@click.option("--expired-holds", type=int, help="Holds a holder may let expire before a pause; else 3.")
@click.option("--cooldown-seconds", type=int, help="The first such pause, doubled each time; else 120.")
@click.option("--rehold-seconds", type=int, help="How long a holder does not get the seats he lost; else 60.")
@click.option("--release-jitter-seconds", type=int, help="Expired holds' seats return within so long; else 0, at once.")
@click.option("--address-holds", type=int, help="Live holds of one network address; else 100.")
@click.option("--address-seats", type=int, help="Seats and places in them; else 500.")
@click.option("--open", "open_now", is_flag=True, help="Open the sale at once.")
def create_command(
    layout_id: str,
    layout_version: int | None,
    prices: tuple[str, ...],
    all_prices: str | None,
    tax_rate: str,
    event_id: str | None,
    open_now: bool,
    **given: Any,
) -> None:
    """Makes an event on a deployed layout and prints its id.

    \b
    Examples:
      lml event create --layout city-hall --name Aida --venue "City Hall" --starts-at 2026-12-01T19:30:00Z \\
          --currency EUR --all-prices 4500 --open
      lml event create --layout arena --name "Neon Harbour" --venue Arena --starts-at 2026-12-24T20:00:00+01:00 \\
          --on-sale-at 2026-06-01T10:00:00+02:00 --currency EUR --price "Block A=9500+250" --all-prices 6000 \\
          --tax-rate 7.00 --max-seats 6 --id neon-harbour
    """
    named = {category: _read_price(text) for category, text in map(_split_price, prices)}
    every = None if all_prices is None else _read_price(all_prices)
    rules = {name: given.pop(name) for name in _LIMITS}
    draft = {
        **{name: value for name, value in given.items() if value is not None},
        **({} if event_id is None else {"id": event_id}),
        "layout": {"id": layout_id, "version": layout_version},
        "limits": {name: value for name, value in rules.items() if value is not None},
    }

    async def act(catalogue: Catalogue, layouts: Layouts) -> Event:
        categories = [] if every is None else await _categories(layouts, layout_id, layout_version)
        listed = named | {category: every for category in categories if every and category not in named}
        draft["prices"] = [
            {"category": category, "amount": amount, "fee": fee, "tax_rate": tax_rate}
            for category, (amount, fee) in listed.items()
        ]
        event = await catalogue.create_event(convert(draft, NewEvent))
        return await catalogue.set_state(event.id, "open") if open_now else event

    event = run(_with_catalogue(act))
    tell(
        f"{event.name}, {event.starts_at:%Y-%m-%d %H:%M} UTC: {event.state}, on {event.seat_count} seats of {layout_id}"
    )
    click.echo(event.id)


@event_group.command("check")
@click.argument("event_ids", metavar="[EVENT]...", nargs=-1)
@click.option("--mend", is_flag=True, help="Set right what differs: tell Redis of sales, or build the inventory anew.")
def check_command(event_ids: Sequence[str], mend: bool) -> None:
    """Compares Redis with PostgreSQL; without names every event whose sale is not over.

    What differs is looked at twice, ten seconds apart. Prints a line for each point; exit code 1 where there is one.
    A running server does the same by itself, one event after the other, and mends.

    \b
    Examples:
      lml event check
      lml event check aida-2026-12-01 --mend
    """
    from lml_live.cli.checking import check_events
    from lml_live.inventory.checker import describe

    verdicts = run(check_events(event_ids, mend=mend))
    for verdict in verdicts:
        for drift in verdict.drift:
            click.echo(f"{verdict.event}: {describe(drift)}")
        if verdict.mended:
            tell(f"{verdict.event}: {_MENDED[verdict.mended]}")
        if verdict.fault:
            click.echo(f"{verdict.event}: cannot be compared: {verdict.fault}")
    wrong = [verdict for verdict in verdicts if verdict.drift or verdict.fault]
    tell(f"{len(verdicts)} compared, {len(wrong)} not in order")
    sys.exit(REFUSED if wrong else 0)


@event_group.command("limit")
@click.argument("event_id", metavar="EVENT")
@click.option("--max-seats", type=int, help="Seats a holder may hold.")
@click.option("--hold-seconds", type=int, help="How long a hold lasts.")
@click.option("--extensions", type=int, help="How often a hold may be put off.")
@click.option("--lifetime-seconds", type=int, help="When a hold ends for good.")
@click.option("--orphan-rule", help="May a hold leave one seat alone? off: yes; strict: no; lenient: if need be.")
@click.option("--expired-holds", type=int, help="Holds a holder may let expire before a pause; 0: any number.")
@click.option("--cooldown-seconds", type=int, help="The first such pause, doubled each time.")
@click.option("--rehold-seconds", type=int, help="How long a holder does not get the seats he lost.")
@click.option("--release-jitter-seconds", type=int, help="Expired holds' seats return within so long.")
@click.option("--address-holds", type=int, help="Live holds of one network address; 0: any number.")
@click.option("--address-seats", type=int, help="Seats and places in them; 0: any number.")
def limit_command(event_id: str, **given: Any) -> None:
    """Changes the limits that are named; the others stay, and so does what is held.

    \b
    Examples:
      lml event limit aida-2026-12-01 --orphan-rule lenient
      lml event limit aida-2026-12-01 --max-seats 4 --hold-seconds 600
    """
    named = {name: value for name, value in given.items() if value is not None}
    if not named:
        raise click.UsageError("Name at least one limit, such as --max-seats 4.")

    async def act(catalogue: Catalogue, _: Layouts) -> Event:
        return await catalogue.update_event(event_id, convert({"limits": named}, EventChanges))

    event = run(_with_catalogue(act))
    tell(f"{event.id}: " + ", ".join(f"{name} {getattr(event.limits, name)}" for name in _LIMITS))


def _set_state(event_id: str, act: EventAct) -> None:
    event = run(_with_catalogue(lambda catalogue, _: catalogue.set_state(event_id, act)))
    tell(f"{event.id}: {event.state}")


@event_group.command("open")
@click.argument("event_id", metavar="EVENT")
def open_command(event_id: str) -> None:
    """Opens the sale of a draft or paused event.

    \b
    Examples:
      lml event open aida-2026-12-01
    """
    _set_state(event_id, "open")


@event_group.command("pause")
@click.argument("event_id", metavar="EVENT")
def pause_command(event_id: str) -> None:
    """Refuses new holds, extensions and bookings until the event is opened again.

    \b
    Examples:
      lml event pause aida-2026-12-01
    """
    _set_state(event_id, "pause")


@event_group.command("close")
@click.argument("event_id", metavar="EVENT")
def close_command(event_id: str) -> None:
    """Ends the sale for good; checkouts that have begun may finish.

    \b
    Examples:
      lml event close aida-2026-12-01
    """
    _set_state(event_id, "close")


@event_group.command("list")
def list_command() -> None:
    """Lists all events by start: id, state, start, seats, name.

    \b
    Examples:
      lml event list
    """

    async def act(catalogue: Catalogue, _: Layouts) -> list[Event]:
        page = await catalogue.list_events(drafts=True)
        found = list(page.items)
        while page.next is not None:
            page = await catalogue.list_events(drafts=True, cursor=page.next)
            found += page.items
        return found

    for event in run(_with_catalogue(act)):
        fields = (event.id, event.state, event.starts_at.isoformat(), event.seat_count, event.name)
        click.echo("\t".join(map(str, fields)))


@event_group.command("show")
@click.argument("event_id", metavar="EVENT")
def show_command(event_id: str) -> None:
    """Prints an event as JSON, as `GET /api/v1/events/EVENT` shows it.

    \b
    Examples:
      lml event show aida-2026-12-01
    """
    event = run(_with_catalogue(lambda catalogue, _: catalogue.load_event(event_id)))
    shown = public_event(event, f"/api/v1/layouts/{event.layout_id}/{event.layout_hash}")
    click.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2))


# --- Reading ----------------------------------------------------------------------------------------------------------


def _split_price(text: str) -> tuple[str, str]:
    category, found, price = text.rpartition("=")
    if not found or not category:
        raise click.BadParameter(f"{text!r}: CATEGORY=AMOUNT[+FEE] is expected, such as Stalls=4500+250")
    return category, price


def _read_price(text: str) -> tuple[int, int]:
    found = _PRICE.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r}: whole minor units are expected, such as 4500 or 4500+250")
    return int(found[1]), int(found[2] or 0)


def convert(given: Mapping[str, Any], shape: type[T]) -> T:
    """What was given, in the shape that REST takes. Raises `InvalidInput`."""
    try:
        return msgspec.convert(given, type=shape, str_keys=True)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        wrong = Violation(path.rstrip("`"), message)
        raise InvalidInput("This cannot be as it was asked for.", errors=(wrong,)) from error


async def _categories(layouts: Layouts, layout_id: str, version: int | None) -> Sequence[str]:
    layout = await layouts.deployed_index(layout_id, version)
    if layout is None:
        raise InvalidInput(f"There is no such deployed layout: {layout_id}. `lml layout list` shows what there is.")
    return tuple(dict.fromkeys((*layout.categories, *(area.category for area in layout.areas))))


# --- Engines ----------------------------------------------------------------------------------------------------------


async def _with_catalogue(act: Callable[[Catalogue, Layouts], Awaitable[T]]) -> T:
    async with open_pool(postgres_dsn()) as pool:
        settings = load_settings()
        mongo_url = settings.mongo_url or running(settings).mongo_url
        database = mongo.connect_database(mongo_url, settings.mongo_database)
        try:
            layouts = DeployedLayouts(Library(database, history=LayoutRecord(pool)))
            return await act(Catalogue(pool, layouts), layouts)
        finally:
            mongo.close_database(database)


def postgres_dsn() -> str:
    """PostgreSQL's address: as set, else that of the running `lml up`. Raises `Unavailable`."""
    settings = load_settings()
    return settings.postgres_dsn or running(settings).postgres_dsn


def find_postgres(settings: Settings) -> str | None:
    """The same, or None where it is not set and no `lml up` runs."""
    from lml_live.devstack.engines import running_engines

    if settings.postgres_dsn:
        return settings.postgres_dsn
    found = running_engines(settings)
    return None if found is None else found.postgres_dsn


def running(settings: Settings) -> "EngineUrls":
    """The engines of the running `lml up`. Raises `Unavailable`."""
    from lml_live.devstack.engines import running_engines

    found = running_engines(settings)
    if found is None:
        raise Unavailable(
            f"No `lml up` runs on {settings.data_dir}. Start it first, or set LML_POSTGRES_DSN and LML_MONGO_URL."
        )
    return found


@asynccontextmanager
async def open_pool(dsn: str, *, size_max: int = 2) -> AsyncIterator[Pool]:
    """A small pool for one command, on a database that has every migration. Raises `Unavailable`."""
    if pending := await postgres.pending_migrations(dsn):
        raise Unavailable(f"The database lacks {', '.join(pending)}: start `lml up` or `lml serve` on it once.")
    pool = await postgres.connect_pool(dsn, application_name="lml command", size_max=size_max)
    try:
        yield pool
    finally:
        await pool.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a command's work; what we know to go wrong is told without a trace."""
    try:
        return asyncio.run(work)
    except LmlError as error:
        tell(f"lml: {mask_secrets(error.message)}")
        for violation in error.errors:
            tell(f"  {violation.path}: {violation.message}")
        sys.exit(UNREACHABLE if isinstance(error, Unavailable) else REFUSED)


def tell(text: str) -> None:
    """Says something to people."""
    click.echo(text, err=True)
