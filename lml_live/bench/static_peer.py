"""A bare peer of the server: aiohttp serving the files of a folder. `python -m lml_live.bench.static_peer FOLDER LOOP`.

`LOOP` is `uvloop`, which a worker of ours runs on and which sends a file in pieces, or `asyncio`, which has the kernel
send it. It prints where it listens and ends with its stdin.
"""

import asyncio
import contextlib
import sys

import uvloop
from aiohttp import web

from lml_live.bench.peer import serve


async def _main(folder: str) -> None:
    app = web.Application()
    app.router.add_static("/files", folder)
    await serve(app)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        (uvloop.run if sys.argv[2] == "uvloop" else asyncio.run)(_main(sys.argv[1]))
