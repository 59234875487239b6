"""OpenTelemetry's asynchronous instruments: callbacks that observe when metrics are read."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from opentelemetry import metrics as api

from .family import Definition
from .instruments import attribute_text
from .metric import OVERFLOW_TAGS, Tags, tag_set
from .snapshot import NumberPoint, Snapshot

_log = logging.getLogger("lookout.meters")

Callback = Callable[[api.CallbackOptions], Iterable[api.Observation]]


class Observer:
    """Runs the callbacks of one instrument and keeps what they observe for one reading.

    A series that is not observed is not reported. A callback that raises costs its own
    observations only. ``limit`` series are kept apart; further ones are added up.
    """

    def __init__(
        self,
        definition: Definition,
        callbacks: Sequence[Any] | None,
        clock_ns: Callable[[], int],
        limit: int,
        keys: frozenset[str] | None = None,
    ) -> None:
        self.definition = definition
        self.callbacks = [_as_callback(callback) for callback in callbacks or ()]
        self._clock_ns = clock_ns
        self._limit = limit
        self._keys = keys
        self._created: dict[Tags, int] = {}
        self._failing: set[int] = set()

    def __call__(self) -> list[Snapshot]:
        values: dict[Tags, float] = {}
        for number, callback in enumerate(self.callbacks):
            for observation in self._observe(number, callback):
                self._note(values, observation)
        if not values:
            return []
        now_ns = self._clock_ns()
        self._created = {tags: self._created.get(tags, now_ns) for tags in values}
        points = [NumberPoint(tags, value, self._created[tags]) for tags, value in values.items()]
        return [Snapshot(self.definition, list(points))]

    def _observe(self, number: int, callback: Callback) -> list[api.Observation]:
        try:
            found = list(callback(api.CallbackOptions()))
            self._failing.discard(number)
            return found
        except Exception as error:
            if number not in self._failing:
                self._failing.add(number)
                _log.warning("callback of %s fails: %r", self.definition.name, error)
            return []

    def _note(self, values: dict[Tags, float], observation: Any) -> None:
        try:
            value = observation.value
            value = value if type(value) is int else float(value)
            tags = self._tags(observation.attributes)
        except (AttributeError, TypeError, ValueError):
            return
        if math.isnan(value):
            return
        if tags in values or len(values) < self._limit:
            values[tags] = value
        else:
            values[OVERFLOW_TAGS] = values.get(OVERFLOW_TAGS, 0) + value

    def _tags(self, attributes: Any) -> Tags:
        return tag_set(
            {
                key: attribute_text(value)
                for key, value in (attributes or {}).items()
                if self._keys is None or key in self._keys
            }
        )


def _as_callback(callback: Any) -> Callback:
    """A callback as it is; of a generator the sender of options."""
    return _Sender(callback) if isinstance(callback, Generator) else callback


class _Sender:
    """Sends options to a generator for what it observes then."""

    def __init__(self, generator: Generator[Any, Any, Any]) -> None:
        self._generator = generator
        self._started = False
        self._last: Iterable[api.Observation] = ()
        self._asking = threading.Lock()

    def __call__(self, options: api.CallbackOptions) -> Iterable[api.Observation]:
        # A push and a scrape may ask at once; a generator can answer one of them.
        if self._asking.acquire(blocking=False):
            try:
                self._last = list(self._next(options))
            except StopIteration:
                self._last = ()
            finally:
                self._asking.release()
        return self._last

    def _next(self, options: api.CallbackOptions) -> Iterable[api.Observation]:
        if self._started:
            return self._generator.send(options)  # type: ignore[no-any-return]
        self._started = True
        return next(self._generator)


class ObservableCounter(api.ObservableCounter):
    """Observes a sum that only grows."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer


class ObservableUpDownCounter(api.ObservableUpDownCounter):
    """Observes a sum that may shrink."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer


class ObservableGauge(api.ObservableGauge):
    """Observes a value."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
