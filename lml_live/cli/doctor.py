"""`lml doctor`: what is wrong with this machine, its settings and its engines, and what to do about it."""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, Final, Literal

import asyncpg
import click
import msgspec
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from lml_live import limits
from lml_live.backoffice.layout_record import LayoutRecord, find_set_back
from lml_live.cli.events import open_pool
from lml_live.cli.logs import set_up_logging
from lml_live.devstack import preflight
from lml_live.devstack.engines import EngineUrls, lock_owner, running_engines
from lml_live.errors import InvalidInput, LmlError
from lml_live.gateway.workers import listen
from lml_live.infra import postgres
from lml_live.infra.assets import asset_dir
from lml_live.infra.config import Settings, load_settings, mask_secrets
from lml_live.infra.mongo import close_database, connect_database
from lml_live.infra.mongo_rights import compare_role
from lml_live.infra.redis import Pipe
from lml_live.infra.redis_topology import Topology, open_topology
from lml_live.infra.rights import compare_rights, shorten, sign_in_of
from lml_live.inventory.wakes import Wakes
from lml_live.venues.library import Library
from lml_live.venues.self_check import check_immutability, check_rules
from lml_live.venues.stored import RIGHTS

_OPEN_FILES_MIN: Final = 10_240
"""A worker needs one for each client; below this ten thousand clients on one worker do not fit."""

_PUBSUB_TRIES: Final = 300
"""Looks, 10 ms apart, for what was published to come back: three seconds, for a connection that is slow to come."""

_MONGO_WAIT_MS: Final = 3_000

_LAYOUTS_LOOKED_AT: Final = 50
"""The largest layout takes a second."""

_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


