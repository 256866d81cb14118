"""The four engines: Valkey, PostgreSQL, MongoDB and the S3 double. Each class is usable alone, as the tests do."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from lml_live import limits
from lml_live.devstack import binaries
from lml_live.devstack.child import LOOPBACK, Engine, end_leftovers, poll
from lml_live.errors import Unavailable

_UNREADABLE: Final = "Bad file format reading the append only file"


class Valkey(Engine):
    """Valkey, its append-only file synced every second; writes are refused, never keys evicted, when memory is full.

    `options` are further lines of its configuration, such as `{"appendonly": "no"}`; they win over ours.
    """

    name = "Valkey"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        log: Path | None = None,
        password: str | None = None,
        options: dict[str, str] | None = None,
    ) -> None:
        super().__init__(directory, port=port, log=log)
        self.password = password
        self.options = options or {}
        self._set_aside: Path | None = None

    @property
    def url(self) -> str:
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{secret}{LOOPBACK}:{self.port}/0"

    @property
    def marker(self) -> str:
        return str(self.directory / "valkey.conf")

    def program(self) -> str:
        return str(binaries.valkey_server())

    def arguments(self) -> list[str]:
        return [self.marker]

    async def prepare(self) -> None:
        await super().prepare()
        lines = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": f'"{self.directory}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',  # The append-only file is the one record; snapshots would only cost memory and time.
            "maxmemory-policy": "noeviction",
            "set-proc-title": "no",  # The command line must keep naming our data: leftovers are known by it.
            **({"requirepass": self.password} if self.password else {}),
            **self.options,
        }
        text = "".join(f"{option} {value}\n" for option, value in lines.items())
        write_private(Path(self.marker), text)

    async def start(self) -> None:
        """Starts. Files that Valkey cannot read are set aside: holds in them are lost, what was sold is not.

        (The end of a file that was only cut off it repairs by itself.)
        """
        try:
            await super().start()
        except Unavailable:
            if _UNREADABLE not in self.log_tail():
                raise
            self._set_aside = self.directory / f"unreadable-{time.strftime('%Y%m%d-%H%M%S')}"
            (self.directory / "appendonlydir").rename(self._set_aside)
            await super().start()

    @property
    def remark(self) -> str:
        if self._set_aside is None:
            return ""
        return f"; its file could not be read and is in {self._set_aside}: held seats are lost, sold ones are not"

    async def is_ready(self) -> bool:
        login = f"AUTH {self.password}\r\n" if self.password else ""
        answer = await _ask(self.port, f"{login}PING\r\nQUIT\r\n".encode())
        return b"+PONG" in answer  # While it loads its file it answers -LOADING.


class Postgres(Engine):
    """PostgreSQL with one database `lml`, its owner `lml`, and `lml_server`, as whom the server is to sign in.

    Passwords by SCRAM over the loopback, no Unix socket. The server's role is made where the database is migrated
    (`rights.grant_rights`).

    As root it runs as an unprivileged user, with the data where that user can reach it (`binaries.postgres_home`).
    `options` are further server settings; they win over ours.
    """

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # "Fast": sessions are ended, everything is written; SIGTERM would wait for clients.

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        log: Path | None = None,
        password: str = "lml",  # noqa: S107 - the tests' passwords; `lml up` makes them at random
        server_password: str = "lml",  # noqa: S107
        options: dict[str, str] | None = None,
    ) -> None:
        self.home = binaries.postgres_home(directory.absolute())
        super().__init__(self.home.data, port=port, log=log or directory.with_name(f"{directory.name}.log"))
        self.password = password
        self.server_password = server_password
        self.options = options or {}

    @property
    def url(self) -> str:
        return self.dsn("lml")

    @property
    def server_url(self) -> str:
        """The same database as the server's role."""
        return f"postgresql://lml_server:{quote(self.server_password, safe='')}@{LOOPBACK}:{self.port}/lml"

    def dsn(self, database: str) -> str:
        """The address of one database, as its owner."""
        return f"postgresql://lml:{quote(self.password, safe='')}@{LOOPBACK}:{self.port}/{database}"

    @property
    def marker(self) -> str:
        return str(self.directory)

    @property
    def remark(self) -> str:
        return f"; its data is in {self.directory}, where {self.home.user} can reach it" if self.home.moved else ""

    def account(self) -> binaries.Account | None:
        return self.home.account

    def program(self) -> str:
        return str(self.home.install / "bin" / "postgres")

    def arguments(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",  # Their paths may have 107 characters at most; ours can be longer.
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": str(limits.POSTGRES_CONNECTIONS_MAX),
            **self.options,
        }
        return [
            "-D",
            self.marker,
            "-p",
            str(self.port),
            *(argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")),
        ]

    async def prepare(self) -> None:
        # Made beside its place and renamed, so that a start that is cut off leaves no half cluster behind.
        if not (self.directory / "PG_VERSION").exists():
            # The `initdb` of a parent that was killed goes on, and deletes its directory where it fails.
            await end_leftovers(str(self._half), "initdb", signal.SIGTERM)
            await asyncio.to_thread(self._initialise)
        # Sessions of one that was killed end by themselves, a moment later. Until then PostgreSQL refuses to start.
        await poll(lambda: not self._has_orphans(), limits.ENGINE_STOP_SECONDS)
        # After a crash the process id in this file may belong to somebody else by now, and PostgreSQL would refuse to
        # start. That nobody runs on this data has just been made sure of (`end_leftovers`).
        (self.directory / "postmaster.pid").unlink(missing_ok=True)

    def _has_orphans(self) -> bool:
        """Whether processes of a killed PostgreSQL still have its memory, whose key and id are the seventh line."""
        try:
            memory = (self.directory / "postmaster.pid").read_text().splitlines()[6].split()
            segments = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
        except (OSError, IndexError, ValueError):
            return False
        return any(segment[:2] == memory and segment[6] != "0" for segment in segments)

    @property
    def _half(self) -> Path:
        """Where the cluster is made."""
        return self.directory.with_name(f"{self.directory.name}.new")

    def _initialise(self) -> None:
        fresh = self._half
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        words = fresh.with_name(f"{self.directory.name}.pw")
        write_private(words, f"{self.password}\n")
        if self.home.account:
            os.chown(fresh, self.home.account.uid, self.home.account.gid)
            os.chown(words, self.home.account.uid, self.home.account.gid)
        durable = [] if self.options.get("fsync") != "off" else ["--no-sync"]
        try:
            # The builtin locale never changes; the system's may with its updates, and would spoil every text index.
            self._run("initdb", "-D", str(fresh), "--username=lml", f"--pwfile={words}", "--auth=scram-sha-256",
                      "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                      "--no-instructions", *durable)  # fmt: skip
        finally:
            words.unlink()
        if self.directory.exists():
            self.directory.rmdir()  # Made empty by somebody; anything else in it is not ours to delete.
        fresh.rename(self.directory)

    async def is_ready(self) -> bool:
        # The eighth line of this file is how pg_ctl learns it, too; it appears when connections are accepted.
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready" and lines[0] == str(self.pid)

    async def finish(self) -> None:
        # Looked at every time: an earlier start may have been cut off between making the cluster and its database.
        if not await self._has_database():
            await asyncio.to_thread(self._run, "createdb", "-h", LOOPBACK, "-p", str(self.port), "-U", "lml", "lml")

    async def _has_database(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url, timeout=limits.ENGINE_START_SECONDS)
        except asyncpg.InvalidCatalogNameError:
            return False
        except (OSError, asyncpg.PostgresError) as error:
            raise Unavailable(f"PostgreSQL does not let us in ({error}); {self.log_tail()}") from error
        await connection.close(timeout=limits.ENGINE_START_SECONDS)
        return True

    def _run(self, program: str, *arguments: str) -> None:
        account = self.home.account
        done = subprocess.run(  # noqa: S603 - our own command line
            [str(self.home.install / "bin" / program), *arguments],
            env={**os.environ, "PGPASSWORD": self.password},
            cwd="/",
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=limits.ENGINE_START_SECONDS,
        )
        if done.returncode != 0:
            raise Unavailable(f"{program} failed: {(done.stderr or done.stdout).strip()[-1000:]}")


class Mongo(Engine):
    """MongoDB as a set of one node (transactions and majority writes need a set). Loopback only, no password."""

    name = "MongoDB"

    @property
    def url(self) -> str:
        return f"mongodb://{LOOPBACK}:{self.port}/?directConnection=true"

    @property
    def marker(self) -> str:
        return str(self.directory)

    def program(self) -> str:
        return str(binaries.mongod())

    def arguments(self) -> list[str]:
        # The small cache and log suit a development machine; a production set is run by its own people. The cache is
        # a bound and not taken before it is used; a layout of 200,000 seats is a transaction that half of it is too
        # small for.
        return ["--dbpath", self.marker, "--port", str(self.port), "--bind_ip", LOOPBACK,
                "--replSet", "lml", "--nounixsocket", "--wiredTigerCacheSizeGB", "1", "--oplogSize", "128",
                "--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100",
                "--setParameter", "diagnosticDataCollectionEnabled=false"]  # fmt: skip

    async def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(LOOPBACK, self.port)
            writer.close()
            return True
        return False

    async def finish(self) -> None:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            LOOPBACK, self.port, directConnection=True, serverSelectionTimeoutMS=limits.ENGINE_START_SECONDS * 1000
        )
        member = f"{LOOPBACK}:{self.port}"
        deadline = time.monotonic() + limits.ENGINE_START_SECONDS
        try:
            while True:
                hello = await client.admin.command("hello")
                if hello.get("isWritablePrimary") and hello.get("me") == member:
                    return
                if time.monotonic() > deadline:
                    raise Unavailable(f"MongoDB's replica set has no primary; {self.log_tail()}")
                with contextlib.suppress(PyMongoError):  # While it elects or reads its set it refuses; asked again.
                    await self._set_up(client, member, hello)
                await asyncio.sleep(0.02)
        except PyMongoError as error:
            raise Unavailable(f"MongoDB does not answer ({error}); {self.log_tail()}") from error
        finally:
            await client.close()

    async def _set_up(self, client: AsyncMongoClient[dict[str, Any]], member: str, hello: dict[str, Any]) -> None:
        if hello.get("setName") is None and not hello.get("isreplicaset"):
            return  # It is still reading what set it belongs to.
        members = [{"_id": 0, "host": member}]
        if hello.get("isreplicaset"):
            status = await _replica_set_config(client)
            if status is None:
                await client.admin.command("replSetInitiate", {"_id": "lml", "members": members})
            elif status["members"][0]["host"] != member:
                # The port has changed since the last start, and a node that does not find itself in its set is nobody.
                status |= {"members": members, "version": status["version"] + 1}
                await client.admin.command("replSetReconfig", status, force=True)


async def _replica_set_config(client: AsyncMongoClient[dict[str, Any]]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = await client.local["system.replset"].find_one()
    return found


class ObjectStore(Engine):
    """The S3 double: moto in a process of its own. It keeps nothing over a restart."""

    name = "S3 double"

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def marker(self) -> str:
        return f"lml={self.directory}"  # Python's -X takes words of others, too; moto itself is told no folder.

    def program(self) -> str:
        return sys.executable

    def arguments(self) -> list[str]:
        return ["-X", self.marker, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self.port)]

    async def is_ready(self) -> bool:
        answer = await _ask(self.port, b"GET /moto-api/ HTTP/1.0\r\n\r\n")
        return answer.startswith(b"HTTP/")


async def _ask(port: int, request: bytes) -> bytes:
    """Sends bytes and reads to the end of the answer; empty where nobody listens or nothing comes within a second."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(request)
                return await reader.read(65536)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b""


def write_private(path: Path, text: str) -> None:
    """Replaces a file in one step; nobody else can read it, not even for a moment."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
