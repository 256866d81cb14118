"""The shared engines answer as the other tests take for granted."""

import asyncpg
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


async def test_each_test_has_a_database_of_its_own(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    assert (await connection.fetchval("SELECT current_database()")).startswith("test_")
    await connection.close()


async def test_mongo_is_a_replica_set(mongo_database: Database) -> None:
    async with await mongo_database.client.start_session() as session, session.start_transaction():
        await mongo_database.things.insert_one({"_id": 1}, session=session)
    assert await mongo_database.things.count_documents({}) == 1
