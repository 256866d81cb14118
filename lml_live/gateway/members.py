"""Buyers who have signed in and watch: their sockets on this worker, counted by holder, ended with their session."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection

from lml_live import limits
from lml_live.gateway.audience import Subscriber


async def _all_last(_sessions: Collection[str]) -> Collection[str]:
    """Where nobody signs in."""
    return ()


class Members:
    """Which socket is of which session. Anonymous ones are not counted, and cost nothing."""

    def __init__(self) -> None:
        self.ended: Callable[[Collection[str]], Awaitable[Collection[str]]] = _all_last
        """Which of these sessions last no longer."""
        self._of: dict[Subscriber, tuple[str, str]] = {}
        self._sockets: Counter[str] = Counter()

    async def lasts(self, session: str) -> bool:
        """Whether a session has not ended. Raises `Unavailable`."""
        return session not in await self.ended({session})

    def enter(self, subscriber: Subscriber, holder: str, session: str) -> bool:
        """Counts a socket in, once; False where its holder has as many as one may have."""
        if subscriber not in self._of and self._sockets[holder] >= limits.SOCKETS_PER_ACCOUNT_MAX:
            return False
        self.leave(subscriber)
        self._of[subscriber] = holder, session
        self._sockets[holder] += 1
        return True

    def leave(self, subscriber: Subscriber) -> None:
        """The socket is gone, if it was here at all."""
        known = self._of.pop(subscriber, None)
        if known is not None:
            self._sockets[known[0]] -= 1
            if not self._sockets[known[0]]:
                del self._sockets[known[0]]

    def session_of(self, subscriber: Subscriber) -> str:
        """The session of a socket; empty for one whose holder is anonymous."""
        return self._of.get(subscriber, ("", ""))[1]

    async def signed_out(self) -> list[Subscriber]:
        """The sockets whose session has ended. Raises `Unavailable`."""
        watching = dict(self._of)
        ended = await self.ended({session for _, session in watching.values()}) if watching else ()
        return [subscriber for subscriber, (_, session) in watching.items() if session in ended]
