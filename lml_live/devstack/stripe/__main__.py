"""`python -m lml_live.devstack.stripe --port N --state FILE`: runs the double."""

import argparse
import asyncio
import logging
from pathlib import Path

from lml_live.devstack.child import LOOPBACK
from lml_live.devstack.stripe.server import build_app, serve
from lml_live.devstack.stripe.settings import DoubleSettings, Keys


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(prog="lml-stripe-double", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="the SQLite file that holds everything")
    parser.add_argument("--webhook-url", help="where events are sent; without it they are only kept")
    parser.add_argument("--webhook-secret", default="whsec_double")
    parser.add_argument("--secret-key", default="sk_test_double")
    parser.add_argument("--publishable-key", default="pk_test_double")
    parser.add_argument("--public-url", help="where browsers reach this process, if not at the loopback")
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    defaults = DoubleSettings(webhook_url=given.webhook_url, webhook_secret=given.webhook_secret)
    keys = Keys(secret=given.secret_key, publishable=given.publishable_key)
    page_base = (given.public_url or f"http://{LOOPBACK}:{given.port}").rstrip("/")

    async def run() -> None:
        await serve(given.port, build_app(given.state, keys, defaults, page_base))

    asyncio.run(run())


if __name__ == "__main__":
    main()
