"""A folder in the object store's place: files that are written once and never changed.

What fails is `Unavailable`, in words that clients may read: which key, and why. Where that is on this machine, the log
says.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import time
from pathlib import Path
from typing import Final

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.infra.objects import StoredObject

_log = logging.getLogger(__name__)

_HALF: Final = ".half-"
"""How the name of a file begins that somebody is writing, or died over."""


class Folder:
    """Objects as files below a directory, which is made when it is first written to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def add_object(self, key: str, data: bytes, *, content_type: str) -> None:
        """Stores bytes; on disk when this returns. What is there already stays as it is."""
        await asyncio.to_thread(self._write, key, data)

    async def get_object(self, key: str) -> bytes | None:
        """An object's bytes, or None."""
        try:
            return await asyncio.to_thread((self._directory / key).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _failed("read", self._directory, key, error) from error

    async def list_objects(self, prefix: str) -> list[StoredObject]:
        """All objects whose keys begin so, in order of keys. Raises `Unavailable` beyond
        `limits.OBJECTS_LISTED_MAX`."""
        return await asyncio.to_thread(self._list, prefix)

    async def list_folders(self, prefix: str) -> list[str]:
        """What comes up to the next `/` in the keys that begin so, each once, in order. `prefix` ends with a `/`."""
        return await asyncio.to_thread(self._list_folders, prefix)

    async def remove_object(self, key: str) -> None:
        """Takes an object away; one that is not there is none."""
        try:
            await asyncio.to_thread((self._directory / key).unlink, missing_ok=True)
        except OSError as error:
            raise _failed("removed", self._directory, key, error) from error

    def _list(self, prefix: str) -> list[StoredObject]:
        found: list[StoredObject] = []
        top = self._directory / prefix.rpartition("/")[0]
        try:
            for path in top.rglob("*") if top.is_dir() else ():
                key = path.relative_to(self._directory).as_posix()
                # Names that begin with a dot are halves, and what the system itself keeps in a folder.
                if key.startswith(prefix) and not path.name.startswith(".") and path.is_file():
                    with contextlib.suppress(FileNotFoundError):
                        found.append(StoredObject(key, path.stat().st_size))
                if len(found) > limits.OBJECTS_LISTED_MAX:
                    raise Unavailable(f"More than {limits.OBJECTS_LISTED_MAX} files are stored below {prefix}…")
        except OSError as error:
            raise _failed("read", self._directory, prefix, error) from error
        return sorted(found, key=lambda each: each.key)

    def _list_folders(self, prefix: str) -> list[str]:
        top = self._directory / prefix
        try:
            return sorted(path.name for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
        except OSError as error:
            raise _failed("read", self._directory, prefix, error) from error

    def _write(self, key: str, data: bytes) -> None:
        path = self._directory / key
        # Its own for each write: two of one process may write the same key at the same moment.
        half = path.with_name(f"{_HALF}{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with half.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # Unlike a rename, a link never takes another file's place.
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(half)
            half.unlink()
        except OSError as error:
            # On a full disk each try would leave a half more, and nobody lists them.
            with contextlib.suppress(OSError):
                half.unlink()
            raise _failed("written", self._directory, key, error) from error
        _remove_halves(path.parent)


def _remove_halves(folder: Path) -> None:
    """Takes away what processes have left that were killed while they wrote there; what is younger may be written to
    by somebody else at this moment."""
    # What cannot be removed now is removed behind a later write: this one is done.
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{_HALF}*"):
            if path.stat().st_mtime < time.time() - limits.HALF_FILE_SECONDS:
                path.unlink()


def _failed(what: str, directory: Path, key: str, error: OSError) -> Unavailable:
    _log.error("%s cannot be %s: %s", directory / key, what, error)
    why = error.strerror or type(error).__name__
    return Unavailable(f"{key or 'The folder'} cannot be {what} where files are stored ({why}).")
