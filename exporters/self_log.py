"""``tracer-self.log``: what the library has to say of itself, next to what it logs of others."""

from __future__ import annotations

import logging
import time

from .digest import LocalTime
from .ledger import Ledger
from .rolling_log import RollingLog

_LOGGER = logging.getLogger("lookout")
_LEVELS = {logging.ERROR: "[ERROR] ", logging.WARNING: "[WARN]  ", logging.INFO: "[INFO]  "}


class SelfLog(logging.Handler):
    """Takes what goes to the logger "lookout", and the ledger whenever it has changed.

    Lines have SOFATracer's form: time, level, message, and no line break inside.
    """

    def __init__(self, file: RollingLog) -> None:
        super().__init__(logging.INFO)
        self._file = file
        self._time = LocalTime()
        self._ledger: Ledger | None = None
        self._told = ""  # of the ledger, last
        self._dropped: dict[str, int] = {}

    def open(self, ledger: Ledger) -> None:
        """Begin."""
        self._ledger = ledger
        _LOGGER.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        level = _LEVELS.get(record.levelno, "[INFO]  ")
        self._write(int(record.created * 1e9), level, record.getMessage())

    def write_ledger(self) -> None:
        """Write the counts, if there are new ones. Drops make it a warning."""
        if self._ledger is None:
            return
        report, dropped = self._ledger.report(), self._ledger.dropped
        if not report.created and not dropped:
            return
        reasons = " ".join(f"{reason}={count}" for reason, count in sorted(dropped.items()))
        text = (
            f"ledger created={report.created} sampled_out={report.sampled_out} "
            f"dropped={sum(dropped.values())} {reasons}"
        )
        for destination in self._ledger.destinations:
            sent = self._ledger.report(destination)
            text += f" {destination}.sent={sent.sent} {destination}.in_flight={sent.in_flight}"
        if text == self._told:
            return
        level = "[WARN]  " if dropped != self._dropped else "[INFO]  "
        self._told, self._dropped = text, dropped
        self.acquire()
        try:
            self._write(time.time_ns(), level, text)
        finally:
            self.release()

    def close(self) -> None:
        """Write the last counts and let go of the logger."""
        self.write_ledger()
        _LOGGER.removeHandler(self)
        super().close()

    def after_fork(self) -> None:
        """In the child: a ledger that starts anew, a file of its own opening."""
        self._told = ""
        self._dropped = {}
        self._file.after_fork()

    def _write(self, moment_ns: int, level: str, text: str) -> None:
        line = " ".join(text.splitlines())
        self._file.write(f"{self._time(moment_ns)}{level}{line}\n".encode("utf-8", "replace"))