class Finding(msgspec.Struct, frozen=True):
    """One line of the report."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    text: str


@click.command()
@click.option("--layouts", is_flag=True, help="Also try MongoDB's rules and the immutability of layouts, on scratch.")
def doctor(layouts: bool) -> None:
    """Says what is wrong and what to do about it; exit code 1 when something is.

    \b
    Examples:
      lml doctor
      lml doctor --layouts      # also tries what nobody may be able to store or change; keeps nothing
      LML_POSTGRES_DSN=postgresql://lml:secret@db/lml lml doctor
    """
    set_up_logging("doctor", "error")
    failed = False
    for finding in asyncio.run(_collect(layouts)):
        failed = failed or finding.level == "fail"
        level = click.style(f"{finding.level:<4}", fg=_COLOURS[finding.level])
        click.echo(f"{level}  {finding.subject:<12} {mask_secrets(finding.text)}")
    raise SystemExit(1 if failed else 0)


async def _collect(layouts: bool) -> list[Finding]:
    return [finding async for finding in examine(os.environ, layouts=layouts)]


async def examine(environ: "os._Environ[str] | dict[str, str]", *, layouts: bool = False) -> AsyncIterator[Finding]:
    """All findings, in the order in which they build on one another; with `layouts` those of the self-checks, too."""
    try:
        settings = load_settings(environ)
        yield Finding("ok", "settings", "can be read")
    except InvalidInput as error:
        for fault in error.errors:
            yield Finding("fail", "settings", f"{fault.path} {fault.message}")
        settings = Settings()
    for finding in (*_machine(settings), *_installation(), *_data_dir(settings), *_port(settings)):
        yield finding
    urls = running_engines(settings)
    async for finding in _engines(settings, urls):
        yield finding
    mongo_url = settings.mongo_url or (urls.mongo_url if urls else None)
    dsn = settings.postgres_dsn or (urls.postgres_dsn if urls else None)
    if dsn is not None and mongo_url is not None:
        async for finding in _record(settings.mongo_database, mongo_url, dsn):
            yield finding
    if layouts and mongo_url is not None:
        async for finding in _self_checks(settings.mongo_database, mongo_url):
            yield finding
    elif layouts:
        yield Finding("fail", "layouts", "cannot be tried: MongoDB does not run; `lml up` starts an embedded one")


# --- This machine


def _machine(settings: Settings) -> Iterator[Finding]:
    embedded = not (settings.redis_url and settings.postgres_dsn and settings.mongo_url)
    folder = next(
        place for place in (settings.data_dir.absolute(), *settings.data_dir.absolute().parents) if place.exists()
    )
    facts = preflight.gather(str(folder))._replace(has_venv=True)  # It is past its use: we are running in one.
    problems = preflight.problems(facts)
    for problem in problems:
        yield Finding("fail" if embedded else "warn", "machine", problem)
    if not problems:
        yield Finding("ok", "machine", f"{facts.system} {facts.machine}, {facts.free_bytes >> 30} GB free in {folder}")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _OPEN_FILES_MIN:
        advice = f"each client is one: raise it, as with `ulimit -Hn {_OPEN_FILES_MIN}` or LimitNOFILE= of systemd"
        yield Finding("warn", "open files", f"at most {hard}; {advice}")
    else:
        yield Finding("ok", "open files", "no limit" if hard == resource.RLIM_INFINITY else f"at most {hard}")


def _installation() -> Iterator[Finding]:
    for name in ("lua", "sql"):
        try:
            asset_dir(name)
        except FileNotFoundError as error:
            yield Finding("fail", "installation", str(error))


def _data_dir(settings: Settings) -> Iterator[Finding]:
    data = settings.data_dir.absolute()
    if not data.exists():
        yield Finding("ok", "data", f"{data} will be made by `lml up`")
        return
    if data.stat().st_uid != os.geteuid() or not os.access(data, os.W_OK | os.X_OK):
        yield Finding("fail", "data", f"{data} belongs to another user: run as that one, or set LML_DATA_DIR")
        return
    open_to_others = [
        path.name
        for path in (data / "secrets.json", data / "admin.txt", data / "run" / "engines.json")
        if path.exists() and path.stat().st_mode & 0o077
    ]
    if open_to_others:
        yield Finding("warn", "data", f"others can read {', '.join(open_to_others)} in {data}: chmod 600")
    owner = lock_owner(settings)
    used = f"in use by {owner.owner} (process {owner.owner_pid})" if owner else "not in use"
    yield Finding("ok", "data", f"{data}, {used}")


def _port(settings: Settings) -> Iterator[Finding]:
    where = f"{settings.host} port {settings.port}"
    try:
        listen(settings.host, settings.port).close()
        yield Finding("ok", "port", f"{where} is free")
    except LmlError as error:
        if lock_owner(settings) is not None:
            yield Finding("ok", "port", f"{where} is in use, as a running `lml up` would have it")
        else:
            yield Finding("fail", "port", error.message)


# --- The engines


async def _engines(settings: Settings, running: EngineUrls | None) -> AsyncIterator[Finding]:
    redis_url = settings.redis_url or (running.redis_url if running else None)
    postgres_dsn = settings.postgres_dsn or (running.postgres_dsn if running else None)
    mongo_url = settings.mongo_url or (running.mongo_url if running else None)
    clocks: dict[str, float] = {}
    for name, address, check in (
        ("Redis", redis_url, _redis),
        ("PostgreSQL", postgres_dsn, _postgres),
        ("MongoDB", mongo_url, partial(_mongo, settings.mongo_database)),
    ):
        if address is None:
            yield Finding("ok", name, "not running; `lml up` starts an embedded one")
            continue
        try:
            async for finding in check(address, clocks):
                yield finding
        except (LmlError, PyMongoError, OSError, ValueError) as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield Finding("fail", name, f"{address} does not answer: {text[:200]}")
    reference = clocks.pop("PostgreSQL", None)
    if reference is None or not clocks:
        return
    skews = {name: round(reference - clock) for name, clock in clocks.items()}
    for name, skew_ms in skews.items():
        if abs(skew_ms) > limits.CLOCK_SKEW_MS:
            advice = "deadlines are corrected by this, but set both machines' clocks (chrony, NTP)"
            yield Finding("warn", "clocks", f"PostgreSQL's is {skew_ms} ms ahead of that of {name}; {advice}")
    widest = max(map(abs, skews.values()))
    if widest <= limits.CLOCK_SKEW_MS:
        yield Finding("ok", "clocks", f"PostgreSQL's and Redis's agree within {widest + 1} ms")


async def _redis(url: str, clocks: dict[str, float]) -> AsyncIterator[Finding]:
    topology = open_topology(url, {}, name="lml-doctor")
    try:
        await topology.start()
        for pipe in topology.nodes():
            async for finding in _redis_node(pipe, clocks):
                yield finding
        yield await _pubsub(topology)
    finally:
        await topology.close()


async def _pubsub(topology: Topology) -> Finding:
    wakes = Wakes(topology)
    listening = asyncio.create_task(wakes.run())
    try:
        for _ in range(_PUBSUB_TRIES):
            if wakes.hearing:
                return Finding("ok", "Redis", "what is published comes back: quiet rooms rest")
            await asyncio.sleep(0.01)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    advice = "let its user publish and subscribe (`&lml:*`); meanwhile every room is read each tick"
    return Finding("warn", "Redis", f"what is published on lml:wakes:… does not come back: {advice}")


async def _redis_node(pipe: Pipe, clocks: dict[str, float]) -> AsyncIterator[Finding]:
    seconds, micros = await pipe.call("TIME")
    clocks[f"Redis at {pipe.place}"] = int(seconds) * 1000 + int(micros) / 1000 - time.monotonic() * 1000
    info = _lines(await pipe.call("INFO", "server"))
    version = info.get("valkey_version", info.get("redis_version", "?"))
    yield Finding("ok", "Redis", f"answers, {info.get('server_name', 'redis')} {version} at {pipe.place}")
    names = ("appendonly", "maxmemory-policy", "min-replicas-to-write")
    found = {name: _text((await pipe.call("CONFIG", "GET", name))[1]) for name in names}
    if found["appendonly"] != "yes":
        yield Finding("warn", "Redis", "appendonly is off: a restart loses all holds; set `appendonly yes`")
    if found["maxmemory-policy"] != "noeviction":
        yield Finding("fail", "Redis", "it may evict holds when memory is full: set `maxmemory-policy noeviction`")
    if (found["appendonly"], found["maxmemory-policy"]) == ("yes", "noeviction"):
        yield Finding("ok", "Redis", "keeps an append-only file, never evicts")
    replicas = _lines(await pipe.call("INFO", "replication")).get("connected_slaves", "0")
    if replicas != "0" and found["min-replicas-to-write"] == "0":
        advice = "set `min-replicas-to-write 1` and `min-replicas-max-lag 2`"
        yield Finding(
            "warn", "Redis", f"a primary that lost its replicas goes on granting holds nobody keeps: {advice}"
        )


async def _postgres(dsn: str, clocks: dict[str, float]) -> AsyncIterator[Finding]:
    connection = await postgres.connect(dsn, application_name="lml doctor")
    try:
        with postgres.driver_errors():
            now_ms = await connection.fetchval(postgres.statements("inventory")["server_time_ms"])
        clocks["PostgreSQL"] = float(now_ms) - time.monotonic() * 1000
        version = connection.get_server_version()
        yield Finding("ok", "PostgreSQL", f"answers, version {version.major}.{version.minor}")
    finally:
        await connection.close(timeout=limits.POSTGRES_CONNECT_SECONDS)
    pending = await postgres.pending_migrations(dsn)
    if pending:
        yield Finding("warn", "PostgreSQL", f"migrations wait ({', '.join(pending)}); the next start applies them")
        return
    yield Finding("ok", "PostgreSQL", "all migrations are applied")
    async for finding in _rights(dsn):
        yield finding


async def _rights(dsn: str) -> AsyncIterator[Finding]:
    """Whether the server's role may do what it must, and no more."""
    role, _ = sign_in_of(dsn)
    connection = await postgres.connect(dsn, application_name="lml doctor")
    try:
        with postgres.driver_errors():
            differs = await compare_rights(connection, role)
    finally:
        await connection.close(timeout=limits.POSTGRES_CONNECT_SECONDS)
    if differs.too_little:
        yield Finding(
            "fail", "PostgreSQL", f"{role} lacks {shorten(differs.too_little)}: run `lml migrate` as the owner"
        )
    owns = any(right.startswith(("OWNERSHIP", "SUPERUSER")) for right in differs.too_much)
    if owns:
        advice = "give the server a role of its own with `lml migrate`"
        yield Finding(
            "warn",
            "PostgreSQL",
            f"{role} owns the tables, so nothing keeps it from changing ledger and trail: {advice}",
        )
    elif differs.too_much:
        yield Finding("warn", "PostgreSQL", f"{role} may do more than it must: {shorten(differs.too_much)}")
    if not differs:
        yield Finding("ok", "PostgreSQL", f"{role} may do what it must, and no more")


