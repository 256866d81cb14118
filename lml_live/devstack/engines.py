"""The engines of one data directory: started together, kept running, stopped together, found by other commands.

DATA/run/lock          held (flock) by the one process that may start engines here
DATA/run/engines.json  who holds it, the engines' addresses and processes; the ports are asked for again next time
DATA/secrets.json      the engines' passwords, made at the first start
DATA/valkey, postgres, mongo, log
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import pwd
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from lml_live import limits
from lml_live.devstack.child import Engine
from lml_live.devstack.servers import Mongo, ObjectStore, Postgres, Valkey, write_private
from lml_live.devstack.stripe.process import StripeDouble
from lml_live.errors import Conflict, Unavailable
from lml_live.infra.config import Settings

Report = Callable[[str], None]

_log: Final = logging.getLogger(__name__)

_DOUBLE_BUCKET: Final = "lml-layouts"
_DOUBLE_CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "lml",
    "AWS_SECRET_ACCESS_KEY": "lml",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_UP: Final = "lml up"
_MONGO_ONLY: Final = "a command that uses MongoDB"


class StripeKeys(msgspec.Struct, frozen=True):
    """Where the Stripe double is, and its keys."""

    api_base: str
    secret_key: str
    publishable_key: str
    webhook_secret: str


class EngineUrls(msgspec.Struct, frozen=True):
    """Where the engines are, our own and those that were given. They carry secrets."""

    redis_url: str
    postgres_dsn: str
    mongo_url: str
    s3_endpoint_url: str | None
    """None where a bucket of Amazon's is named by the settings."""
    postgres_owner_dsn: str | None = None
    """None where PostgreSQL is given by the settings, without its owner."""
    stripe: StripeKeys | None = None
    """None where a key of the real Stripe is given by the settings."""


class EngineRecord(msgspec.Struct, frozen=True):
    """One engine that was started here."""

    port: int
    pid: int | None


class StackRecord(msgspec.Struct, frozen=True):
    """What `engines.json` says. It is true only while somebody holds the lock."""

    owner_pid: int
    owner: str
    urls: EngineUrls | None = None
    engines: dict[str, EngineRecord] = {}


class _Secrets(msgspec.Struct, frozen=True):
    redis: str
    postgres: str
    # Directories of before the server had a role of its own have no password for it.
    postgres_server: str = ""
    # Directories of before the double have none: then it makes new ones, for it has no state there either.
    stripe_secret_key: str = ""
    stripe_publishable_key: str = ""
    stripe_webhook_secret: str = ""


@asynccontextmanager
async def engines(settings: Settings, report: Report, *, webhook_url: str | None = None) -> AsyncIterator[EngineUrls]:
    """Starts every engine whose address is not given, keeps them running, and stops them in the end.

    `webhook_url` is where the Stripe double sends its notices.

    An engine that dies is started again on the same port and data. Leftovers of a killed parent are ended first.
    Raises `Conflict` where another `lml` uses the data directory, `Unavailable` where an engine does not start.
    """
    with _locked(settings, _UP) as before:
        stack = _stack(settings, before, webhook_url)
        for name in _given(settings):
            report(f"{name}: as given by the settings")
        keepers: list[asyncio.Task[None]] = []
        try:
            await _start_all(list(stack.values()), report)
            server_dsn, owner_dsn = _postgres_dsns(settings, stack)
            urls = EngineUrls(
                redis_url=settings.redis_url or stack["valkey"].url,
                postgres_dsn=server_dsn,
                postgres_owner_dsn=owner_dsn,
                mongo_url=settings.mongo_url or stack["mongo"].url,
                s3_endpoint_url=stack["s3"].url if "s3" in stack else settings.s3_endpoint_url,
                stripe=_stripe_keys(stack),
            )

            def record() -> None:
                _write_record(settings, _UP, urls, stack)

            record()
            keepers += [asyncio.create_task(_keep_running(engine, record)) for engine in stack.values()]
            yield urls
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            # None of them needs another to stop, so all stop at once; those who use them have been stopped before.
            await asyncio.gather(*(engine.stop() for engine in stack.values()))


def with_engines(settings: Settings, urls: EngineUrls) -> Settings:
    """The settings as they are once the engines run.

    Where the S3 double is used this process gets credentials for it: it takes any, but its client insists on some.
    """
    if urls.s3_endpoint_url is not None and settings.s3_bucket is None:
        for name, value in _DOUBLE_CREDENTIALS.items():
            os.environ.setdefault(name, value)
        settings = msgspec.structs.replace(settings, s3_bucket=_DOUBLE_BUCKET)
    if urls.stripe is not None:
        settings = msgspec.structs.replace(
            settings,
            stripe_api_key=urls.stripe.secret_key,
            stripe_publishable_key=urls.stripe.publishable_key,
            stripe_webhook_secret=urls.stripe.webhook_secret,
            stripe_api_base=urls.stripe.api_base,
        )
    return msgspec.structs.replace(
        settings,
        redis_url=urls.redis_url,
        postgres_dsn=urls.postgres_dsn,
        postgres_owner_dsn=urls.postgres_owner_dsn,
        mongo_url=urls.mongo_url,
        s3_endpoint_url=urls.s3_endpoint_url,
    )


