"""Bare sockets for the tests of the server."""

from collections.abc import AsyncIterator

import pytest
from lines import Lines

from lml_live.gateway import wire


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
