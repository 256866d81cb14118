"""Links and cookies to private layouts: one object, or all of one layout, for a while.

Signed for CloudFront where its key is set, else by S3 itself. A link opens one address: another object, another method,
the list of the bucket, or the same after its time answer 403.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from lml_live.clock import Clock, system_clock_ms, to_datetime
from lml_live.errors import Conflict
from lml_live.infra.config import Settings
from lml_live.venues.edge import PRIVATE_ROOT, object_key

if TYPE_CHECKING:
    from lml_live.infra.cdn import LinkSigner


class Link(msgspec.Struct, frozen=True):
    """Where to read one version, until when; and with CloudFront the cookies that open all of its layout there."""

    url: str
    expires_at: datetime
    cookies: dict[str, str]


class Links:
    """Signs for the settings' CDN or bucket. Which layouts are private the settings say, too."""

    def __init__(self, settings: Settings, clock: Clock = system_clock_ms) -> None:
        """Raises `InvalidInput` where the CDN's key cannot be read."""
        self._settings = settings
        self._clock = clock
        self._signer: LinkSigner | None = None
        if settings.cdn_key_id is not None and settings.cdn_key_file is not None:
            from lml_live.infra.cdn import load_signer

            self._signer = load_signer(settings.cdn_key_id, settings.cdn_key_file)

    def is_private(self, layout_id: str) -> bool:
        """Whether a layout is read from the CDN by signed links only."""
        return layout_id in self._settings.private_layouts

    @property
    def redirects(self) -> bool:
        """Whether the server sends readers of private layouts to the CDN; else it serves them itself."""
        return self._signer is not None

    @property
    def cdn_origin(self) -> str:
        """Where browsers read layouts from beside the server itself; empty where from nowhere else."""
        if self._settings.cdn_base_url is None:
            return ""
        address = urlsplit(self._settings.cdn_base_url)
        return f"{address.scheme}://{address.netloc}"

    def sign(self, layout_id: str, layout_hash: str) -> Link:
        """A link for CloudFront, with the cookies. Raises `Conflict` where it is not set up."""
        if self._signer is None or self._settings.cdn_base_url is None:
            raise Conflict("LML_CDN_BASE_URL, LML_CDN_KEY_ID and LML_CDN_KEY_FILE are not set: nothing can be signed.")
        base, until = self._settings.cdn_base_url.rstrip("/"), self._until()
        key = object_key(layout_id, layout_hash, "json.gz", private=True)
        cookies = self._signer.sign_cookies(f"{base}/{PRIVATE_ROOT}/{layout_id}/*", until)
        return Link(self._signer.sign_link(f"{base}/{key}", until), until, cookies)

    async def make(self, layout_id: str, layout_hash: str) -> Link:
        """A link to a private layout, for CloudFront or else S3. Raises `Conflict` where it is not private, or
        neither is set up."""
        if not self.is_private(layout_id):
            raise Conflict(f"{layout_id} is not in LML_PRIVATE_LAYOUTS: everybody may read it.")
        if self._signer is not None or self._settings.s3_bucket is None:
            return self.sign(layout_id, layout_hash)
        from lml_live.infra.s3 import open_objects

        until, key = self._until(), object_key(layout_id, layout_hash, "json.gz", private=True)
        async with open_objects(self._settings.s3_bucket, endpoint_url=self._settings.s3_endpoint_url) as objects:
            return Link(await objects.sign_link(key, self._settings.link_seconds), until, {})

    def _until(self) -> datetime:
        # Whole seconds: a policy knows no others, and must not let anybody in for longer than is said here.
        return to_datetime(self._clock() // 1000 * 1000) + timedelta(seconds=self._settings.link_seconds)
