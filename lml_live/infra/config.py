"""The settings: `LML_*` environment variables, read once, all faults reported together (contract, section 5)."""

import ipaddress
import os
import re
from collections.abc import Mapping
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from lml_live import limits
from lml_live.errors import InvalidInput, Violation
from lml_live.infra.redis_address import parse_address
from lml_live.infra.smtp import parse_server
from lml_live.values import is_id

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
    postgres_owner_dsn: str | None = None
    """Who migrates, and grants the server's role its rights; workers are never told."""
    mongo_url: str | None = None
    mongo_owner_url: str | None = None
    """Who makes collections, rules and indexes, and grants the server's user its rights; workers are never told."""
    mongo_database: str = "lml"
    s3_bucket: str | None = None
    s3_endpoint_url: str | None = None
    """Only for an S3 that is not Amazon's (the double, MinIO)."""
    s3_replicas: tuple[str, ...] = ()
    """`region=bucket` each."""
    backup_bucket: str | None = None
    """None of the layouts' buckets, which are public: drafts are backed up, too."""
    backup_keep_last: int = limits.BACKUP_KEEP_LAST
    backup_keep_days: int = limits.BACKUP_KEEP_DAYS
    backup_keep_months: int = limits.BACKUP_KEEP_MONTHS
    cdn_base_url: str | None = None
    """Where the bucket is read from publicly; without it the server's own `/layouts/…` is named in `layout.url`."""
    cdn_distribution: str | None = None
    cdn_endpoint_url: str | None = None
    """Only for a CloudFront that is not Amazon's: the double."""
    cdn_key_id: str | None = None
    cdn_key_file: Path | None = None
    private_layouts: tuple[str, ...] = ()
    link_seconds: int = limits.LINK_SECONDS
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
    """Without it only what costs nothing can be had; `lml up` sets the double's."""
    stripe_publishable_key: str | None = None
    stripe_webhook_secret: str | None = None
    stripe_api_base: str | None = None
    """Only for a Stripe that is not the real one: the double."""
    stripe_calls: int = limits.STRIPE_CALLS
    stripe_endpoint_calls: tuple[str, ...] = (str(limits.STRIPE_ENDPOINT_CALLS),)
    """A number, and exceptions such as `create_intent=100`."""
    payment_methods: tuple[str, ...] = ("card",)
    bank_seconds: int = limits.BANK_SECONDS
    pay_seconds: int = limits.PAY_SECONDS
    poll_seconds: int = limits.POLL_SECONDS
    mark_seconds: int = limits.MARK_SECONDS
    lease_seconds: int = limits.OUTBOX_LEASE_SECONDS
    match_seconds: int = limits.MATCH_SECONDS
    settle_seconds: int = limits.SETTLE_SECONDS
    anchor_seconds: int = limits.ANCHOR_SECONDS
    anchor_bucket: str | None = None
    """Not the layouts' bucket, which is public; without it the data directory, which the next intruder may own, too."""
    smtp_url: str | None = None
    """Without it nobody is written to, unless the mailbox keeps the mails."""
    mail_from: str | None = None
    public_url: str | None = None
    terms_url: str | None = None
    """Confirmations link to it, and banks are told of it in disputes."""
    mailbox: int = 0
    """Mails are kept and shown to whoever sits at this machine; `lml up` sets it where there is no mail server."""
    log_level: str = "info"


