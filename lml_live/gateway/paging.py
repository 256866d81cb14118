"""Pages of lists: `?limit=&cursor=` in, a cursor out (contract, section 2)."""

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from lml_live import limits, values
from lml_live.errors import InvalidInput, Violation
from lml_live.gateway.operations import Query

QUERY: Final = (
    Query("limit", Annotated[int, Meta(ge=1, le=limits.PAGE_ITEMS_MAX)], "At most this many."),
    Query("cursor", str, "`next` of the page before."),
)
"""What every list may be asked with."""


def read_limit(request: web.Request) -> int:
    """How many items are asked for. Raises `InvalidInput`."""
    text = request.query.get("limit", str(limits.PAGE_ITEMS_DEFAULT))
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= limits.PAGE_ITEMS_MAX):
        raise wrong("limit", f"is no whole number from 1 to {limits.PAGE_ITEMS_MAX}")
    return int(text)


def write_cursor(moment: datetime, item: str) -> str:
    """A cursor after an item, which its time and its id put in order."""
    return base64.urlsafe_b64encode(f"{moment.isoformat()} {item}".encode()).decode()


def read_cursor(request: web.Request, is_item: Callable[[str], bool] = values.is_id) -> tuple[datetime, str] | None:
    """(time, id) of the cursor, or None where none is sent. Raises `InvalidInput`."""
    text = request.query.get("cursor")
    return None if text is None else parse_cursor(text, is_item)


def parse_cursor(text: str, is_item: Callable[[str], bool] = values.is_id) -> tuple[datetime, str]:
    """(time, id) of a cursor that `write_cursor` made. Raises `InvalidInput`."""
    try:
        moment_text, _, item = base64.urlsafe_b64decode(text.encode()).decode().partition(" ")
        moment = datetime.fromisoformat(moment_text)
        known = moment.tzinfo is not None
        moment = moment.astimezone(UTC)
    except (binascii.Error, UnicodeError, ValueError, OverflowError) as error:
        raise wrong("cursor", "is no cursor of ours") from error
    if not known or not is_item(item):
        raise wrong("cursor", "is no cursor of ours")
    return moment, item


def read_moment(request: web.Request, name: str) -> datetime | None:
    """A time in the query, or None where none is sent. Raises `InvalidInput`."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        moment = msgspec.convert(text, datetime)
        known = moment.tzinfo is not None and 2000 <= moment.year <= 2199
    except (msgspec.ValidationError, OverflowError) as error:
        raise wrong(name, "is no time such as 2026-05-01T19:30:00Z") from error
    if not known:
        raise wrong(name, "is no time with a zone from 2000 to 2199, such as 2026-05-01T19:30:00Z")
    return moment.astimezone(UTC)


def wrong(path: str, message: str) -> InvalidInput:
    """What is wrong with the query."""
    return InvalidInput("The page cannot be made.", errors=(Violation(path, message),))
