"""The periodic push: everything a registry holds, cumulative, to a collector."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from exporters.periodic import Period, Task

from ..registry import Registry
from .otlp import CONTENT_TYPE, PATH, OtlpEncoder


class Post(Protocol):
    """How a body leaves: :meth:`exporters.collector.CollectorDestination.post`."""

    def __call__(
        self,
        path: str,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> None: ...


class OtlpPusher:
    """Hands the state of ``registry`` to ``post`` each time it is called.

    Values are cumulative since a series was created, so a body that is lost or arrives twice
    costs resolution and never changes a sum. Retrying, spilling and compressing are ``post``'s.

    :param timeout_s: how long one attempt to send may take; None leaves that to ``post``.
    """

    def __init__(
        self,
        registry: Registry,
        resource: Callable[[], Mapping[str, Any]],
        post: Post,
        timeout_s: float | None = None,
    ) -> None:
        self._registry = registry
        self._resource = resource
        self._encoder = OtlpEncoder(resource())
        self._pid = os.getpid()
        self._post = post
        self._timeout_s = timeout_s

    def __call__(self) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._encoder = OtlpEncoder(self._resource())
        now_ns = self._registry.clock_ns()
        for body in self._encoder.encode(self._registry.collect(), now_ns):
            self._post(PATH, body, CONTENT_TYPE, timeout_s=self._timeout_s)


#: Has work done again and again: :meth:`exporters.flusher.Flusher.schedule`.
Schedule = Callable[[Period, Callable[[], object]], Task]
