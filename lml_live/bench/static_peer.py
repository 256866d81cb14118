"""A bare peer of the server: aiohttp serving the files of a folder. `python -m lml_live.bench.static_peer FOLDER LOOP`.

`LOOP` is `uvloop`, which a worker of ours runs on and which sends a file in pieces, or `asyncio`, which has the kernel
send it. It prints where it listens and ends with its stdin.
"""

import asyncio
import contextlib
import gc
import sys

import uvloop
from aiohttp import web

from lml_live.bench.orders import Done, write
from lml_live.devstack.child import LOOPBACK


async def _main(folder: str) -> None:
    app = web.Application()
    app.router.add_static("/files", folder)
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


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        (uvloop.run if sys.argv[2] == "uvloop" else asyncio.run)(_main(sys.argv[1]))
