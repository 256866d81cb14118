"""What a load run may do: how many, how long, and to whom. Pure."""

import ipaddress
from socket import AddressFamily
from typing import Final
from urllib.parse import urlsplit

USERS_DEFAULT: Final = 200
USERS_MAX: Final = 5_000
"""More clients than one Python process can keep up to date at 20 ticks a second: beyond it the load tests itself."""
RUN_SECONDS_DEFAULT: Final = 60
RUN_SECONDS_MIN: Final = 2
RUN_SECONDS_MAX: Final = 600
JOIN_SECONDS_MAX: Final = 30.0
"""How long one viewer waits for its first `welcome` before it gives up."""
ANSWER_SECONDS_MAX: Final = 60.0
"""How long a user waits for one answer: longer than the client's own patience, so that it decides what is unknown."""
STOP_SECONDS: Final = 5
"""What users have to finish what they are doing when the time is over."""
REST_SECONDS_MAX: Final = 20.0
"""How long viewers have to arrive at the server's state once nobody acts any more."""
REST_CALL_SECONDS: Final = 10.0
BUY_SECONDS_MAX: Final = 20.0
"""How long a buyer waits for a payment to be ready, and for what became of it, before the outcome is unknown."""
BUY_LOOK_SECONDS: Final = 0.1
"""How often a buyer looks: what is added at most to how long buying seems to take."""
BUY_TRIES_MAX: Final = 3
"""How often a request that nobody answered is sent, with the same key."""
MONEY_SECONDS_MAX: Final = 30.0
"""How long bookings and money have to agree once nobody acts any more: several tries of the outbox."""
START_SECONDS_MAX: Final = 120.0
HOUSE_STOP_SECONDS: Final = 60.0
OVERTIME_SECONDS: Final = 60
"""How much longer than its run time and its rest a run may take before it is ended: connecting, and stopping."""

assert RUN_SECONDS_MIN <= RUN_SECONDS_DEFAULT <= RUN_SECONDS_MAX
assert USERS_DEFAULT <= USERS_MAX
assert STOP_SECONDS < ANSWER_SECONDS_MAX
assert BUY_LOOK_SECONDS * 10 < BUY_SECONDS_MAX


def require_loopback(url: str) -> str:
    """The server's root without a slash at its end. Raises `ValueError` for any address but this machine's own.

    A load test of somebody else's server is an attack; only `http://` and a loopback address (or `localhost`) will do.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{url!r}: an address such as http://127.0.0.1:8080 is expected")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"{url!r}: only a server on this machine is put under load (127.0.0.1, ::1 or localhost)")
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{parts.port or 80}"


def family_of(host: str) -> AddressFamily | None:
    """The kind of a numeric address, which can be connected to directly; None for a name, which is to be looked up.

    Under gevent a look-up, of a number too, is a job for a few threads that get no turn while the crowd keeps the
    process busy: with 1,000 users one call in ten took 11 s.
    """
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return AddressFamily.AF_INET6 if version == 6 else AddressFamily.AF_INET
