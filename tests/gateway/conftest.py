"""A whole worker for the modules that send it what they should not."""

from collections.abc import AsyncIterator

import pytest_asyncio
from socket_house import LiveServer, house, serving

from lml_live.infra.config import Settings


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def socket_settings(postgres_server: str, mongo_url: str, valkey_url: str) -> AsyncIterator[Settings]:
    async with house(postgres_server, mongo_url, valkey_url) as settings:
        yield settings


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(socket_settings: Settings) -> AsyncIterator[LiveServer]:
    async with serving(socket_settings) as running:
        yield running
