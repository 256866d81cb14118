"""Starts Valkey in the data directory that is its argument, and waits to be killed."""

import asyncio
import sys
from pathlib import Path

from lml_live.devstack.engines import engines
from lml_live.infra.config import Settings


async def main() -> None:
    settings = Settings(
        data_dir=Path(sys.argv[1]),
        postgres_dsn="postgresql://elsewhere/lml",
        mongo_url="mongodb://elsewhere",
        s3_bucket="b",
        stripe_api_key="sk_test_elsewhere",
    )
    async with engines(settings, lambda _: None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main())
