"""Which exposition format an answer takes, and the exposition itself."""

from __future__ import annotations

import gzip
from typing import NamedTuple

from ..registry import Registry
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


class Exposition:
    """Answers scrapes of one registry in the format and encoding the client prefers."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._text = TextRenderer()
        self._openmetrics = OpenMetricsRenderer()

    def answer(self, accept: str = "", accept_encoding: str = "") -> Answer:
        """The current values, in the best format that ``accept`` allows."""
        renderer = self._renderer(accept)
        body = renderer.render(self.registry.collect(), self.registry.common_tags)
        if accepts(accept_encoding, "gzip"):
            return Answer(gzip.compress(body, 1, mtime=0), renderer.content_type, "gzip")
        return Answer(body, renderer.content_type)

    def _renderer(self, accept: str) -> TextRenderer:
        best = max(
            preferences(accept),
            key=lambda choice: choice[1],
            default=("text/plain", 1.0, {}),
        )
        return self._openmetrics if best[0] == "application/openmetrics-text" else self._text


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
