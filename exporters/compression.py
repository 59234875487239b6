"""Compressing request bodies and rolled log files: zstd where there is one, else gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

Compression = Literal["auto", "zstd", "gzip", "none"]


def zstd_available() -> bool:
    """Whether zstd can be written here; gzip always can."""
    return find_spec("cramjam") is not None


def compressor(kind: Compression) -> tuple[str, Callable[[bytes], bytes]]:
    """The name for ``Content-Encoding`` (empty for none) and the function.

    Levels are the cheapest: bodies of spans shrink to about an eighth already at zstd's first
    (docs/benchmarks.md). Raises ValueError for an unknown kind, ImportError for zstd without
    its library.
    """
    if kind == "auto":
        kind = "zstd" if zstd_available() else "gzip"
    if kind == "zstd":
        import cramjam

        return "zstd", lambda body: bytes(cramjam.zstd.compress(body, 1))
    if kind == "gzip":
        return "gzip", lambda body: gzip.compress(body, 1, mtime=0)
    if kind == "none":
        return "", bytes
    raise ValueError(f"compression must be auto, zstd, gzip or none, not {kind!r}")


def decompress(encoding: str, body: bytes) -> bytes:
    """Undo what :func:`compressor` did."""
    if encoding == "zstd":
        import cramjam

        return bytes(cramjam.zstd.decompress(body))
    if encoding == "gzip":
        return zlib.decompress(body, 31)
    return body
