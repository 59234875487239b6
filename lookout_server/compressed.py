"""Bodies as the journal keeps them: compressed where it pays."""

from __future__ import annotations

from typing import Final

import cramjam

#: Compressing pays from here on.
_LEAST_BYTES: Final = 512


def compress(body: bytes) -> bytes | None:
    """The body in zstd; None where it is too short for that."""
    return bytes(cramjam.zstd.compress(body, 1)) if len(body) >= _LEAST_BYTES else None


def decompress(compressed: bytes) -> bytes:
    """What :func:`compress` was given."""
    return bytes(cramjam.zstd.decompress(compressed))
