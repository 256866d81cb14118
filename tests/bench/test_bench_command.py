"""`lml bench` as people run it. How fast anything is, is never asserted: the machines are shared."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from lml_live.bench import bounds, frames, store
from lml_live.bench.rows import ROWS
from lml_live.bench.worker import paced_seconds
from lml_live.infra.redis import load_script

COMMAND = (sys.executable, "-m", "lml_live.cli", "bench")


def run(*arguments: str, scratch: Path) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"TMPDIR": str(scratch)}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60, env=environ)


def left_over(scratch: Path) -> list[str]:
    """Processes that still name the run's directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(scratch) in argument for argument in process.cmdline()):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.fixture
def scratch() -> "os.PathLike[str]":
    """Short, and inside the run's directory, so that whatever a failing test leaves is swept."""
    path = Path(os.environ["LML_TEST_RUN"]) / f"bench-{os.getpid()}-{time.monotonic_ns()}"
    path.mkdir()
    yield path  # type: ignore[misc]
    shutil.rmtree(path, ignore_errors=True)


def test_a_very_short_run_has_every_figure_of_its_row(scratch: Path) -> None:
    done = run("--json", "--only", "valkey_hold", "--seconds", "0.05", scratch=scratch)
    assert done.returncode == 0, done.stderr
    report = msgspec.json.decode(done.stdout)
    assert report.keys() == {"machine", "figures"}
    assert report["machine"]["versions"]["Valkey"]
    assert [figure["figure"] for figure in report["figures"]] == [
        "valkey_hold",
        "valkey_release",
        "valkey_hold_together",
        "valkey_release_together",
    ]
    for figure in report["figures"]:
        assert figure["value"] > 0
        assert figure["limit"] == figure["peers"]["empty EVALSHA"] > 0
        assert figure["ratio"] == pytest.approx(figure["value"] / figure["limit"])
        assert figure["flags"]["appendonly"] == "yes"
        assert len(figure["raw"]["slices"]["ours"]) >= bounds.TURNS_MIN
    assert "1/1 valkey_hold" in done.stderr
    assert list(scratch.iterdir()) == []
    assert left_over(scratch) == []


def test_control_c_leaves_no_process_and_no_file(scratch: Path) -> None:
    environ = os.environ | {"TMPDIR": str(scratch)}
    with subprocess.Popen(
        [*COMMAND, "--only", "valkey_hold", "--seconds", "60"], stderr=subprocess.PIPE, env=environ
    ) as it:
        deadline = time.monotonic() + 20
        while not left_over(scratch):
            assert time.monotonic() < deadline, "nothing was started"
            time.sleep(0.02)  # another process is waited for; the deadline above bounds it
        it.send_signal(signal.SIGINT)
        assert it.wait(20) == 130
    assert left_over(scratch) == []
    assert list(scratch.iterdir()) == []


def test_the_list_names_every_row(scratch: Path) -> None:
    done = run("--list", scratch=scratch)
    assert [line.split()[0] for line in done.stdout.splitlines()] == [row.name for row in ROWS]


def test_a_row_that_there_is_not_is_refused(scratch: Path) -> None:
    done = run("--only", "teleport", scratch=scratch)
    assert done.returncode == 2
    assert "teleport" in done.stderr


def test_figures_are_promised_once() -> None:
    promised = [promise.figure for row in ROWS for promise in row.promises]
    assert len(promised) == len(set(promised))


def test_each_guard_can_be_cut_out_of_the_script_as_it_is() -> None:
    text = load_script("hold_seats").text
    for name, cuts in store.GUARDS_CUT.items():
        cut = store.without_guard(text, cuts)
        assert cut is not None, f"{name} is written otherwise by now: mend its pattern"
        assert len(cut) < len(text)


def test_a_guard_that_is_written_otherwise_is_not_cut() -> None:
    assert store.without_guard("local a = 1", ((r"guard", ""),)) is None
    assert store.without_guard("guard guard", ((r"guard", ""),)) is None


@pytest.mark.parametrize(
    ("rate", "sockets", "wanted", "seconds"),
    [(1_000, 512, 1.0, 1.0), (5_000, 512, 3.0, 3.0), (51_200, 512, 3.0, 0.22)],
)
def test_a_paced_run_stays_within_the_message_limit(rate: int, sockets: int, wanted: float, seconds: float) -> None:
    assert paced_seconds(rate, sockets, wanted) == pytest.approx(seconds, abs=0.02)


@pytest.mark.parametrize("size", [2, 50, 127, 128, 200, 5_000, 65_539])
def test_a_peers_frame_is_as_long_as_asked(size: int) -> None:
    frame = frames.server_frame(size)
    opcode, _, end = frames.next_frame(frame, 0) or (0, 0, 0)
    assert (opcode, end) == (frames.TEXT, len(frame))
    assert abs(len(frame) - size) <= 2


@pytest.mark.parametrize("length", [0, 5, 125, 126, 70_000])
def test_a_frame_in_pieces_is_not_taken_before_it_is_whole(length: int) -> None:
    head = bytes((0x81, length)) if length < 126 else None
    if head is None:
        size = (126, 2) if length < 65_536 else (127, 8)
        head = bytes((0x81, size[0])) + length.to_bytes(size[1], "big")
    whole = head + b"x" * length
    for cut in {0, 1, 2, len(whole) - 1} - {len(whole)}:
        assert frames.next_frame(whole[:cut], 0) is None
    assert frames.next_frame(whole, 0) == (frames.TEXT, len(head), len(whole))


def test_a_request_is_a_masked_frame_whose_payload_stays_readable() -> None:
    assert frames.client_frame(b"abc") == b"\x81\x83\0\0\0\0abc"
    assert frames.client_frame(b"x" * 126) == b"\x81\xfe\0\x7e\0\0\0\0" + b"x" * 126
    with pytest.raises(ValueError, match="too long"):
        frames.client_frame(b"x" * 65_536)
