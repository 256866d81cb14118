"""The log of every process: single lines on standard error with time, level and process; secrets are masked."""

import logging
import os
import sys
import time
from typing import Final

from lml_live.infra.config import mask_secrets

_CHATTY: Final = ("botocore", "aiobotocore", "boto3", "pymongo", "asyncio", "urllib3", "aiohttp.access", "stripe")
"""Libraries that tell of every call at our level; they speak from one level above it."""


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return mask_secrets(super().format(record))


def set_up_logging(role: str, level: str) -> None:
    """Once per process; `role` is its word in the log, such as `worker`."""
    handler = logging.StreamHandler(sys.stderr)
    line = f"%(asctime)s.%(msecs)03dZ %(levelname)-7s {role}[{os.getpid()}] %(message)s"
    formatter = _Line(line, "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Its pool writes a trace of each connection that a restart of PostgreSQL costs; we say so ourselves, in a line.
    logging.getLogger("asyncpg").setLevel(max(root.level, logging.ERROR))
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
