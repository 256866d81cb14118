"""One socket's conversation: what a frame means, and when patience ends. Pure: no socket, no clock.

`receive` answers one effect; the connection carries it out. Malformed messages are strikes, floods are dropped and
told, and both end with close code 1008 (reliability.md, section 4).
"""

from typing import Final, get_args

from msgspec import Struct
from msgspec.structs import replace

from lml_live import limits, values
from lml_live.gateway import wire
from lml_live.gateway.tokens import HolderToken, HolderTokens, needs_renewal
from lml_live.guard.throttle import TokenBucket
from lml_live.inventory.records import HOUSE_CHANNELS, WEB
from lml_live.inventory.resume import read_resume

DEFLATE: Final = "deflate"
_ACTS: Final = frozenset({wire.HoldRequest, wire.HoldBest, wire.Release, wire.Extend})
_STAFF_ACTS: Final = frozenset(get_args(wire.StaffRequest))
_CREDENTIALS: Final = (values.STAFF_TOKEN_PREFIX, values.PARTNER_KEY_PREFIX)


class Visitor(Struct, frozen=True):
    """Somebody who presents a token that is no holder's: a member of staff (`staff` is their id), or a partner, whose
    new customer buys through `channel`."""

    staff: str | None = None
    channel: str = WEB
    manages: bool = False
    """Whether this member of staff may block, unblock, assign and open."""
    clerk: bool = False
    """Whether they may hold for customers, release and move anybody's hold, sell, and read what staff are told."""
    bound: bool = False
    """But only in events of the organisations that have them."""


class Greet(Struct, frozen=True):
    """Answer `welcome` or `resumed`. `holder` is None for a new anonymous one."""

    holder: str | None
    token: str | None
    """The client's own token; None where there is none yet, or it has ended."""
    resume: tuple[str, int] | None
    deflate: bool
    channel: str = WEB
    """The sales channel that the holder buys through."""
    credential: str | None = None
    """A token that is no holder's: who presents it is to be found out first, and told to `introduced`."""
    renew: bool = False
    """Whether the token is in its last quarter, so that a new one is due."""
    session: str = ""
    """That of a buyer who has signed in: whether it lasts is to be found out first."""


class Act(Struct, frozen=True, gc=False):
    """Carry out a holder's request, or staff's, and answer it."""

    request: wire.HoldRequest | wire.HoldBest | wire.Release | wire.Extend | wire.GroupRequest | wire.StaffRequest


class Renew(Struct, frozen=True):
    """Answer a ping; with a new token where the holder's partner still sells. See `Session.pong`."""

    id: int
    channel: str


class Say(Struct, frozen=True):
    """Send a message, and that is all."""

    message: wire.Error | wire.Pong


class Hang(Struct, frozen=True):
    """Send the message, if any, and close."""

    code: int
    reason: str
    message: wire.Error | None = None


Effect = Greet | Act | Renew | Say | Hang


