"""The settings: `LML_*` environment variables, read once, all faults reported together (contract, section 5)."""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from lml_live import limits
from lml_live.errors import InvalidInput, Violation

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose. Engine addresses that are None are started embedded by `lml up`."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0 lets the system choose a free port, which is then printed."""
    workers: int = 1
    data_dir: Path = Path(".lml")
    redis_url: str | None = None
    postgres_dsn: str | None = None
    mongo_url: str | None = None
    mongo_database: str = "lml"
    s3_bucket: str | None = None
    s3_endpoint_url: str | None = None
    """Only for an S3 that is not Amazon's (the double, MinIO)."""
    cdn_base_url: str | None = None
    """Where the bucket is read from publicly; without it the server's own `/layouts/…` is named in `layout.url`."""
    secret: str | None = None
    """Signs holder tokens; without it the one kept in PostgreSQL is used, so that all servers of a house agree."""
    admin_email: str | None = None
    admin_password: str | None = None
    origins: tuple[str, ...] = ()
    """Origins allowed on the live socket beside the server's own; `*` allows any."""
    trusted_proxies: tuple[Network, ...] = ()
    caps_exempt: tuple[Network, ...] = ()
    """Networks without per-address caps, for load tests; printed at start."""
    tick_ms: int = limits.TICK_MS
    sweep_ms: int = limits.SWEEP_MS
    stripe_api_key: str | None = None
    """Without it nothing can be bought; `lml up` sets the double's."""
    stripe_publishable_key: str | None = None
    stripe_webhook_secret: str | None = None
    stripe_api_base: str | None = None
    """Only for a Stripe that is not the real one: the double."""
    pay_seconds: int = limits.PAY_SECONDS
    poll_seconds: int = limits.POLL_SECONDS
    mark_seconds: int = limits.MARK_SECONDS
    lease_seconds: int = limits.OUTBOX_LEASE_SECONDS
    log_level: str = "info"


DESCRIPTIONS: Final = {
    "host": "Address to listen on; `0.0.0.0` for all",
    "port": "Port to listen on; 0 takes a free one and prints it",
    "workers": "Worker processes on that port",
    "data_dir": "Where `lml up` keeps its engines, their data, logs and secrets",
    "redis_url": "Redis or Valkey: `redis://…`",
    "postgres_dsn": "PostgreSQL: `postgresql://user:password@host/database`",
    "mongo_url": "MongoDB, a replica set: `mongodb://…`",
    "mongo_database": "The database in MongoDB",
    "s3_bucket": "Bucket for published layouts",
    "s3_endpoint_url": "An S3 that is not Amazon's",
    "cdn_base_url": "Public address of the bucket; without it the server's own `/layouts/…` is used",
    "secret": "Signs holder tokens; without it the one kept in PostgreSQL",
    "admin_email": "The first administrator; made at random and shown once where it is not set",
    "admin_password": "The first administrator's password",
    "origins": "Origins allowed on the live socket beside the server's own, by comma; `*` allows any",
    "trusted_proxies": "Networks of proxies whose `X-Forwarded-For` is believed, by comma",
    "caps_exempt": "Networks without caps per address, for load tests; printed at start",
    "tick_ms": "How often changes are sent to sockets, in milliseconds",
    "sweep_ms": "How often expired holds are looked for, in milliseconds",
    "stripe_api_key": "Stripe's secret key; without it nothing can be bought",
    "stripe_publishable_key": "Stripe's publishable key, for the buyer's browser",
    "stripe_webhook_secret": "Signs Stripe's webhooks; without it they are refused and the poller does the work",
    "stripe_api_base": "A Stripe that is not the real one: the double",
    "pay_seconds": "How long a claim waits for its payment",
    "poll_seconds": "How often Stripe is asked about an unfinished payment",
    "mark_seconds": "When a checkout mark without a claim is settled; half of it, and its key may be sent again",
    "lease_seconds": "When work that a worker died over is taken up by another",
    "log_level": "`debug`, `info`, `warning` or `error`",
}
"""A line for each setting, for `lml serve --help` and `docs/running.md`."""

