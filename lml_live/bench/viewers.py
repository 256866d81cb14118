"""Those who only watch: a process of its own that reads lazily. `python -m lml_live.bench.viewers`.

It looks into every socket ten times a second instead of waiting for each frame: thousands of readers that are woken
frame by frame would cost the sender a wake-up each, on the same cores, and that is no part of what a server pays for
clients on other machines.
"""

import contextlib
import os
import select
import socket
import sys
import time
from typing import Final

import msgspec

from lml_live.bench import bounds, frames
from lml_live.bench.counters import cpu_ns
from lml_live.bench.orders import Connect, Done, Leave, Order, Stall, Watch, read_order, write

_DRAIN_SECONDS: Final = 0.1
_RECEIVE_BYTES: Final = 64 * 1024
_DIFF: Final = b'{"type":"diff"'
_EVENT: Final = b"42"
"""How socket.io's text frames with an event begin; `40` says that one is let in, `2` is its ping and `3` the pong."""


class _Seen(msgspec.Struct):
    """What is looked at in a diff that is read as it comes."""

    seq: int
    prev: int = 0
    held: list[int] = []


_seen: Final = msgspec.json.Decoder(_Seen)


class _Viewer:
    def __init__(self, order: Connect) -> None:
        self.frames = 0
        self.bytes = 0
        self.stalled = False
        self.gone = False
        self._order = order
        self._counted = b"" if order.plain or order.peer == "ws" else _EVENT if order.peer else _DIFF
        self.arrivals: list[tuple[float, int]] | None = None
        """Of each diff that came, when and its seq; None where nobody wants to know."""
        self.seq = 0
        self.deltas = 0
        self.gap = False
        self._rest = b""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, order.receive_buffer_bytes)
        self._socket.settimeout(bounds.SOCKET_SECONDS)
        self._socket.connect((order.host, order.port))
        if order.peer is not None:
            self._socket.sendall(frames.peer_handshake(order.host, order.port, order.peer))
        elif not order.plain:
            self._socket.sendall(frames.handshake(order.host, order.port, order.event))

    def say_hello(self) -> None:
        """Waits for the end of the handshake. Raises `OSError` where it is refused."""
        while b"\r\n\r\n" not in self._rest:
            self._read_more()
        if not self._rest.startswith(b"HTTP/1.1 101"):
            raise OSError(f"the handshake was refused: {self._rest[:60]!r}")
        self._rest = self._rest.partition(b"\r\n\r\n")[2]
        if self._order.peer != "ws":
            self._socket.sendall(frames.client_frame(b"40" if self._order.peer else frames.HELLO))

    def await_welcome(self) -> None:
        """Reads up to the end of the message that lets it in."""
        if self._order.peer == "ws":
            return
        message = self._read_message()
        while self._order.peer is not None and not message.startswith(b"40"):
            message = self._read_message()

    def _read_message(self) -> bytes:
        while (found := frames.next_frame(self._rest, 0)) is None:
            self._read_more()
        message = self._rest[found[1] : found[2]]
        self._rest = self._rest[found[2] :]
        return message

    def set_out(self) -> None:
        self._socket.setblocking(False)

    def _read_more(self) -> None:
        data = self._socket.recv(_RECEIVE_BYTES)
        if not data:
            raise OSError("a socket was closed by the server")
        self._rest += data

    def fileno(self) -> int:
        return self._socket.fileno()

    def _note(self, message: bytes) -> None:
        seen = _seen.decode(message)
        assert self.arrivals is not None
        self.arrivals.append((time.perf_counter(), seen.seq))
        self.gap |= 0 < self.seq < seen.prev
        self.seq = max(self.seq, seen.seq)
        self.deltas += len(seen.held) // 2  # a hold is of two seats

    def drain(self) -> None:
        """Takes what is there."""
        if self.stalled or self.gone:
            return
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.gone = True
            return
        buffer = self._rest + data if self._rest else data
        at = 0
        while (found := frames.next_frame(buffer, at)) is not None:
            opcode, body, end = found
            if opcode == frames.TEXT and buffer.startswith(self._counted, body):
                self.frames += 1
                self.bytes += end - at
                if self.arrivals is not None:
                    self._note(buffer[body:end])
            elif opcode == frames.TEXT and self._order.peer and buffer[body:end] == b"2":
                with contextlib.suppress(OSError):
                    self._socket.send(frames.client_frame(b"3"))
            elif opcode == frames.PING:
                with contextlib.suppress(OSError):
                    self._socket.send(frames.PONG_FRAME)
            at = end
        self._rest = buffer[at:]

    def close(self) -> None:
        self._socket.close()


