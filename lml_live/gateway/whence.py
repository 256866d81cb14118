"""From where a request comes, and how often: network addresses as our proxies name them, and a rate for each caller."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from aiohttp import web

from lml_live import limits
from lml_live.errors import Overloaded
from lml_live.guard.throttle import Network, TokenBucket, address_counted, address_mark, client_address, in_networks


class AddressOf:
    """Who calls, by network address: the peer, or whom our own proxies name."""

    def __init__(self, trusted: Sequence[Network], exempt: Sequence[Network], secret: bytes) -> None:
        self._trusted = tuple(trusted)
        self._exempt = tuple(exempt)
        self._key = hashlib.blake2b(secret, digest_size=32, person=b"lml addresses").digest()

    def __call__(self, request: web.Request) -> str:
        # All lines of it: a proxy may add one of its own behind that of a caller who would like to be somebody else.
        hops = ",".join(request.headers.getall("X-Forwarded-For", ()))
        return client_address(request.remote or "", hops, self._trusted)

    def capped(self, request: web.Request) -> str | None:
        """What is counted of the address, or None where it is exempt from caps."""
        address = self(request)
        return None if in_networks(address, self._exempt) else address_counted(address)

    def mark(self, request: web.Request) -> str:
        """What stands for the address in the inventory's counts; empty where it is exempt from caps."""
        address = self.capped(request)
        return "" if address is None else address_mark(address, self._key)

    def origin(self, request: web.Request) -> str:
        """The same for the audit trail: of every address, exempt or not."""
        return address_mark(self(request), self._key)


class RequestBuckets:
    """A rate per holder and per address; those that rest are forgotten."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, who: str, now_ms: int) -> None:
        """Raises `Overloaded` where `who` asks too often."""
        bucket = self._buckets.get(who)
        if bucket is None:
            bucket = self._buckets[who] = TokenBucket(limits.REQUESTS_PER_SECOND_MAX, limits.REQUEST_BURST_MAX, now_ms)
            if len(self._buckets) > limits.REQUEST_BUCKETS_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(who)
        if wait_ms := bucket.take(now_ms):
            raise Overloaded("Too many requests: slow down.", retry_after_ms=wait_ms)
