"""`lml organisation …`: who sells through the house, what we keep of it, and what they are paid."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click
import msgspec

from lml_live.booking.bank_payouts import BankPayouts, Payout
from lml_live.booking.bookings import Bookings
from lml_live.booking.organisations import NewOrganisation, Organisation, Organisations
from lml_live.booking.statements import StatementLine, Statements, write_csv
from lml_live.booking.surplus import StuckTransfer, Surplus
from lml_live.cli.events import convert, open_pool, postgres_dsn, run, tell
from lml_live.cli.money import read_time
from lml_live.gateway.organisations import OnboardingBody, OrganisationChanges
from lml_live.infra.config import load_settings
from lml_live.infra.postgres import Pool

T = TypeVar("T")
_PAGE = 200


@click.group("organisation")
def organisation_group() -> None:
    """Organisations that sell through the house: create, change, list, member, venue, event, onboard, statement,
    payouts, stuck, retry.

    \b
    Examples:
      lml organisation create "City Opera" --currency EUR --fee-basis-points 500 --id city-opera
      lml organisation venue city-opera "Opera House" --id opera-house
      lml organisation event city-opera opera-house aida-2026-12-01
      lml organisation list
    """


def _with(act: Callable[[Organisations], Awaitable[T]]) -> T:
    return _with_pool(lambda pool: act(Organisations(pool)))


def _with_pool(act: Callable[[Pool], Awaitable[T]]) -> T:
    async def work() -> T:
        async with open_pool(postgres_dsn()) as pool:
            return await act(pool)

    return run(work())


@organisation_group.command("create")
@click.argument("name")
@click.option("--currency", required=True, metavar="CODE", help="What it is paid in; its events sell in no other.")
@click.option("--id", metavar="ID", help="Else made at random.")
@click.option("--hold-back-days", type=int, help="From an event's start until its money is due; else 7.")
@click.option("--fee-basis-points", type=int, help="What we keep of a price, in hundredths of a percent; else 0.")
@click.option("--fee-per-ticket", type=int, help="And of each ticket, in minor units; else 0.")
def create_command(**given: Any) -> None:
    """Makes an organisation and prints its id.

    \b
    Examples:
      lml organisation create "City Opera" --currency EUR --fee-basis-points 500 --fee-per-ticket 50 --id city-opera
    """

    async def act(organisations: Organisations) -> Organisation:
        named = {name: value for name, value in given.items() if value is not None}
        return await organisations.create(convert(named, NewOrganisation))

    made = _with(act)
    tell(_says(made))
    click.echo(made.id)


@organisation_group.command("change")
@click.argument("organisation", metavar="ORGANISATION")
@click.option("--name")
@click.option("--hold-back-days", type=int, help="From an event's start until its money is due.")
@click.option("--fee-basis-points", type=int, help="Of what is sold from now on.")
@click.option("--fee-per-ticket", type=int, help="Of what is sold from now on.")
def change_command(organisation: str, **given: Any) -> None:
    """Changes what is named; what was sold before keeps the terms it was sold by.

    \b
    Examples:
      lml organisation change city-opera --hold-back-days 14
    """
    named = {name: value for name, value in given.items() if value is not None}
    if not named:
        raise click.UsageError("Name what is to be changed, such as --hold-back-days 14.")

    async def act(organisations: Organisations) -> Organisation:
        convert(named, OrganisationChanges)
        return await organisations.change(organisation, named)

    tell(_says(_with(act)))


@organisation_group.command("list")
def list_command() -> None:
    """Lists all organisations: id, currency, days held back, fees, whether they can be paid, name.

    \b
    Examples:
      lml organisation list
    """

    async def act(organisations: Organisations) -> list[Organisation]:
        found: list[Organisation] = []
        while page := await organisations.list(after=(found[-1].created, found[-1].id) if found else None, limit=_PAGE):
            found += page
        return found

    for one in _with(act):
        fee = f"{one.fee_basis_points}+{one.fee_per_ticket}"
        click.echo("\t".join((one.id, one.currency, str(one.hold_back_days), fee, _standing(one), one.name)))


@organisation_group.command("member")
@click.argument("organisation", metavar="ORGANISATION")
@click.argument("email")
@click.option("--remove", is_flag=True, help="They may not any more.")
def member_command(organisation: str, email: str, remove: bool) -> None:
    """Lets a manager see an organisation and act for it; administrators may anyway.

    \b
    Examples:
      lml organisation member city-opera boss@example.com
      lml organisation member city-opera boss@example.com --remove
    """
    if remove:
        _with(lambda organisations: organisations.remove_member(organisation, email))
    else:
        _with(lambda organisations: organisations.add_member(organisation, email))
    tell(f"{email}: {'no member' if remove else 'member'} of {organisation}")


@organisation_group.command("venue")
@click.argument("organisation", metavar="ORGANISATION")
@click.argument("name")
@click.option("--id", "venue", metavar="ID", help="Else made at random.")
def venue_command(organisation: str, name: str, venue: str | None) -> None:
    """Makes a venue of an organisation's and prints its id.

    \b
    Examples:
      lml organisation venue city-opera "Opera House" --id opera-house
    """
    made = _with(lambda organisations: organisations.add_venue(organisation, name, venue=venue))
    tell(f"{made.name}, of {organisation}")
    click.echo(made.id)


@organisation_group.command("event")
@click.argument("organisation", metavar="ORGANISATION")
@click.argument("venue", metavar="VENUE")
@click.argument("event", metavar="EVENT")
@click.option("--remove", is_flag=True, help="The house sells it on its own account again.")
def event_command(organisation: str, venue: str, event: str, remove: bool) -> None:
    """Sells an event on a venue's account, before anything of it is sold.

    \b
    Examples:
      lml organisation event city-opera opera-house aida-2026-12-01
    """
    if remove:
        _with(lambda organisations: organisations.take_event(organisation, venue, event))
    else:
        _with(lambda organisations: organisations.put_event(organisation, venue, event))
    tell(f"{event}: sold for {'the house' if remove else organisation}")


@organisation_group.command("onboard")
@click.argument("organisation", metavar="ORGANISATION")
@click.option("--country", required=True, metavar="CODE", help="Where its account is opened: ISO 3166, such as DE.")
@click.option("--return-url", metavar="URL", help="Where Stripe sends the owner back to; else the organisation's page.")
def onboard_command(organisation: str, country: str, return_url: str | None) -> None:
    """Prints a link to Stripe, where the account's owner says who is paid. It is good once, for minutes.

    \b
    Examples:
      lml organisation onboard city-opera --country DE
    """
    from lml_live.booking.onboarding import Onboarding
    from lml_live.booking.pace import Pace
    from lml_live.booking.stripe_connect import StripeConnect
    from lml_live.booking.stripe_payments import StripePayments
    from lml_live.cli.money import with_stripe

    settings = load_settings()
    page = f"{settings.public_url or f'http://127.0.0.1:{settings.port}'}/organisation"

    async def act(pool: Pool) -> str:
        wish = convert({"country": country}, OnboardingBody)
        keys = with_stripe(settings)
        assert keys.stripe_api_key is not None
        pace = Pace.of(pool, settings)
        payments = StripePayments(pace, keys.stripe_api_key, keys.stripe_publishable_key or "", keys.stripe_api_base)
        try:
            one = await Organisations(pool).load(organisation)
            back = return_url or f"{page}?organisation={one.id}"
            return (await Onboarding(pool, StripeConnect(payments)).begin(one, wish.country, back)).url
        finally:
            await payments.close()

    click.echo(_with_pool(act))


@organisation_group.command("statement")
@click.argument("organisation", metavar="ORGANISATION")
@click.option("--from", "since", callback=read_time, metavar="TIME", help="Events that begin from then on.")
@click.option("--to", "until", callback=read_time, metavar="TIME", help="And before this.")
@click.option("--format", "shape", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
def statement_command(organisation: str, since: datetime | None, until: datetime | None, shape: str) -> None:
    """Prints what an organisation has sold, is due, was paid and owes: a line for each event, by start.

    Amounts are minor units of its currency. sold - refunded - charged_back - fees = share, which is what was
    transferred, is underway or due, or was kept for what it owed (netted), less what could not be taken back
    (receivable).

    \b
    Examples:
      lml organisation statement city-opera --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z
      lml organisation statement city-opera --format json
    """

    async def act(pool: Pool) -> list[StatementLine]:
        one, statements = await Organisations(pool).load(organisation), Statements(pool)
        found: list[StatementLine] = []
        while True:
            after = (found[-1].starts_at, found[-1].event) if found else None
            page = await statements.lines(one, since=since, until=until, after=after, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                return found

    lines = _with_pool(act)
    click.echo(write_csv(lines) if shape == "csv" else msgspec.json.format(msgspec.json.encode(lines), indent=2))


@organisation_group.command("payouts")
@click.argument("organisation", metavar="ORGANISATION")
def payouts_command(organisation: str) -> None:
    """Lists what went from an organisation's account at Stripe to its bank, the newest first.

    A line each, by tabs: payout, made, arrives, amount, currency, state, and why it failed. What failed or was canceled
    is in the account again. Exit code 1 where the newest one failed: see that the bank account is put right.

    \b
    Examples:
      lml organisation payouts city-opera
    """

    async def act(pool: Pool) -> list[Payout]:
        one, payouts = await Organisations(pool).load(organisation), BankPayouts(pool)
        found: list[Payout] = []
        while page := await payouts.list(
            one.id, before=(found[-1].created, found[-1].id) if found else None, limit=_PAGE
        ):
            found += page
        return found

    found = _with_pool(act)
    for one in found:
        days = (f"{one.created:%Y-%m-%dT%H:%M:%SZ}", f"{one.arrives:%Y-%m-%d}")
        click.echo("\t".join((one.id, *days, str(one.amount), one.currency, one.state, one.failure_reason or "")))
    tell(f"{len(found)} payouts")
    raise SystemExit(bool(found) and found[0].state == "failed")


@organisation_group.command("stuck")
@click.argument("organisation", metavar="[ORGANISATION]", required=False)
def stuck_command(organisation: str | None) -> None:
    """Lists transfers that Stripe refuses and nobody asks for any more: of one organisation, or of all.

    A line each, by tabs: organisation, booking, event, amount, currency, attempts, since when, why. Exit code 1 where
    there are any.

    \b
    Examples:
      lml organisation stuck
      lml organisation stuck city-opera
    """

    async def act(pool: Pool) -> Sequence[StuckTransfer]:
        return await Surplus(pool, Bookings(pool)).stuck(organisation, limit=_PAGE)

    found = _with_pool(act)
    for one in found:
        of = (one.organisation, one.booking, one.event, str(one.amount), one.currency, str(one.attempts))
        click.echo("\t".join((*of, f"{one.since:%Y-%m-%dT%H:%M:%SZ}", one.fault)))
    tell(f"{len(found)} transfers are stuck")
    raise SystemExit(bool(found))


@organisation_group.command("retry")
@click.argument("organisation", metavar="ORGANISATION")
@click.argument("booking", metavar="[BOOKING]", required=False)
def retry_command(organisation: str, booking: str | None) -> None:
    """Asks Stripe once more for what is stuck: of an organisation, or of one booking of its events.

    \b
    Examples:
      lml organisation retry city-opera
      lml organisation retry city-opera b-2b4c
    """

    async def act(pool: Pool) -> int:
        one = await Organisations(pool).load(organisation)
        return await Surplus(pool, Bookings(pool)).retry(one.id, booking)

    tell(f"{_with_pool(act)} transfers are asked for again")


def _says(one: Organisation) -> str:
    fee = f"{one.fee_basis_points / 100:g} % + {one.fee_per_ticket}"
    return f"{one.name}: {one.currency}, fee {fee}, due {one.hold_back_days} days after an event; {_standing(one)}"


def _standing(one: Organisation) -> str:
    if one.account is None:
        return "no account"
    return "ready" if one.account.ready else "onboarding"
