"""A small hall for tests of events: nine seats in two categories and a standing floor, told without a library."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from lml_live.pricing.catalogue import LayoutFacts
from lml_live.pricing.events import LayoutChoice, NewEvent
from lml_live.pricing.quote import Price


@dataclass(frozen=True)
class Floor:
    area_id: str = "floor"
    name: str = "Floor"
    category: str = "Standing"
    capacity: int = 100


@dataclass(frozen=True)
class Hall:
    """`LayoutFacts` of nine seats, six of them `Stalls`, three `Balcony`."""

    layout_id: str = "hall"
    version: int = 1
    seat_ids: Sequence[str] = tuple(hashlib.sha256(f"hall_{n}".encode()).hexdigest() for n in range(9))
    categories: Sequence[str] = ("Stalls",) * 6 + ("Balcony",) * 3
    areas: Sequence[Floor] = (Floor(),)

    @property
    def hash(self) -> str:
        return hashlib.sha256(f"{self.layout_id}:{self.version}".encode()).hexdigest()

    @property
    def seat_count(self) -> int:
        return len(self.seat_ids)

    @property
    def index_of(self) -> Mapping[str, int]:
        return {seat_id: index for index, seat_id in enumerate(self.seat_ids)}


@dataclass
class Halls:
    """`Layouts`: version 1 and 2 of `hall` are deployed."""

    deployed: list[Hall] = field(default_factory=lambda: [Hall(), Hall(version=2)])

    async def deployed_index(self, layout_id: str, version: int | None) -> LayoutFacts | None:
        found = [hall for hall in self.deployed if hall.layout_id == layout_id and version in (None, hall.version)]
        return found[-1] if found else None

    async def index(self, layout_id: str, version: int, layout_hash: str) -> LayoutFacts:
        found = await self.deployed_index(layout_id, version)
        assert found is not None
        return found


def new_event(**changes: object) -> NewEvent:
    """A concert in the hall that breaks no rule; `changes` replace its fields."""
    concert = NewEvent(
        name="Die Zauberflöte",
        venue="Hall",
        starts_at=datetime(2030, 5, 1, 19, 30, tzinfo=UTC),
        on_sale_at=datetime(2026, 1, 1, tzinfo=UTC),
        currency="EUR",
        layout=LayoutChoice("hall"),
        prices=(
            Price(category="Stalls", amount=4500, fee=250, tax_rate="7"),
            Price(category="Stalls", type="child", label="Child", amount=1000),
            Price(category="Balcony", amount=2500),
            Price(category="Standing", amount=1500),
        ),
    )
    return msgspec.structs.replace(concert, **changes)
