"""What is kept of a fault run that is red: enough to explain it when its engines are long gone.

One file of JSON: the verdict, what was done to it and when, what everybody remembers, Stripe's ledger, the rows of its
bookings in PostgreSQL, and what the server said meanwhile.
"""

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from fault_stand import FaultStand

from lml_live.infra import postgres

DIRECTORY = Path(__file__).parents[2] / ".lml" / "faults"
_FRAMES = 8
_LINES_MAX = 5_000


async def read_history(stand: FaultStand, seed: int, story: str, wrong: Sequence[str]) -> bytes:
    """All that can still be had of a run."""
    kept: dict[str, Any] = {
        "seed": seed,
        "wrong": wrong,
        "story": story,
        "done": stand.done,
        "ops": stand.ops(),
        "output": stand.server.output[stand.said_before :][-_LINES_MAX:],
    }
    sources = {"run": _read_run, "stripe": _read_stripe, "rows": _read_rows}
    for name, read in sources.items():
        try:
            kept[name] = await read(stand)
        except Exception as error:  # noqa: BLE001 - what is dead tells nothing; the others do
            kept[name] = f"could not be read: {error!r}"
    return msgspec.json.format(msgspec.json.encode(kept, enc_hook=str), indent=1)


def keep_history(directory: Path, seed: int, history: bytes) -> Path:
    """Writes it; answers where."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"seed-{seed}.json"
    path.write_bytes(history)
    return path


async def _read_run(stand: FaultStand) -> Any:
    return (await stand.judge(stand.event, stand.ops()))[0]


async def _read_stripe(stand: FaultStand) -> Any:
    return await stand.double.steering.ledger()


async def _read_rows(stand: FaultStand) -> dict[str, list[Any]]:
    """Every row that names the event, or one of its bookings, by table; and what Stripe told of any."""
    async with stand.server.pool() as pool:
        tables = await pool.fetch(
            "SELECT table_name AS name, bool_or(column_name = 'event_id') AS of_event FROM information_schema.columns"
            " JOIN information_schema.tables USING (table_schema, table_name)"
            " WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name IN ('event_id', 'booking_id')"
            " GROUP BY table_name ORDER BY table_name"
        )
        found = {}
        for table in tables:
            of_event = (
                "event_id = $1" if table["of_event"] else "booking_id IN (SELECT id FROM booking WHERE event_id = $1)"
            )
            found[table["name"]] = await _rows(pool, f"SELECT * FROM {table['name']} WHERE {of_event}", stand.event)
        found["booking"] = await _rows(pool, "SELECT * FROM booking WHERE event_id = $1", stand.event)
        found["stripe_notice"] = await _rows(pool, "SELECT * FROM stripe_notice ORDER BY received DESC LIMIT 500")
        return found


async def _rows(pool: postgres.Pool, statement: str, *args: Any) -> list[Any]:
    return [dict(row) for row in await pool.fetch(statement, *args)]


def told(error: BaseException) -> str:
    """The last lines of where it went wrong; of a time that was over, where the run stood."""
    cause = error.__context__ if isinstance(error, TimeoutError) and error.__context__ else error
    frames = traceback.format_exception(cause)[-_FRAMES:]
    return "".join(frames).strip()
