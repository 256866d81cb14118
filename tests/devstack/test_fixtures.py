"""The shared engines answer as the other tests take for granted."""

import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest
from databases import give_back, take_database
from redis.asyncio import Redis
from waiting import ValkeyFactory

from lml_live.infra.mongo import Database


async def test_valkey_is_persistent_and_never_evicts(valkey_url: str) -> None:
    async with Redis.from_url(valkey_url, decode_responses=True) as redis:
        found = await redis.config_get("appendonly", "appendfsync", "maxmemory-policy")
    assert found == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}


async def test_valkey_of_ones_own_keeps_port_and_data_over_a_kill(valkey_own: ValkeyFactory) -> None:
    valkey = await valkey_own()
    url = valkey.url
    async with Redis.from_url(url) as redis:
        await redis.set("seat", "held")
    await valkey.kill()
    await valkey.start()
    assert valkey.url == url
    async with Redis.from_url(url) as redis:
        assert await redis.get("seat") == b"held"


@contextlib.asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


async def test_a_database_that_was_used_is_as_good_as_new(postgres_server: str) -> None:
    dsn = await take_database(postgres_server)
    async with connected(dsn) as connection:
        await connection.execute("INSERT INTO house (secret) VALUES (sha256('x'))")
    await give_back(dsn)
    again = await take_database(postgres_server)
    assert again == dsn
    async with connected(again) as connection:
        assert await connection.fetchval("SELECT count(*) FROM house") == 0
    await give_back(again)


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX one_sale_per_seat",
        "CREATE TABLE of_a_test (id text)",
        "CREATE OR REPLACE FUNCTION status_change_stays() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
        "DELETE FROM booking_move WHERE from_state = 'cancelling'",
    ],
)
async def test_a_database_whose_schema_was_changed_is_not_used_again(postgres_server: str, change: str) -> None:
    dsn = await take_database(postgres_server)
    async with connected(dsn) as connection:
        await connection.execute(change)
    await give_back(dsn)
    other = await take_database(postgres_server)
    assert other != dsn
    await give_back(other)


async def test_mongo_is_a_replica_set(mongo_database: Database) -> None:
    async with await mongo_database.client.start_session() as session, session.start_transaction():
        await mongo_database.things.insert_one({"_id": 1}, session=session)
    assert await mongo_database.things.count_documents({}) == 1
