"""All at once cut, and all at once back (F34). Ten thousand of them meet two workers in `make faults`."""

from serving import LiveServer
from storm import storm_of


async def test_all_are_cut_at_once_come_back_and_lack_nothing(live_pair: LiveServer) -> None:
    async with storm_of(live_pair, 300, 40) as storm:
        await storm.come(within_seconds=1, pause_seconds=0.3)
        first, second = await storm.cut(), await storm.cut()
        done = await storm.rest()
        assert first.operations + second.operations + done.operations, "some were granted something meanwhile"
        assert first.repeated + second.repeated, "and some had to ask again"
        await storm.leave()
