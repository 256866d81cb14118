"""What Python's garbage collector looks at, so that it never makes sockets wait.

A full collection goes through every object of every socket: 10,000 sockets are a million, and take 0.1 s and more
while nothing else runs. The collector begins one whenever the heap has grown by a quarter, which in a rush is every
second. So what has come to stay is frozen, a few hundred sockets at a time: the collector passes over it, and what
is frozen still goes when nobody refers to it any more. Only cycles stay behind then; they are collected once many
sockets have left.
"""

import gc

from lml_live import limits


class Collector:
    """Of one worker. `look` is called regularly with how many sockets ever came and left."""

    def __init__(self) -> None:
        self._came = 0
        self._left = 0

    def freeze(self) -> None:
        """What is here now stays: collects what is not frozen yet, and freezes the rest."""
        gc.collect()
        gc.freeze()

    def look(self, came: int, left: int) -> None:
        """Freezes those who came, where there are enough to be worth it, and lets go of those who left."""
        if left - self._left >= limits.SOCKETS_LEFT_TO_COLLECT:
            self._left = left
            gc.unfreeze()
        elif came - self._came < limits.SOCKETS_CAME_TO_FREEZE:
            return
        self._came = came
        self.freeze()
