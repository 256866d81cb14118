"""QR codes as paths: the modules of the library, and nothing else."""

import re

import segno

from lml_live.gateway.qr import draw_qr


def test_a_path_fills_the_modules_that_are_dark() -> None:
    text = "t-9565e33727b34770a2d4a2afe9a725cd"
    drawn = draw_qr(text)
    filled = {
        (int(x) + step, int(y))
        for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", drawn.path)
        for step in range(int(width))
    }
    rows = segno.make_qr(text, error="m").matrix
    assert len(rows) == drawn.size
    assert filled == {(x, y) for y, row in enumerate(rows) for x, dark in enumerate(row) if dark}
    assert draw_qr("t-" + "0" * 32).path != drawn.path
