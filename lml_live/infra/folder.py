"""A folder in the object store's place: files that are written once and never changed."""

import asyncio
import contextlib
import os
from pathlib import Path

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.infra.objects import StoredObject


class Folder:
    """Objects as files below a directory, which is made when it is first written to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def add_object(self, key: str, data: bytes, *, content_type: str) -> None:
        """Stores bytes; on disk when this returns. What is there already stays as it is."""
        await asyncio.to_thread(self._write, self._directory / key, data)

    async def get_object(self, key: str) -> bytes | None:
        """An object's bytes, or None."""
        try:
            return await asyncio.to_thread((self._directory / key).read_bytes)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"{self._directory} cannot be read.") from error

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
            raise Unavailable(f"{self._directory / key} cannot be removed.") from error

    def _list(self, prefix: str) -> list[StoredObject]:
        found: list[StoredObject] = []
        top = self._directory / prefix.rpartition("/")[0]
        try:
            for path in top.rglob("*") if top.is_dir() else ():
                key = path.relative_to(self._directory).as_posix()
                # A name that begins with a dot is a file that somebody is writing, or died over.
                if key.startswith(prefix) and not path.name.startswith(".") and path.is_file():
                    with contextlib.suppress(FileNotFoundError):
                        found.append(StoredObject(key, path.stat().st_size))
                if len(found) > limits.OBJECTS_LISTED_MAX:
                    raise Unavailable(f"{top} has more than {limits.OBJECTS_LISTED_MAX} files.")
        except OSError as error:
            raise Unavailable(f"{top} cannot be read.") from error
        return sorted(found, key=lambda each: each.key)

    def _list_folders(self, prefix: str) -> list[str]:
        top = self._directory / prefix
        try:
            return sorted(path.name for path in top.iterdir() if path.is_dir()) if top.is_dir() else []
        except OSError as error:
            raise Unavailable(f"{top} cannot be read.") from error

    def _write(self, path: Path, data: bytes) -> None:
        half = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with half.open("wb") as file:
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
            raise Unavailable(f"{path} cannot be written.") from error