@asynccontextmanager
async def mongo_url(settings: Settings) -> AsyncIterator[str]:
    """MongoDB for one command: the given one, else that of a running `lml up`, else one started just for this.

    Waits for a `lml up` that is starting, and for another such command to finish. Raises `Unavailable` after a while.
    """
    if settings.mongo_url:
        yield settings.mongo_url
        return
    deadline = time.monotonic() + limits.ENGINE_START_SECONDS
    while True:
        running = running_engines(settings)
        if running is not None:
            yield running.mongo_url
            return
        with contextlib.ExitStack() as held:
            try:
                before = held.enter_context(_locked(settings, _MONGO_ONLY))
            except Conflict as error:
                if time.monotonic() > deadline:
                    raise Unavailable(error.message) from error
            else:
                mongo = _mongo(settings, before)
                try:
                    await mongo.start()
                    yield mongo.url
                finally:
                    await mongo.stop()
                return
        await asyncio.sleep(0.1)


def running_engines(settings: Settings) -> EngineUrls | None:
    """The engines of a `lml up` that runs on this data directory and is ready; None where there is none."""
    record = lock_owner(settings)
    return record.urls if record is not None else None


def lock_owner(settings: Settings) -> StackRecord | None:
    """Who uses the data directory now; None where nobody does."""
    try:
        with _lock_path(settings).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Unavailable(f"{_lock_path(settings)} cannot be read: {_whose(settings.data_dir)}") from error
    except BlockingIOError:
        return _read_record(settings)


# --- Starting, and keeping


def _given(settings: Settings) -> list[str]:
    given = {
        Valkey.name: settings.redis_url,
        Postgres.name: settings.postgres_dsn,
        Mongo.name: settings.mongo_url,
        "S3": settings.s3_endpoint_url or settings.s3_bucket,
        "Stripe": settings.stripe_api_key,
    }
    return [name for name, value in given.items() if value]


def _postgres_dsns(settings: Settings, stack: dict[str, Engine]) -> tuple[str, str | None]:
    """As whom the server signs in, and as whom it migrates before."""
    if settings.postgres_dsn is not None:
        return settings.postgres_dsn, settings.postgres_owner_dsn
    database = stack["postgres"]
    assert isinstance(database, Postgres)
    return database.server_url, database.url


def _stripe_keys(stack: dict[str, Engine]) -> StripeKeys | None:
    double = stack.get("stripe")
    if not isinstance(double, StripeDouble):
        return None
    return StripeKeys(double.url, double.secret_key, double.publishable_key, double.webhook_secret)


def _stack(settings: Settings, before: StackRecord | None, webhook_url: str | None) -> dict[str, Engine]:
    data = settings.data_dir.absolute()
    words = _secrets(data)
    stack: dict[str, Engine] = {}
    if not settings.redis_url:
        stack["valkey"] = Valkey(data / "valkey", log=data / "log" / "valkey.log", password=words.redis)
    if not settings.postgres_dsn:
        stack["postgres"] = Postgres(
            data / "postgres",
            log=data / "log" / "postgres.log",
            password=words.postgres,
            server_password=words.postgres_server,
        )
    if not settings.mongo_url:
        stack["mongo"] = _mongo(settings, before)
    if not (settings.s3_endpoint_url or settings.s3_bucket):
        stack["s3"] = ObjectStore(data / "s3", log=data / "log" / "s3.log")
    if not settings.stripe_api_key:
        stack["stripe"] = StripeDouble(
            data / "stripe",
            log=data / "log" / "stripe.log",
            secret_key=words.stripe_secret_key,
            publishable_key=words.stripe_publishable_key,
            webhook_secret=words.stripe_webhook_secret,
            webhook_url=webhook_url,
        )
    for name, engine in stack.items():
        engine.prefer_port(_port_of(name, before))
    return stack


def _mongo(settings: Settings, before: StackRecord | None) -> Mongo:
    data = settings.data_dir.absolute()
    mongo = Mongo(data / "mongo", log=data / "log" / "mongo.log")
    mongo.prefer_port(_port_of("mongo", before))
    return mongo


def _port_of(name: str, before: StackRecord | None) -> int | None:
    known = before.engines.get(name) if before else None
    return known.port if known else None