DESCRIPTIONS: Final = {
    "host": "Address to listen on; `0.0.0.0` for all",
    "port": "Port to listen on; 0 takes a free one and prints it",
    "workers": "Worker processes on that port",
    "data_dir": "Where `lml up` keeps its engines, their data, logs and secrets",
    "redis_url": "Redis or Valkey: `redis://…`, `redis+sentinel://…/service` or `redis+cluster://…`",
    "postgres_dsn": "PostgreSQL: `postgresql://user:password@host/database`",
    "postgres_owner_dsn": "The same database as its owner, who migrates and grants; without it the server's role does",
    "mongo_url": "MongoDB, a replica set: `mongodb://…`",
    "mongo_owner_url": "The same MongoDB as its owner, who makes rules and grants; without it the server's user does",
    "mongo_database": "The database in MongoDB",
    "s3_bucket": "Bucket for published layouts",
    "s3_endpoint_url": "An S3 that is not Amazon's",
    "s3_replicas": "The same layouts in buckets of other regions, by comma: `eu-west-1=lml-eu,us-west-2=lml-us`",
    "backup_bucket": "Bucket for backups of layouts, not a public one; without it `backups/` in `LML_DATA_DIR`",
    "backup_keep_last": "How many of a layout's latest backups are kept",
    "backup_keep_days": "Beside them the last one of each of so many days that have any",
    "backup_keep_months": "And the last one of each of so many months",
    "cdn_base_url": "Public address of the bucket; without it the server's own `/layouts/…` is used",
    "cdn_distribution": "CloudFront's distribution, which is told when the pointer to a newest version moves",
    "cdn_endpoint_url": "A CloudFront that is not Amazon's",
    "cdn_key_id": "The key of CloudFront's key group that signs links to private layouts",
    "cdn_key_file": "Its private half, RSA, as a PEM file",
    "private_layouts": "Layouts, by id and comma, that the CDN serves to signed links only, from `private/…`",
    "link_seconds": "How long such a link lets somebody in",
    "secret": "Signs holder tokens; without it the one kept in PostgreSQL",
    "admin_email": "The first administrator; made at random and shown once where it is not set",
    "admin_password": "The first administrator's password",
    "origins": "Origins allowed on the live socket beside the server's own, by comma; `*` allows any",
    "trusted_proxies": "Networks of proxies whose `X-Forwarded-For` is believed, by comma",
    "caps_exempt": "Networks without caps per address, for load tests; printed at start",
    "tick_ms": "How often changes are sent to sockets, in milliseconds",
    "sweep_ms": "How often expired holds are looked for, in milliseconds",
    "stripe_api_key": "Stripe's secret key; without it only what costs nothing can be had",
    "stripe_publishable_key": "Stripe's publishable key, for the buyer's browser; needed with the secret one",
    "stripe_webhook_secret": "Signs Stripe's webhooks; several by comma; without it the poller does the work",
    "stripe_api_base": "A Stripe that is not the real one: the double; refused with live keys",
    "stripe_calls": "Calls a second that Stripe takes of this account, by all servers together; a sandbox takes 25",
    "stripe_endpoint_calls": "The same of each operation, and where Stripe allows another: `25,create_intent=100`",
    "payment_methods": "The ways to pay that are offered, by comma, where they take the event's currency: `card,ideal`",
    "bank_seconds": "How long a bank may take over a payment, beyond `LML_PAY_SECONDS`, before it is called off",
    "pay_seconds": "How long a claim waits for its payment",
    "poll_seconds": "How often Stripe is asked about an unfinished payment",
    "mark_seconds": "When a checkout mark without a claim is settled; half of it, and its key may be sent again",
    "lease_seconds": "When work that a worker died over is taken up by another",
    "match_seconds": "How often bookings are matched with what Stripe has booked",
    "settle_seconds": "What moved less than this ago is left for the next match",
    "anchor_seconds": "How often the heads of the audit trail's chains are written to the object store",
    "anchor_bucket": "Bucket for those anchors, best with Object Lock; without it `audit/` in `LML_DATA_DIR`",
    "smtp_url": "Mail server: `smtps://user:password@host`, `smtp+starttls://…` or, on the way unread, `smtp://…`",
    "mail_from": "Who writes to buyers: `Box office <tickets@example.org>`; needed with a mail server",
    "public_url": "Where buyers reach the pages, for links in mails; needed with a mail server",
    "terms_url": "Where buyers read your terms: confirmations link to it, and banks are told of it in disputes",
    "mailbox": "1: mails are kept and shown at `/mailbox`, to this machine only, as `lml up` does by itself",
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
    faults += _check_edge(values)
    if "postgres_owner_dsn" in values and "postgres_dsn" not in values:
        faults.append(Violation("LML_POSTGRES_OWNER_DSN", "does nothing without LML_POSTGRES_DSN, the server's role"))
    if not any(fault.path.startswith("LML_STRIPE_") for fault in faults):
        faults += _check_stripe(values)
    if not any(fault.path in ("LML_SMTP_URL", "LML_MAIL_FROM", "LML_PUBLIC_URL") for fault in faults):
        faults += _check_mail(values)
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
    "mailbox": (0, 1),
    "backup_keep_last": (1, limits.BACKUP_KEEP_MAX),
    "backup_keep_days": (0, limits.BACKUP_KEEP_MAX),
    "backup_keep_months": (0, limits.BACKUP_KEEP_MAX),
    "link_seconds": (limits.LINK_SECONDS_MIN, limits.LINK_SECONDS_MAX),
    "tick_ms": (limits.TICK_MS_MIN, limits.TICK_MS_MAX),
    "sweep_ms": (limits.SWEEP_MS_MIN, limits.SWEEP_MS_MAX),
    "stripe_calls": (1, limits.STRIPE_CALLS_MAX),
    "bank_seconds": (limits.BANK_SECONDS_MIN, limits.BANK_SECONDS_MAX),
    "pay_seconds": (limits.PAY_SECONDS_MIN, limits.PAY_SECONDS_MAX),
    "poll_seconds": (limits.POLL_SECONDS_MIN, limits.POLL_SECONDS_MAX),
    "mark_seconds": (limits.MARK_SECONDS_MIN, limits.MARK_SECONDS_MAX),
    "lease_seconds": (limits.OUTBOX_LEASE_SECONDS_MIN, limits.OUTBOX_LEASE_SECONDS_MAX),
    "match_seconds": (limits.MATCH_SECONDS_MIN, limits.MATCH_SECONDS_MAX),
    "settle_seconds": (limits.SETTLE_SECONDS_MIN, limits.SETTLE_SECONDS_MAX),
    "anchor_seconds": (limits.ANCHOR_SECONDS_MIN, limits.ANCHOR_SECONDS_MAX),
}


