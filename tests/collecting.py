"""Collecting without the garbage collector: the thousands of tests live as long as the run, and none is garbage.

Left to itself it looked at all of them again and again while they were made, and at every full look afterwards.
"""

import gc
from collections.abc import Iterator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
