"""A crowd's sockets get every frame once, whole and in order, by the compiled helper and without it alike."""

import asyncio
import functools
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from lml_live.gateway.audience import Subscriber
from lml_live.gateway.crowd import Crowd, descriptor_of
from lml_live.gateway.direct import LIBRARY, SendFrame, load_send_frame
from lml_live.gateway.wire import JSON


@pytest.fixture(scope="session")
def helper(tmp_path_factory: pytest.TempPathFactory) -> SendFrame:
    """The compiled loop, built as the wheel builds it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here, and so no helper")
    library = tmp_path_factory.mktemp("helper") / LIBRARY.name
    source = LIBRARY.with_suffix(".c")
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-fPIC", "-shared", "-o", library, source], check=True)
    loaded = load_send_frame(library)
    assert loaded is not None
    return loaded


class Lines:
    """Sockets of a crowd, with their other ends."""

    def __init__(self, send_frame: SendFrame | None) -> None:
        self.send_frame = send_frame
        self.crowd: Crowd | None = None
        self.members: list[Subscriber] = []
        self.ends: list[socket.socket] = []

    async def open(self, count: int) -> Crowd:
        for _ in range(count):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            theirs.setblocking(False)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_unix_connection(asyncio.Protocol, sock=ours)
            self.members.append(Subscriber(transport, JSON, "w:1:"))  # type: ignore[arg-type]
            self.ends.append(theirs)
        self.crowd = Crowd(type(self.members[0].transport), self.send_frame)
        for member in self.members:
            self.crowd.add(member)
        return self.crowd

    def read(self, number: int) -> bytes:
        """What there is to read at one end."""
        parts = []
        while True:
            try:
                part = self.ends[number].recv(65_536)
            except BlockingIOError:
                return b"".join(parts)
            if not part:
                return b"".join(parts)
            parts.append(part)

    async def read_all(self, number: int, size: int) -> bytes:
        """So many bytes, in whatever pieces they come."""
        found = b""
        async with asyncio.timeout(20):
            while len(found) < size:
                found += self.read(number)
                await asyncio.sleep(0)
        return found

    def write(self, frame: bytes, count: int = 100) -> list[Subscriber]:
        """One whole fan-out of a frame; answers who could not be written to."""
        assert self.crowd is not None
        self.crowd.begin()
        behind: list[Subscriber] = []
        while self.crowd.left:
            if out := self.crowd.drop_behind(count):
                behind += out
            else:
                self.crowd.write(frame, count)
        return behind

    def close(self) -> None:
        for member, end in zip(self.members, self.ends, strict=True):
            member.transport.abort()
            end.close()


@pytest.fixture(params=["with helper", "pure Python"])
def lines(request: pytest.FixtureRequest) -> Lines:
    return Lines(request.getfixturevalue("helper") if request.param == "with helper" else None)


def on_the_servers_loop(scenario: Callable[[Lines], Awaitable[None]]) -> Callable[[Lines], None]:
    """When a transport writes, keeps something back and closes its socket is the affair of its loop."""

    @functools.wraps(scenario)
    def test(lines: Lines) -> None:
        async def run() -> None:
            try:
                await scenario(lines)
            finally:
                lines.close()

        uvloop.run(run())

    return test


@on_the_servers_loop
async def test_everybody_gets_every_frame_in_order(lines: Lines) -> None:
    await lines.open(5)
    for frame in (b"one", b"two", b"a\0b"):
        assert lines.write(frame, 2) == []
    assert [lines.read(number) for number in range(5)] == [b"onetwoa\0b"] * 5


@on_the_servers_loop
async def test_what_a_kernel_does_not_take_follows_in_order(lines: Lines) -> None:
    """A frame that went out in part goes on through the transport, and nothing overtakes it."""
    await lines.open(2)
    large = bytes(range(256)) * 2_000
    assert lines.write(large) == []
    assert set(lines.write(b"next")) == set(lines.members), "who keeps something back is not written to"
    for member in lines.members:
        member.transport.write(b"merged")
    for number in range(2):
        assert await lines.read_all(number, len(large) + 6) == large + b"merged"


@on_the_servers_loop
async def test_an_answer_that_still_waits_is_not_overtaken(lines: Lines) -> None:
    await lines.open(2)
    answer = b"a" * 500_000
    lines.members[0].transport.write(answer)
    assert lines.write(b"diff") == [lines.members[0]]
    assert lines.read(1) == b"diff"
    assert await lines.read_all(0, len(answer)) == answer


@on_the_servers_loop
async def test_nothing_is_written_to_a_number_that_is_another_socket_by_now(lines: Lines) -> None:
    """A closed descriptor's number goes to the next socket that is opened: its owner would read a stranger's frame."""
    await lines.open(3)
    leaving = lines.members[1]
    number = descriptor_of(leaving.transport)
    leaving.transport.abort()
    for _ in range(3):  # the transport closes its socket in a pass of the loop
        await asyncio.sleep(0)
    mine, others = socket.socketpair()
    with mine, others:
        assert number in (mine.fileno(), others.fileno()), "the number is in use again"
        mine.setblocking(False)
        others.setblocking(False)
        assert lines.write(b"diff") == [leaving]
        for end in (mine, others):
            with pytest.raises(BlockingIOError):
                end.recv(1)
    assert [lines.read(0), lines.read(2)] == [b"diff", b"diff"]


@on_the_servers_loop
async def test_a_peer_that_is_gone_disturbs_nobody(lines: Lines) -> None:
    await lines.open(3)
    lines.ends[1].close()
    for _ in range(3):
        lines.write(b"diff")
        await asyncio.sleep(0)
    assert lines.members[1].transport.is_closing()
    assert [lines.read(0), lines.read(2)] == [b"diff" * 3] * 2


class Line:
    """A transport that only counts, and can leave."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.kept = 0

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self.kept


