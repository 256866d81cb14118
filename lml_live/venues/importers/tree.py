"""An untyped tree looked through member by member: what is of the wrong kind is noted, and a stand-in goes on; what
nothing is made of is counted."""

from collections import Counter
from collections.abc import Mapping, Set
from typing import Final

from lml_live import limits
from lml_live.venues.findings import Findings, shown
from lml_live.venues.importers.draft import Draft, Spot
from lml_live.venues.importers.labels import cut_label

_THINNED: Final = f"outlines of more than {limits.OUTLINE_POINTS_MAX:,} points: some in between were left out"
_MEMBERS_TOLD_MAX: Final = 50
"""Names of members that no importer knows, each in a line of its own; what comes after them is told in one."""


class TreeReader:
    """Reads members of a tree (`reading.read_json`) and gathers what is wrong. Mutable: it lives inside one import.

    `words` says of members that a layout has no place for what they are; None where they say nothing of a venue.
    """

    def __init__(self, words: Mapping[str, str | None]) -> None:
        self.findings = Findings()
        self.left_out: Counter[str] = Counter()
        self._words = words
        self._unknown: set[str] = set()

    def told(self) -> list[str]:
        """What was left out, each with its number."""
        return [f"{count} × {what}" for what, count in sorted(self.left_out.items()) if count]

    def count_rest(self, things: str, parent: Mapping[str, object], known: Set[str]) -> None:
        """Counts the members of one of these things that nothing is made of, unless they are empty, no or 0."""
        for name in parent.keys() - known:
            if not _says_something(parent[name]):
                continue
            what = self._words.get(name, "")
            if what == "":
                what = f"{things}: their {shown(name)}, which a layout has not"
                if what not in self._unknown and len(self._unknown) >= _MEMBERS_TOLD_MAX:
                    what = "more members that a layout has not"
                else:
                    self._unknown.add(what)
            if what is not None:
                self.left_out[what] += 1

    def take_category(self, draft: Draft, name: str, color: str) -> None:
        """Lists a category of the file's, the first of its name."""
        if not name or name in draft.categories:
            what = "twice: the first is kept" if name else "without a name"
            self.left_out[f"categories that are listed {what}"] += 1
            return
        draft.add_category(name, color)
        if color and draft.categories[name] is None:
            self.left_out["colours of categories that are not written as #rrggbb"] += 1

    def take_words(self, parent: Mapping[str, object], name: str, path: str) -> str:
        """Words of a drawing, as long as they may be; none where there are none."""
        text = self.take_text(parent, name, path, required=False)
        words = cut_label(text)
        if words != text:
            self.left_out["words of the drawing that became shorter, or got single spaces"] += 1
        return words

    def take_object(self, value: object, path: str) -> Mapping[str, object]:
        """A member that must be an object; an empty one where it is none."""
        if isinstance(value, dict):
            return value
        self.findings.add(path, f"is {shown(value)}; an object is expected")
        return {}

    def take_list(self, parent: Mapping[str, object], name: str, path: str, *, required: bool = True) -> list[object]:
        """An array, empty where there is none; noted where it must be there."""
        value = parent.get(name)
        if isinstance(value, list):
            return value
        if required and parent:
            self.findings.add(f"{path}.{name}".lstrip("."), f"is {shown(value)}; an array is expected")
        return []

    def take_outline(self, parent: Mapping[str, object], name: str, path: str) -> list[Spot]:
        """The points of an outline, where there are too many only each second, third … of them, all the way round."""
        points = self.take_list(parent, name, path)
        step = -(-len(points) // limits.OUTLINE_POINTS_MAX) or 1
        self.left_out[_THINNED] += step > 1
        return [self.take_spot(points[at], f"{path}.{name}[{at}]") for at in range(0, len(points), step)]

    def take_text(self, parent: Mapping[str, object], name: str, path: str, *, required: bool = True) -> str:
        """Text, or a whole number as text; empty where there is none."""
        value = parent.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
            return str(value)
        if parent and (required or value is not None):
            self.findings.add(f"{path}.{name}".lstrip("."), f"is {shown(value)}; text is expected")
        return ""

    def take_number(self, parent: Mapping[str, object], name: str, path: str) -> float:
        """A number of a size that a plan can have; 0 where there is none."""
        value = parent.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= limits.VIEWPORT_MAX:
            return float(value)
        if parent:
            expected = f"a number within ±{limits.VIEWPORT_MAX} is expected"
            self.findings.add(f"{path}.{name}".lstrip("."), f"is {shown(value)}; {expected}")
        return 0.0

    def take_flag(self, parent: Mapping[str, object], name: str, path: str) -> bool:
        """True or false; false where there is none."""
        value = parent.get(name)
        if value is not None and not isinstance(value, bool):
            self.findings.add(f"{path}.{name}".lstrip("."), f"is {shown(value)}; true or false is expected")
        return value is True

    def take_spot(self, value: object, path: str) -> Spot:
        """An object of `x` and `y`."""
        spot = self.take_object(value, path)
        return self.take_number(spot, "x", path), self.take_number(spot, "y", path)


def _says_something(value: object) -> bool:
    """Whether a member is more than empty, no or 0, as files write what is not there."""
    if isinstance(value, dict):
        return any(map(_says_something, value.values()))
    return bool(value)
