"""Collecting for less: without the garbage collector, and what a fresh checkout lacks is made by one process.

The thousands of tests live as long as the run, and none is garbage: left to itself the collector looked at all of them
again and again while they were made, and at every full look afterwards.

The processes of a run collect the same modules at the same time. Where nothing is compiled yet, each rewrote the
assertions of every module: a quarter of a minute of CPU that two of three spent for nothing.
"""

import contextlib
import fcntl
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Who is first at a module compiles it; the others wait, and read what was written."""
    if not isinstance(collector, pytest.Module):
        return (yield)
    with _one_at_a_time(collector.nodeid.replace("/", "-")):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems() -> Iterator[None]:
    """Likewise with the constants that Hypothesis finds in the product's modules and keeps in files."""
    with _one_at_a_time("constants"):
        return (yield)


@contextlib.contextmanager
def _one_at_a_time(what: str) -> Iterator[None]:
    with (Path(os.environ["LML_TEST_RUN"]) / f"collected-{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
