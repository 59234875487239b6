"""Which exposition format an answer takes, and the exposition itself."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from ..metric import Tags
from ..registry import Collects, Registry
from ..snapshot import Snapshot
from .text import OpenMetricsRenderer, TextRenderer


class Answer(NamedTuple):
    """The body of a scrape and the headers that describe it."""

    body: bytes
    content_type: str
    content_encoding: str = ""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Name and value pairs for an HTTP answer."""
        headers = [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Vary", "Accept, Accept-Encoding"),
        ]
        if self.content_encoding:
            headers.append(("Content-Encoding", self.content_encoding))
        return headers


FORMATS = ("text", "openmetrics", "protobuf")


class Renderer(Protocol):
    """One exposition format."""

    @property
    def content_type(self) -> str:
        """What the format is called in HTTP."""

    def render(self, snapshots: Iterable[Snapshot], common_tags: Tags = ()) -> bytes:
        """The exposition of ``snapshots``, every series with ``common_tags`` besides its own."""


class Exposition:
    """Answers scrapes of one registry in the format and encoding the client prefers.

    ``formats`` are the formats to choose from: text, openmetrics, protobuf. What the client
    asks for beyond them is answered in the first.
    """

    def __init__(self, registry: Registry, formats: Sequence[str] = FORMATS) -> None:
        self.registry = registry
        self._renderers: dict[str, Renderer] = {}
        for name in formats:
            media_type, make = _FORMATS[name]
            renderer = make()
            if renderer is not None:
                self._renderers[media_type] = renderer

    def answer(self, accept: str = "", accept_encoding: str = "") -> Answer:
        """The current values, in the best format that ``accept`` allows."""
        renderer = self._renderer(accept)
        metrics: Collects = self.registry.workers or self.registry
        body = renderer.render(metrics.collect(), self.registry.common_tags)
        if accepts(accept_encoding, "gzip"):
            return Answer(gzip.compress(body, 1, mtime=0), renderer.content_type, "gzip")
        return Answer(body, renderer.content_type)

    def _renderer(self, accept: str) -> Renderer:
        choices = [
            choice
            for choice in preferences(accept)
            if choice[0] in self._renderers and _is_metric_family(choice[2])
        ]
        best = max(choices, key=lambda choice: choice[1], default=None)
        return self._renderers[best[0]] if best else next(iter(self._renderers.values()))


def _is_metric_family(parameters: dict[str, str]) -> bool:
    """Whether protobuf, if asked for, is meant to be the message and the framing there is."""
    return (
        parameters.get("proto", "io.prometheus.client.MetricFamily")
        == "io.prometheus.client.MetricFamily"
        and parameters.get("encoding", "delimited") == "delimited"
    )


def _protobuf() -> Renderer | None:
    try:
        from .protobuf import ProtobufRenderer
    except ImportError:
        return None
    return ProtobufRenderer()


_FORMATS: dict[str, tuple[str, Callable[[], Renderer | None]]] = {
    "text": ("text/plain", TextRenderer),
    "openmetrics": ("application/openmetrics-text", OpenMetricsRenderer),
    "protobuf": ("application/vnd.google.protobuf", _protobuf),
}


def preferences(accept: str) -> list[tuple[str, float, dict[str, str]]]:
    """The media types of an Accept header with their weights and parameters.

    What cannot be parsed weighs nothing: a scrape is answered in text rather than refused.
    """
    found = []
    for item in accept.split(","):
        media, *rest = (part.strip() for part in item.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        try:
            weight = float(parameters.pop("q", "1"))
        except ValueError:
            weight = 0.0
        if media and weight > 0:
            found.append((media.lower(), weight, parameters))
    return found


def accepts(header: str, value: str) -> bool:
    """Whether an Accept-Encoding header names ``value`` with a weight above 0."""
    return any(media == value for media, _, _ in preferences(header))