assert DESCRIPTIONS.keys() == set(Settings.__struct_fields__)


_ADDRESSES: Final = {
    "redis_url": r"(rediss?://[^/?#]*?(:\d{1,5})?(/|\?|$)|rediss?\+(sentinel|cluster)://.|unix:///)",
    "postgres_dsn": r"postgres(ql)?://.",
    "postgres_owner_dsn": r"postgres(ql)?://.",
    "mongo_url": r"mongodb(\+srv)?://.",
    "s3_endpoint_url": r"https?://.",
    "cdn_base_url": r"https?://[^/\s?#]+(/[^\s?#]*)?$",
    "cdn_endpoint_url": r"https?://.",
    "public_url": r"https?://[^/\s?#]+/?$",
    "terms_url": r"https?://[^\s]{1,500}$",
}

STRIPE_OPERATIONS: Final = frozenset(
    {
        *("create_intent", "list_intents", "retrieve_intent", "capture_intent", "cancel_intent"),
        *("create_refund", "list_refunds", "list_disputes", "list_balance"),
        *("create_account", "list_accounts", "retrieve_account", "create_account_link"),
        *("create_customer", "retrieve_customer", "list_customers", "list_cards", "retrieve_card", "detach_card"),
        *("create_transfer", "list_transfers", "create_reversal", "list_reversals"),
    }
)
"""What is called at Stripe. Each counts there by itself (docs.stripe.com/rate-limits), and in `booking.pace`."""

PAYMENT_METHODS: Final = frozenset(
    {"card", "link", "ideal", "bancontact", "eps", "p24", "blik", "twint", "sepa_debit", "us_bank_account"}
)
"""By Stripe's names. What each is like is in `booking.methods`."""

_KEY_FORMS: Final = {"stripe_api_key": ("sk_", "rk_"), "stripe_publishable_key": ("pk_",)}
"""A secret key in the place of the publishable one would be sent to every browser."""
_STRIPE_NEEDS_KEY: Final = ("stripe_publishable_key", "stripe_webhook_secret", "stripe_api_base")
_LIVE_KEY: Final = re.compile(r"(sk|rk|pk)_live_")


def _check_stripe(values: Mapping[str, object]) -> list[Violation]:
    """What is missing or does not fit together. The webhook's secret may be missing: the poller asks Stripe, too."""
    key, publishable = values.get("stripe_api_key"), values.get("stripe_publishable_key")
    if key is None:
        return [
            Violation(f"LML_{field.upper()}", "does nothing without LML_STRIPE_API_KEY; set both or neither")
            for field in _STRIPE_NEEDS_KEY
            if values.get(field) is not None
        ]
    if publishable is None:
        return [
            Violation("LML_STRIPE_PUBLISHABLE_KEY", "is not set, and browsers cannot pay without it; set it to pk_…")
        ]
    live = _LIVE_KEY.match(str(key)) is not None
    if live != (_LIVE_KEY.match(str(publishable)) is not None):
        return [Violation("LML_STRIPE_PUBLISHABLE_KEY", "is of another mode than LML_STRIPE_API_KEY; take both of one")]
    if live and values.get("stripe_api_base") is not None:
        # Pages type cards into a form of ours where Stripe is not the real one.
        return [Violation("LML_STRIPE_API_BASE", "is not the real Stripe, but the keys are live; unset it")]
    return []


def _check_edge(values: Mapping[str, object]) -> list[Violation]:
    """What does nothing without the rest of it. Without a bucket the server serves layouts itself."""
    needs = {
        "s3_replicas": "s3_bucket",
        "cdn_distribution": "s3_bucket",
        "cdn_endpoint_url": "cdn_distribution",
        "cdn_key_id": "cdn_key_file",
        "cdn_key_file": "cdn_key_id",
    }
    faults = [
        Violation(f"LML_{field.upper()}", f"does nothing without LML_{other.upper()}")
        for field, other in needs.items()
        if field in values and other not in values
    ]
    if "cdn_key_id" in values and "cdn_base_url" not in values:
        faults.append(Violation("LML_CDN_KEY_ID", "signs links to LML_CDN_BASE_URL, which is not set"))
    replicas = values.get("s3_replicas")
    public = {values.get("s3_bucket")}
    if isinstance(replicas, tuple):
        public |= {each.partition("=")[2] for each in replicas}
    if values.get("backup_bucket") is not None and values["backup_bucket"] in public:
        faults.append(Violation("LML_BACKUP_BUCKET", "is a bucket of layouts, which is public; name another"))
    return faults


