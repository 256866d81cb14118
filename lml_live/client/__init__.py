"""A client of the live socket: a protocol without I/O, and shells."""

from lml_live.client.account import Begun, ask_for_account, choose_password, sign_in, sign_out
from lml_live.client.aio import LiveClient
from lml_live.client.effects import (
    Answered,
    AreasChanged,
    BlockResult,
    ChangesResult,
    ChannelsResult,
    Effect,
    Effects,
    Ended,
    EventUpdated,
    GroupResult,
    HoldResult,
    HoldUpdated,
    OpenResult,
    PingResult,
    Refusal,
    SeatsChanged,
    SellResult,
    Synced,
    Warned,
)
from lml_live.client.protocol import Protocol
from lml_live.client.staff import Sale, SeatsRefused, StaffClient

__all__ = [
    "Answered",
    "AreasChanged",
    "Begun",
    "BlockResult",
    "ChangesResult",
    "ChannelsResult",
    "Effect",
    "Effects",
    "Ended",
    "EventUpdated",
    "GroupResult",
    "HoldResult",
    "HoldUpdated",
    "LiveClient",
    "OpenResult",
    "PingResult",
    "Protocol",
    "Refusal",
    "Sale",
    "SeatsChanged",
    "SeatsRefused",
    "SellResult",
    "StaffClient",
    "Synced",
    "Warned",
    "ask_for_account",
    "choose_password",
    "sign_in",
    "sign_out",
]
