"""Bodies arrive whole or are refused with the right status, at bounded cost."""

from __future__ import annotations

import gzip
import zlib

import cramjam
import pytest

from lookout_server.http import BodyBudget, Overloaded, TooLarge, decompress
from lookout_server.signal import Malformed

ENCODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": lambda body: bytes(cramjam.zstd.compress(body)),
    "snappy": lambda body: bytes(cramjam.snappy.compress_raw(body)),
}


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("body", [b"", b"a", b"span" * 25_000], ids=len)
def test_round_trip(encoding: str, body: bytes) -> None:
    """What a client compressed comes out as it was, up to the very limit."""
    assert decompress(ENCODERS[encoding](body), encoding, len(body)) == body


@pytest.mark.parametrize("encoding", ENCODERS)
def test_bomb(encoding: str) -> None:
    """A body that grows over the limit is refused before the memory is taken."""
    bomb = ENCODERS[encoding](b"\0" * 20_000_000)
    with pytest.raises(TooLarge, match="1000000 bytes"):
        decompress(bomb, encoding, 1_000_000)


@pytest.mark.parametrize("encoding", ENCODERS)
def test_not_that_encoding(encoding: str) -> None:
    """Bytes of another kind are the client's error, named."""
    with pytest.raises(Malformed, match=encoding):
        decompress(b"\xff\xff\xff\xff[{}]", encoding, 1000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_cut_short(encoding: str) -> None:
    """Half a stream is no stream."""
    whole = ENCODERS[encoding](bytes(range(256)) * 10)
    with pytest.raises(Malformed, match=encoding):
        decompress(whole[: len(whole) // 2], encoding, 10_000)


def test_gzip_members() -> None:
    """A gzip body may consist of several members (RFC 1952, 2.2)."""
    assert decompress(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip", 4) == b"abcd"


def test_bodies_in_memory_are_bounded() -> None:
    """Requests share the budget, and give back what they held when they are answered."""
    budget = BodyBudget(100)
    with budget.share() as first, budget.share() as second:
        first.expect(60)
        first.expect(50)  # less than it holds: nothing more
        with pytest.raises(Overloaded, match="inflight_max"):
            second.expect(50)
        second.expect(40)
        assert budget.taken == 100
    assert budget.taken == 0


def test_a_body_larger_than_the_budget_passes_alone() -> None:
    """Its own limit is another; but nothing else is read beside it."""
    budget = BodyBudget(100)
    with budget.share() as large, budget.share() as small:
        large.expect(500)
        large.expect(600)
        with pytest.raises(Overloaded):
            small.expect(1)