async def _start_all(stack: list[Engine], report: Report) -> None:
    started = time.monotonic()

    async def start(engine: Engine) -> None:
        await engine.start()
        if engine.found_leftover:
            report(f"{engine.name}: an earlier run had left a process; it has been ended")
        report(f"{engine.name}: answers on port {engine.port} ({time.monotonic() - started:.1f} s){engine.remark}")

    outcomes = await asyncio.gather(*map(start, stack), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def _keep_running(engine: Engine, record: Callable[[], None]) -> None:
    pause = 0.0
    while True:
        started = time.monotonic()
        while engine.pid is not None:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(limits.ENGINE_LOOK_SECONDS)
        if time.monotonic() - started > limits.ENGINE_RESTART_WAIT_SECONDS_MAX:
            pause = 0.0
        _log.warning("%s ended (%s); it is started again on port %d", engine.name, engine.exit_text, engine.port)
        await asyncio.sleep(pause)
        pause = min(2 * pause + 0.1, limits.ENGINE_RESTART_WAIT_SECONDS_MAX)
        try:
            await engine.start()
        except Unavailable as error:
            _log.error("%s could not be started again: %s", engine.name, error)
        else:
            _log.warning("%s answers again", engine.name)
            record()


# --- The data directory


@contextmanager
def _locked(settings: Settings, owner: str) -> Iterator[StackRecord | None]:
    """Holds the data directory; yields what the last holder recorded."""
    data = settings.data_dir
    _make_data_dir(data)
    with _lock_path(settings).open("w") as lock:
        for tries_left in reversed(range(10)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                # A command that looks whether we run holds the lock for a moment; only a real owner keeps it.
                if not tries_left:
                    raise Conflict(_in_use(settings)) from error
                time.sleep(0.01)
        before = _read_record(settings)
        ports = before.engines if before else {}
        _save(settings, StackRecord(owner_pid=os.getpid(), owner=owner, engines=ports))
        yield before


def _in_use(settings: Settings) -> str:
    record = _read_record(settings)
    who = f"{record.owner} (process {record.owner_pid})" if record else "another process"
    return f"{settings.data_dir.absolute()} is used by {who}: stop that first, or set LML_DATA_DIR to another folder"


def _make_data_dir(data: Path) -> None:
    try:
        for folder in (data, data / "run", data / "log"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if data.stat().st_uid != os.geteuid():
            # Files of two users in one data directory would lock both of them out sooner or later.
            raise Unavailable(_whose(data))
        if os.geteuid() == 0:
            data.chmod(0o711)  # PostgreSQL's own user passes through; the secrets in here are closed one by one.
    except OSError as error:
        raise Unavailable(f"The data directory {data.absolute()} cannot be used: {error.strerror}") from error


def _whose(data: Path) -> str:
    uid = data.stat().st_uid
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return f"{data.absolute()} belongs to user {name}: run as that user, or set LML_DATA_DIR to another folder"


def _lock_path(settings: Settings) -> Path:
    return settings.data_dir / "run" / "lock"


def _record_path(settings: Settings) -> Path:
    return settings.data_dir / "run" / "engines.json"


def _read_record(settings: Settings) -> StackRecord | None:
    try:
        return msgspec.json.decode(_record_path(settings).read_bytes(), type=StackRecord)
    except (OSError, msgspec.MsgspecError):
        return None  # None yet, or cut off by a full disk: it only remembers ports.


def _write_record(settings: Settings, owner: str, urls: EngineUrls, stack: dict[str, Engine]) -> None:
    started = {name: EngineRecord(port=engine.port, pid=engine.pid) for name, engine in stack.items()}
    _save(settings, StackRecord(owner_pid=os.getpid(), owner=owner, urls=urls, engines=started))


def _save(settings: Settings, record: StackRecord) -> None:
    write_private(_record_path(settings), msgspec.json.encode(record).decode())


def _secrets(data: Path) -> _Secrets:
    path = data / "secrets.json"
    try:
        known = msgspec.json.decode(path.read_bytes(), type=_Secrets)
        missing: dict[str, str] = {} if known.stripe_secret_key else _stripe_secrets()
        if not known.postgres_server:
            missing["postgres_server"] = secrets.token_urlsafe(24)
        return _keep_secrets(path, msgspec.structs.replace(known, **missing)) if missing else known
    except FileNotFoundError as error:
        if (data / "postgres").exists():
            raise Unavailable(
                f"{path} is missing, and with it the password of PostgreSQL's data: put it back, or delete {data}"
            ) from error
        words = {name: secrets.token_urlsafe(24) for name in ("redis", "postgres", "postgres_server")}
        return _keep_secrets(path, _Secrets(**words, **_stripe_secrets()))
    except msgspec.MsgspecError as error:
        raise Unavailable(f"{path} cannot be read ({error}); it holds the passwords of the engines' data") from error


def _stripe_secrets() -> dict[str, str]:
    return {
        "stripe_secret_key": f"sk_test_{secrets.token_hex(12)}",
        "stripe_publishable_key": f"pk_test_{secrets.token_hex(12)}",
        "stripe_webhook_secret": f"whsec_{secrets.token_hex(16)}",
    }


def _keep_secrets(path: Path, words: _Secrets) -> _Secrets:
    write_private(path, msgspec.json.encode(words).decode())
    return words
