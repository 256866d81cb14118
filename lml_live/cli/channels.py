"""`lml event channel …`: what each sales channel of an event has, given and opened."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TextIO, TypeVar

import click

from lml_live.backoffice.allotting import Allotting
from lml_live.backoffice.blocking import BlockReport, Selection
from lml_live.backoffice.deployed import DeployedLayouts
from lml_live.backoffice.reports import ChannelReport
from lml_live.backoffice.turns import StaffTurns
from lml_live.cli.engines import open_book
from lml_live.cli.events import REFUSED, convert, run, tell
from lml_live.errors import InvalidInput, Violation
from lml_live.gateway.bodies import AssignRequest, ReasonBody
from lml_live.inventory.channels import Channels
from lml_live.pricing.catalogue import Catalogue
from lml_live.pricing.channels import ChannelRows
from lml_live.venues.seat_index import LayoutIndex

BY_COMMAND: Final = "command"
"""Who did it, in the status-change log."""
NEVER: Final = "never"

T = TypeVar("T")


class _Office:
    """Allotting on the engines, and the plans of what is allotted."""

    def __init__(self, allotting: Allotting, catalogue: Catalogue, layouts: DeployedLayouts) -> None:
        self.allotting = allotting
        self._catalogue = catalogue
        self._layouts = layouts

    async def layout_of(self, event_id: str) -> LayoutIndex:
        """An event's layout. Raises `NotFound`."""
        event = await self._catalogue.load_event(event_id)
        return await self._layouts.index(event.layout_id, event.layout_version, event.layout_hash)


@click.group("channel")
def channel_group() -> None:
    """Sales channels of an event: list, set, open.

    A channel is `web`, `box-office` or a partner's (lml partner add); what nobody was given, all sell.

    \b
    Examples:
      lml event channel set aida-2026-12-01 agency --section Stalls --places floor=50 --reason "contract 12"
      lml event channel list aida-2026-12-01
      lml event channel open aida-2026-12-01 agency --reason "slow"
    """


@channel_group.command("list")
@click.argument("event_id", metavar="EVENT")
def list_command(event_id: str) -> None:
    """Lists what each channel has; `open` is what all sell.

    A line a channel: its name, when it opens or was opened, its seats (given, then how many of them are available,
    held, sold, blocked), and its places of each area (given, then available, held, sold).

    \b
    Examples:
      lml event channel list aida-2026-12-01
    """

    async def act(office: _Office) -> list[ChannelReport]:
        return await office.allotting.report(event_id)

    for report in _run(act):
        seats = report.seats
        fields = [report.channel, _when(report)]
        fields.append(f"seats={seats.assigned}:{seats.available},{seats.held},{seats.sold},{seats.blocked}")
        for area, places in report.areas.items():
            fields.append(f"{area}={places.assigned}:{places.available},{places.held},{places.sold}")
        click.echo("\t".join(fields))


def _when(report: ChannelReport) -> str:
    if report.opened_at is not None:
        return f"opened {report.opened_at.isoformat()}"
    return "" if report.opens_at is None else f"opens {report.opens_at.isoformat()}"


