"""The gevent shell against a real server. In a process of its own: gevent and asyncio do not share one."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from serving import LiveServer

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("fmt", ["json", "msgpack"])
async def test_a_visit(live_server: LiveServer, fmt: str) -> None:
    visit = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("gevent_visit.py")), live_server.url, live_server.event, fmt),
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, errors = await visit.communicate()
    assert visit.returncode == 0, errors.decode()
    found = json.loads(output)
    assert found.pop("refusals") == ["the server refused the socket with HTTP 404", "the token ended"]
    assert found == {
        "seats": 300,
        "told": ["answer"],
        "refused": ["seat_taken", [4]],
        "extended": True,
        "resumed": [True, False],
        "kept": True,
        "same holder": True,
        "released": True,
        "after the end": "unavailable",
    }
