"""Finds `lua/` and `sql/`: at the top of a checkout, or inside an installed wheel."""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


@cache
def asset_dir(name: str) -> Path:
    """The folder `lua` or `sql`. Raises `FileNotFoundError` where the installation is incomplete."""
    for candidate in (_PACKAGE / "_assets" / name, _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"{name}/ is missing beside or inside {_PACKAGE}: reinstall lml-live")


def asset_text(name: str, *parts: str) -> str:
    """The text of one asset, such as `asset_text("lua", "hold_seats.lua")`."""
    return asset_dir(name).joinpath(*parts).read_text(encoding="utf-8")