@channel_group.command("set")
@click.argument("event_id", metavar="EVENT")
@click.argument("channel")
@click.option("--section", "sections", multiple=True, metavar="NAME", help="All seats of a section. Repeatable.")
@click.option("--row", "rows", multiple=True, metavar="SECTION/ROW", help="All seats of a row. Repeatable.")
@click.option("--seat", "seats", multiple=True, metavar="ID", help="A seat by id. Repeatable.")
@click.option("--seats-from", type=click.File(), metavar="FILE", help="Seat ids, one a line; - reads stdin.")
@click.option("--places", multiple=True, metavar="AREA=N", help="Places of an area from now on, 0: none. Repeatable.")
@click.option("--opens-at", metavar="TIME", help="When all may sell it, with a zone; `never`; else as was planned.")
@click.option("--reason", required=True, help="Why, for the log.")
def set_command(
    event_id: str,
    channel: str,
    sections: Sequence[str],
    rows: Sequence[str],
    seats: Sequence[str],
    seats_from: TextIO | None,
    places: Sequence[str],
    opens_at: str | None,
    reason: str,
) -> None:
    """Gives seats and places to a channel, which alone sells them from then on; `open` gives seats back to all.

    What somebody holds or bought through another channel is refused: a line for each such seat or area, exit code 1.

    \b
    Examples:
      lml event channel set aida-2026-12-01 agency --section Balcony --opens-at 2026-11-20T10:00:00Z --reason contract
      lml event channel set aida-2026-12-01 agency --places floor=50 --reason "contract 12"
      lml event channel set aida-2026-12-01 open --row Stalls/A --reason "given back"
    """
    draft = {
        "channel": channel,
        "areas": dict(map(_read_places, places)),
        "reason": reason,
        **({} if opens_at is None else {"opens_at": None if opens_at == NEVER else opens_at}),
    }
    listed = [*seats, *(line.strip() for line in seats_from or () if line.strip())]

    async def act(office: _Office) -> BlockReport:
        layout = await office.layout_of(event_id)
        wish = convert({**draft, "seats": listed + _seats_of(layout, sections, rows)}, AssignRequest)
        wanted = Selection(wish.seats, (), wish.areas)
        return await office.allotting.assign(event_id, wish.channel, wanted, wish.opens_at, wish.reason, BY_COMMAND)

    report = _run(act)
    told = [f"{report.seats} seats", *(f"{n} places of {area}" for area, n in report.areas.items())]
    tell(f"{event_id}: {channel} has {', '.join(told)} of what was asked for")
    for seat in report.refused_seats:
        click.echo(f"{seat.seat_id}\t{seat.code}")
    for area in report.refused_areas:
        click.echo(f"{area.area_id}\t{area.code}\t{area.available}")
    sys.exit(REFUSED if report.refused_seats or report.refused_areas else 0)


@channel_group.command("open")
@click.argument("event_id", metavar="EVENT")
@click.argument("channel")
@click.option("--reason", required=True, help="Why, for the log.")
def open_command(event_id: str, channel: str, reason: str) -> None:
    """Opens to all what a channel has; what it held and sold stays held and sold. Twice is once.

    \b
    Examples:
      lml event channel open aida-2026-12-01 agency --reason "slow"
    """

    async def act(office: _Office) -> None:
        why = convert({"reason": reason}, ReasonBody).reason
        await office.allotting.open(event_id, channel, why, BY_COMMAND)

    _run(act)
    tell(f"{event_id}: all sell what {channel} had")


def _read_places(text: str) -> tuple[str, int]:
    area, found, number = text.rpartition("=")
    if not found or not area or not (number.isascii() and number.isdecimal() and len(number) <= 9):
        raise click.BadParameter(f"{text!r}: AREA=N is expected, such as floor=50")
    return area, int(number)


def _seats_of(layout: LayoutIndex, sections: Sequence[str], rows: Sequence[str]) -> list[str]:
    """The seat ids of whole sections and rows. Raises `InvalidInput` for those that the layout does not have."""
    wanted: list[str] = []
    wrong: list[Violation] = []
    for name, by_row in (*((name, False) for name in sections), *((name, True) for name in rows)):
        found = [row for row in layout.rows if (f"{row.section}/{row.label}" if by_row else row.section) == name]
        if not found:
            wrong.append(Violation("row" if by_row else "section", f"{name!r} is not in {layout.layout_id}"))
        for row in found:
            wanted += layout.seat_ids[row.first : row.first + row.count]
    if wrong:
        raise InvalidInput("Nothing was given to anybody.", errors=tuple(wrong))
    return wanted


def _run(act: Callable[[_Office], Awaitable[T]]) -> T:
    async def work() -> T:
        async with _open_office() as office:
            return await act(office)

    return run(work())


@asynccontextmanager
async def _open_office() -> AsyncIterator[_Office]:
    async with open_book("lml-channels") as opened:
        catalogue = Catalogue(opened.pool, opened.layouts)
        rows, inventory = ChannelRows(opened.pool), Channels(opened.book)
        allotting = Allotting(catalogue, rows, opened.layouts, inventory, StaffTurns(opened.pool))
        yield _Office(allotting, catalogue, opened.layouts)
