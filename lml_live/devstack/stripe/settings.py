"""What can be set of a running double: where webhooks go and how they are repeated, and what its clock says."""

import msgspec

from lml_live import limits
from lml_live.clock import system_clock_ms
from lml_live.devstack.stripe.store import Store

_KIND = "setting"


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The account's keys, from the command line."""

    secret: str
    publishable: str


class DoubleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Set on the command line, changed by `PATCH /_double/settings`; changes outlive a kill and end with a reset."""

    webhook_url: str | None = None
    """Where webhooks go; with none, events are kept but not sent."""
    webhook_secret: str = "whsec_double"  # noqa: S105 - the tests' own
    webhook_retry_first_ms: int = 500
    """The pause after the first try that was not answered 2xx; each pause is twice the one before."""
    webhook_retry_max_ms: int = 60_000
    webhook_give_up_ms: int = 3 * 86_400_000
    """Stripe gives up after three days."""
    webhook_timeout_ms: int = 10_000
    processing_seconds: int = 4 * 86_400
    """How long a bank takes to answer for an account."""
    webhook_parallel: int = 4
    """Deliveries under way at once. With 1 they arrive exactly in the order in which they are due."""

    def __post_init__(self) -> None:
        if not 1 <= self.webhook_parallel <= limits.STRIPE_DOUBLE_WEBHOOKS_PARALLEL_MAX:
            raise ValueError(f"webhook_parallel is 1 to {limits.STRIPE_DOUBLE_WEBHOOKS_PARALLEL_MAX}")
        if min(self.webhook_retry_first_ms, self.webhook_retry_max_ms, self.webhook_timeout_ms) < 1:
            raise ValueError("pauses and time-outs are at least 1 ms")


class Control:
    """The settings and the clock, kept in the store."""

    def __init__(self, store: Store, defaults: DoubleSettings) -> None:
        self._store = store
        self._defaults = defaults
        self.refresh()

    def refresh(self) -> None:
        """Reads what is stored: after a start, and after a reset."""
        self.settings = self._store.load(_KIND, "settings", DoubleSettings) or self._defaults
        self._ahead_ms = self._store.load(_KIND, "clock_ahead_ms", int) or 0

    def change(self, changes: dict[str, object]) -> DoubleSettings:
        """Changes some settings. Raises `msgspec.ValidationError` for what is none, or is out of bounds."""
        merged = {**msgspec.to_builtins(self.settings), **changes}
        self.settings = msgspec.convert(merged, DoubleSettings)
        self._store.put(_KIND, "settings", self.settings)
        return self.settings

    def now_ms(self) -> int:
        """The double's time: the wall clock, and what tests have put it ahead."""
        return system_clock_ms() + self._ahead_ms

    def advance(self, seconds: float) -> None:
        """Puts the clock ahead; it never goes back."""
        self._ahead_ms += round(seconds * 1000)
        self._store.put(_KIND, "clock_ahead_ms", self._ahead_ms)