_FIELDS: Final = {f"LML_{name.upper()}": name for name in Settings.__struct_fields__}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads `LML_*`. An empty variable counts as unset. Raises `InvalidInput` that lists every fault by variable."""
    source = os.environ if environ is None else environ
    values: dict[str, object] = {}
    faults: list[Violation] = []
    for variable, field in _FIELDS.items():
        text = source.get(variable, "").strip()
        if not text:
            continue
        try:
            values[field] = _parse(field, text)
        except ValueError as error:
            faults.append(Violation(variable, str(error)))
    faults += [
        Violation(name, "is no setting; `lml serve --help` lists them")
        for name in source
        if name.startswith("LML_") and name not in _FIELDS and not name.startswith("LML_TEST_")
    ]
    if faults:
        listed = "; ".join(f"{fault.path} {fault.message}" for fault in faults)
        raise InvalidInput(f"The settings cannot be used: {listed}", errors=tuple(faults))
    return Settings(**values)  # type: ignore[arg-type]  # each value was parsed for its field


def to_environ(settings: Settings) -> dict[str, str]:
    """The variables from which `load_settings` makes the same settings again, for a process that we start."""
    defaults = Settings()
    chosen: dict[str, str] = {}
    for variable, field in _FIELDS.items():
        value = getattr(settings, field)
        if value != getattr(defaults, field):
            chosen[variable] = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return chosen


_PASSWORD_IN_URL: Final = re.compile(r"(\w://[^\s/@:]*:)\S+@")


def mask_secrets(text: str) -> str:
    """The text with the passwords of all addresses in it replaced by stars, for logs and messages."""
    return _PASSWORD_IN_URL.sub(r"\1***@", text)


_INTEGERS: Final = {
    "port": (0, 65535),
    "workers": (1, 64),
    "tick_ms": (limits.TICK_MS_MIN, limits.TICK_MS_MAX),
    "sweep_ms": (limits.SWEEP_MS_MIN, limits.SWEEP_MS_MAX),
    "pay_seconds": (limits.PAY_SECONDS_MIN, limits.PAY_SECONDS_MAX),
    "poll_seconds": (limits.POLL_SECONDS_MIN, limits.POLL_SECONDS_MAX),
    "mark_seconds": (limits.MARK_SECONDS_MIN, limits.MARK_SECONDS_MAX),
    "lease_seconds": (limits.OUTBOX_LEASE_SECONDS_MIN, limits.OUTBOX_LEASE_SECONDS_MAX),
}


assert DESCRIPTIONS.keys() == set(Settings.__struct_fields__)


_ADDRESSES: Final = {
    "redis_url": r"(rediss?://[^/?#]*?(:\d{1,5})?(/|\?|$)|unix:///)",
    "postgres_dsn": r"postgres(ql)?://.",
    "mongo_url": r"mongodb(\+srv)?://.",
    "s3_endpoint_url": r"https?://.",
    "cdn_base_url": r"https?://.",
    "stripe_api_base": r"https?://.",
}


def _parse(field: str, text: str) -> object:
    if field in _INTEGERS:
        low, high = _INTEGERS[field]
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"is {text!r}; a whole number from {low} to {high} is expected")
        return int(text)
    if (pattern := _ADDRESSES.get(field)) is not None and not re.match(pattern, text):
        raise ValueError(f"is no address of this kind; {DESCRIPTIONS[field].replace('`', '')} is expected")
    if field == "data_dir":
        return Path(text)
    if field == "origins":
        return tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    if field in ("trusted_proxies", "caps_exempt"):
        try:
            return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
        except ValueError as error:
            raise ValueError(f"is {text!r}; networks such as 127.0.0.0/8,10.0.0.0/8 are expected") from error
    if field == "log_level" and text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError(f"is {text!r}; debug, info, warning or error is expected")
    return text.lower() if field == "log_level" else text
