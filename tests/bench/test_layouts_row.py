"""The rows about layouts measure what they say. Nothing of how fast."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lml_live.bench import layouts
from lml_live.bench.layouts import Answer
from lml_live.errors import Unavailable
from lml_live.venues.edge import zip_layout
from lml_live.venues.layout import count_seats


def test_the_stadium_of_the_benchmark_goes_in_with_every_seat() -> None:
    raw, mapping = layouts.draw_stadium(700)
    assert b'"x"' not in raw, "where a seat is, its file does not say"
    layout = layouts.bring_in(raw, "stadium.json", mapping)
    assert count_seats(layout) == 700
    with pytest.raises(Unavailable, match="refused"):
        layouts.bring_in(b"{}", "stadium.json", mapping)


async def test_readers_take_whole_answers_and_no_others(tmp_path: Path) -> None:
    data = b"layout" * 50_000
    layouts._write_files(tmp_path / "files", data)
    app = web.Application()
    app.router.add_static("/files", tmp_path / "files")
    async with TestServer(app) as server:
        assert server.port is not None
        readers = layouts._Readers(server.port, "/files/layout.json", ())
        plain = await readers.read_once("")
        zipped = await readers.read_once("Accept-Encoding: gzip\r\n")
        assert (plain.status, plain.size, zipped.size) == (200, len(data), len(zip_layout(data)))
        assert (await readers.read_once(f"If-None-Match: {plain.tag}\r\n")) == Answer(304, 0, plain.tag)
        with pytest.raises(Unavailable, match="answers 200"):
            await readers.rate(8, "", (200, 1))
