"""Zipkin over HTTP: the transport the collector shares, and any Zipkin server as destination."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol

import msgspec

from .backlog import Backlog
from .compression import Compression, compressor, decompress
from .http import HttpClient, Tls
from .parcel import Parcel, Refused
from .records import SpanRecord
from .sender import Limits, Sender
from .zipkin_json import CONTENT_TYPE, PATH, ZipkinEncoder

#: Header that carries the process's counts with each batch, see :class:`exporters.ledger.Report`.
LEDGER_HEADER = "X-Lookout-Ledger"


class _Encoder(Protocol):
    def encode(self, records: Sequence[SpanRecord]) -> bytes: ...


class ZipkinTransport:
    """Zipkin v2 JSON, or protobuf, in compressed POSTs.

    ``b3: 0`` asks an instrumented server not to trace the reporting of traces.
    """

    def __init__(
        self,
        client: HttpClient,
        compression: Compression = "auto",
        *,
        encoder: _Encoder | None = None,
        content_type: str = CONTENT_TYPE,
        ledger: bool = True,
    ) -> None:
        self._client = client
        self._encoder = encoder if encoder is not None else ZipkinEncoder()
        self._content_type = content_type
        self._compress = compressor(compression)
        self._ledger = ledger
        self._zstd_taken = False  # the server has shown that it knows zstd

    def encode(self, records: Sequence[SpanRecord]) -> tuple[bytes, int]:
        if not records and not self._ledger:
            return b"", 0  # nothing to report
        return self._encoder.encode(records), 0

    def parcel(self, body: bytes) -> tuple[bytes, str, Mapping[str, str]]:
        return self.packed(PATH, body, self._content_type)

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
        if parcel.count < 2 or self._content_type != CONTENT_TYPE:
            return ()
        encoding = parcel.headers.get("Content-Encoding", "")
        spans = msgspec.json.decode(decompress(encoding, parcel.body), type=list[msgspec.Raw])
        middle = len(spans) // 2
        return [self._part(parcel, spans[:middle]), self._part(parcel, spans[middle:])]

    def deliver(self, parcel: Parcel, ledger: str, timeout_s: float) -> int:
        headers = parcel.headers
        if ledger and self._ledger:
            headers = {**headers, LEDGER_HEADER: ledger}
        zstd = headers.get("Content-Encoding") == "zstd"
        try:
            self._client.post(parcel.path, parcel.body, headers, timeout_s)
        except Refused as refusal:
            # Zipkin's own server says 400 to what it cannot unpack.
            if not zstd or self._zstd_taken or refusal.status not in {400, 415}:
                raise
            self._fall_back_to_gzip(parcel)
            return self.deliver(parcel, ledger, timeout_s)
        self._zstd_taken = self._zstd_taken or zstd
        return 0

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


class ZipkinDestination(Sender):
    """Any Zipkin server: v2 JSON, or protobuf with the extra "otlp", to ``/api/v2/spans``.

    Addresses may name that path. Raises ImportError for protobuf without its library.
    """

    def __init__(
        self,
        urls: str | Sequence[str] = "http://127.0.0.1:9411",
        *,
        name: str = "zipkin",
        encoding: Literal["json", "protobuf"] = "json",
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        tls: Tls | None = None,
        compression: Literal["gzip", "none"] = "gzip",
        spill: str | os.PathLike[str] | None = None,
        spill_bytes: int = 256_000_000,
        limits: Limits | None = None,
    ) -> None:
        if encoding not in {"json", "protobuf"}:
            raise ValueError(f"encoding must be json or protobuf, not {encoding!r}")
        limits = limits if limits is not None else Limits()
        listed = [urls] if isinstance(urls, str) else list(urls)
        client = HttpClient(
            [url.rstrip("/").removesuffix(PATH) for url in listed],
            headers=headers,
            token=token,
            tls=tls,
        )
        super().__init__(
            name,
            _zipkin_transport(client, encoding, compression),
            limits=limits,
            backlog=Backlog(limits.memory_bytes, spill, spill_bytes),
        )


def _zipkin_transport(
    client: HttpClient, encoding: str, compression: Compression
) -> ZipkinTransport:
    if encoding == "json":
        return ZipkinTransport(client, compression, ledger=False)
    from .zipkin_proto3 import CONTENT_TYPE as PROTOBUF
    from .zipkin_proto3 import ZipkinProtobufEncoder

    return ZipkinTransport(
        client, compression, encoder=ZipkinProtobufEncoder(), content_type=PROTOBUF, ledger=False
    )
