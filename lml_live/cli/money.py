"""`lml money …`: whether bookings and Stripe agree. Exit codes as those of `lml event`, and 1 where they do not."""

from datetime import datetime
from typing import Final

import click

from lml_live.booking.matching import Match, Matching
from lml_live.booking.pace import Pace
from lml_live.booking.stripe_payments import StripePayments
from lml_live.cli.events import open_pool, postgres_dsn, run, tell
from lml_live.cli.logs import set_up_logging
from lml_live.errors import Unavailable
from lml_live.infra.config import Settings, load_settings

DIFFERENCES: Final = 1


@click.group("money")
def money_group() -> None:
    """Money: match.

    \b
    Examples:
      lml money match
      lml money match --since 2026-11-01T00:00:00Z
    """


def read_time(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    """A time with its zone, as a command's option."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: a time such as 2026-11-01T00:00:00Z is expected") from error
    if moment.tzinfo is None:
        raise click.BadParameter(f"{text!r}: a time with its zone is expected, such as 2026-11-01T00:00:00Z")
    return moment


@money_group.command("match")
@click.option("--since", callback=read_time, metavar="TIME", help="Go further back than to the last match.")
def match_command(since: datetime | None) -> None:
    """Compares bookings with what Stripe has booked, as a worker does daily, and lists every difference.

    A line each, by tabs: kind, booking, state, what it is over, what Stripe has, PaymentIntents. Nothing is changed.
    What moved within LML_SETTLE_SECONDS is left for the next match. Exit code 1 where there are differences.

    \b
    Examples:
      lml money match
      lml money match --since 2026-11-01T00:00:00Z
    """
    settings = load_settings()
    set_up_logging("money", "error")

    async def act() -> Match:
        keys = with_stripe(settings)
        assert keys.stripe_api_key is not None
        async with open_pool(postgres_dsn()) as pool:
            pace = Pace.of(pool, settings)
            payments = StripePayments(
                *(pace, keys.stripe_api_key, keys.stripe_publishable_key or "", keys.stripe_api_base)
            )
            try:
                matching = Matching(pool, payments.read_transactions, settle_seconds=settings.settle_seconds)
                return await matching.match(since)
            finally:
                await payments.close()

    found = run(act())
    for one in found.differences:
        owed = f"{one.amount} {one.currency}" if one.booking is not None else ""
        taken = ", ".join(f"{amount} {currency}" for currency, amount in one.taken.items())
        click.echo("\t".join((one.kind, one.booking or "", one.state or "", owed, taken, ", ".join(one.intents))))
    every = sum(found.counts.values())
    tell(
        f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC: {found.bookings} bookings, "
        f"{found.transactions} transactions, {every} differences"
        + (f", of which {len(found.differences)} are listed" if every > len(found.differences) else "")
    )
    raise SystemExit(DIFFERENCES if every else 0)


def with_stripe(settings: Settings) -> Settings:
    """The settings with a key of Stripe's: as set, else the double's of the running `lml up`."""
    if settings.stripe_api_key is not None:
        return settings
    from lml_live.devstack.engines import running_engines, with_engines

    running = running_engines(settings)
    if running is None or running.stripe is None:
        raise Unavailable(
            f"LML_STRIPE_API_KEY is not set, and no `lml up` with the Stripe double runs on {settings.data_dir}."
        )
    return with_engines(settings, running)