def _read_replicas(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    names = [part.partition("=")[0] for part in parts]
    fits = all(re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d=[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", part) for part in parts)
    if not fits or len(set(names)) < len(names) or len(names) > limits.REGIONS_MAX:
        raise ValueError(f"is {text!r}; buckets of regions such as eu-west-1=lml-eu,us-west-2=lml-us are expected")
    return parts


def _check_mail(values: Mapping[str, object]) -> list[Violation]:
    """A mail server wants a sender, and mails have links."""
    if values.get("smtp_url") is None:
        return []
    if values.get("mailbox"):
        return [Violation("LML_MAILBOX", "keeps what LML_SMTP_URL would send; set one of the two")]
    return [
        Violation(f"LML_{field.upper()}", "is not set, and LML_SMTP_URL is: mails need it")
        for field in ("mail_from", "public_url")
        if values.get(field) is None
    ]


def _read_sender(text: str) -> str:
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = text
        [address] = message["From"].addresses
    except (MessageError, ValueError, IndexError):
        address = None
    if address is None or not address.username or "." not in address.domain or not address.addr_spec.isascii():
        raise ValueError("is no sender; one such as `Box office <tickets@example.org>` is expected")
    return text


def _read_paces(text: str) -> tuple[str, ...]:
    """One number for all operations, then `operation=number`."""
    parts = tuple(part.strip() for part in text.split(","))
    for place, part in enumerate(parts):
        name, _, number = part.rpartition("=")
        right = name in STRIPE_OPERATIONS if place else not name
        if not right or not number.isdecimal() or not 1 <= int(number) <= limits.STRIPE_CALLS_MAX:
            known = ", ".join(sorted(STRIPE_OPERATIONS))
            raise ValueError(f"is {text!r}; such as `25,create_intent=100` is expected, with operations of {known}")
    return parts


def stripe_base(text: str) -> str | None:
    """The address of a Stripe that is not the real one, without its last slash; None for the real one.

    Pages send cards that were typed into a form of ours to such an address, so the real Stripe must be recognised
    however it is spelled. Raises `ValueError` for what is neither.
    """
    address = urlsplit(text)
    host = (address.hostname or "").rstrip(".")
    plain = address.path.strip("/") == "" and not (address.query or address.fragment or "@" in address.netloc)
    if address.scheme not in ("http", "https") or not plain or re.fullmatch(r"[a-z0-9.:-]+", host) is None:
        raise ValueError("is no address of a Stripe double; http://127.0.0.1:20999, say, is expected")
    if (address.scheme, host, address.port or 443) == ("https", "api.stripe.com", 443):
        return None
    if host == "stripe.com" or host.endswith(".stripe.com"):
        raise ValueError("is Stripe's, but not its API; for the real Stripe leave it unset")
    return f"{address.scheme}://{address.netloc}"


def _parse(field: str, text: str) -> object:
    if field in _INTEGERS:
        low, high = _INTEGERS[field]
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"is {text!r}; a whole number from {low} to {high} is expected")
        return int(text)
    if (pattern := _ADDRESSES.get(field)) is not None and not re.match(pattern, text):
        raise ValueError(f"is no address of this kind; {DESCRIPTIONS[field].replace('`', '')} is expected")
    if field == "redis_url":
        parse_address(text)
    if field == "smtp_url":
        parse_server(text)
    if field == "mail_from":
        return _read_sender(text)
    if field == "stripe_api_base":
        return stripe_base(text)
    if field in _KEY_FORMS and not text.startswith(_KEY_FORMS[field]):
        raise ValueError(f"is no such key; one that begins with {' or '.join(_KEY_FORMS[field])} is expected")
    if field == "s3_replicas":
        return _read_replicas(text)
    if field == "private_layouts":
        ids = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        if not all(map(is_id, ids)):
            raise ValueError(f"is {text!r}; ids of layouts such as opening-night,city-hall are expected")
        return ids
    if field in ("data_dir", "cdn_key_file"):
        return Path(text)
    if field == "payment_methods":
        methods = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
        if "card" not in methods or not PAYMENT_METHODS.issuperset(methods):
            known = ", ".join(sorted(PAYMENT_METHODS))
            raise ValueError(f"is {text!r}; `card`, and of {known} whatever else is to be offered, is expected")
        return methods
    if field == "stripe_endpoint_calls":
        return _read_paces(text)
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
