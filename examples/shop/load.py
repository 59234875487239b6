"""A bounded load: a fixed mix of requests, sent by a few threads at a steady rate.

The mix is the same each time, so that what must be found afterwards can be counted: see
:data:`MIX`. The generator itself is not instrumented.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import urllib3

#: What one round of the load asks, in order: (method, path, status expected).
MIX = (
    ("GET", "/browse", 200),  # fan-out to stock, one call per item
    ("POST", "/checkout/lamp", 200),
    ("POST", "/checkout/chair", 200),
    ("GET", "/browse", 200),
    ("POST", "/checkout/clock", 200),  # slow
    ("POST", "/checkout/vase", 200),  # reserved on the second try
    ("POST", "/checkout/safe", 402),  # declined: an error span in orders
    ("POST", "/checkout/unicorn", 404),
    ("GET", "/crash", 500),  # an exception leaves the gateway's handler
    ("POST", "/checkout/desk", 200),
)


@dataclass
class Sent:
    """How many requests were answered, by what was asked and by status."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return sum(self.statuses.values())


class Load:
    """Sends the mix to ``base_url`` until ``stop`` is set or ``limit`` requests were sent."""

    def __init__(
        self, base_url: str, *, rate: float = 20.0, limit: int | None = None, threads: int = 4
    ) -> None:
        self.sent = Sent()
        self._base_url, self._interval, self._limit = base_url, 1 / rate, limit
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._http = urllib3.PoolManager(maxsize=threads, retries=False, timeout=10)
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        self._started = time.monotonic()

    def start(self) -> None:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> Sent:
        """Let requests under way end and return what was sent."""
        self._stop.set()
        return self.wait()

    def wait(self) -> Sent:
        for thread in self._threads:
            thread.join()
        return self.sent

    def _run(self) -> None:
        while not self._stop.is_set():
            number = next(self._numbers)
            if self._limit is not None and number >= self._limit:
                return
            due = self._started + number * self._interval
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            self._send(*MIX[number % len(MIX)])

    def _send(self, method: str, path: str, expected: int) -> None:
        try:
            status = self._http.request(method, self._base_url + path).status
        except urllib3.exceptions.HTTPError as error:
            with self._lock:
                self.sent.unexpected.append(f"{method} {path}: {error}")
            return
        with self._lock:
            self.sent.requests[method, path] += 1
            self.sent.statuses[status] += 1
            if status != expected:
                self.sent.unexpected.append(f"{method} {path}: {status}, not {expected}")
