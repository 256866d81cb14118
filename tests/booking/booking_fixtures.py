"""A house that sells, on a database without bookings; every call of a script is compared with the script's header."""

from collections.abc import AsyncIterator
from typing import Final

import booking_house  # noqa: F401  # first: it knows where the inventory's house is
import pytest
from booking_house import BookingHouse
from databases import as_server, kept_pool
from inventory_fixtures import inventory_dsn_fixture, scripts_keep_their_word  # noqa: F401
from inventory_house import SCRIPTS

from lml_live.devstack.stripe.process import StripeDouble
from lml_live.infra import postgres
from lml_live.infra.redis import Pipe

_EMPTY: Final = """
    DO $$
    DECLARE
        name regclass;
    BEGIN
        -- Neither foreign keys nor the triggers that keep the ledger append-only stand in the way.
        SET LOCAL session_replication_role = replica;
        FOR name IN
            WITH RECURSIVE emptied (it) AS (
                SELECT unnest(
                    '{booking,payment_attempt,outbox,stripe_notice,stripe_transaction,money_match,ledger_transaction}'::regclass[]
                )
                UNION SELECT conrelid::regclass FROM pg_constraint JOIN emptied ON confrelid = it WHERE contype = 'f'
            )
            SELECT it FROM emptied
        LOOP
            EXECUTE format('DELETE FROM %s', name);
        END LOOP;
    END $$
"""


async def empty(pool: postgres.Pool) -> None:
    """No bookings, and no trace of any. To truncate would give each table new files, and all connections new plans."""
    await pool.execute(_EMPTY)


@pytest.fixture(name="booking_dsn")
async def booking_dsn_fixture(inventory_dsn: str) -> str:
    """This process's database, emptied of bookings: a fresh one for each test costs half a second."""
    await empty(await kept_pool(inventory_dsn))
    return inventory_dsn


@pytest.fixture(name="house")
async def house_fixture(valkey_url: str, booking_dsn: str, stripe_double: StripeDouble) -> AsyncIterator[BookingHouse]:
    pool, server = await kept_pool(booking_dsn), await kept_pool(as_server(booking_dsn))
    pipe = Pipe(valkey_url, SCRIPTS)
    await pipe.start()
    house = BookingHouse(pipe, pool, server, booking_dsn, stripe_double)
    yield house
    await house.completer.close()
    await house.payments.close()
    for worker in house.workers:
        await worker.pipe.close()


@pytest.fixture(name="event")
async def event_fixture(house: BookingHouse) -> str:
    """Open, 24 seats and a floor of 10."""
    return await house.open_event(areas={"floor": 10})
