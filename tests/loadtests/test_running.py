"""A program that a load run starts never outlives it."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from loadtests import house

# Longer than any test: it must be ended, not end by itself.
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


class Told(Exception):
    """What SIGTERM raises in these tests."""


@pytest.fixture(autouse=True)
def _terminate_raises(monkeypatch: pytest.MonkeyPatch) -> object:
    def told(_number: int, _frame: object) -> None:
        raise Told

    before = signal.signal(signal.SIGTERM, told)
    yield
    signal.signal(signal.SIGTERM, before)


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def test_a_program_ends_with_a_block_that_fails() -> None:
    with pytest.raises(Told), house.running(SLEEP) as process:
        raise Told
    assert process.returncode == -signal.SIGTERM


def test_told_to_stop_in_the_middle_of_starting_it_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal's exception came out of `Popen`: the program ran on, and nobody knew of it."""
    before = children()
    popen = subprocess.Popen

    class Slow(popen):  # type: ignore[type-arg,valid-type,misc]
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[call-overload]
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)  # the handler runs here

    monkeypatch.setattr(subprocess, "Popen", Slow)
    with pytest.raises(Told), house.running(SLEEP):
        pytest.fail("it was told to stop before")
    assert children() == before
