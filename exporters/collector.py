"""The way to Lookout's collector, and to any server that takes Zipkin v2 JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from .backlog import Backlog
from .compression import Compression, compressor, decompress
from .http import HttpClient, Tls
from .parcel import Parcel, Refused
from .records import SpanRecord
from .sender import Limits, Sender
from .zipkin import CONTENT_TYPE, PATH, ZipkinEncoder

#: Header that carries the process's counts with each batch, see :class:`exporters.ledger.Report`.
LEDGER_HEADER = "X-Lookout-Ledger"


class ZipkinTransport:
    """Zipkin v2 JSON in compressed POSTs.

    ``b3: 0`` asks an instrumented server not to trace the reporting of traces.
    """

    def __init__(
        self, client: HttpClient, compression: Compression = "auto", *, ledger: bool = True
    ) -> None:
        self._client = client
        self._encoder = ZipkinEncoder()
        self._compress = compressor(compression)
        self._ledger = ledger

    def encode(self, records: Sequence[SpanRecord]) -> tuple[bytes, int]:
        return self._encoder.encode(records), 0

    def parcel(self, body: bytes) -> tuple[bytes, str, Mapping[str, str]]:
        return self.packed(PATH, body, CONTENT_TYPE)

    def packed(
        self, path: str, body: bytes, content_type: str
    ) -> tuple[bytes, str, dict[str, str]]:
        """Any body as it travels."""
        encoding, compress = self._compress
        headers = {"Content-Type": content_type, "b3": "0"}
        if encoding:
            headers["Content-Encoding"] = encoding
        return compress(body), path, headers

    def split(self, parcel: Parcel) -> Sequence[Parcel]:
        if parcel.count < 2:
            return ()
        encoding = parcel.headers.get("Content-Encoding", "")
        spans = msgspec.json.decode(decompress(encoding, parcel.body), type=list[msgspec.Raw])
        middle = len(spans) // 2
        return [self._part(parcel, spans[:middle]), self._part(parcel, spans[middle:])]

    def deliver(self, parcel: Parcel, ledger: str, timeout_s: float) -> None:
        headers = parcel.headers
        if ledger and self._ledger:
            headers = {**headers, LEDGER_HEADER: ledger}
        try:
            self._client.post(parcel.path, parcel.body, headers, timeout_s)
        except Refused as refusal:
            if refusal.status != 415 or headers.get("Content-Encoding") != "zstd":
                raise
            self._fall_back_to_gzip(parcel)
            self.deliver(parcel, ledger, timeout_s)

    def close(self) -> None:
        self._client.close()

    def after_fork(self) -> None:
        self._client.after_fork()

    def _part(self, parcel: Parcel, spans: Sequence[msgspec.Raw]) -> Parcel:
        body, path, headers = self.parcel(msgspec.json.encode(spans))
        return replace(parcel, body=body, count=len(spans), path=path, headers=dict(headers))

    def _fall_back_to_gzip(self, parcel: Parcel) -> None:
        """The server does not know zstd: gzip from now on, this parcel included."""
        self._compress = compressor("gzip")
        parcel.body = self._compress[1](decompress("zstd", parcel.body))
        parcel.headers["Content-Encoding"] = "gzip"


class CollectorDestination(Sender):
    """Posts spans to ``/api/v2/spans`` of the first of ``urls`` that answers.

    ``spill`` is a directory where spans wait while no collector answers; without it they wait
    in memory (:class:`exporters.sender.Limits`). ``compression`` "auto" takes zstd when its
    library is there and falls back to gzip when the server answers 415. Raises ValueError for
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
        self, path: str, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a ready body, of metrics, with the patience that spans get. Never blocks."""
        packed, path, own = self._http.packed(path, body, content_type)
        self._put(packed, path, {**own, **(headers or {})})