class Session:
    """The state of one conversation."""

    def __init__(self, tokens: HolderTokens, now_ms: int) -> None:
        self._tokens = tokens
        self._bucket = TokenBucket(limits.MESSAGES_PER_SECOND_MAX, limits.MESSAGE_BURST_MAX, now_ms)
        self._strikes = 0
        self._floods = 0
        self.holder: str | None = None
        self._token: HolderToken | None = None
        self._written = ""
        """The same as the client has it."""
        self._ask_again_ms = 0
        """From when on the next ping may ask whether a partner still sells."""
        self._staff_token: str | None = None
        self._signed_in = ""
        """The session of a buyer who has signed in."""
        self.channel = WEB

    def introduced(self, greet: Greet, visitor: Visitor | None) -> Greet | Hang:
        """What to do about a `hello` with a credential, now that it is known whose it is (None: nobody's)."""
        if visitor is None or (self.holder is not None and visitor.staff != self.holder):
            return _REFUSED_TOKEN
        self.channel = visitor.channel
        if visitor.staff is None:
            return replace(greet, channel=visitor.channel, credential=None)
        self._staff_token = greet.credential
        return replace(greet, holder=visitor.staff, token=greet.credential)

    @property
    def staff_token(self) -> str | None:
        """What a member of staff said hello with."""
        return self._staff_token

    def greeted(self, holder: str, token: str, now_ms: int) -> None:
        """The answer to `hello` was made for this holder with this token."""
        self.holder = holder
        self._token, self._written = self._tokens.read(token, now_ms), token

    def receive(self, payload: bytes, fmt: wire.Format, now_ms: int) -> Effect:
        """What to do about one frame."""
        wait_ms = self._bucket.take(now_ms)
        try:
            message = fmt.decode_client(payload)
        except wire.Malformed as error:
            return self._strike(error.message, error.request_id)
        # First what nearly all messages are.
        token, may_act = self._token, not wait_ms and self._staff_token is None
        if may_act and type(message) in _ACTS and token is not None and token.end_ms > now_ms:
            return Act(message)  # type: ignore[arg-type]  # one of the four
        request_id = None if isinstance(message, wire.Hello) else message.id
        if wait_ms:
            return self._flooded(request_id, wait_ms)
        if isinstance(message, wire.Hello):
            return self._hello(message, now_ms)
        if self.holder is None:
            return self._strike("The first message must be `hello`.", request_id)
        if isinstance(message, wire.Ping):
            is_partners = self.channel not in HOUSE_CHANNELS
            if is_partners and self._needs_renewal(now_ms) and now_ms >= self._ask_again_ms:
                self._ask_again_ms = now_ms + limits.RENEWAL_ASK_MS
                return Renew(message.id, self.channel)
            return Say(self.pong(message.id, now_ms, renew=not is_partners))
        if type(message) in _STAFF_ACTS:
            return Act(message) if self._staff_token is not None else Say(_error("forbidden", _FOR_STAFF, request_id))
        if self._staff_token is not None:
            return Say(_error("forbidden", "Staff hold for customers: ask with `hold_for_customer`.", request_id))
        if self._token is None or self._token.end_ms <= now_ms:
            ended = _error("unauthorized", "Your token has ended: say hello without one.", request_id)
            return Hang(wire.CLOSE_UNAUTHORIZED, "token ended", ended)
        return Act(message)

    def pinged(self, now_ms: int) -> Hang | None:
        """A ping frame came; it counts like a message, so that a flood of them ends as one."""
        wait_ms = self._bucket.take(now_ms)
        effect = self._flooded(None, wait_ms) if wait_ms else None
        return effect if isinstance(effect, Hang) else None

    def _hello(self, message: wire.Hello, now_ms: int) -> Effect:
        holder, own, renew = self.holder, None, False
        credential = self._staff_token if message.token is None else message.token
        if credential is not None and credential.startswith(_CREDENTIALS):
            asked = read_resume(message.resume), DEFLATE in message.accept
            return Greet(None, None, *asked, credential=credential)
        if message.token is not None:
            token = self._tokens.read(message.token, now_ms)
            if token is None or (holder is not None and token.holder != holder):
                return _REFUSED_TOKEN
            holder, self.channel, self._signed_in = token.holder, token.channel, token.session
            own, renew = message.token, needs_renewal(token, now_ms)
        elif self._token is not None and self._token.end_ms > now_ms:
            own, renew = self._written, needs_renewal(self._token, now_ms)
        return Greet(
            *(holder, own, read_resume(message.resume), DEFLATE in message.accept, self.channel),
            renew=renew,
            session=self._signed_in,
        )

    def _needs_renewal(self, now_ms: int) -> bool:
        token = self._token
        return token is not None and token.end_ms > now_ms and needs_renewal(token, now_ms)

    def pong(self, number: int, now_ms: int, *, renew: bool) -> wire.Pong:
        """The answer to a ping, with a new token where one is due and the holder may have one."""
        renewed = None
        if renew and self.holder is not None and self._needs_renewal(now_ms):
            renewed = self._tokens.issue(self.holder, now_ms, self.channel, self._signed_in)
            self._token, self._written = self._tokens.read(renewed, now_ms), renewed
        return wire.Pong(id=number, now_ms=now_ms, token=renewed)

    def _strike(self, why: str, request_id: int | None) -> Effect:
        self._strikes += 1
        error = _error("invalid_message", why, request_id)
        if self._strikes >= limits.STRIKES_MAX:
            return Hang(wire.CLOSE_POLICY, "too many malformed messages", error)
        return Say(error)

    def _flooded(self, request_id: int | None, wait_ms: int) -> Effect:
        self._floods += 1
        error = _error("rate_limited", "Too many messages: slow down.", request_id, wait_ms)
        if self._floods >= limits.FLOODS_MAX:
            return Hang(wire.CLOSE_POLICY, "flood", error)
        return Say(error)


_FOR_STAFF: Final = "Only staff may ask for this."
_REFUSED_TOKEN: Final = Hang(
    wire.CLOSE_UNAUTHORIZED,
    "token refused",
    wire.Error(code="unauthorized", message="This token is not valid: say hello without one."),
)


def _error(code: str, message: str, request_id: int | None, retry_after_ms: int | None = None) -> wire.Error:
    return wire.Error(id=request_id, code=code, message=message, retry_after_ms=retry_after_ms)
