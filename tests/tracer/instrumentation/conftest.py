"""Spans of this process, as they finish, and what the observers of requests hear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tracer.api import PIPELINE
from tracer.instrumentation import http
from tracer.pipeline import discard
from tracer.span import Span


@pytest.fixture
def spans() -> Iterator[list[Span]]:
    """Finished spans, in the order they finished."""
    found: list[Span] = []
    PIPELINE.configure(found.append)
    yield found
    PIPELINE.configure(discard, enabled=False)


@pytest.fixture
def requests_seen() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """(side, metric tags) of each request."""
    found: list[tuple[str, dict[str, Any]]] = []
    stop = http.observe_requests(lambda side, seconds, tags: found.append((side, tags)))
    yield found
    stop()
