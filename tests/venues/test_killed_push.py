"""A push to two regions whose process dies by SIGKILL between two puts, again and again, and goes on where it was."""

import asyncio
import http.client
import itertools
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from lml_live.infra.s3 import Objects, open_objects
from lml_live.venues.demo import generate_venue
from lml_live.venues.edge import Manifest, Pointer, make_objects, pointer_key, seal_manifest
from lml_live.venues.layout import canonical_bytes, count_places, count_seats

HALL = generate_venue(400, "hall")
POINTER = pointer_key("hall")


class Wire:
    """Between a command and the double of S3: lets puts of objects through, and kills the command after some of them,
    before it hears of the last. Mutable, and used by several threads."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = urlsplit(endpoint).netloc
        self.stored: list[str] = []
        """What was put, in this order: `bucket/key`."""
        self._process: subprocess.Popen[str] | None = None
        self._left = 0
        self._lock = threading.Lock()

    def push(self, puts: int) -> int:
        """Runs the command until that many puts have gone through; its exit code."""
        command = [sys.executable, "-X", f"run={os.environ['LML_TEST_RUN']}", "-m", "lml_live.cli", "layout", "push"]
        with self._lock:
            self._left = puts
            self._process = subprocess.Popen(
                [*command, "hall"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        said, _ = self._process.communicate(timeout=100)
        assert self._process.returncode in (0, -signal.SIGKILL), said
        return self._process.returncode

    def carry(self, method: str, path: str, headers: dict[str, str], body: bytes) -> http.client.HTTPResponse | None:
        """What the store answers; None for whoever is dead. One at a time: then it is known what was stored."""
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                return None
            connected = http.client.HTTPConnection(self.endpoint)
            connected.request(method, path, body, headers)
            answer = connected.getresponse()
            key = path.partition("?")[0].lstrip("/")
            if method == "PUT" and "/" in key:
                assert answer.status == 200
                self.stored.append(key)
                self._left -= 1
                if self._left == 0 and self._process is not None:
                    self._process.kill()
                    self._process.wait()
                    return None
            return answer


@pytest.fixture
def wire(s3_endpoint_url: str) -> Iterator[tuple[Wire, str]]:
    carrier = Wire(s3_endpoint_url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name: value for name, value in self.headers.items() if name != "Expect"}
            answer = carrier.carry(self.command, self.path, headers, body)
            self.close_connection = answer is None
            if answer is None:
                return
            data = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_request  # noqa: N815 - the names that the server looks for

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield carrier, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_push_that_is_killed_between_two_puts_goes_on_there(
    wire: tuple[Wire, str],
    s3_endpoint_url: str,
    mongo_url: str,
    postgres_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    carrier, address = wire
    monkeypatch.setenv("LML_POSTGRES_DSN", postgres_dsn)
    monkeypatch.setenv("LML_MONGO_URL", mongo_url)
    monkeypatch.setenv("LML_MONGO_DATABASE", f"test_{tmp_path.name}"[:60])
    monkeypatch.setenv("LML_DATA_DIR", str(tmp_path))
    data, file = canonical_bytes(HALL), tmp_path / "hall.json"
    file.write_bytes(data)
    subprocess.run([sys.executable, "-m", "lml_live.cli", "layout", "import", str(file), "--deploy"], check=True)
    buckets = [f"layouts-{secrets.token_hex(6)}" for _ in range(2)]
    monkeypatch.setenv("LML_S3_BUCKET", buckets[0])
    monkeypatch.setenv("LML_S3_REPLICAS", f"eu-west-1={buckets[1]}")
    monkeypatch.setenv("LML_S3_ENDPOINT_URL", address)
    made = make_objects("hall", HALL.hash, data, private=False)
    objects = tuple(each for each, _ in made)
    manifest = Manifest("hall", 1, HALL.hash, count_seats(HALL), count_places(HALL), objects)
    sealed, manifest_data = seal_manifest(manifest, private=False)
    expected = {each.key: content for each, content in made} | {sealed.key: manifest_data}

    async def read() -> dict[str, dict[str, bytes]]:
        found: dict[str, dict[str, bytes]] = {bucket: {} for bucket in buckets}
        async with open_objects(buckets[0], endpoint_url=s3_endpoint_url) as opened:
            for bucket, key in itertools.product(buckets, (*expected, POINTER)):
                if (content := await Objects(opened._client, bucket).get_object(key)) is not None:
                    found[bucket][key] = content
        return found

    def lying() -> dict[str, dict[str, bytes]]:
        """By bucket, what can be read of it."""
        return asyncio.run(read())

    for puts in (1, 2, 2, 2):
        before = len(carrier.stored)
        assert carrier.push(puts) == -signal.SIGKILL
        assert len(carrier.stored) == before + puts
        there = lying()
        assert sum(map(len, there.values())) == len(carrier.stored)
        for found in there.values():
            # Half of an object is nowhere to be seen, nor a manifest before what it names, nor a pointer before it.
            assert all(content == expected[key] for key, content in found.items() if key != POINTER)
            if sealed.key in found:
                assert all(each.key in other for each in objects for other in there.values())
            if POINTER in found:
                assert all(sealed.key in other for other in there.values())
    assert carrier.push(100) == 0
    there = lying()
    assert all({key: found[key] for key in expected} == expected for found in there.values())
    first, second = (found[POINTER] for found in there.values())
    assert first == second
    pointer = msgspec.json.decode(first, type=Pointer)
    assert (pointer.version, pointer.manifest, pointer.hash) == (1, sealed.key, HALL.hash)
    # Nothing was sent twice, and in each region the manifest came last, then the pointer.
    assert len(carrier.stored) == len(set(carrier.stored)) == 8
    for bucket in buckets:
        keys = [key.removeprefix(f"{bucket}/") for key in carrier.stored if key.startswith(bucket)]
        assert keys == [*(each.key for each in objects), sealed.key, POINTER]
