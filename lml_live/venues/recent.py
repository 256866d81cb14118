"""What a worker remembers of versions that are not as they should be: which it does not serve, and what it has said of
them."""

import math
from collections import OrderedDict
from collections.abc import Callable

from lml_live import limits
from lml_live.errors import Unavailable
from lml_live.venues.past import History, is_content_on_record
from lml_live.venues.stored import LayoutVersion


class UnknownContents:
    """The contents that the record did not know, asked for anew only now and then, whoever asks however often."""

    def __init__(self, history: History, monotonic: Callable[[], float]) -> None:
        self._history = history
        self._monotonic = monotonic
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def has(self, version: LayoutVersion) -> bool:
        """Whether a version's content was not on record when that was last asked: no longer ago than
        `KNOWN_LAYOUTS_SECONDS`, or before the record was away. Raises `Unavailable`."""
        key = (version.layout_id, version.hash)
        if self._monotonic() < self._until.get(key, -math.inf):
            return True
        try:
            pasts = await self._history.of_layout(version.layout_id)
        except Unavailable:
            if key in self._until:
                return True
            raise
        if is_content_on_record(version, pasts):
            self._until.pop(key, None)
            return False
        self._until[key] = self._monotonic() + limits.KNOWN_LAYOUTS_SECONDS
        self._until.move_to_end(key)
        if len(self._until) > limits.LAYOUTS_REFUSED_MAX:
            self._until.popitem(last=False)
        return True


class Told:
    """What was said of each version: once, until there is something else to say of it."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, object] = OrderedDict()

    def is_news(self, version: str, what: object) -> bool:
        """Whether this was not the last thing that was said of a version; it is from now on."""
        if self._said.get(version) == what:
            return False
        self._said[version] = what
        self._said.move_to_end(version)
        if len(self._said) > limits.LAYOUTS_TOLD_MAX:
            self._said.popitem(last=False)
        return True

    def forget(self, version: str, unless: object = None) -> None:
        """A version is right (again), unless it is what was said of it: for another step that may be right."""
        if self._said.get(version) != unless:
            self._said.pop(version, None)
