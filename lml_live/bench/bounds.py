"""The bounds of a benchmark run, with their reasons."""

import resource
from typing import Final

from lml_live import limits

SECONDS_DEFAULT: Final = 3.0
SECONDS_MIN: Final = 0.05
SECONDS_MAX: Final = 60.0
"""For how long one side of a row is measured. Longer runs meet more neighbours, not more truth."""
TURNS_MIN: Final = 3
"""A median needs three."""
TURNS_MAX: Final = 400
REASON_CHARS_MAX: Final = 300

IN_FLIGHT: Final = 64
"""Calls written together where a row says `in a pipeline`: what one loop tick of a busy worker collects."""
CALLERS: Final = 256
"""Of our pipe at once; what is replayed beside it has 50 × 16 = 800 calls on the way."""
BATCHES: Final = 4
"""Pipelines of one slice."""

CHILD_START_SECONDS: Final = 20.0
CHILD_STOP_SECONDS: Final = 5.0
CHILD_ANSWER_SECONDS: Final = 90.0
"""The longest order (5,000 handshakes on a busy machine) takes about 20 s."""
HOUSE_START_SECONDS: Final = 90.0
HOUSE_STOP_SECONDS: Final = 45.0

BURST_MESSAGES: Final = limits.MESSAGE_BURST_MAX - 4
"""What a rested socket may send at once without being told to slow down, `hello` and rounding left aside; even, so that
a burst of holds and releases leaves nothing held."""
REST_SECONDS: Final = (BURST_MESSAGES + 2) / limits.MESSAGES_PER_SECOND_MAX
"""After which a socket that has sent a burst is rested again. Peers are measured meanwhile."""
SOCKET_SECONDS: Final = 20.0
"""A request whose answer takes longer has been lost."""
QUIET_SECONDS_MAX: Final = 20.0
"""How long a room may go on telling what has happened; what comes later is not waited for."""
CONNECTS_AT_ONCE: Final = 50
CONNECTS_IN_ONE_ORDER: Final = 1_000
"""An order is answered within `CHILD_ANSWER_SECONDS`, on a busy machine, too."""
NPM_SECONDS_MAX: Final = 60.0
"""Two packages and their dependencies are 3 MB."""

SETTLE_SECONDS: Final = 0.4
"""A watch goes on until nothing has come for so long: a tick, its fan-out and the next look into the sockets."""
SPARE_FILES: Final = 500

assert BURST_MESSAGES % 2 == 0
assert TURNS_MIN < TURNS_MAX
assert SECONDS_MIN < SECONDS_DEFAULT < SECONDS_MAX


def too_many_sockets(count: int) -> str | None:
    """Why so many sockets cannot be open in one process; None where they can."""
    may = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if count + SPARE_FILES > min(may, limits.SOCKETS_MAX):
        return f"{count:,} sockets need more open files than the {may:,} that a process may have here"
    return None
