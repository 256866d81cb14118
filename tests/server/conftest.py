"""Bare sockets for the tests of the server, and a server that sells."""

from collections.abc import AsyncIterator, Iterator

import pytest
from lines import Lines
from serving import LiveServer, open_house, paid_through

from lml_live.devstack.stripe.process import StripeDouble
from lml_live.gateway import wire


@pytest.fixture(scope="session")
def shop(postgres_server: str, mongo_url: str, valkey_url: str, stripe_shared: StripeDouble) -> Iterator[LiveServer]:
    """A server that sells, with the double for Stripe."""
    with open_house(
        postgres_server,
        mongo_url,
        valkey_url,
        **paid_through(stripe_shared),
        LML_POLL_SECONDS="3600",
        LML_MAILBOX="1",
        LML_PUBLIC_URL="https://tickets.example.org",
        LML_MATCH_SECONDS="2",  # what has moved has an hour to settle, so that nothing is due here by itself
    ) as server:
        yield server


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    """`await lines.greeted(live_server, fmt)`: a socket that was welcomed."""
    async with Lines() as made:
        yield made


@pytest.fixture(params=[wire.JSON, wire.MSGPACK], ids=["json", "msgpack"])
def fmt(request: pytest.FixtureRequest) -> wire.Format:
    """Each of the two subprotocols."""
    found: wire.Format = request.param
    return found
