"""Zipkin's JSON v2 list straight to packed spans, where a compiled module does it.

Most of a body has been seen before: names, endpoints, tag keys. ``_zipkin_scan.c`` keeps the codes
of such pieces by their bytes as they stand in the body, and asks here about others. It declines
bodies with anything unusual in them; :mod:`.zipkin_json` reads those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np

from exporters.compiled import load

from ..spans.columns import ERROR, SHAPE_SEPARATOR
from ..spans.fast import KINDS, FastEndpoint, Irregular, packed_endpoints
from ..spans.packed import Blocks, Words

_compiled = load("lookout_server.ingest._zipkin_scan")
#: Whether this can be used here.
AVAILABLE: Final = _compiled is not None

Codes = tuple[int, int]

_text = msgspec.json.Decoder(str).decode
_endpoint = msgspec.json.Decoder(FastEndpoint).decode
_UNUSUAL: Final = (msgspec.DecodeError, UnicodeDecodeError, Irregular, KeyError, RecursionError)


class ZipkinScan:
    """Reads bodies with codes of one vocabulary. Only where it is :data:`AVAILABLE`."""

    def __init__(self, words: Words) -> None:
        self.words = words
        assert _compiled is not None
        self._scanner = _compiled.Scanner(self._code(""))
        # In the order of the first enum in _zipkin_scan.c.
        self._asked: Final[Sequence[Callable[[bytes], Codes]]] = (
            self._name,
            self._local,
            self._remote,
            self._kind,
            self._key,
            self._shape,
        )

    def blocks(self, body: bytes) -> Blocks | None:
        """The spans of a body; None where another decoder is to read it."""
        scanned = self._scanner.scan(body, self._codes_of)
        return None if scanned is None else Blocks(*scanned)

    def _codes_of(self, what: int, raw: bytes) -> Codes | None:
        """Codes of a piece of a body that is new; None for an unusual one."""
        try:
            return self._asked[what](raw)
        except _UNUSUAL:
            return None

    def _code(self, text: str) -> int:
        return int(self.words.codes([text])[0])

    def _name(self, raw: bytes) -> Codes:
        return self._code(_text(raw).lower()), 0

    def _local(self, raw: bytes) -> Codes:
        service, address, _ = packed_endpoints[_endpoint(raw)]
        return self._code(service), self._code(address)

    def _remote(self, raw: bytes) -> Codes:
        service, _, whole = packed_endpoints[_endpoint(raw)]
        return self._code(service), self._code(whole)

    def _kind(self, raw: bytes) -> Codes:
        return KINDS[_text(raw)], 0

    def _key(self, raw: bytes) -> Codes:
        return self._code(_text(raw)), 0

    def _shape(self, raw: bytes) -> Codes:
        """Of the codes of a span's tag keys: their shape, and what they say in its flags."""
        keys = [self.words.texts[code] for code in np.frombuffer(raw, np.int32).tolist()]
        if len(set(keys)) < len(keys):
            raise Irregular
        return self._code(SHAPE_SEPARATOR.join(keys)), ERROR if "error" in keys else 0
