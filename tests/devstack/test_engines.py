"""Engines as child processes: they keep port and data, survive their own death and their parent's."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from waiting import eventually

from lml_live.devstack import child
from lml_live.devstack.engines import EngineUrls, engines, lock_owner, mongo_url, running_engines
from lml_live.devstack.servers import Mongo, ObjectStore, Postgres, Valkey
from lml_live.errors import Conflict, Unavailable
from lml_live.infra.config import Settings


def silent(_: str) -> None:
    """Nobody listens."""


def only_valkey(data_dir: Path) -> Settings:
    """The others are said to be elsewhere, so that the test is quick."""
    return Settings(
        data_dir=data_dir,
        postgres_dsn="postgresql://elsewhere/lml",
        mongo_url="mongodb://elsewhere",
        s3_bucket="b",
        stripe_api_key="sk_test_elsewhere",
    )


async def set_and_get(url: str) -> bytes | None:
    async with Redis.from_url(url) as redis:
        found: bytes | None = await redis.get("kept")
        await redis.set("kept", "1")
    return found


def run_in_background(*command: str, user: int | None = None) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, user=user, cwd="/")


class Interrupted(Exception):
    """A start was cut off here."""


def interrupted(*_: object) -> None:
    raise Interrupted


@contextlib.asynccontextmanager
async def stopped_at_the_end(*started: child.Engine) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await asyncio.gather(*(engine.stop() for engine in started))


# --- One at a time


async def test_an_engine_keeps_port_and_data_over_a_restart(run_directory: Path) -> None:
    valkey = Valkey(run_directory / "valkey", password="pass-word_1")
    async with stopped_at_the_end(valkey):
        await valkey.start()
        url = valkey.url
        await set_and_get(url)
        await valkey.restart()
        assert valkey.url == url
        assert await set_and_get(url) == b"1"
    assert valkey.exit_code == 0


async def test_postgres_keeps_its_data_over_a_crash(run_directory: Path) -> None:
    postgres = Postgres(run_directory / "postgres", options={"fsync": "off"})
    async with stopped_at_the_end(postgres):
        await postgres.start()
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("CREATE TABLE kept (n int)")
        await connection.close()
        await postgres.kill()
        await postgres.start()
        connection = await asyncpg.connect(postgres.url)
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0
        await connection.close()
        assert postgres.pid is not None
        assert psutil.Process(postgres.pid).uids().real != 0


async def test_postgres_waits_for_the_sessions_of_one_that_was_killed(run_directory: Path) -> None:
    """They still had its shared memory, and it refused to start: on a busy machine, for as long as they did not run."""
    postgres = Postgres(run_directory / "postgres", options={"fsync": "off"})
    async with stopped_at_the_end(postgres):
        await postgres.start()
        connection = await asyncpg.connect(postgres.url)
        session = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
        session.suspend()
        try:
            await postgres.kill()
            starting = asyncio.create_task(postgres.start())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(starting), 1)
        finally:
            session.resume()
        await starting
        assert await postgres.is_ready()
        connection.terminate()


async def test_postgres_is_not_taken_in_by_a_stale_process_id(run_directory: Path) -> None:
    """After a crash of the machine, the process id in postmaster.pid may be anybody's."""
    postgres = Postgres(run_directory / "postgres", options={"fsync": "off"})
    async with stopped_at_the_end(postgres):
        await postgres.start()
        lock = postgres.directory / "postmaster.pid"
        text = lock.read_text()
        await postgres.stop()
        lock.write_text(text.replace(text.splitlines()[0], str(os.getppid())))
        await postgres.start()
        assert await postgres.is_ready()
        assert lock.read_text().splitlines()[0] == str(postgres.pid)


async def test_an_interrupted_first_start_leaves_no_half_cluster(run_directory: Path) -> None:
    half = run_directory / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    postgres = Postgres(run_directory / "postgres", options={"fsync": "off"})
    async with stopped_at_the_end(postgres):
        await postgres.start()
    assert not half.exists()