class _Hall:
    """All viewers of this process, by group."""

    def __init__(self) -> None:
        self._groups: dict[str, list[_Viewer]] = {}

    def drain(self) -> None:
        for viewers in self._groups.values():
            for viewer in viewers:
                viewer.drain()

    def obey(self, order: Order) -> Done:
        """Carries an order out. A fault is told in the answer."""
        try:
            match order:
                case Connect():
                    return self._connect(order)
                case Watch():
                    return self._watch(order)
                case Stall():
                    for number, viewer in enumerate(self._groups[order.group]):
                        viewer.stalled = number < order.count
                    return Done()
                case Leave():
                    for viewer in self._groups.pop(order.group):
                        viewer.close()
                    return Done()
                case _:
                    return Done(fault="this process has no such order")
        except OSError as error:
            return Done(fault=f"{type(error).__name__}: {error}")

    def _connect(self, order: Connect) -> Done:
        group = self._groups.setdefault(order.group, [])
        before = len(group)
        while (missing := before + order.count - len(group)) > 0:
            batch = [_Viewer(order) for _ in range(min(missing, order.at_once))]
            if not order.plain:
                for viewer in batch:
                    viewer.say_hello()
                for viewer in batch:
                    viewer.await_welcome()
            for viewer in batch:
                viewer.set_out()
            group += batch
            self.drain()
        return Done(sockets=len(group))

    def _watch(self, order: Watch) -> Done:
        viewers = self._groups[order.group]
        for viewer in viewers:
            viewer.frames = viewer.bytes = viewer.deltas = viewer.seq = 0
            viewer.gap = False
            viewer.arrivals = [] if order.arrivals else None
        before = {name: cpu_ns(pids) for name, pids in order.cpu_of.items()}
        own, began = time.process_time_ns(), time.perf_counter()
        until, at_most = began + order.seconds, began + order.seconds + bounds.QUIET_SECONDS_MAX
        if order.arrivals:
            _read_as_it_comes(viewers, until)
        while (left := until - time.perf_counter()) > 0:
            # Frames pile up meanwhile, so that one wake-up reads many; bounded by what is left of the slice.
            time.sleep(min(left, _DRAIN_SECONDS))
            seen = sum(viewer.frames for viewer in viewers)
            self.drain()
            now_seen = sum(viewer.frames for viewer in viewers)
            if now_seen > seen or (order.expects and not now_seen):
                until = min(at_most, max(until, time.perf_counter() + order.quiet_seconds))
        spent = {name: cpu_ns(pids) - before[name] for name, pids in order.cpu_of.items()}
        spent["viewers"] = time.process_time_ns() - own
        arrivals: dict[int, list[float]] = {}
        for viewer in viewers:
            for when, seq in viewer.arrivals or ():
                arrivals.setdefault(seq, []).append(when)
            viewer.arrivals = None
        latest = max((viewer.seq for viewer in viewers), default=0)
        return Done(
            sockets=len(viewers),
            seconds=time.perf_counter() - began,
            cpu_ns=spent,
            frames=sum(viewer.frames for viewer in viewers),
            frames_least=min((viewer.frames for viewer in viewers if not viewer.stalled), default=0),
            frame_bytes=sum(viewer.bytes for viewer in viewers),
            arrivals=arrivals,
            deltas=sum(viewer.deltas for viewer in viewers),
            behind=sum(viewer.gap or viewer.gone or viewer.seq != latest for viewer in viewers) if arrivals else 0,
            lost=sum(viewer.gone for viewer in viewers),
        )


def _read_as_it_comes(viewers: list[_Viewer], until: float) -> None:
    with select.epoll() as poll:
        by_number = {viewer.fileno(): viewer for viewer in viewers}
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        while (left := until - time.perf_counter()) > 0:
            for number, _ in poll.poll(left):
                by_number[number].drain()
                if by_number[number].gone:
                    poll.unregister(number)


def _main() -> None:
    hall = _Hall()
    unread = b""
    _say(Done())
    while True:
        readable, _, _ = select.select([0], [], [], _DRAIN_SECONDS)
        if not readable:
            hall.drain()
            continue
        said = os.read(0, 65_536)
        if not said:
            return
        unread += said
        while b"\n" in unread:
            line, _, unread = unread.partition(b"\n")
            _say(hall.obey(read_order(line)))


def _say(done: Done) -> None:
    sys.stdout.buffer.write(write(done))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        _main()
