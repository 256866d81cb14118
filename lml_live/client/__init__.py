"""A client of the live socket: a protocol without I/O, and shells."""

from lml_live.client.aio import LiveClient
from lml_live.client.effects import (
    Answered,
    AreasChanged,
    BlockResult,
    Effect,
    Effects,
    Ended,
    EventUpdated,
    GroupResult,
    HoldResult,
    HoldUpdated,
    PingResult,
    Refusal,
    SeatsChanged,
    Synced,
    Warned,
)
from lml_live.client.protocol import Protocol

__all__ = [
    "Answered",
    "AreasChanged",
    "BlockResult",
    "Effect",
    "Effects",
    "Ended",
    "EventUpdated",
    "GroupResult",
    "HoldResult",
    "HoldUpdated",
    "LiveClient",
    "PingResult",
    "Protocol",
    "Refusal",
    "SeatsChanged",
    "Synced",
    "Warned",
]
