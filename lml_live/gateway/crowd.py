"""Sockets that are in step, side by side: all have been sent the same, so one frame serves them all.

A fan-out to thousands is a system call a socket and as little else as can be (performance.md, section 2). The members
are kept in arrays, what is asked of each is asked by one `map` over a slice, and the frame is handed to `send_frame.c`,
or, without it, to each transport. Both write the same bytes; which one does is nobody else's business.
"""

from array import array
from collections.abc import Callable
from itertools import compress
from typing import TYPE_CHECKING, Any

from lml_live.gateway.direct import SendFrame

if TYPE_CHECKING:
    from lml_live.gateway.audience import Subscriber


class Crowd:
    """Members of one wire format and one kind of transport, and how far the present frame has got among them.

    With `send_frame` every member has a descriptor of its own that may be written to (`descriptor_of`).
    """

    def __init__(self, transport_kind: type[Any], send_frame: SendFrame | None) -> None:
        # Of the class, not of each transport: a bound method is 72 bytes a socket, and as much time again.
        self._is_closing: Callable[[Any], bool] = transport_kind.is_closing
        self._buffered: Callable[[Any], int] = transport_kind.get_write_buffer_size
        self._write: Callable[[Any, bytes], None] = transport_kind.write
        self._send_frame = send_frame
        self._members: list[Subscriber] = []
        self._transports: list[Any] = []
        self._fds = array("i")
        self._written = 0
        """Members before this place have been sent the present frame."""

    def __len__(self) -> int:
        return len(self._members)

    @property
    def left(self) -> int:
        """How many have not been sent the present frame."""
        return len(self._members) - self._written

    def add(self, member: "Subscriber") -> None:
        """Takes a member in. Not while a frame is on its way: it would get that one, too."""
        member.crowd, member.place = self, len(self._members)
        self._members.append(member)
        self._transports.append(member.transport)
        if self._send_frame is not None:
            fd = descriptor_of(member.transport)
            assert fd is not None
            self._fds.append(fd)

    def remove(self, member: "Subscriber") -> None:
        """Lets a member go, also while a frame is on its way: the others get it once all the same."""
        place = member.place
        if place < self._written:
            # The last of those who have it steps into the gap, and leaves one at the border.
            self._written -= 1
            self._move(self._written, place)
            place = self._written
        self._move(len(self._members) - 1, place)
        self._members.pop()
        self._transports.pop()
        if self._send_frame is not None:
            self._fds.pop()
        member.crowd = None

    def clear(self) -> None:
        """Lets everybody go."""
        for member in self._members:
            member.crowd = None
        self._members.clear()
        self._transports.clear()
        del self._fds[:]
        self._written = 0

    def _move(self, source: int, target: int) -> None:
        if source == target:
            return  # what is there has a new place by now, or goes
        self._members[target] = self._members[source]
        self._transports[target] = self._transports[source]
        if self._send_frame is not None:
            self._fds[target] = self._fds[source]
        self._members[target].place = target

    def begin(self) -> None:
        """A new frame: nobody has it."""
        self._written = 0

    def drop_behind(self, count: int) -> "list[Subscriber]":
        """Lets go, and answers, those of the next `count` members that cannot be written to at once.

        Whose transport keeps something back is behind: the kernel has not taken it, or there would be nothing.
        """
        begin = self._written
        part = self._transports[begin : begin + count]
        if not any(map(self._buffered, part)) and not any(map(self._is_closing, part)):
            return []
        members = self._members[begin : begin + count]
        behind = set(compress(members, map(self._buffered, part)))
        behind.update(compress(members, map(self._is_closing, part)))
        for member in behind:
            self.remove(member)
        return list(behind)

    def write(self, frame: bytes, count: int) -> int:
        """Writes the frame to the next `count` members, all of whom can take it, and answers how many there were.

        What a socket's kernel does not take the transport keeps, in order, and sends when it can.
        """
        begin = self._written
        end = self._written = min(begin + count, len(self._members))
        write, transports = self._write, self._transports
        if self._send_frame is None:
            for transport in transports[begin:end]:
                write(transport, frame)
        else:
            for place, taken in self._send_frame(self._fds, begin, end, frame):
                write(transports[place], frame[taken:])
        return end - begin


def descriptor_of(transport: Any) -> int | None:
    """The descriptor that a transport's plain bytes go to; None where we may not write to it ourselves, as under TLS.

    It may be written to while the transport is not closing and keeps nothing back.
    """
    if transport.get_extra_info("sslcontext") is not None:
        return None
    raw = transport.get_extra_info("socket")
    fd: int = -1 if raw is None else raw.fileno()
    return fd if fd >= 0 else None
