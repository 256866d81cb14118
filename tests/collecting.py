"""Collecting for less, and an order in which few processes start what is costly.

The thousands of tests live as long as the run, and none is garbage: left to itself the collector looked at all of them
again and again while they were made, and at every full look afterwards.

The processes of a run collect the same modules at the same time. Where nothing is compiled yet, several rewrote the
assertions of a module side by side, some seconds of CPU for nothing.

A server or a browser costs a process some seconds of CPU to start, and more while it idles. Tests that need one come
first: one process has nearly all of them, and the others take from the end of its share.
"""

import contextlib
import fcntl
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

COSTLY: Final = {"shared_server", "shop", "shared_pair", "_mortals", "browser"}
"""Fixtures that a process starts once."""


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
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Likewise with the constants that Hypothesis finds in the product's modules and keeps in files. Then the modules
    with tests that need what is costly come first, and otherwise all stay in their order."""
    with _one_at_a_time("constants"):
        yield
    first = {item.path for item in items if COSTLY & set(getattr(item, "fixturenames", ()))}
    items.sort(key=lambda item: item.path not in first)


@contextlib.contextmanager
def _one_at_a_time(what: str) -> Iterator[None]:
    with (Path(os.environ["LML_TEST_RUN"]) / f"collected-{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
