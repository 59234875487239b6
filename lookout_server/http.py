"""Reading request bodies within their limits, and the refusals a handler may raise."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import cramjam
import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from .server import Server
from .signal import Malformed

#: Bodies from this size on are decompressed on a worker thread.
INLINE_BYTES = 256 * 1024
_DISCARD_SECONDS = 2.0


class Refused(Exception):
    """A request that is not served; the text is the answer's body."""

    def __init__(self, status: int, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after  # seconds

    def response(self) -> Response:
        """The plain answer; protocols with an error format of their own make their own."""
        return PlainTextResponse(str(self), self.status, self.headers())

    def headers(self) -> dict[str, str]:
        """``Retry-After`` in whole seconds, where trying again can help."""
        headers = {"WWW-Authenticate": 'Basic realm="lookout"'} if self.status == 401 else {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(self.retry_after)))
        return headers


class Overloaded(Refused):
    """Nothing was kept of the request; the same request may pass later (429 or 503)."""

    def __init__(self, text: str, retry_after: float = 1.0, status: int = 503) -> None:
        super().__init__(status, text, retry_after)


class TooLarge(Refused):
    """The body, as sent or decompressed, is over its limit (413)."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(413, f"{what} is larger than the limit of {limit} bytes")


class BodyBudget:
    """Bytes of bodies that may be in memory at once, over all requests (event loop only)."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    @contextmanager
    def share(self) -> Iterator[BodyShare]:
        """What one request holds, until it is answered."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self.taken -= share.held


class BodyShare:
    """The part of a :class:`BodyBudget` one request holds."""

    def __init__(self, budget: BodyBudget) -> None:
        self.held = 0
        self._budget = budget

    def expect(self, size: int) -> None:
        """Hold at least ``size`` bytes. Raises Overloaded (503) when others hold them."""
        more = size - self.held
        if more <= 0:
            return
        budget = self._budget
        # A body larger than the whole budget is let through alone: its own limit is another.
        if budget.taken and budget.taken + more > budget.limit and budget.taken > self.held:
            raise Overloaded(
                f"bodies of {budget.taken} bytes are being read or written; "
                f"the limit is {budget.limit} (inflight_max)"
            )
        self.held += more
        budget.taken += more


async def read_body(request: Request, server: Server) -> bytes:
    """The decompressed body.

    Raises Refused (408 too slow, 413 too large, 415 unknown Content-Encoding) and Malformed
    where the body is not in the encoding its header names.
    """
    body = await read_raw(request, server)
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _DECOMPRESS:
        known = ", ".join(["identity", *_DECOMPRESS])
        raise Refused(
            415, f"Content-Encoding {encoding!r} is not supported; expected one of {known}"
        )
    return await unpacked(request, body, encoding, server)


async def unpacked(request: Request, body: bytes, encoding: str, server: Server) -> bytes:
    """The body decompressed, off the event loop where it is large; the request holds both.

    Raises as :func:`decompress`, and Overloaded where other requests hold the memory.
    """
    limit = server.config.body_max_decompressed
    if len(body) < INLINE_BYTES // 8:
        plain = decompress(body, encoding, limit)
    else:
        plain = await asyncio.to_thread(decompress, body, encoding, limit)
    hold(request, len(body) + len(plain))
    return plain


def hold(request: Request, size: int) -> None:
    """Count ``size`` bytes in memory for this request. Raises Overloaded (503)."""
    share = _share(request)
    if share is not None:
        share.expect(size)


async def read_raw(request: Request, server: Server) -> bytes:
    """The body as sent. Raises Refused (408 or 413)."""
    limit = server.config.body_max
    length = request.headers.get("content-length", "")
    try:
        async with asyncio.timeout(server.config.body_timeout):
            if length.isdecimal() and int(length) > limit:
                raise TooLarge("the body", limit)
            return await _joined(request, limit)
    except TooLarge:
        await _discard(request, limit)
        raise
    except TimeoutError:
        seconds = server.config.body_timeout
        raise Refused(408, f"the body did not arrive within {seconds:g} s") from None


async def _discard(request: Request, limit: int) -> None:
    """Read on for a moment: most clients look for the answer only after they sent everything."""
    size = 0
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while size < 4 * limit:
                message = await request.receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _share(request: Request) -> BodyShare | None:
    return getattr(request.state, "body_budget", None)


async def _joined(request: Request, limit: int) -> bytes:
    share = _share(request)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLarge("the body", limit)
        if share is not None:
            share.expect(size)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Body in one of gzip, deflate, zstd, snappy (block format), never more than ``limit``.

    Raises Malformed, and TooLarge before the memory is taken.
    """
    try:
        return _DECOMPRESS[encoding](body, limit)
    except (zlib.error, cramjam.DecompressionError, EOFError, ValueError) as error:
        raise Malformed(f"the body is not {encoding}: {error}") from error


def _zlib(window_bits: int) -> Callable[[bytes, int], bytes]:
    def inflate(body: bytes, limit: int) -> bytes:
        out = bytearray()
        rest = body
        while rest:  # a gzip body may have several members
            stream = zlib.decompressobj(window_bits)
            out += stream.decompress(rest, limit + 1 - len(out))
            if len(out) > limit:
                raise TooLarge("the decompressed body", limit)
            if not stream.eof:
                raise EOFError("it ends before its end")
            rest = stream.unused_data
        return bytes(out)

    return inflate


def _zstd(body: bytes, limit: int) -> bytes:
    # A frame need not tell its size: pages of this buffer that stay unused cost nothing.
    room = np.empty(limit + 1, dtype=np.uint8)
    try:
        size = cramjam.zstd.decompress_into(body, room.data)
    except cramjam.DecompressionError as error:
        if "write whole buffer" in str(error):
            raise TooLarge("the decompressed body", limit) from None
        raise
    if size > limit:
        raise TooLarge("the decompressed body", limit)
    return room[:size].tobytes()


def _snappy(body: bytes, limit: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(body) > limit:
        raise TooLarge("the decompressed body", limit)
    return bytes(cramjam.snappy.decompress_raw(body))


_DECOMPRESS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _zlib(31),
    "deflate": _zlib(15),
    "zstd": _zstd,
    "snappy": _snappy,
}
