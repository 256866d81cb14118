"""The plainest fan-out in Python: `socket.send` for each socket and tick. `python -m lml_live.bench.send_loop`.

A peer of the rooms, and the stand-in for send_loop.c where there is no compiler. Ends with its stdin.
"""

import contextlib
import socket
import sys
import time

from lml_live.bench.frames import server_frame
from lml_live.bench.orders import Done, Send, read_order, write
from lml_live.devstack.child import LOOPBACK


def _main() -> None:
    listener = socket.create_server((LOOPBACK, 0), backlog=4096)
    listener.setblocking(False)
    sockets: list[socket.socket] = []
    _say(Done(port=listener.getsockname()[1]))
    while line := sys.stdin.buffer.readline():
        order = read_order(line)
        if not isinstance(order, Send):
            _say(Done(fault="this process only sends"))
            continue
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sockets.append(accepted)
        _send(sockets, order)
        _say(Done(sockets=len(sockets)))


def _send(sockets: list[socket.socket], order: Send) -> None:
    frame = server_frame(order.frame_bytes)
    following = time.monotonic()
    for _ in range(order.ticks):
        for each in sockets:
            with contextlib.suppress(OSError):  # it reads too slowly, or has left
                each.send(frame)
        following += order.tick_ms / 1000
        # Until the next tick is due: this process does nothing else.
        time.sleep(max(0.0, following - time.monotonic()))


def _say(done: Done) -> None:
    sys.stdout.buffer.write(write(done))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        _main()