async def _mongo(name: str, url: str, _: dict[str, float]) -> AsyncIterator[Finding]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url, serverSelectionTimeoutMS=_MONGO_WAIT_MS)
    try:
        hello = await client.admin.command("hello")
        version = "?"
        with contextlib.suppress(PyMongoError):  # A user without rights may not ask.
            version = (await client.admin.command("buildInfo"))["version"]
        yield Finding("ok", "MongoDB", f"answers, version {version}")
        if hello.get("setName"):
            yield Finding("ok", "MongoDB", f"replica set {hello['setName']}")
        else:
            yield Finding("fail", "MongoDB", "is no replica set, and transactions need one: start it with --replSet")
            return
    finally:
        await client.close()
    async for finding in _mongo_rights(name, url):
        yield finding
    async for finding in _layouts(name, url):
        yield finding


async def _mongo_rights(name: str, url: str) -> AsyncIterator[Finding]:
    """Whether the server's user may do what it must, and can neither change rules nor pass them by."""
    database = connect_database(url, name)
    try:
        differs = await compare_role(database, RIGHTS)
    finally:
        close_database(database)
    if differs.user is None:
        # As `lml up` runs it: on loopback, and what is changed there is found by its hash.
        advice = "on a machine with other people on it, use one that does"
        yield Finding("ok", "MongoDB", f"asks nobody for a password; {advice}")
        return
    if differs.too_little:
        lacks = shorten(differs.too_little)
        yield Finding("fail", "MongoDB", f"{differs.user} lacks {lacks}: run `lml migrate` as the owner")
    if differs.too_much:
        advice = "set LML_MONGO_OWNER_URL, give the server a user of its own, and run `lml migrate`"
        more = shorten(differs.too_much)
        yield Finding("warn", "MongoDB", f"{differs.user} may do more than it must, {more}: {advice}")
    if not (differs.too_little or differs.too_much):
        yield Finding("ok", "MongoDB", f"{differs.user} may do what it must, and cannot pass the rules by")


