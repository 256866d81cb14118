"""An untyped tree looked through member by member: what is of the wrong kind is noted, and a stand-in goes on."""

from collections.abc import Mapping
from typing import Final

from lml_live import limits
from lml_live.venues.findings import Findings, shown
from lml_live.venues.importers.draft import Spot

THINNED: Final = f"outlines of more than {limits.OUTLINE_POINTS_MAX:,} points: some in between were left out"


class TreeReader:
    """Reads members of a tree (`reading.read_json`) and gathers what is wrong. Mutable: it lives inside one import."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.thinned = 0

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
        """The points of an outline, where there are too many only each second, third … of them, all the way round;
        how many outlines that was is counted in `thinned`."""
        points = self.take_list(parent, name, path)
        step = -(-len(points) // limits.OUTLINE_POINTS_MAX) or 1
        self.thinned += step > 1
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
