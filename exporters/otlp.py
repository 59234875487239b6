"""OTLP over HTTP and over gRPC, to any OpenTelemetry receiver."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from .backlog import Backlog
from .compression import Compression, compressor
from .http import HttpClient, Tls
from .ledger import REFUSED, TOO_LARGE
from .otlp_encoding import OtlpJson, OtlpProtobuf
from .parcel import Parcel, Refused, Unavailable
from .records import SpanRecord
from .sender import Limits, Sender

_log = logging.getLogger("lookout")

PATH = "/v1/traces"
_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class _Encoder(Protocol):
    @property
    def content_type(self) -> str: ...

    def encode(self, records: Sequence[SpanRecord]) -> bytes: ...

    def rejected(self, answer: bytes) -> tuple[int, str]: ...


class _OtlpTransport:
    """What both ways have in common: the encoding and the partial success in the answer."""

    def __init__(self, encoder: _Encoder) -> None:
        self._encoder = encoder

    def encode(self, records: Sequence[SpanRecord]) -> tuple[bytes, int]:
        return (self._encoder.encode(records) if records else b""), 0

    def split(self, parcel: Parcel) -> Sequence[Parcel]:
        return ()

    def _rejected(self, answer: bytes) -> int:
        count, reason = self._encoder.rejected(answer)
        if count:
            _log.warning("OTLP receiver rejected %d spans: %s", count, reason)
        return count


class OtlpHttpTransport(_OtlpTransport):
    """POSTs to ``/v1/traces``."""

    def __init__(self, client: HttpClient, encoder: _Encoder, compression: Compression) -> None:
        super().__init__(encoder)
        self._client = client
        self._compress = compressor(compression)

    def parcel(self, body: bytes) -> tuple[bytes, str, Mapping[str, str]]:
        encoding, compress = self._compress
        headers = {"Content-Type": self._encoder.content_type}
        if encoding:
            headers["Content-Encoding"] = encoding
        return compress(body), PATH, headers

    def deliver(self, parcel: Parcel, ledger: str, timeout_s: float) -> int:
        answer = self._client.post(parcel.path, parcel.body, parcel.headers, timeout_s)
        return self._rejected(answer)

    def close(self) -> None:
        self._client.close()

    def after_fork(self) -> None:
        self._client.after_fork()


class OtlpHttpDestination(Sender):
    """OTLP/HTTP to the first of ``urls`` that answers; ``/v1/traces`` is added to each.

    ``encoding`` "protobuf" needs the extra "otlp"; "json" needs nothing. Raises ImportError and
    ValueError accordingly.
    """

    def __init__(
        self,
        urls: str | Sequence[str] = "http://127.0.0.1:4318",
        *,
        name: str = "otlp",
        encoding: Literal["protobuf", "json"] = "protobuf",
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        tls: Tls | None = None,
        compression: Compression = "gzip",
        spill: str | os.PathLike[str] | None = None,
        spill_bytes: int = 256_000_000,
        limits: Limits | None = None,
    ) -> None:
        if encoding not in {"protobuf", "json"}:
            raise ValueError(f"encoding must be protobuf or json, not {encoding!r}")
        limits = limits if limits is not None else Limits()
        encoder = OtlpProtobuf() if encoding == "protobuf" else OtlpJson()
        client = HttpClient(_without_path(urls), headers=headers, token=token, tls=tls)
        super().__init__(
            name,
            OtlpHttpTransport(client, encoder, compression),
            limits=limits,
            backlog=Backlog(limits.memory_bytes, spill, spill_bytes),
        )


class OtlpGrpcTransport(_OtlpTransport):
    """Unary calls of ``TraceService/Export``; bodies are serialized protobuf already."""

    def __init__(
        self,
        target: str,
        *,
        secure: bool,
        headers: Mapping[str, str],
        tls: Tls,
        compress: bool,
    ) -> None:
        import grpc

        super().__init__(OtlpProtobuf())
        self._grpc = grpc
        self._target = target
        self._secure = secure
        self._tls = tls
        self._metadata = [(name.lower(), value) for name, value in headers.items()]
        self._compression = grpc.Compression.Gzip if compress else None
        self._channel: Any = None

    def parcel(self, body: bytes) -> tuple[bytes, str, Mapping[str, str]]:
        return body, "", {}

    def deliver(self, parcel: Parcel, ledger: str, timeout_s: float) -> int:
        export = self._connected().unary_unary(_METHOD)  # bytes in, bytes out
        try:
            answer = export(
                parcel.body,
                timeout=timeout_s,
                metadata=self._metadata,
                compression=self._compression,
            )
        except self._grpc.RpcError as error:
            raise _outcome(self._target, error, self._grpc.StatusCode) from None
        return self._rejected(answer)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def after_fork(self) -> None:
        # Destroying an inherited channel may wait for threads that are not here: keep it.
        _INHERITED.append(self._channel)
        self._channel = None

    def _connected(self) -> Any:
        if self._channel is None:
            if self._secure:
                self._channel = self._grpc.secure_channel(self._target, self._credentials())
            else:
                self._channel = self._grpc.insecure_channel(self._target)
        return self._channel

    def _credentials(self) -> Any:
        def content(path: str | os.PathLike[str] | None) -> bytes | None:
            if path is None:
                return None
            with open(path, "rb") as file:
                return file.read()

        tls = self._tls
        return self._grpc.ssl_channel_credentials(
            content(tls.ca), content(tls.key), content(tls.certificate)
        )


_INHERITED: list[Any] = []

#: What says that the parcel is bad. Other codes pass, or are put right by people.
_PARCEL_IS_BAD = {"INVALID_ARGUMENT", "OUT_OF_RANGE", "FAILED_PRECONDITION"}

_TURNS_AWAY = {"UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"}


def _outcome(target: str, error: Any, codes: Any) -> Refused | Unavailable:
    code = error.code()
    message = f"{target}: {code.name} {error.details()}"
    if code.name in _PARCEL_IS_BAD:
        return Refused(message, REFUSED)
    if code is codes.RESOURCE_EXHAUSTED and "larger than max" in str(error.details()):
        return Refused(message, TOO_LARGE)
    return Unavailable(
        message, answered=code is codes.INTERNAL, turns_away=code.name in _TURNS_AWAY
    )


class OtlpGrpcDestination(Sender):
    """OTLP/gRPC to ``url``: ``http://host:port`` in clear text, ``https://`` with TLS.

    Raises ImportError without the extra "otlp", ValueError for an address that is none.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:4317",
        *,
        name: str = "otlp-grpc",
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        tls: Tls | None = None,
        compression: Literal["gzip", "none"] = "gzip",
        spill: str | os.PathLike[str] | None = None,
        spill_bytes: int = 256_000_000,
        limits: Limits | None = None,
    ) -> None:
        # gRPC servers take 4 MiB unless told otherwise.
        limits = limits if limits is not None else Limits()
        secure, target = _grpc_target(url)
        bearer = {"authorization": f"Bearer {token}"} if token else {}
        transport = OtlpGrpcTransport(
            target,
            secure=secure,
            headers={**bearer, **(headers or {})},
            tls=tls or Tls(),
            compress=compression == "gzip",
        )
        backlog = Backlog(limits.memory_bytes, spill, spill_bytes)
        super().__init__(name, transport, limits=limits, backlog=backlog)


def _grpc_target(url: str) -> tuple[bool, str]:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"an address must look like http://host:port, not {url!r}")
    return parts.scheme == "https", parts.netloc


def _without_path(urls: str | Sequence[str]) -> list[str]:
    """Accept addresses that name the path already, as OTEL_EXPORTER_OTLP_TRACES_ENDPOINT does."""
    listed = [urls] if isinstance(urls, str) else list(urls)
    return [url.rstrip("/").removesuffix(PATH) for url in listed]
