"""What a query did: its stages with their SQL, rows and times, for ``?explain=1``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Stage:
    """One step of a query."""

    name: str
    sql: str = ""
    rows: int = 0
    seconds: float = 0.0

    def json(self) -> dict[str, Any]:
        sql = {"sql": " ".join(self.sql.split())} if self.sql else {}
        return {
            "stage": self.name,
            **sql,
            "rows": self.rows,
            "milliseconds": round(self.seconds * 1000, 3),
        }


@dataclass(slots=True)
class Explanation:
    """The stages of one request, in order."""

    stages: list[Stage] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str, *, sql: str = "", rows: int = 0) -> Iterator[Stage]:
        """Time a step; what it finds out may be set on the stage."""
        stage = Stage(name, sql, rows)
        self.stages.append(stage)
        began = time.perf_counter()
        try:
            yield stage
        finally:
            stage.seconds = time.perf_counter() - began

    def json(self) -> dict[str, Any]:
        """The explanation as the API gives it."""
        return {
            "milliseconds": round((time.perf_counter() - self.began) * 1000, 3),
            "stages": [stage.json() for stage in self.stages],
        }
