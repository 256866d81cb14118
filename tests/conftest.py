"""Real engines for the tests: each is started once a run, when the first test asks for it, in any of the processes.

Under pytest-xdist the workers share one run directory (LML_TEST_RUN); whoever needs an engine first starts it there.
The controller ends all that names the run directory, also what tests started there themselves, and also what an
earlier run left that was killed.
"""

import asyncio
import atexit
import contextlib
import fcntl
import gc
import logging
import os
import secrets
import shutil
import signal
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import argon2
import hypothesis
import psutil
import pytest
import uvloop
from databases import end_kept, give_back, take_database
from waiting import ValkeyFactory

from lml_live.devstack.child import Engine
from lml_live.devstack.servers import Mongo, ObjectStore, Postgres, Valkey
from lml_live.guard import passwords
from lml_live.infra import postgres
from lml_live.infra.mongo import Database, close_database, connect_database
from lml_live.infra.rights import grant_rights, sign_in_of
from lml_live.venues.schema import apply_schema

pytest_plugins = ("collecting", "serving", "stripe_house")

# The machines are shared: how long an example takes says nothing about the code.
hypothesis.settings.register_profile("lml", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("lml")

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 6 << 30
"""What must be free to keep the engines' files in memory: a whole run has had 2 GB of them at most."""


def _where_runs_are() -> Path:
    """In memory where there is plenty: on disk each file that PostgreSQL makes and drops costs a search for an inode,
    a third of what the tests of bookings cost."""
    with contextlib.suppress(OSError):
        found = os.statvfs(MEMORY)
        roomy = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available) > MEMORY_BYTES
        if roomy and os.access(MEMORY, os.W_OK) and not found.f_flag & (os.ST_NOEXEC | os.ST_RDONLY):
            return MEMORY
    return Path(tempfile.gettempdir())


RUNS = _where_runs_are() / f"lml-tests-{os.getuid()}"
_ALIVE: list[IO[str]] = []
_STARTED: list[Engine] = []


# --- The run: one directory, swept when it ends, or by the next run when this one is killed.


def pytest_addoption(parser: pytest.Parser) -> None:
    """For `make fuzz`: how long the calls of tests/server/fuzz_calls.py go on, and from which seed. For `make mutants`:
    which lines tests/inventory/break_scripts.py breaks."""
    parser.addoption("--fuzz-seconds", type=int, default=1)
    parser.addoption("--fuzz-seed", type=int, default=1)
    parser.addoption("--mutants", default="")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        # The controller ends what is started here; that it still runs when we end is as it should be.
        atexit.register(warnings.simplefilter, "ignore", ResourceWarning)
        return
    # The tests decide about settings, not the shell that they are run from.
    for name in [name for name in os.environ if name.startswith("LML_") and not name.startswith("LML_TEST_REQUIRE")]:
        del os.environ[name]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        os.environ[name] = "us-east-1" if name.endswith("REGION") else "test"
    # On this machine nobody listens, and each of thousands of connections would ask for it first.
    os.environ["PGSSLMODE"] = "disable"
    # Nobody out there is asked, and to read the certificates of all authorities costs each process some 60 ms.
    os.environ["SSL_CERT_FILE"] = os.devnull
    RUNS.mkdir(exist_ok=True)
    RUNS.chmod(0o711)  # As root PostgreSQL runs as somebody else, who must get in.
    # One at a time, or a run that begins in the same instant would sweep ours before it shows that it is alive.
    with RUNS.with_suffix(".lock").open("w") as beginning:
        fcntl.flock(beginning, fcntl.LOCK_EX)
        for run in RUNS.iterdir():
            # One that ends just now may be gone.
            with contextlib.suppress(BlockingIOError, FileNotFoundError), (run / "alive").open("w") as alive:
                fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _sweep(run)
        run = Path(tempfile.mkdtemp(dir=RUNS))
        run.chmod(0o711)
        _ALIVE.append((run / "alive").open("w"))
        fcntl.flock(_ALIVE[0], fcntl.LOCK_EX)
    os.environ["LML_TEST_RUN"] = str(run)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and _ALIVE:
        _ALIVE.pop().close()
        _sweep(Path(os.environ["LML_TEST_RUN"]))


def _sweep(run: Path) -> None:
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(run) in argument for argument in process.cmdline()) and process.pid != os.getpid():
                # PostgreSQL leaves shared memory behind when it is killed; asked to hurry it needs no time either.
                process.send_signal(signal.SIGQUIT if process.name() == "postgres" else signal.SIGKILL)
                processes.append(process)
    _, alive = psutil.wait_procs(processes, timeout=5)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    for engine in _STARTED:
        assert engine.exit_code is not None
    shutil.rmtree(run, ignore_errors=True)


def pytest_collection_finish() -> None:
    """What is imported stays, and need not be looked through for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(autouse=True, scope="session")
def product_hasher() -> Iterator[argon2.PasswordHasher]:
    """What tests hash in their own processes is hashed as weakly as may be: the tests are about what surrounds it. Who
    compares takes the cost from the hash, so that to sign in at a server is cheap, too. The fixture is the true one."""
    true = passwords._HASHER
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield true


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Commands that are run in this process set up a log of their own; what is logged later is for pytest again."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    root.handlers[:] = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]


@pytest.fixture
async def _nothing_goes_on() -> AsyncIterator[None]:
    """What a test began and left ends with it: the loop is also the next one's."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test on the loop has `_nothing_goes_on`, but for those that name a loop and share more; to others, half of
    all, it would cost as much as the rest of pytest. It comes when what lasts longer than a test is there."""
    for item in items:
        marker = item.get_closest_marker("asyncio")
        if marker is not None and "loop_scope" not in marker.kwargs and isinstance(item, pytest.Function):
            names = item.fixturenames  # those of one function share it
            if "_nothing_goes_on" not in names:
                names.insert(names.index("_log_as_it_was") + 1, "_nothing_goes_on")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """The tests run on the server's own loop."""
    return {"uvloop": uvloop.new_event_loop}


