"""One database a process with fresh events in it; every call of a script is compared with the script's header.

Not a conftest: pytest knows all of them as the one module `conftest`, and tests of other rooms import from the house's.
Test modules import the fixtures that they use by the names of their functions.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from databases import clone_database, kept_pool
from inventory_house import SCRIPTS, House, read_prepared
from script_headers import assert_answer_as_said, assert_call_as_said

from lml_live.infra import postgres
from lml_live.infra.redis import Part, Pipe, Prepared, Sink


@pytest.fixture(autouse=True)
def scripts_keep_their_word(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Pipe.run

    async def checked(self: Pipe, script: str, keys: Sequence[str], args: Sequence[Part]) -> list[Any]:
        assert_call_as_said(script, keys, args)
        answer = await run(self, script, keys, args)
        assert_answer_as_said(script, answer)
        return answer

    monkeypatch.setattr(Pipe, "run", checked)
    send = Pipe.send

    def checked_send(self: Pipe, call: Prepared, args: Sequence[bytes], sink: Sink) -> None:
        script, keys, first = read_prepared(call)
        assert_call_as_said(script, keys, [*first, *args])
        send(self, call, args, CheckedSink(script, sink))

    monkeypatch.setattr(Pipe, "send", checked_send)


class CheckedSink:
    """Hands an answer on when it is what the script's header says."""

    def __init__(self, script: str, sink: Sink) -> None:
        self.script = script
        self.done = sink.done
        self.sink = sink
        self.set_exception = sink.set_exception

    def set_result(self, answer: Any, /) -> None:
        try:
            assert_answer_as_said(self.script, answer)
        except AssertionError as error:
            self.sink.set_exception(error)
        else:
            self.sink.set_result(answer)


@pytest.fixture(scope="session", name="inventory_dsn")
def inventory_dsn_fixture(postgres_server: str) -> str:
    """A database for this process's events; dropped with the server."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, clone_database(postgres_server)).result()


@pytest.fixture(name="pool")
async def pool_fixture(inventory_dsn: str) -> postgres.Pool:
    return await kept_pool(inventory_dsn)


@pytest.fixture(name="house")
async def house_fixture(valkey_url: str, pool: postgres.Pool) -> AsyncIterator[House]:
    pipe = Pipe(valkey_url, SCRIPTS)
    await pipe.start()
    house = House(pipe, pool)
    yield house
    for worker in house.workers:
        await worker.pipe.close()
