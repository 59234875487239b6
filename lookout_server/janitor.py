"""The one slow background task: retention, disk budget, memory, what the database looks like."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from dataclasses import dataclass, field

from . import library_pages
from .config import ServerConfig
from .journal import Journal
from .repeats import MAX_REMEMBERED
from .store import retention
from .store.port import Store, StoreError
from .store.template import Dialect

log = logging.getLogger("lookout.janitor")

_EVERY_SECONDS = 15.0
#: Bytes of libraries' pages worth letting go of: 75 to 90 MB of them are in use under load.
_PAGES = 160 << 20
_TABLES = (
    "SELECT table, count() AS parts, toUInt64(sum(bytes_on_disk)) AS bytes, "
    "toUInt64(sum(rows)) AS rows FROM system.parts "
    "WHERE active AND database = currentDatabase() GROUP BY table"
)


@dataclass(frozen=True, slots=True)
class TableState:
    """A table as ClickHouse reports it."""

    table: str
    parts: int
    bytes: int
    rows: int


@dataclass(slots=True)
class Findings:
    """What the last round saw."""

    tables: list[TableState] = field(default_factory=list)
    merges: int = 0
    disk_free: int = 0
    days_dropped: int = 0
    at: float = 0.0  # Unix time of the round


class Janitor:
    """Runs a round every quarter of a minute on a thread of its own."""

    def __init__(
        self, config: ServerConfig, store: Store, dialect: Dialect, journal: Journal
    ) -> None:
        self.found = Findings()
        self._config = config
        self._store = store
        self._dialect = dialect
        self._journal = journal
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout-janitor", daemon=True)

    def start(self) -> None:
        """Begin; the first round applies a changed retention."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step at hand."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def round(self) -> None:
        """Look at the database once and drop what is over the budget."""
        rows = self._store.fetch(_TABLES).to_pylist()
        merges = self._store.fetch("SELECT count() AS n FROM system.merges")
        dropped = self._keep_budget()
        self.found = Findings(
            tables=[TableState(**row) for row in rows],
            merges=int(merges.column("n")[0].as_py()),
            disk_free=shutil.disk_usage(self._config.data_dir).free,
            days_dropped=self.found.days_dropped + dropped,
            at=time.time(),
        )
        self._journal.drop_kept(MAX_REMEMBERED)
        self._journal.shrink()
        library_pages.let_go(_PAGES)

    def _keep_budget(self) -> int:
        """Drop the oldest days while the database is over the budget; how many were dropped."""
        if self._config.disk_budget == 0:
            return 0
        days = retention.days(self._store)
        total = sum(day.bytes for day in days)
        dropped = 0
        while total > self._config.disk_budget and len(days) > 1:
            oldest = days.pop(0)
            retention.drop_day(self._store, oldest.day)
            log.warning("dropped %s: the database is over its budget", oldest.day)
            total -= oldest.bytes
            dropped += 1
        return dropped

    def _run(self) -> None:
        applied = False
        while not self._stopping.is_set():
            try:
                if not applied:
                    retention.apply(self._store, self._dialect)
                    applied = True
                self.round()
            except StoreError as error:
                log.warning("%s; again in %g s", error, _EVERY_SECONDS)
            self._stopping.wait(_EVERY_SECONDS)
