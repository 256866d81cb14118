"""One run: the rows one after another on one stand, and the report."""

from collections.abc import Callable, Sequence

import msgspec

from lml_live.bench.counters import raise_open_files, this_machine
from lml_live.bench.figures import Figure, Report
from lml_live.bench.plan import Row, measure_row
from lml_live.bench.stand import open_stand


async def measure(rows: Sequence[Row], seconds: float, arguments: Sequence[str], say: Callable[[str], None]) -> Report:
    """Measures the rows for `seconds` a side, tells each begin through `say`, and leaves no process behind."""
    raise_open_files()
    before = this_machine(arguments, {})  # Now: the load average is to be the neighbours', not ours.
    figures: list[Figure] = []
    async with open_stand(seconds, say) as stand:
        for number, row in enumerate(rows, 1):
            say(f"{number}/{len(rows)} {row.name}: {row.asks}")
            figures += await measure_row(row, stand)
        machine = this_machine(arguments, stand.engines)
    machine = msgspec.structs.replace(machine, load_average=before.load_average, started_at=before.started_at)
    return Report(machine, tuple(figures))
