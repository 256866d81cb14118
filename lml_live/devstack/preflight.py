"""What this machine lacks for `make run`, said before anything is downloaded.

Run by whatever `python3` there is, before our own environment exists: standard library only, and syntax that Python 3.6
still reads, so that it can say that it is too old. `lml doctor` asks the same questions.
"""

import ctypes
import os
import platform
import shutil
import sys
import typing

DISK_BYTES_MIN = 2 * 1024**3
"""The environment takes about 1.1 GB with pip's downloads, the engines' data of a demonstration some 400 MB."""

GLIBC_MIN = (2, 35)
PYTHON_MIN = (3, 11)

MONGOD_LIBRARIES = (
    ("libcurl.so.4", "libcurl4"),
    ("libssl.so.3", "libssl3"),
    ("libcrypto.so.3", "libssl3"),
    ("liblzma.so.5", "liblzma5"),
)
"""What mongod is linked against that a bare system may lack, and Debian's and Ubuntu's name of the package."""


class Facts(typing.NamedTuple):
    """What was found out about a machine."""

    system: str
    machine: str
    python: "tuple[int, ...]"
    has_venv: bool
    glibc: "tuple[int, ...]"
    """Empty on another C library."""
    missing_libraries: "tuple[str, ...]"
    free_bytes: int
    folder: str
    """Where the environment will be made."""
    is_root: bool


def gather(folder: str) -> Facts:
    """The facts about this machine."""
    return Facts(
        system=platform.system(),
        machine=platform.machine(),
        python=tuple(sys.version_info[:2]),
        has_venv=_has_module("venv") and _has_module("ensurepip"),
        glibc=_glibc(),
        missing_libraries=tuple(name for name, _ in MONGOD_LIBRARIES if not _loads(name)),
        free_bytes=shutil.disk_usage(folder).free,
        folder=folder,
        is_root=os.geteuid() == 0,
    )


def problems(facts: Facts) -> "list[str]":
    """All that stands in the way, each with what to do about it; empty when nothing does."""
    found = []
    packages = []
    if (facts.system, facts.machine) != ("Linux", "x86_64"):
        found.append(
            f"This is {facts.system} on {facts.machine}. The embedded engines run on Linux x86-64 only; elsewhere use "
            "`lml serve` with the addresses of your own engines."
        )
    if facts.python < PYTHON_MIN:
        found.append(
            f"Python {_dotted(facts.python)} is too old: {_dotted(PYTHON_MIN)} or newer is needed. Install it "
            "(such as `apt-get install python3.11 python3.11-venv`), then `make run PYTHON=python3.11`."
        )
    elif not facts.has_venv:
        found.append("Python's venv module is incomplete.")
        packages.append(f"python{_dotted(facts.python)}-venv")
    if facts.system == "Linux" and facts.glibc < GLIBC_MIN:
        version = f"glibc {_dotted(facts.glibc)} is too old" if facts.glibc else "The C library is not glibc"
        found.append(
            f"{version}: the engines need glibc {_dotted(GLIBC_MIN)} or newer, as in Debian 12 or Ubuntu 22.04 "
            "and all that came after."
        )
    for library, package in MONGOD_LIBRARIES:
        if library in facts.missing_libraries:
            found.append(f"{library} is missing; MongoDB needs it.")
            if package not in packages:
                packages.append(package)
    if facts.free_bytes < DISK_BYTES_MIN:
        found.append(
            f"Only {facts.free_bytes / 1024**3:.1f} GB are free in {facts.folder}; {DISK_BYTES_MIN / 1024**3:.0f} GB "
            "are needed."
        )
    if packages:
        sudo = "" if facts.is_root else "sudo "
        found.append(f"To install what is missing: {sudo}apt-get update && {sudo}apt-get install {' '.join(packages)}")
    return found


def _has_module(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def _glibc() -> "tuple[int, ...]":
    try:
        version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()[1]  # "glibc 2.36"
        return tuple(int(part) for part in version.split(".")[:2])
    except (AttributeError, IndexError, OSError, ValueError):
        return ()


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _dotted(version: "tuple[int, ...]") -> str:
    return ".".join(str(part) for part in version)


def main() -> int:
    """Prints what is missing and returns 1, or returns 0 without a word."""
    found = problems(gather(os.getcwd()))
    for problem in found:
        sys.stderr.write(f"  - {problem}\n")
    if found:
        sys.stderr.write("LML Live cannot run here before these are solved. Nothing has been downloaded.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
