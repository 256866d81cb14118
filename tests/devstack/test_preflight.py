"""What a machine may lack, as a table: the last column is what must be said."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from lml_live.devstack import preflight

FINE = preflight.Facts(
    system="Linux",
    machine="x86_64",
    python=(3, 11),
    has_venv=True,
    glibc=(2, 35),
    missing_libraries=(),
    free_bytes=preflight.DISK_BYTES_MIN,
    folder="/srv",
    is_root=False,
)


def test_nothing_is_said_of_a_machine_that_will_do() -> None:
    assert preflight.problems(FINE) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"system": "Darwin", "machine": "arm64"}, "This is Darwin on arm64"),
        ({"machine": "aarch64"}, "Linux x86-64 only"),
        ({"python": (3, 10)}, "Python 3.10 is too old: 3.11"),
        ({"has_venv": False}, "sudo apt-get update && sudo apt-get install python3.11-venv"),
        ({"has_venv": False, "is_root": True}, ": apt-get update && apt-get install python3.11-venv"),
        ({"glibc": (2, 31)}, "glibc 2.31 is too old"),
        ({"glibc": ()}, "not glibc"),
        ({"missing_libraries": ("libcurl.so.4",)}, "apt-get install libcurl4"),
        ({"missing_libraries": ("libssl.so.3", "libcrypto.so.3")}, "apt-get install libssl3"),
        ({"free_bytes": preflight.DISK_BYTES_MIN - 1}, "GB are free in /srv"),
    ],
)
def test_each_lack_is_named_with_its_cure(change: dict[str, object], said: str) -> None:
    assert said in "\n".join(preflight.problems(FINE._replace(**change)))  # type: ignore[arg-type]


def test_all_lacks_are_said_at_once() -> None:
    worst = FINE._replace(python=(3, 9), glibc=(2, 28), missing_libraries=("libcurl.so.4", "libssl.so.3"), free_bytes=0)
    said = "\n".join(preflight.problems(worst))
    for word in ("Python 3.9", "glibc 2.28", "libcurl4 libssl3", "0.0 GB"):
        assert word in said


def test_this_machine_will_do() -> None:
    done = subprocess.run([sys.executable, preflight.__file__], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_old_python_can_read_it() -> None:
    """It is run before our own environment exists, by whatever Python there is."""
    ast.parse(Path(preflight.__file__).read_text(encoding="utf-8"), feature_version=(3, 6))