def _shared(name: str, make: Callable[[Path], Engine], *then: Callable[[Any], Coroutine[Any, Any, None]]) -> str:
    """The engine's address; started by whoever comes first."""
    run = Path(os.environ["LML_TEST_RUN"])
    url = run / f"{name}.url"
    with (run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not url.exists():
            engine = make(run / name)
            _STARTED.append(engine)
            for step in (lambda _: engine.start(), *then):
                _run_apart(step(engine))
            url.write_text(engine.url)
    return url.read_text()


def _run_apart(work: Coroutine[Any, Any, None]) -> None:
    # In a thread of its own: a loop may be running in ours.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


# --- The engines


@pytest.fixture(scope="session")
def valkey_url() -> str:
    """The run's shared Valkey. Keys of other tests are in it: use fresh ids, never FLUSHALL (see `valkey_own`)."""
    return _shared("valkey", Valkey)


@pytest.fixture
async def valkey_own() -> AsyncIterator[ValkeyFactory]:
    """`await valkey_own(**options)`: a Valkey of one's own, to kill, wipe, cut and restart; options as in valkey.conf.

    Its files are in `.directory` (the append-only ones in `appendonlydir/`), its port stays the same over restarts.
    """
    made: list[Valkey] = []

    async def start(**options: str) -> Valkey:
        directory = Path(os.environ["LML_TEST_RUN"]) / f"valkey-{secrets.token_hex(6)}"
        valkey = Valkey(directory, options={name.replace("_", "-"): value for name, value in options.items()})
        made.append(valkey)
        await valkey.start()
        return valkey

    yield start
    for valkey in made:
        await valkey.kill()
        shutil.rmtree(valkey.directory, ignore_errors=True)


@pytest.fixture
def run_directory() -> Iterator[Path]:
    """A fresh directory for processes that a test starts: whatever names it is ended with the run.

    Unlike `tmp_path`, PostgreSQL's own user can enter it.
    """
    directory = Path(os.environ["LML_TEST_RUN"]) / f"test-{secrets.token_hex(6)}"
    directory.mkdir()
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True, scope="session")
async def _keep_pools() -> AsyncIterator[None]:
    yield
    end_kept()


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The run's PostgreSQL, as the address of its maintenance database; most tests want `postgres_dsn`."""
    options = {
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        # Whoever signs in counts as little as is allowed: thousands do.
        "scram_iterations": "1",
        # All is small and short-lived: nothing is worth a process that reads, writes or tidies up for others.
        "autovacuum": "off",
        "io_method": "sync",
        "bgwriter_lru_maxpages": "0",
        "checkpoint_timeout": "1h",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        # Some seven servers for each process of the tests, each with its pool.
        "max_connections": "600",
    }
    return _shared("postgres", lambda directory: Postgres(directory, options=options), _migrate)


async def _migrate(engine: Postgres) -> None:
    connection = await postgres.connect(engine.url)
    await connection.execute(f"ALTER ROLE lml PASSWORD '{engine.password}'")  # made anew, with as many rounds as said
    await connection.close()
    await postgres.migrate(engine.url)
    await grant_rights(engine.url, *sign_in_of(engine.server_url))


@pytest.fixture
async def postgres_dsn(postgres_server: str) -> AsyncIterator[str]:
    """A database as all migrations left it, for one test."""
    dsn = await take_database(postgres_server)
    yield dsn
    await give_back(dsn)


@pytest.fixture(scope="session")
def mongo_url() -> str:
    """The run's MongoDB, a replica set of one."""
    return _shared("mongo", Mongo)


@pytest.fixture
async def mongo_database(mongo_url: str) -> AsyncIterator[Database]:
    """A database with the layouts' schema and nothing in it, for one test."""
    free = _FREE_MONGO.pop() if _FREE_MONGO else None
    database = connect_database(mongo_url, free or f"test_{secrets.token_hex(6)}")
    if free is None:
        await apply_schema(database)
        _AS_MADE_MONGO[database.name] = await _mongo_shape(database)
    yield database
    # To make one costs half a second, to empty it hardly anything; one whose schema a test has changed is dropped.
    shape = await _mongo_shape(database)
    if shape == _AS_MADE_MONGO[database.name]:
        for name in shape:
            await database[name].delete_many({})
        _FREE_MONGO.append(database.name)
    else:
        await database.client.drop_database(database)
    close_database(database)


_FREE_MONGO: list[str] = []
"""Names of this process's databases that are as they were made."""
_AS_MADE_MONGO: dict[str, dict[str, Any]] = {}


async def _mongo_shape(database: Database) -> dict[str, Any]:
    """The collections with their rules and indexes."""
    found = await database.list_collections()
    return {each["name"]: (each["options"], await database[each["name"]].index_information()) async for each in found}


@pytest.fixture(scope="session")
def s3_endpoint_url() -> str:
    """The run's S3 double; buckets of other tests are in it: use fresh names."""
    return _shared("s3", ObjectStore)
