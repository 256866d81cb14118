"""Run by `test_gevent_client`: visits a real server over gevent, in a process of its own, and says what it found.

Arguments: the server's root, the event, `json` or `msgpack`.
"""

import json
import sys

from lml_live import errors
from lml_live.client import HoldResult, HoldUpdated, Refusal, Synced
from lml_live.gateway import wire
from loadtests.gevent_client import GeventClient

url, event, name = sys.argv[1:]
fmt = {"json": wire.JSON, "msgpack": wire.MSGPACK}[name]
news = []
found: dict[str, object] = {}

with GeventClient(url, event, fmt=fmt, listener=news.append) as first, GeventClient(url, event, fmt=fmt) as second:
    found["seats"] = len(first.picture.seats)
    granted = first.hold([3, 4])
    assert isinstance(granted, HoldResult), granted
    assert granted.hold is not None
    hold = granted.hold.id
    found["told"] = [effect.reason for effect in news if isinstance(effect, HoldUpdated)]
    second.wait_for(lambda client: client.picture.seats[3:5] == b"\1\1", 10)
    refused = second.hold([4, 5])
    assert isinstance(refused, Refusal), refused
    found["refused"] = [refused.code, list(refused.seats)]
    extended = first.extend(hold)
    found["extended"] = isinstance(extended, HoldResult)

    # The line is lost: it comes back by itself, to where it was.
    synced = sum(isinstance(effect, Synced) for effect in news)
    first.drop()
    first.wait_for(lambda client: sum(isinstance(effect, Synced) for effect in news) > synced, 10)
    found["resumed"] = [effect.whole for effect in news if isinstance(effect, Synced)]
    found["kept"] = list(first.picture.holds) == [hold]

    # The same holder from another client.
    with GeventClient(url, event, fmt=fmt, token=first.token) as other:
        found["same holder"] = list(other.picture.holds) == [hold]
        released = other.release(hold)
        found["released"] = isinstance(released, HoldResult) and released.hold is None
    first.wait_for(lambda client: not client.picture.holds, 10)
    second.wait_for(lambda client: client.picture.seats[3:5] == b"\0\0", 10)

for wrong in ({"event": "no-such-event"}, {"event": event, "token": "nonsense"}):
    try:
        GeventClient(url, **wrong).open()
    except errors.Unavailable as error:
        found.setdefault("refusals", []).append(error.message)  # type: ignore[attr-defined]
afterwards = first.hold([1])
found["after the end"] = afterwards.code if isinstance(afterwards, Refusal) else "granted"
print(json.dumps(found))
