"""By hand (`make mutants`): breaks the scripts of lua/ line by line (`mutants`), and tells which tale sees it.

    make mutants                        every line of every script
    make mutants MUTANTS=release_hold   those whose name (file:line was → is) this expression finds

A line a mutant: red and the first tale that failed, or green. What stays green is nobody's loss (two words for one
thing), or is seen by another test; docs/faults.md says which.
"""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any
from unittest import mock

import pytest
from inventory_fixtures import inventory_dsn_fixture  # noqa: F401
from inventory_house import read_prepared
from mutants import FILES, Mutant, broken
from test_told import TALES
from told import tell

from lml_live.infra import redis
from lml_live.infra.assets import asset_text
from lml_live.infra.redis import Part, Pipe, Prepared, Script, Sink

THREADS = 8
"""A tale waits for the engines most of its time."""
SECONDS_MAX = 90
"""A tale that is not over by then is red: some loop never ends."""

_loading = threading.Lock()


def scripts_with(mutant: Mutant) -> dict[str, Script]:
    """All scripts, one file of them broken."""

    def text(folder: str, *name: str) -> str:
        return mutant.text() if "/".join(name) == mutant.file else asset_text(folder, *name)

    with _loading, mock.patch.object(redis, "asset_text", text):
        return redis.load_scripts()


def files_of(script: str) -> set[str]:
    included = re.findall(r"^-- INCLUDE (\w+)", asset_text("lua", f"{script}.lua"), re.MULTILINE)
    return {f"{script}.lua", *(f"include/{name}.lua" for name in included)}


def files_by_tale(engines: dict[str, str]) -> dict[str, set[str]]:
    """Which files each tale comes through."""
    called: set[str] = set()
    run, send = Pipe.run, Pipe.send

    async def noted(self: Pipe, script: str, keys: Sequence[str], args: Sequence[Part]) -> list[Any]:
        called.add(script)
        return await run(self, script, keys, args)

    def noted_send(self: Pipe, call: Prepared, args: Sequence[bytes], sink: Sink) -> None:
        called.add(read_prepared(call)[0])
        send(self, call, args, sink)

    found = {}
    with mock.patch.object(Pipe, "run", noted), mock.patch.object(Pipe, "send", noted_send):
        for machine, tale, rules in TALES:
            called.clear()
            tell(type("Story", (machine,), engines), tale, rules)
            found[tale.__name__] = set().union(*map(files_of, called))
    return found


def judge(mutant: Mutant, engines: dict[str, str], reached: dict[str, set[str]]) -> str:
    """The tale that sees a mutant, or nothing."""
    scripts = scripts_with(mutant)
    for machine, tale, rules in TALES:
        if mutant.file not in reached[tale.__name__]:
            continue
        ends = time.monotonic() + SECONDS_MAX

        def timed(
            self: Any, work: Coroutine[Any, Any, Any], ends: float = ends, run: Callable[..., Any] = machine.run
        ) -> Any:
            return run(self, asyncio.wait_for(work, ends - time.monotonic()))

        try:
            tell(type("Story", (machine,), {**engines, "scripts": scripts, "run": timed}), tale, rules)
        except Exception:  # noqa: BLE001 - whatever fails, it is seen
            return tale.__name__
    return ""


@pytest.mark.timeout(0)
def test_who_sees_which_mutant(
    valkey_url: str, inventory_dsn: str, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = {"dsn": inventory_dsn, "valkey": valkey_url}
    reached = files_by_tale(engines)
    wanted = re.compile(pytestconfig.getoption("mutants"))
    mutants = [mutant for file in FILES for mutant in broken(file) if wanted.search(mutant.name)]
    assert mutants, "no mutant has such a name"
    green = 0
    with ThreadPoolExecutor(THREADS) as pool:
        asked = {pool.submit(judge, mutant, engines, reached): mutant for mutant in mutants}
        for answer in as_completed(asked):
            mutant, tale = asked[answer], answer.result()
            green += not tale
            with capsys.disabled():
                print(f"{f'red    {tale}' if tale else 'GREEN':42} {mutant.name}", flush=True)
    with capsys.disabled():
        print(f"{len(mutants) - green} of {len(mutants)} are seen")
