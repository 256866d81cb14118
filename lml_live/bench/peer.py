"""How a bare aiohttp server, which ours is measured beside, is run: as a child of the benchmark."""

import asyncio
import gc
import sys

from aiohttp import web

from lml_live.bench.orders import Done, write
from lml_live.devstack.child import LOOPBACK


async def serve(app: web.Application) -> None:
    """Serves on a free port of loopback, says on stdout which, and ends with stdin."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0, backlog=4096)
    await site.start()
    gc.collect()
    gc.freeze()  # as the server's workers do
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    sys.stdout.buffer.write(write(Done(port=runner.addresses[0][1])))
    sys.stdout.buffer.flush()
    await reader.read()
    await runner.cleanup()
