"""Links to private layouts, against CloudFront as its manual describes it: what they open, and all that answers 403."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lml_live.errors import Conflict, InvalidInput
from lml_live.gateway import holders
from lml_live.gateway.holders import HolderServices
from lml_live.gateway.problems import problems_middleware
from lml_live.infra.cdn import load_signer
from lml_live.infra.config import Settings
from lml_live.venues.demo import generate_venue
from lml_live.venues.edge import object_key, zip_layout
from lml_live.venues.layout import canonical_bytes
from lml_live.venues.links import Links

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
BASE = "https://cdn.example"
HALL = generate_venue(4, "hall")
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
OBJECTS = {
    f"/{object_key(layout, layout_hash, suffix, private=True)}": zip_layout(canonical_bytes(HALL))
    for layout, layout_hash in (("hall", HALL.hash), ("hall", "b" * 64), ("vault", HALL.hash))
    for suffix in ("json", "json.gz")
}
PATH = f"/{object_key('hall', HALL.hash, 'json.gz', private=True)}"


def pem(key: Any) -> bytes:
    data: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return data


class CloudFront:
    """What a viewer meets: signed links with a canned policy, cookies with a policy of their own, a closed bucket."""

    def __init__(self) -> None:
        self.now = NOW

    async def answer(self, request: web.Request) -> web.Response:
        if not self._lets_in(request) or request.path not in OBJECTS:
            # S3 behind it answers the same for what is not there: its list is closed, too.
            return web.Response(status=403)
        return web.Response(body=OBJECTS[request.path], headers={"Content-Encoding": "gzip"})

    def _lets_in(self, request: web.Request) -> bool:
        query, cookies = request.query, request.cookies
        url = f"{BASE}{request.path}"
        if "Signature" in query:
            until = query.get("Expires", "0")
            statement = {"Resource": url, "Condition": {"DateLessThan": {"AWS:EpochTime": int(until)}}}
            policy = json.dumps({"Statement": [statement]}, separators=(",", ":")).encode()
            return self._holds(policy, query["Signature"], query.get("Key-Pair-Id"), url)
        if "CloudFront-Signature" in cookies:
            policy = self._read(cookies["CloudFront-Policy"])
            return self._holds(policy, cookies["CloudFront-Signature"], cookies.get("CloudFront-Key-Pair-Id"), url)
        return False

    def _holds(self, policy: bytes, signature: str, key_id: str | None, url: str) -> bool:
        try:
            KEY.public_key().verify(self._read(signature), policy, PKCS1v15(), SHA1())
        except InvalidSignature:
            return False
        [statement] = json.loads(policy)["Statement"]
        pattern, ends = statement["Resource"], statement["Condition"]["DateLessThan"]["AWS:EpochTime"]
        fits = url.startswith(pattern[:-1]) if pattern.endswith("*") else url == pattern
        return key_id == "K1" and fits and self.now.timestamp() < ends

    @staticmethod
    def _read(text: str) -> bytes:
        return base64.b64decode(text.translate(str.maketrans("-_~", "+=/")))


@pytest.fixture
async def cdn() -> AsyncIterator[tuple[CloudFront, TestClient[Any, Any]]]:
    double = CloudFront()
    app = web.Application()
    app.router.add_get("/{path:.*}", double.answer)
    async with TestClient(TestServer(app)) as client:
        yield double, client


def links(tmp_path: Path, key: Any = KEY, **more: Any) -> Links:
    file = tmp_path / "key.pem"
    file.write_bytes(pem(key))
    settings = {"cdn_base_url": BASE, "cdn_key_id": "K1", "cdn_key_file": file, "private_layouts": ("hall", "vault")}
    return Links(Settings(**(settings | more)), lambda: round(NOW.timestamp() * 1000) + 999)


async def test_a_link_opens_one_object_until_its_time(cdn: Any, tmp_path: Path) -> None:
    double, client = cdn
    link = links(tmp_path).sign("hall", HALL.hash)
    assert link.expires_at == NOW + timedelta(seconds=600)
    good = link.url.removeprefix(BASE)
    forged = links(tmp_path, OTHER_KEY).sign("hall", HALL.hash).url.removeprefix(BASE)
    path, query = good.split("?")
    ends = parse_qs(query)["Expires"][0]
    refused = {
        "no signature": path,
        "path changed": f"{PATH.replace('json.gz', 'json')}?{query}",
        "another layout's": f"{PATH.replace('/hall/', '/vault/')}?{query}",
        "made longer": good.replace(f"Expires={ends}", f"Expires={int(ends) + 1}"),
        "other key": forged,
        "other key's id": good.replace("Key-Pair-Id=K1", "Key-Pair-Id=K2"),
        "no key's id": good.replace("&Key-Pair-Id=K1", ""),
        "no end": good.replace(f"Expires={ends}&", ""),
        "the list of the bucket": f"/?list-type=2&{query}",
        "a part of the signature": good.replace("Signature=", "Signature=AAAA"),
    }
    for what, address in refused.items():
        assert (await client.get(address)).status == 403, what
    answer = await client.get(good)
    assert (answer.status, await answer.read()) == (200, canonical_bytes(HALL))
    double.now = NOW + timedelta(seconds=599)
    assert (await client.get(good)).status == 200
    double.now = link.expires_at
    for headers in ({}, {"Range": "bytes=0-9"}):
        assert (await client.get(good, headers=headers)).status == 403, "its time is over, for a part of it, too"


async def test_cookies_open_one_layout_and_no_other(cdn: Any, tmp_path: Path) -> None:
    double, client = cdn
    link = links(tmp_path).sign("hall", HALL.hash)
    for path, status in (
        (PATH, 200),
        (PATH.replace(HALL.hash, "b" * 64), 200),
        (PATH.replace("/hall/", "/vault/"), 403),
    ):
        assert (await client.get(path, cookies=link.cookies)).status == status, path
    client.session.cookie_jar.clear()
    assert (await client.get(PATH)).status == 403
    policy = double._read(link.cookies["CloudFront-Policy"])
    ends = round(link.expires_at.timestamp())
    refused = {
        "made longer": {"CloudFront-Policy": written(policy.replace(b"%d" % ends, b"%d" % (ends + 1)))},
        "made wider": {"CloudFront-Policy": written(policy.replace(b"/hall/*", b"/*"))},
        "other key": links(tmp_path, OTHER_KEY).sign("hall", HALL.hash).cookies,
        "other key's id": {"CloudFront-Key-Pair-Id": "K2"},
        "a part of the signature": {"CloudFront-Signature": f"AAAA{link.cookies['CloudFront-Signature']}"},
    }
    for what, changed in refused.items():
        assert (await client.get(PATH, cookies=link.cookies | changed)).status == 403, what
        client.session.cookie_jar.clear()
    for listed in ("/", "/private/", "/private/hall/", "/?list-type=2&prefix=private/hall/"):
        assert (await client.get(listed, cookies=link.cookies)).status == 403, listed
    assert (await client.get(PATH, cookies=link.cookies)).status == 200
    double.now = link.expires_at
    for headers in ({}, {"Range": "bytes=0-9"}):
        assert (await client.get(PATH, cookies=link.cookies, headers=headers)).status == 403


def written(data: bytes) -> str:
    """Base64 as CloudFront has it in cookies."""
    return base64.b64encode(data).decode().translate(str.maketrans("+=/", "-_~"))


class S3:
    """A bucket that nobody may read but by a signed link: signature version 4, as the manual has it
    (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html)."""

    SECRET = "s3cret"

    def status(self, method: str, url: str, now: datetime, headers: dict[str, str] | None = None) -> int:
        """The status of a request of this moment; a `Range` is no part of what is signed."""
        assert set(headers or ()) <= {"Range"}
        address = urlsplit(url)
        query = parse_qsl(address.query, keep_blank_values=True)
        given = dict(query)
        try:
            key_id, day, region, service, _ = given["X-Amz-Credential"].split("/")
            begun = datetime.strptime(given["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            until = begun + timedelta(seconds=int(given["X-Amz-Expires"]))
            signature, signed = given["X-Amz-Signature"], given["X-Amz-SignedHeaders"]
        except (KeyError, ValueError):
            return 403
        told = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in query if k != "X-Amz-Signature")
        asked = (method, address.path, "&".join(f"{k}={v}" for k, v in told), f"host:{address.netloc}\n")
        canonical = "\n".join((*asked, signed, "UNSIGNED-PAYLOAD"))
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{given['X-Amz-Date']}\n{day}/{region}/{service}/aws4_request\n{digest}"
        key = f"AWS4{self.SECRET}".encode()
        for part in (day, region, service, "aws4_request", text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        good = hmac.compare_digest(key.hex(), signature) and (key_id, signed) == ("test", "host") and now < until
        return 200 if good else 403


async def test_s3s_own_link_opens_one_object_until_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3.SECRET)
    settings = Settings(
        s3_bucket="lml", s3_endpoint_url="http://127.0.0.1:1", private_layouts=("hall",), link_seconds=60
    )
    link, s3 = await Links(settings).make("hall", HALL.hash), S3()
    begun = parse_qs(urlsplit(link.url).query)["X-Amz-Date"][0]
    now = datetime.strptime(begun, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert s3.status("GET", link.url, now + timedelta(seconds=59)) == 200
    bucket, query = link.url.partition(PATH)[0], urlsplit(link.url).query
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    forged = (await Links(settings).make("hall", HALL.hash)).url
    refused = {
        "no signature": ("GET", link.url.partition("?")[0]),
        "path changed": ("GET", link.url.replace("json.gz", "json")),
        "another layout's": ("GET", link.url.replace("/hall/", "/vault/")),
        "made longer": ("GET", link.url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")),
        "begun later": ("GET", link.url.replace(begun, f"2030{begun[4:]}")),
        "other key": ("GET", forged),
        "another method": ("PUT", link.url),
        "the list of the bucket": ("GET", f"{bucket}?list-type=2&{query}"),
        "one more question": ("GET", f"{link.url}&versionId=1"),
    }
    for what, (method, url) in refused.items():
        assert s3.status(method, url, now) == 403, what
    assert s3.status("GET", link.url, now + timedelta(seconds=60), {"Range": "bytes=0-9"}) == 403


async def test_without_a_cdn_s3_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its signature is the driver's own work; what is ours is what it is asked for."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    settings = Settings(
        s3_bucket="lml", s3_endpoint_url="http://127.0.0.1:1", private_layouts=("hall",), link_seconds=60
    )
    link = await Links(settings).make("hall", HALL.hash)
    address, query = urlsplit(link.url), parse_qs(urlsplit(link.url).query)
    assert address.path == f"/lml/{PATH[1:]}"
    assert (query["X-Amz-Algorithm"], query["X-Amz-Expires"]) == (["AWS4-HMAC-SHA256"], ["60"])
    assert link.cookies == {}
    with pytest.raises(Conflict, match="everybody may read it"):
        await Links(settings).make("other", HALL.hash)
    with pytest.raises(Conflict, match="nothing can be signed"):
        await Links(Settings(private_layouts=("hall",))).make("hall", HALL.hash)


def test_a_key_that_cloudfront_would_not_take_is_refused_at_start(tmp_path: Path) -> None:
    wrong = {
        "ec": pem(ec.generate_private_key(ec.SECP256R1())),
        "small": pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
        "none": b"no key",
    }
    for name, data in wrong.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InvalidInput):
            load_signer("K1", tmp_path / name)
    with pytest.raises(InvalidInput):
        load_signer("K1", tmp_path / "missing")


async def test_the_server_sends_readers_of_private_layouts_to_the_cdn(cdn: Any, tmp_path: Path) -> None:
    """And serves them itself where nothing can be signed: the same bytes, which no shared cache may keep."""
    _, client = cdn

    class Layouts:
        async def load_bytes(self, layout: str, layout_hash: str) -> bytes | None:
            return canonical_bytes(HALL) if layout_hash == HALL.hash else None

    def app(made: Links) -> web.Application:
        made_app = web.Application(middlewares=[problems_middleware])
        services = HolderServices(*(MagicMock(), Layouts(), *(MagicMock() for _ in range(5))), made)  # type: ignore[arg-type]
        made_app.add_routes(route for route in holders.routes(services) if route.path.endswith("/{hash}"))
        return made_app

    async with TestClient(TestServer(app(links(tmp_path)))) as server:
        answer = await server.get(f"/api/v1/layouts/hall/{HALL.hash}", allow_redirects=False)
        assert (answer.status, answer.headers["Cache-Control"]) == (307, "no-store")
        assert answer.headers["Access-Control-Allow-Origin"] == "*", "a page of another origin is let in to follow it"
        assert (await client.get(answer.headers["Location"].removeprefix(BASE))).status == 200
        for path in (f"hall/{'0' * 64}", "hall/x"):
            assert (await server.get(f"/api/v1/layouts/{path}", allow_redirects=False)).status == 404, "no link for it"
        public = await server.get(f"/api/v1/layouts/open/{HALL.hash}", allow_redirects=False)
        assert (public.status, public.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
    unsigned = Links(Settings(private_layouts=("hall",)))
    async with TestClient(TestServer(app(unsigned)), auto_decompress=False) as server:
        answer = await server.get(f"/api/v1/layouts/hall/{HALL.hash}")
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "private, max-age=31536000, immutable")
        assert await answer.read() == zip_layout(canonical_bytes(HALL)), "what the bucket has"
