"""Statistics of finished spans, one line per key and minute.

All spans count, sampled or not. A key is the application, what the kind of work is kept by, the
outcome and the load-test mark; its line tells how many, how long in total, and, beyond what
SOFATracer tells, the median, the 99th percentile and the maximum.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ._text import clean, json_text
from .digest import LocalTime, escape
from .records import STATUS_ERROR, Resource, SpanRecord
from .sketch import Sketch
from .work import BIZ, Work

#: Stands for all keys beyond the limit.
OVERFLOW = "<other>"
#: Longer key values are cut: keys are held for a minute.
_KEY_LENGTH = 512

_NO_TAGS: Mapping[str, Any] = {}


class StatKey(NamedTuple):
    """What spans are counted together by."""

    app: str
    values: tuple[str, ...]
    success: bool
    load_test: bool


_Key = tuple[str, tuple[str, ...], bool, bool]


class Stats:
    """Counts the spans of one kind of work, by at most ``max_keys`` keys in a period."""

    def __init__(self, work: Work, max_keys: int = 5_000) -> None:
        self._work = work
        self._max_keys = max_keys
        # Keyed by plain tuples too, which equal a StatKey and are made faster.
        self._sketches: dict[_Key, Sketch] = {}

    def add(self, records: Sequence[SpanRecord], load_test: bool) -> None:
        """Count spans."""
        if self._work is BIZ:
            self._add_plain(records, load_test)
            return
        for record in records:
            self._sketch(self._key(record, load_test)).add(record.duration_ns)

    def _add_plain(self, records: Sequence[SpanRecord], load_test: bool) -> None:
        """The application's own work: by name.

        With local names and few calls: this is most spans of most applications.
        """
        failed: dict[str, list[int]] = {}
        succeeded: dict[str, list[int]] = {}
        known: Any = None
        for record in records:
            if record.resource is not known:
                if known is not None:
                    self._add_durations(known, failed, succeeded, load_test)
                known = record.resource
            tags = record.tags
            if record.status != STATUS_ERROR and (not tags or "result.code" not in tags):
                durations = succeeded
            else:
                durations = succeeded if self._work.has_succeeded(record, tags or {}) else failed
            name = record.name
            if name in durations:
                durations[name].append(record.duration_ns)
            else:
                durations[name] = [record.duration_ns]
        if known is not None:
            self._add_durations(known, failed, succeeded, load_test)

    def _add_durations(
        self,
        resource: Resource,
        failed: dict[str, list[int]],
        succeeded: dict[str, list[int]],
        load_test: bool,
    ) -> None:
        """Count durations by name, and empty both."""
        for success, durations in ((False, failed), (True, succeeded)):
            for name, values in durations.items():
                key = (resource.service_name, (name[:_KEY_LENGTH],), success, load_test)
                self._sketch(key).add_all(values)
            durations.clear()

    def take(self) -> list[tuple[StatKey, Sketch]]:
        """What was counted since the last call."""
        taken, self._sketches = self._sketches, {}
        return [(StatKey(*key), sketch) for key, sketch in taken.items()]

    def _key(self, record: SpanRecord, load_test: bool) -> _Key:
        work = self._work
        tags = record.tags or _NO_TAGS
        found = [field.of(tags) for field in work.keys]
        values = tuple(
            json_text(value).split("?", 1)[0][:_KEY_LENGTH] if value is not None else ""
            for value in found
        )
        succeeded = work.has_succeeded(record, tags)
        return record.resource.service_name, values, succeeded, load_test

    def _sketch(self, key: _Key) -> Sketch:
        sketch = self._sketches.get(key)
        if sketch is None:
            if len(self._sketches) >= self._max_keys:
                app, values, succeeded, load_test = key
                key = (app, (OVERFLOW,) * len(values), succeeded, load_test)
            sketch = self._sketches.setdefault(key, Sketch())
        return sketch


StatLine = Callable[[Work, StatKey, Sketch, str], str]


def json_line(work: Work, key: StatKey, sketch: Sketch, moment: str) -> str:
    """A line as one JSON object, SOFATracer's fields first."""
    labels = ["method"] if work is BIZ else [field.label for field in work.keys]
    named = {"local.app": key.app} | {
        label: value for label, value in zip(labels, key.values, strict=True) if value
    }
    fields = {
        "time": moment,
        "stat.key": clean(named),
        "count": sketch.count,
        "total.cost.milliseconds": sketch.total // 1_000_000,
        "success": "Y" if key.success else "N",
        "load.test": "T" if key.load_test else "F",
        "p50.milliseconds": _milliseconds(sketch.quantile(0.5)),
        "p99.milliseconds": _milliseconds(sketch.quantile(0.99)),
        "max.milliseconds": _milliseconds(sketch.maximum),
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"


def delimited_line(work: Work, key: StatKey, sketch: Sketch, moment: str) -> str:
    """A line in SOFATracer's form; the percentiles follow its last field."""
    values = [
        moment,
        key.app,
        *key.values,
        sketch.count,
        sketch.total // 1_000_000,
        "Y" if key.success else "N",
        "T" if key.load_test else "F",
        _milliseconds(sketch.quantile(0.5)),
        _milliseconds(sketch.quantile(0.99)),
        _milliseconds(sketch.maximum),
    ]
    return ",".join(escape(value) for value in values) + "\r\n"


def lines(
    work: Work,
    entries: Sequence[tuple[StatKey, Sketch]],
    form: StatLine,
    moment_ns: int | None = None,
) -> bytes:
    """The lines of one period."""
    now = LocalTime()(time.time_ns() if moment_ns is None else moment_ns)
    text = "".join(form(work, key, sketch, now) for key, sketch in entries)
    return text.encode("utf-8", "replace")


def _milliseconds(nanoseconds: float) -> float:
    return round(nanoseconds / 1_000_000, 3)
