"""Token buckets and caps per address. Pure: whoever asks brings the time."""

import hashlib
import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TokenBucket:
    """At most `burst` at once, and `per_second` in the long run."""

    __slots__ = ("_burst", "_level", "_per_second", "_seen_ms")

    def __init__(self, per_second: float, burst: float, now_ms: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._level = burst
        self._seen_ms = now_ms

    def take(self, now_ms: int) -> int:
        """0 where one may pass, else the milliseconds until the next may."""
        passed, level = now_ms - self._seen_ms, self._level
        self._seen_ms = now_ms
        if passed > 0:
            level += passed * self._per_second / 1000
            if level > self._burst:
                level = self._burst
        if level >= 1:
            self._level = level - 1
            return 0
        self._level = level
        return max(1, round((1 - level) * 1000 / self._per_second))


class AddressCaps:
    """Counts what each address (`address_counted`) has open; networks in `exempt` are not counted."""

    def __init__(self, most: int, exempt: Iterable[Network]) -> None:
        self._most = most
        self._exempt = tuple(exempt)
        self._open: dict[str, int] = {}

    def enter(self, address: str) -> bool:
        """Whether one more is allowed; if so it counts until `leave`."""
        if self.is_exempt(address):
            return True
        address = address_counted(address)
        if self._open.get(address, 0) >= self._most:
            return False
        self._open[address] = self._open.get(address, 0) + 1
        return True

    def leave(self, address: str) -> None:
        if self.is_exempt(address):
            return
        address = address_counted(address)
        if address in self._open:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]

    def is_exempt(self, address: str) -> bool:
        """Whether no cap holds for the address."""
        return in_networks(address, self._exempt)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None for what is no address. Who listens on `::` hears of IPv4 as mapped into IPv6: it is IPv4 all the same."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed


def in_networks(address: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks; what is no address is in none."""
    parsed = _parse(address)
    return parsed is not None and any(parsed in network for network in networks)


def address_counted(address: str) -> str:
    """What counts as one address. Of IPv6 that is the network part: whoever has one address there has all of them."""
    parsed = _parse(address)
    if parsed is None:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False) if parsed.version == 6 else parsed)


def address_mark(address: str, key: bytes) -> str:
    """Tells one counted address from another without naming it, for counts that are kept: 16 digits of a keyed hash."""
    return hashlib.blake2b(address_counted(address).encode(), digest_size=8, key=key).hexdigest()


def client_address(peer: str, forwarded_for: str | None, trusted: Iterable[Network]) -> str:
    """Who is at the other end: the last address of X-Forwarded-For that is no proxy of ours, if the peer is one."""
    trusted = tuple(trusted)
    address = peer
    hops = [hop.strip() for hop in (forwarded_for or "").split(",") if hop.strip()]
    while in_networks(address, trusted) and hops:
        address = _without_port(hops.pop())
    return address


def _without_port(hop: str) -> str:
    """Some proxies write `192.0.2.9:4711` or `[2001:db8::1]:4711`, which would be another address each connection."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    host, _, port = hop.partition(":")
    return hop if ":" in port else host
