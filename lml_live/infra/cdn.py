"""CloudFront: old pointers forgotten at the edge, and links and cookies that let somebody in for a while.

Links are signed as CloudFront wants it (RSA, SHA-1, PKCS #1 v1.5: it takes no other by default), with the key of a key
group; the bucket behind it stays closed. Imported, as `infra.s3` is, only where it is set up. https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/PrivateContent.html
"""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from botocore.config import Config
from botocore.signers import CloudFrontSigner
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from lml_live import limits
from lml_live.errors import InvalidInput
from lml_live.infra.s3 import driver_errors, open_session

_REGION: Final = "us-east-1"
"""CloudFront is in no region, and signs for this one."""


class Distribution:
    """One CloudFront distribution."""

    def __init__(self, client: Any, distribution: str) -> None:
        self._client = client
        self.id = distribution

    async def invalidate(self, key: str, reference: str) -> None:
        """Has the edge forget one object. With the same reference it is done once, however often it is asked for."""
        batch = {"Paths": {"Quantity": 1, "Items": [f"/{key}"]}, "CallerReference": reference}
        with driver_errors():
            await self._client.create_invalidation(DistributionId=self.id, InvalidationBatch=batch)


@asynccontextmanager
async def open_distribution(distribution: str, *, endpoint_url: str | None = None) -> AsyncIterator[Distribution]:
    """A distribution, with credentials as the AWS tools find them. Nothing is sent before the first call."""
    config = Config(
        connect_timeout=limits.OBJECT_CONNECT_SECONDS,
        read_timeout=limits.OBJECT_READ_SECONDS,
        retries={"max_attempts": 2, "mode": "standard"},
        max_pool_connections=2,
    )
    with driver_errors():
        session = open_session()
        context = session.client("cloudfront", endpoint_url=endpoint_url, region_name=_REGION, config=config)
    async with context as client:
        yield Distribution(client, distribution)


class LinkSigner:
    """Lets in whoever has a link or the cookies, to what they name and until they say."""

    def __init__(self, key_id: str, private_key: RSAPrivateKey) -> None:
        # CloudFront verifies SHA-1; what is signed is our own policy, which nobody else can choose.
        self._signer = CloudFrontSigner(key_id, lambda policy: private_key.sign(policy, PKCS1v15(), SHA1()))  # noqa: S303
        self._key_id = key_id

    def sign_link(self, url: str, until: datetime) -> str:
        """The address with a signature for it alone (a canned policy)."""
        link: str = self._signer.generate_presigned_url(url, date_less_than=until)
        return link

    def sign_cookies(self, pattern: str, until: datetime) -> dict[str, str]:
        """The cookies, by name, that open every address of a pattern, such as `https://cdn.example/private/hall/*`."""
        policy = self._signer.build_policy(pattern, until).encode()
        return {
            "CloudFront-Policy": _spell(policy),
            "CloudFront-Signature": _spell(self._signer.rsa_signer(policy)),
            "CloudFront-Key-Pair-Id": self._key_id,
        }


def _spell(data: bytes) -> str:
    """Base64 in CloudFront's own alphabet."""
    return base64.b64encode(data).translate(bytes.maketrans(b"+=/", b"-_~")).decode()


def load_signer(key_id: str, key_file: Path) -> LinkSigner:
    """The signer with the private key of a PEM file. Raises `InvalidInput` where that is none, or no RSA key."""
    try:
        key = load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput(f"{key_file} cannot be read as a private key (PEM, without a password).") from error
    if not isinstance(key, RSAPrivateKey) or key.key_size < limits.CDN_KEY_BITS_MIN:
        raise InvalidInput(f"{key_file} has no RSA key of {limits.CDN_KEY_BITS_MIN} bits: CloudFront takes no other.")
    return LinkSigner(key_id, key)
