"""A folder in the object store's place: files that are written once and never changed."""

import asyncio
import contextlib
import os
from pathlib import Path

from lml_live.errors import Unavailable


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
            raise Unavailable(f"{path} cannot be written.") from error
