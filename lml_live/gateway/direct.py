"""The compiled half of the fan-out: `send_frame.c`, where the installation has it built.

It is optional. The wheel brings it where a C compiler was there when it was built; without it a frame goes out through
each socket's transport, and every socket gets the same bytes in the same order (docs/decisions/011).
"""

import ctypes
import logging
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

LIBRARY: Final = Path(__file__).with_name("send_frame.so")

SendFrame = Callable[["array[int]", int, int, bytes], list[tuple[int, int]]]
"""`send(fds, begin, end, frame)` writes the frame to `fds[begin:end]` without waiting and answers (place, bytes taken)
of those that did not take all of it. Only for descriptors whose owner has nothing buffered and has not closed them:
what is sent here overtakes a buffer, and a closed descriptor's number may be another socket's by now."""


def load_send_frame(library: Path = LIBRARY) -> SendFrame | None:
    """The compiled loop, or None, with a line in the log, where there is none for this machine."""
    try:
        function = ctypes.CDLL(str(library)).send_frame
    except (OSError, AttributeError) as error:
        log.info("diffs are sent in pure Python, the compiled helper is not there: %s", error)
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p)
    function.restype = ctypes.c_int

    def send(fds: "array[int]", begin: int, end: int, frame: bytes) -> list[tuple[int, int]]:
        count = end - begin
        rest = _room_for(2 * count)
        first = fds.buffer_info()[0] + begin * fds.itemsize
        missed = function(first, count, frame, len(frame), rest.buffer_info()[0])
        return [(begin + rest[2 * number], rest[2 * number + 1]) for number in range(missed)]

    return send


_room = array("i")


def _room_for(count: int) -> "array[int]":
    """Numbers for the C loop to write to; only what it has counted is read again. One call is made at a time."""
    if len(_room) < count:
        _room.extend([0] * (count - len(_room)))
    return _room
