"""`lml` with a stand-in for the server: `python standin.py MARK COMMAND…`. MARK lets the tests find the process.

The stand-in answers each connection with its process id. It ends badly where the file MARK/broken exists, and it does
not stop when told where MARK/stubborn exists.
"""

import asyncio
import os
import socket
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lml_live
from lml_live.cli import serve
from lml_live.errors import Unavailable

MARK = Path(sys.argv[1])


async def prepare(settings: Any, report: Callable[[str], None], *, demonstration: bool = True) -> types.SimpleNamespace:
    first = not (settings.data_dir / "admin.txt").exists()
    report("prepared with a demonstration" if demonstration else "prepared")
    return types.SimpleNamespace(admin_login="admin@example.org password" if first else None)


async def run_worker(_: Any, listener: socket.socket, ready: Callable[[], None], stop: asyncio.Event) -> None:
    if (MARK / "broken").exists():
        raise Unavailable("the stand-in is broken")

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(str(os.getpid()).encode())
        writer.close()

    server = await asyncio.start_server(answer, sock=listener)
    ready()
    await stop.wait()
    if (MARK / "stubborn").exists():
        await asyncio.get_running_loop().create_future()
    (MARK / f"stopped-{os.getpid()}").touch()
    server.close()


def worker_command(fd: int, alive_fd: int) -> list[str]:
    return [sys.executable, __file__, str(MARK), "worker", "--fd", str(fd), "--alive-fd", str(alive_fd)]


if __name__ == "__main__":
    wiring, preparing = types.ModuleType("lml_live.wiring"), types.ModuleType("lml_live.preparing")
    wiring.__dict__.update(run_worker=run_worker)
    preparing.__dict__.update(prepare=prepare)
    sys.modules["lml_live.wiring"] = lml_live.wiring = wiring  # type: ignore[attr-defined]
    sys.modules["lml_live.preparing"] = lml_live.preparing = preparing  # type: ignore[attr-defined]
    serve.worker_command = worker_command  # type: ignore[assignment]
    sys.argv = ["lml", *sys.argv[2:]]
    from lml_live.cli import main

    main()
