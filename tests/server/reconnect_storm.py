"""Ten thousand sockets on two workers: all cut at once, a worker killed, all workers replaced; and nothing is lost.

    python reconnect_storm.py --sockets 10000

Rows F1, F6 and F34 of the fault matrix, and I29: what the storms took of files and memory comes back. Prints what was
done and how long it took; ends with 1 where anything was not as promised. `make faults` begins with it.
"""

import argparse
import asyncio
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

for _room in ("", "server"):
    sys.path.append(str(Path(__file__).parents[1] / _room))

from serving import LiveServer, furnish  # noqa: E402
from storm import Storm, files_and_memory, sockets_of, storm_of  # noqa: E402
from waiting import eventually  # noqa: E402

from lml_live.bench import bounds  # noqa: E402
from lml_live.bench.counters import cpu_ns, raise_open_files  # noqa: E402
from lml_live.devstack.servers import Mongo, Postgres, Valkey  # noqa: E402
from lml_live.infra import postgres  # noqa: E402

WITHIN_SECONDS = 5.0
BUSY = 60
"""Of other seats than these nobody can have missed anything: what is told is always shorter than the whole
(`resume.REPLAY_SEATS_MIN`)."""
PAUSE_SECONDS = 600.0
"""They ask when they are cut and when they are told to go. Each act is told to all ten thousand, by a machine that has
to play these, too."""
STORMS = 4
SOCKET_LEAK_BYTES = 5_000
"""A socket takes some 19 kB. One that left a third of itself behind would show after two storms; that pools and
allocators keep some of what they had does not."""
FILES_SPARE = 60
"""Connections to PostgreSQL and MongoDB that both workers may have opened meanwhile."""


def say(text: str) -> None:
    print(text, flush=True)


async def cut_again_and_again(storm: Storm) -> None:
    """F34, some times. From the second storm on the workers take no more memory than before."""
    server, taken = storm.server, []
    for number in range(1, STORMS + 1):
        before = cpu_ns(server.workers())
        done = await storm.cut()
        spent = (cpu_ns(server.workers()) - before) / storm.count / 1e3
        taken.append(files_and_memory(server)[1])
        say(
            f"storm {number}: {done.resumed:,} cut at once, all back within {done.seconds:.1f} s of which chance took"
            f" {WITHIN_SECONDS:.0f}; {spent:.0f} µs of the workers for each; {done.repeated} asked again; told to wait:"
            f" {done.told or 'nobody'}; {taken[-1] >> 20} MB"
        )
    grown = taken[-1] - taken[1]
    assert grown < (STORMS - 2) * storm.count * SOCKET_LEAK_BYTES, f"storms leave {grown >> 20} MB behind"


async def run(base: Path, count: int, seed: int) -> None:
    database, valkey = Postgres(base / "postgres", options={"fsync": "off"}), Valkey(base / "valkey")
    mongo = Mongo(base / "mongo")
    server: LiveServer | None = None
    try:
        for engine in (database, valkey, mongo):
            await engine.start()
        await postgres.migrate(database.url)
        server = LiveServer(database.url, mongo.url, "storm", valkey.url, LML_WORKERS="2")
        await furnish(server)
        await asyncio.to_thread(server.start)
        async with storm_of(server, count, BUSY) as storm:
            await sockets_of(server)
            files = files_and_memory(server)[0]
            done = await storm.come(WITHIN_SECONDS, PAUSE_SECONDS, seed)
            spread = " and ".join(f"{sockets:,}" for sockets in (await sockets_of(server)).values())
            say(f"{count:,} sockets came in {done.seconds:.1f} s: {spread}")
            await cut_again_and_again(storm)
            done = await storm.kill()
            say(f"a worker killed: {done.resumed:,} came back; told to wait: {done.told or 'nobody'}")
            began = time.monotonic()
            done = await storm.restart()
            say(
                f"both workers replaced in {time.monotonic() - began:.1f} s: {done.resumed:,} came back,"
                f" {done.repeated} asked again; told to wait: {done.told or 'nobody'}"
            )
            await storm.rest()
            say("all see the truth, and have what they were granted")
            await storm.leave()
            await eventually(lambda: files_and_memory(server)[0] <= files + FILES_SPARE, 30)
    finally:
        if server is not None:
            await asyncio.to_thread(server.kill)
        for engine in (mongo, valkey, database):
            await engine.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    raise_open_files()
    if (why := bounds.too_many_sockets(given.sockets)) is not None:
        sys.exit(f"RED: {why}")
    directory = Path(tempfile.mkdtemp(prefix="lml-storm-"))
    directory.chmod(0o711)  # PostgreSQL's own user must get in
    os.environ["LML_TEST_RUN"] = str(directory)
    logging.disable(logging.ERROR)  # what clients say of a killed worker is no news here
    try:
        asyncio.run(run(directory, given.sockets, given.seed))
    except Exception as error:  # noqa: BLE001 - whatever it was, it is told and the end is red
        say("RED: " + "".join(traceback.format_exception(error)[-3:]).strip())
        sys.exit(1)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
