"""How much is logged, by level and logger: ``log.records``.

Counted where records are made, whatever handlers do with them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ..bound import BoundCounter
from ..registry import Registry
from . import Context

#: Loggers kept apart; those of an application's modules are few, generated names are not.
MAX_LOGGERS = 200


def start(context: Context) -> None:
    """Count log records of this process."""
    context.undo.append(count_records(context.registry))


def count_records(registry: Registry) -> Callable[[], None]:
    """Count every record that a logger makes; the answer ends that."""
    counter = registry.counter(
        "log.records", keys=("log.level", "log.logger"), description="Log records made."
    )
    bound: dict[tuple[str, str], BoundCounter] = {}
    former = logging.getLogRecordFactory()
    active = True

    def make(*args: object, **kwargs: object) -> logging.LogRecord:
        record = former(*args, **kwargs)
        if active:
            key = (record.levelname, record.name)
            meter = bound.get(key)
            if meter is None:
                name = record.name if len(bound) < MAX_LOGGERS else "(others)"
                meter = bound.setdefault((key[0], name), counter.tagged(record.levelname, name))
                if len(bound) < MAX_LOGGERS:
                    bound[key] = meter
            meter.inc()
        return record

    logging.setLogRecordFactory(make)

    def stop() -> None:
        nonlocal active
        active = False  # another factory may be built on this one: it stays, and does nothing
        if logging.getLogRecordFactory() is make:
            logging.setLogRecordFactory(former)

    return stop
