"""Holder tokens: who an anonymous or signed-in holder is, signed, good for 24 hours. Pure.

A token names a holder, not an event, and is `lmlh_` + base64url(`{"h": holder, "e": end in ms}`) + `.` + HMAC-SHA256;
with `"c": channel` where its holder buys through another sales channel than the web, and `"s": session` where a buyer
has signed in: then it is good as long as that lasts, too, which PostgreSQL is asked.
It is renewed in its last quarter (contract, section 2). It travels in `hello` or the Authorization header only.
"""

import base64
import binascii
import hmac
from typing import Final

import msgspec

from lml_live import values
from lml_live.inventory.records import WEB

PREFIX: Final = "lmlh_"
LIFE_MS: Final = 24 * 3600 * 1000
RENEWAL_MS: Final = LIFE_MS // 4


class HolderToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token says: the holder, when the token ends (milliseconds since 1970), the sales channel, and the session
    of a buyer who has signed in."""

    holder: str = msgspec.field(name="h")
    end_ms: int = msgspec.field(name="e")
    channel: str = msgspec.field(name="c", default=WEB)
    session: str = msgspec.field(name="s", default="")


_decoder = msgspec.json.Decoder(HolderToken)


class HolderTokens:
    """Makes and reads tokens under one secret (at least 32 bytes)."""

    def __init__(self, secret: bytes) -> None:
        # A key of its own, so that no other use of the secret can ever sign a token.
        self._key = hmac.digest(secret, b"lml holder token v1", "sha256")

    def issue(self, holder: str, now_ms: int, channel: str = WEB, session: str = "") -> str:
        """A token for the holder, who buys through `channel`; good for 24 hours from now."""
        body = _encode(msgspec.json.encode(HolderToken(holder, now_ms + LIFE_MS, channel, session)))
        return f"{PREFIX}{body}.{self._sign(body)}"

    def read(self, token: str, now_ms: int) -> HolderToken | None:
        """What a token says, or None where it is not ours, was changed, or has ended."""
        if not token.startswith(PREFIX) or not token.isascii():
            return None
        body, _, signature = token.removeprefix(PREFIX).partition(".")
        if not hmac.compare_digest(signature, self._sign(body)):
            return None
        try:
            read = _decoder.decode(_decode(body))
        except (msgspec.DecodeError, binascii.Error):
            return None
        if read.session and not values.is_id(read.session):
            return None
        return read if read.end_ms > now_ms and values.is_id(read.holder) and values.is_id(read.channel) else None

    def _sign(self, body: str) -> str:
        return _encode(hmac.digest(self._key, body.encode(), "sha256"))


def needs_renewal(token: HolderToken, now_ms: int) -> bool:
    """Whether the token is in its last quarter."""
    return token.end_ms - now_ms < RENEWAL_MS


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
