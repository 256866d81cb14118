"""What the worker that leads does by itself some seconds later."""

from serving import LiveServer

from lml_live import limits
from lml_live.booking.onboarding import Onboarding
from lml_live.booking.pace import Pace
from lml_live.booking.stripe_connect import StripeConnect
from lml_live.booking.stripe_payments import StripePayments
from lml_live.booking.transfers import Transfers
from lml_live.devstack.stripe.process import StripeDouble


async def look(server: LiveServer, double: StripeDouble) -> None:
    """Looks at the accounts, and decides what is due; what was decided the server does."""
    async with server.pool() as pool:
        payments = StripePayments(Pace(pool), double.secret_key, double.publishable_key, double.url)
        onboarding = Onboarding(pool, StripeConnect(payments))
        for row in await pool.fetch("SELECT account_id FROM connected_account WHERE account_id IS NOT NULL"):
            await onboarding.noticed(row["account_id"])
        await onboarding.look()
        await Transfers(pool).decide_due(limits.PAYOUT_BATCH)
        await payments.close()