async def _layouts(name: str, url: str) -> AsyncIterator[Finding]:
    """Whether what may be sold on is what was stored: each is read and hashed anew."""
    database = connect_database(url, name)
    try:
        library = Library(database)
        deployed = await library.deployed_versions()
        looked = deployed[:_LAYOUTS_LOOKED_AT]
        damaged = [version for version in looked if not await library.scrub(version)]
        # Of the others it is known what the server's own scrub has seen.
        damaged += [version for version in await library.damaged_versions() if version not in looked]
        unlawful = await library.unlawful_versions()
    finally:
        close_database(database)
    if unlawful:
        advice = "nothing is done with it; look who may write to MongoDB"
        yield Finding("fail", "layouts", f"{shorten(unlawful)} was written past MongoDB's rules: {advice}")
    names = tuple(dict.fromkeys(f"{version.layout_id} version {version.version}" for version in damaged))
    if names:
        advice = "nothing new is sold on it; `lml layout mend` it, and look who may write to MongoDB"
        yield Finding("fail", "layouts", f"{shorten(names)} is not what was stored: {advice}")
    elif deployed and not unlawful:
        some = "" if len(looked) == len(deployed) else f", the first {len(looked)} looked at now"
        yield Finding("ok", "layouts", f"{len(deployed)} deployed versions have their hashes{some}")


async def _record(name: str, url: str, dsn: str) -> AsyncIterator[Finding]:
    """Whether MongoDB says of every version what is on record of its steps. Where one of the two does not answer, or
    PostgreSQL lacks migrations or the role a right, that was told already."""
    database = connect_database(url, name)
    try:
        async with open_pool(dsn, size_max=1) as pool:
            set_back = await find_set_back(LayoutRecord(pool), Library(database))
    except (LmlError, asyncpg.InsufficientPrivilegeError):
        return
    finally:
        close_database(database)
    for each in set_back:
        yield Finding("fail", "layouts", f"{each.layout_id} version {each.version} {each.why}. {each.advice}")


async def _self_checks(name: str, url: str) -> AsyncIterator[Finding]:
    """The self-checks that managers have over REST (`POST /api/v1/test-mongo`, `/test-immutability`)."""
    database = connect_database(url, name)
    try:
        for subject, check in (("rules", check_rules), ("immutability", check_immutability)):
            try:
                verdict = await check(database)
            except LmlError as error:
                yield Finding("fail", subject, f"of layouts could not be tried: {error.message}")
                continue
            for outcome in verdict.rules:
                if not outcome.passed:
                    yield Finding("fail", subject, f"{outcome.rule}: {outcome.detail}")
            if verdict.passed:
                yield Finding(
                    "ok", subject, f"of layouts were tried: {len(verdict.rules)} of {len(verdict.rules)} hold"
                )
    finally:
        close_database(database)


def _lines(info: bytes) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in _text(info).splitlines() if ":" in line)
    return {name: value.strip() for name, value in pairs}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
