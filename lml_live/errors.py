"""One error tree, and the one table from error code to HTTP status.

    LmlError              code                   status
    ├── InvalidInput      invalid_message        422     the caller's message breaks a rule; `errors` says which
    ├── Unauthorized      unauthorized           401     no token, or one that names nobody
    ├── Forbidden         forbidden              403     known, but not allowed
    ├── NotFound          not_found              404     also the answer for what belongs to somebody else
    ├── Conflict          conflict               409     the thing's state does not allow it
    ├── Refused           any of the contract            a refusal, carried through code that returns something else
    └── Unavailable       unavailable            503     a backend is down: nothing changed, or the outcome is unknown
        └── Overloaded    rate_limited           429     a bound of `limits` is reached

`retry` says whether the same request may succeed later: so it is for Unavailable and below, and for nothing else.
A refusal that callers are expected to meet (a seat taken, a limit reached) is a value, not an exception; see
`inventory.holds`. A code never gets a second meaning.
"""

from typing import ClassVar, Final

import msgspec

STATUS_BY_CODE: Final[dict[str, int]] = {
    "seat_taken": 409,
    "unknown_seat": 422,
    "unknown_area": 422,
    "area_full": 409,
    "limit_exceeded": 409,
    "orphan_seat": 409,
    "hold_not_found": 404,
    "hold_expired": 410,
    "hold_in_checkout": 409,
    "cooling_down": 429,
    "no_best_seats": 409,
    "different_group": 409,
    "sale_not_open": 409,
    "sale_paused": 409,
    "sale_closed": 409,
    "not_admitted": 403,
    "challenge_required": 403,
    "rate_limited": 429,
    "idempotency_mismatch": 409,
    "idempotency_in_progress": 409,
    "idempotency_required": 400,
    "price_changed": 409,
    "amount_too_large": 409,
    "invalid_message": 422,
    "invalid_json": 400,
    "bad_request": 400,
    "request_timeout": 408,
    "too_large": 413,
    "unsupported_media_type": 415,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "layout_immutable": 409,
    "layout_damaged": 409,
    "precondition_failed": 412,
    "precondition_required": 428,
    "unavailable": 503,
    "internal": 500,
}
"""Every `code` a client can meet, over REST (as problem+json) or on the live socket (as `error`)."""


class Violation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One broken rule. `path` is where (`sections[2].rows[0].label`), `message` what was found and what is expected.

    Where the rule has a name (layouts), it is there, and both halves of the message by themselves.
    """

    path: str
    message: str
    rule: str = ""
    found: str = ""
    expected: str = ""


class LmlError(Exception):
    """The root. `code` is stable and public; `retry` says whether the same request may succeed later."""

    code: ClassVar[str] = "internal"
    retry: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        errors: tuple[Violation, ...] = (),
        warnings: tuple[Violation, ...] = (),
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.errors = errors
        self.warnings = warnings
        self.retry_after_ms = retry_after_ms

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return STATUS_BY_CODE[self.code]


class InvalidInput(LmlError):
    code = "invalid_message"


class Unauthorized(LmlError):
    code = "unauthorized"


class Forbidden(LmlError):
    code = "forbidden"


class NotFound(LmlError):
    code = "not_found"


class Conflict(LmlError):
    code = "conflict"


class Refused(LmlError):
    """A refusal by code: `Refused("sale_closed", "The sale is closed.")`."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        errors: tuple[Violation, ...] = (),
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(message, errors=errors, retry_after_ms=retry_after_ms)
        self.code = code  # type: ignore[misc]  # the one class whose code is an argument

    @property
    def status(self) -> int:
        return STATUS_BY_CODE[self.code]


class Unavailable(LmlError):
    code = "unavailable"
    retry = True


class Overloaded(Unavailable):
    code = "rate_limited"
