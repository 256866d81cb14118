"""Backups of layouts: what their names say, and which are kept. Pure.

A backup's key says all that a list shows: `backups/hall/20261129T154620123Z-publish-3-<hash>.json.gz`.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, get_args

import msgspec

Reason = Literal["publish", "deploy", "asked", "restore", "missing"]
"""Why it was made: before a step, because somebody asked, before a draft was replaced by an old one, or because a
version in use had none."""

PREFIX: Final = "backups/"
_KEY: Final = re.compile(
    r"backups/(?P<layout_id>[A-Za-z0-9-]{1,64})/(?P<stamp>\d{8}T\d{9}Z)-(?P<reason>[a-z]{1,16})-"
    r"(?P<version>[1-9]\d{0,8})-(?P<hash>[0-9a-f]{64})\.json\.gz"
)
_STAMP: Final = "%Y%m%dT%H%M%S%f"


class Backup(msgspec.Struct, frozen=True):
    """One copy of a version's content; `size_bytes` is that of the zipped bytes."""

    layout_id: str
    version: int
    hash: str
    reason: Reason
    taken_ms: int
    size_bytes: int

    @property
    def id(self) -> str:
        """Its name among the backups of its layout."""
        return f"{_stamp(self.taken_ms)}-{self.hash[:12]}"

    @property
    def key(self) -> str:
        """Where it is in the store."""
        stamp = _stamp(self.taken_ms)
        return f"{PREFIX}{self.layout_id}/{stamp}-{self.reason}-{self.version}-{self.hash}.json.gz"


class Policy(msgspec.Struct, frozen=True):
    """The latest so many, the last one of each of so many days that have any, and of so many months."""

    last: int
    days: int
    months: int


def read_key(key: str, size_bytes: int) -> Backup | None:
    """The backup of a key, or None for what is none of ours."""
    match = _KEY.fullmatch(key)
    if match is None or match["reason"] not in get_args(Reason):
        return None
    try:
        moment = datetime.strptime(f"{match['stamp'][:-1]}000", _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    reason: Reason = match["reason"]  # type: ignore[assignment]  # one of them, as was just seen
    return Backup(
        match["layout_id"], int(match["version"]), match["hash"], reason, round(moment.timestamp() * 1000), size_bytes
    )


def newest_first(backups: Iterable[Backup]) -> list[Backup]:
    """In the order of lists."""
    return sorted(backups, key=lambda each: (each.taken_ms, each.version, each.hash), reverse=True)


def choose_kept(backups: Sequence[Backup], policy: Policy) -> set[Backup]:
    """Which of a layout's backups (the newest first) the policy keeps. It knows no today: where nothing is added,
    nothing goes."""
    kept = set(backups[: policy.last])
    for count, period in ((policy.days, "%Y-%m-%d"), (policy.months, "%Y-%m")):
        latest: dict[str, Backup] = {}
        for each in backups:
            latest.setdefault(_moment(each.taken_ms).strftime(period), each)
        kept.update(list(latest.values())[:count])
    return kept


def _stamp(taken_ms: int) -> str:
    return f"{_moment(taken_ms).strftime(_STAMP)[:-3]}Z"


def _moment(taken_ms: int) -> datetime:
    return datetime.fromtimestamp(taken_ms / 1000, UTC)