STEPS = st.lists(st.tuples(st.sampled_from(["write", "leave", "stall"]), st.integers(0, 30)), max_size=25)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 8), steps=STEPS)
def test_whoever_leaves_in_the_middle_the_others_get_the_frame_once(count: int, steps: list[tuple[str, int]]) -> None:
    crowd = Crowd(Line, None)
    members = [Subscriber(Line(), JSON, "w:1:") for _ in range(count)]  # type: ignore[arg-type]
    for member in members:
        crowd.add(member)
    inside = set(members)
    crowd.begin()
    for step, number in steps:
        member = members[number % count]
        if step == "write":
            if out := crowd.drop_behind(number % 4 + 1):
                inside -= set(out)
            else:
                crowd.write(b"frame", number % 4 + 1)
        elif step == "leave" and member in inside:
            crowd.remove(member)
            inside.discard(member)
        elif step == "stall":
            member.transport.kept = 1  # type: ignore[attr-defined]
        assert len(crowd) == len(inside)
    while crowd.left:
        if out := crowd.drop_behind(3):
            inside -= set(out)
        else:
            crowd.write(b"frame", 3)
    for member in members:
        frames = member.transport.frames  # type: ignore[attr-defined]
        assert frames == [b"frame"] if member in inside else len(frames) <= 1


def test_without_a_built_helper_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="lml_live.gateway.direct")
    assert load_send_frame(tmp_path / "missing.so") is None
    (tmp_path / "broken.so").write_bytes(b"no library")
    assert load_send_frame(tmp_path / "broken.so") is None
    assert caplog.text.count("pure Python") == 2


class Bare:
    """What a transport says of itself."""

    def __init__(self, raw: Any, context: Any = None) -> None:
        self.told = {"socket": raw, "sslcontext": context}

    def get_extra_info(self, name: str) -> Any:
        return self.told[name]


def test_some_transports_are_never_written_to_directly() -> None:
    with socket.socket() as raw:
        assert descriptor_of(Bare(raw)) == raw.fileno()
        assert descriptor_of(Bare(raw, ssl.create_default_context())) is None, "what it sends is to be encrypted first"
        assert descriptor_of(Bare(None)) is None
    assert descriptor_of(Bare(raw)) is None, "it is closed"
