"""What `Accept-Encoding` asks for."""

import pytest

from lml_live.gateway.codings import prefers_gzip


@pytest.mark.parametrize(
    ("lines", "gzip"),
    [
        ([], False),
        ([""], False),
        (["gzip"], True),
        (["GZip"], True),
        (["x-gzip"], True),
        (["gzip, deflate, br, zstd"], True),
        (["br,\tgzip ;\tQ=0.5"], True),
        (["br", "gzip"], True),
        (["br;q=1.0, gzip;q=0.8, *;q=0.1"], True),
        (["gzip;q=0.001"], True),
        (["gzip;q=1.000"], True),
        (["gzip;q=1, identity"], True),
        (["gzip;q=0"], False),
        (["gzip; q=0.000"], False),
        (["gzip;q=0., deflate"], False),
        (["gzip;q=0, *"], False),
        (["x-gzip;q=0, *"], False),
        (["gzip", "gzip;q=0"], False),
        (["*"], True),
        (["*;q=0.5"], True),
        (["*;q=0"], False),
        (["gzip, *;q=0"], True),
        (["gzip;q=0.5, *;q=1"], False),
        (["identity"], False),
        (["identity;q=0"], False),
        (["identity;q=0, gzip"], True),
        (["identity;q=0, *"], True),
        (["gzip;q=0.5, identity"], False),
        (["gzip;q=0.5, identity;q=0.4"], True),
        (["*;q=0.5, identity"], False),
        (["gzip;q=0, identity;q=0"], False),
        (["deflate, br"], False),
        (["notgzip"], False),
        (["gzipped"], False),
        (["gzip;q=2"], False),
        (["gzip;q=0.0001"], False),
        (["gzip;q="], False),
        (["gzip;q=-1"], False),
        (["gzip;level=1"], False),
        (["gzip;q=1;q=0"], False),
        (["gzip deflate"], False),
        ([",, ,gzip,"], True),
        (["gzip;q=٠"], False),
        ([";" * 8000], False),
    ],
)
def test_gzip_is_sent_to_those_who_would_have_it(lines: list[str], gzip: bool) -> None:
    assert prefers_gzip(lines) is gzip