@pytest.mark.parametrize("cut", ["_spawn", "_wait_until_ready", "finish", "_run"])
async def test_a_first_start_that_was_cut_off_after_the_cluster_was_made(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """The cluster was there and its database was not, and no later start made it: the directory was ruined for good."""
    known = Postgres._run

    def run(engine: Postgres, program: str, *arguments: str) -> None:
        if program == "createdb":
            raise Interrupted
        known(engine, program, *arguments)

    postgres = Postgres(run_directory / "postgres", options={"fsync": "off"})
    with monkeypatch.context() as patched:
        patched.setattr(Postgres, cut, run if cut == "_run" else interrupted)
        with pytest.raises(Interrupted):
            await postgres.start()
    assert (postgres.directory / "PG_VERSION").exists()
    again = Postgres(run_directory / "postgres", options={"fsync": "off"})
    async with stopped_at_the_end(postgres, again):
        await again.start()
        connection = await asyncpg.connect(again.url)
        await connection.execute("CREATE TABLE kept (n int)")
        await connection.close()
        await again.restart()
        connection = await asyncpg.connect(again.url)
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0, "what is there is not made again"
        await connection.close()


async def test_an_initdb_that_outlived_its_start_is_ended_before_another_is_made(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them worked in one directory, and the one that failed would have deleted it under the other."""
    monkeypatch.setattr("lml_live.limits.ENGINE_STOP_SECONDS", 0.5)
    postgres = Postgres(run_directory / "postgres", options={"fsync": "off"})
    half = run_directory / "postgres.new"
    half.mkdir()
    account = postgres.account()
    if account is not None:
        os.chown(half, account.uid, account.gid)
    initdb = postgres.home.install / "bin" / "initdb"
    lost = run_in_background(str(initdb), "-D", str(half), user=account.uid if account else None)
    try:
        await eventually((half / "base").exists)
        psutil.Process(lost.pid).suspend()
        async with stopped_at_the_end(postgres):
            await postgres.start()
            assert lost.poll() is not None
            connection = await asyncpg.connect(postgres.url)
            await connection.close()
    finally:
        lost.kill()
        lost.wait()


async def test_a_password_that_is_not_postgres_own_is_said_clearly(run_directory: Path) -> None:
    postgres = Postgres(run_directory / "postgres", options={"fsync": "off"})
    async with stopped_at_the_end(postgres):
        await postgres.start()
    other = Postgres(run_directory / "postgres", options={"fsync": "off"}, password="another")
    with pytest.raises(Unavailable, match="password authentication failed"):
        await other.start()
    assert other.pid is None


@pytest.mark.parametrize("cut", ["_spawn", "_wait_until_ready", "finish", "_set_up"])
async def test_mongo_makes_its_set_at_whichever_start(
    run_directory: Path, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    first, again = (Mongo(run_directory / "mongo", port=child.free_port()) for _ in range(2))
    with monkeypatch.context() as patched:
        patched.setattr(Mongo, cut, interrupted)
        with pytest.raises(Interrupted):
            await first.start()
    async with stopped_at_the_end(first, again):
        await again.start()
        client: AsyncMongoClient[dict[str, int]] = AsyncMongoClient(again.url)
        await client.lml.kept.insert_one({"_id": 1})
        await client.close()


async def test_mongo_finds_itself_again_on_another_port(run_directory: Path) -> None:
    """A replica set names its members by port; a node that is not in its own set is no primary."""
    first = Mongo(run_directory / "mongo")
    async with stopped_at_the_end(first):
        await first.start()
        client: AsyncMongoClient[dict[str, int]] = AsyncMongoClient(first.url)
        await client.lml.kept.insert_one({"_id": 1})
        await client.close()
        await first.kill()
    second = Mongo(run_directory / "mongo", port=child.free_port())
    async with stopped_at_the_end(second):
        await second.start()
        assert second.port != first.port
        client = AsyncMongoClient(second.url)
        assert await client.lml.kept.count_documents({}) == 1
        await client.close()


async def test_the_s3_double_answers(run_directory: Path) -> None:
    store = ObjectStore(run_directory / "s3")
    async with stopped_at_the_end(store):
        await store.start()
        assert await store.is_ready()


async def test_an_engine_that_cannot_start_says_why(run_directory: Path) -> None:
    valkey = Valkey(run_directory / "valkey", options={"appendfsync": "sometimes"})
    with pytest.raises(Unavailable, match="appendfsync"):
        await valkey.start()
    assert valkey.pid is None


async def test_a_given_port_in_use_is_an_error(run_directory: Path) -> None:
    first = Valkey(run_directory / "first")
    async with stopped_at_the_end(first):
        await first.start()
        second = Valkey(run_directory / "second", port=first.port)
        with pytest.raises(Unavailable, match=r"Address already in use|bind"):
            await second.start()


async def test_a_preferred_port_in_use_is_replaced(run_directory: Path) -> None:
    first, second = Valkey(run_directory / "first"), Valkey(run_directory / "second")
    async with stopped_at_the_end(first, second):
        await first.start()
        second.prefer_port(first.port)
        await second.start()
        assert second.port != first.port


async def test_a_leftover_is_ended_and_a_bystander_lives(run_directory: Path) -> None:
    directory = run_directory / "valkey"
    lost, found = Valkey(directory), Valkey(directory)
    async with stopped_at_the_end(lost, found):
        await lost.start()
        await set_and_get(lost.url)
        bystander = run_in_background("tail", "-f", str(directory / "valkey.conf"))
        try:
            await found.start()
            assert lost.exit_code == 0
            assert await set_and_get(found.url) == b"1"
            assert bystander.poll() is None
        finally:
            bystander.kill()
            bystander.wait()


def test_a_log_that_grew_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lml_live.limits.ENGINE_LOG_BYTES_MAX", 1)
    log = tmp_path / "log" / "valkey.log"
    child.rotate(log)
    log.write_text("12")
    child.rotate(log)
    assert not log.exists()
    assert log.with_suffix(".log.1").read_text() == "12"


# --- All together


async def test_the_whole_stack_answers_and_is_found(run_directory: Path) -> None:
    settings = Settings(data_dir=run_directory / "data")
    assert running_engines(settings) is None
    lines: list[str] = []
    async with engines(settings, lines.append) as urls:
        assert running_engines(settings) == urls
        async with mongo_url(settings) as url:
            assert url == urls.mongo_url
        assert urls.s3_endpoint_url is not None
        await set_and_get(urls.redis_url)
        assert urls.postgres_owner_dsn is not None
        connection = await asyncpg.connect(urls.postgres_owner_dsn)
        await connection.close()
        assert urls.postgres_dsn.startswith("postgresql://lml_server:"), "a role that is made with the first migration"
        secret = run_directory / "data" / "secrets.json"
        assert secret.stat().st_mode & 0o077 == 0
    assert running_engines(settings) is None
    assert len([line for line in lines if "answers on port" in line]) == 5
    async with mongo_url(settings) as url:
        assert url == urls.mongo_url, "the port is remembered"
    assert not [process for process in psutil.process_iter(["cmdline"]) if _names(process, run_directory)]


def _names(process: psutil.Process, directory: Path) -> bool:
    return any(str(directory) in argument for argument in process.info["cmdline"] or ())


async def test_a_second_start_on_the_same_data_is_refused(run_directory: Path) -> None:
    settings = only_valkey(run_directory / "data")
    async with engines(settings, silent):
        owner = lock_owner(settings)
        assert owner is not None
        assert owner.owner_pid == os.getpid()
        with pytest.raises(Conflict, match=f"is used by lml up .process {os.getpid()}"):
            async with engines(settings, silent):
                pass


async def test_given_engines_are_used_instead(run_directory: Path) -> None:
    settings = only_valkey(run_directory / "data")
    lines: list[str] = []
    async with engines(settings, lines.append) as urls:
        assert urls == EngineUrls(
            redis_url=urls.redis_url,
            postgres_dsn="postgresql://elsewhere/lml",
            mongo_url="mongodb://elsewhere",
            s3_endpoint_url=None,
        )
    assert "PostgreSQL: as given by the settings" in lines


async def test_an_engine_that_dies_is_started_again(run_directory: Path) -> None:
    settings = only_valkey(run_directory / "data")
    async with engines(settings, silent) as urls:
        await set_and_get(urls.redis_url)
        for _ in range(2):
            record = lock_owner(settings)
            assert record is not None
            killed = record.engines["valkey"].pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)

            def started_again(killed: int = killed) -> bool:
                now = lock_owner(settings)
                return now is not None and now.engines["valkey"].pid != killed

            await eventually(started_again)
            assert await set_and_get(urls.redis_url) == b"1"


async def test_what_a_killed_parent_leaves_is_found_and_recovered(run_directory: Path) -> None:
    settings = only_valkey(run_directory / "data")
    parent = run_in_background(sys.executable, str(Path(__file__).with_name("lost_parent.py")), str(settings.data_dir))
    try:
        urls = await eventually(lambda: running_engines(settings), 20)
    finally:
        parent.kill()
        parent.wait()
    assert await set_and_get(urls.redis_url) is None, "the engine outlives its parent"
    lines: list[str] = []
    async with engines(settings, lines.append) as again:
        assert again == urls
        assert await set_and_get(again.redis_url) == b"1"
    assert "Valkey: an earlier run had left a process; it has been ended" in lines


async def test_a_data_directory_of_somebody_else_is_refused(run_directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    data = run_directory / "data"
    data.mkdir()
    os.chown(data, 1, 1)
    with pytest.raises(Unavailable, match="belongs to user"):
        async with engines(only_valkey(data), silent):
            pass


async def test_a_lost_password_is_said_clearly(run_directory: Path) -> None:
    settings = Settings(data_dir=run_directory, mongo_url="mongodb://elsewhere", s3_bucket="b")
    (run_directory / "postgres").mkdir()
    with pytest.raises(Unavailable, match=r"secrets\.json is missing"):
        async with engines(settings, silent):
            pass


async def test_a_file_that_valkey_cannot_read_is_set_aside(run_directory: Path) -> None:
    """Rubbish at the end of the append-only file kept `lml up` from ever starting again."""
    valkey = Valkey(run_directory / "valkey")
    await valkey.start()
    assert await set_and_get(valkey.url) is None
    await valkey.stop()
    (written,) = (valkey.directory / "appendonlydir").glob("*.incr.aof")
    with written.open("ab") as file:
        file.write(b"\x93rubbish\xff" * 40)
    await valkey.start()
    try:
        assert await set_and_get(valkey.url) is None
        assert "unreadable" in valkey.remark
        assert list(valkey.directory.glob("unreadable-*"))
    finally:
        await valkey.stop()
