"""The way to Lookout's collector."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from .backlog import Backlog
from .compression import Compression
from .http import HttpClient, Tls
from .sender import Limits, Sender
from .zipkin import ZipkinTransport


class CollectorDestination(Sender):
    """Posts spans to ``/api/v2/spans`` of the first of ``urls`` that answers.

    ``spill`` is a directory where spans wait while no collector answers; without it they wait
    in memory (:class:`exporters.sender.Limits`). ``compression`` "auto" takes zstd when its
    library is there and falls back to gzip when the server does not know it. Raises ValueError for
    addresses that are none.
    """

    def __init__(
        self,
        urls: str | Sequence[str] = "http://127.0.0.1:9411",
        *,
        name: str = "collector",
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        tls: Tls | None = None,
        compression: Compression = "auto",
        spill: str | os.PathLike[str] | None = None,
        spill_bytes: int = 256_000_000,
        limits: Limits | None = None,
    ) -> None:
        limits = limits if limits is not None else Limits()
        client = HttpClient(urls, headers=headers, token=token, tls=tls)
        self._http = ZipkinTransport(client, compression)
        backlog = Backlog(limits.memory_bytes, spill, spill_bytes)
        super().__init__(name, self._http, limits=limits, backlog=backlog)

    def post(
        self,
        path: str,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> None:
        """Send a ready body, of metrics, with the patience that spans get. Never blocks.

        ``timeout_s`` is how long one attempt may take; None is what it is for spans.
        """
        packed, path, own = self._http.packed(path, body, content_type)
        self._put(packed, path, {**own, **(headers or {})}, timeout_s)
