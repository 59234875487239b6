"""Texts that wait packed come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookout_server.spans import united as united_module
from lookout_server.spans.packed import Texts
from lookout_server.spans.primitives import pairs
from lookout_server.spans.united import united_pairs, united_texts

_TEXT = st.text(st.sampled_from(["a", "é", "\0", "日", "\U0001f600"]), max_size=4)


@settings(deadline=None)
@given(st.lists(st.lists(_TEXT, max_size=5), max_size=6))
def test_texts_of_bodies_are_united_in_order_whatever_is_in_them(bodies: list[list[str]]) -> None:
    """NUL, empty texts and bodies without any included: the batch has each text of each body."""
    united = united_texts([Texts(texts) for texts in bodies])
    united.validate(full=True)
    assert united.to_pylist() == [text for texts in bodies for text in texts]


@settings(deadline=None)
@given(
    st.lists(_TEXT, min_size=1, max_size=3),
    st.lists(st.lists(st.tuples(st.integers(0, 2), _TEXT), max_size=6), max_size=4),
)
def test_pairs_are_united_in_order_whatever_is_in_them(
    prefixes: list[str], bodies: list[list[tuple[int, str]]]
) -> None:
    """Each text stands behind its prefix, and each distinct pair once, compiled or by Arrow."""
    codes = np.array([n % len(prefixes) for texts in bodies for n, _ in texts], np.int32)
    parts = [Texts([text for _, text in texts]) for texts in bodies]
    expected = [prefixes[n % len(prefixes)] + text for texts in bodies for n, text in texts]
    found = united_pairs(prefixes, codes, parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(united_module, "pairs", None)
        by_arrow = united_pairs(prefixes, codes, parts)
    for one in (found, by_arrow):
        one.validate(full=True)
        assert one.to_pylist() == expected
    assert len(by_arrow.dictionary) == len(set(expected))


def colliding(count: int) -> list[bytes]:
    """Texts of eight characters and a NUL that are all sought at the same place first.

    The hash of ``_primitives.c`` can be undone, so they are calculated from their hashes.
    """
    chance = np.random.default_rng(1)
    factor = 0x9E3779B97F4A7C15
    back = np.uint64(pow(factor, -1, 2**64))
    seed = 8 * factor % 2**64  # of the length and the prefix 0
    seed ^= seed >> 29
    hashes = chance.integers(0, 2**64, 400 * count, np.uint64)
    hashes &= ~np.uint64((2**20 - 1) << 20)
    for _ in range(2):  # of the eight bytes, then of none
        hashes ^= hashes >> np.uint64(29) ^ hashes >> np.uint64(58)
        hashes *= back
    found = (hashes ^ np.uint64(seed)).view("S1").reshape(-1, 8).view(np.uint8)
    found = found[((found > 0) & (found < 128)).all(axis=1)][:count]
    assert len(found) == count
    return [text.tobytes() + b"\0" for text in found]


@pytest.mark.skipif(pairs is None, reason="not compiled")
class TestPairs:
    """What the compiled form makes of what nobody gives it, and of what a sender may."""

    def test_many_pairs_keep_their_numbers(self) -> None:
        """Beyond the first table's room, too."""
        assert pairs is not None
        texts = [f"{n % 30_000}" for n in range(70_000)]
        codes = np.array([n % 30_000 % 2 for n in range(70_000)], np.int32)
        found = pairs([b"a=", b"b="], codes, "".join(f"{text}\0" for text in texts).encode())
        assert found is not None
        assert np.frombuffer(found[0], np.int32).tolist() == [n % 30_000 for n in range(70_000)]
        assert found[2] == b"".join(b"%c=%d" % (b"ab"[n % 2], n) for n in range(30_000))
        assert np.frombuffer(found[1], np.int32)[[0, 1, 2, -1]].tolist() == [0, 3, 6, len(found[2])]

    @pytest.mark.parametrize(
        ("codes", "texts", "error"),
        [
            ([0], b"", ValueError),
            ([0], b"a", ValueError),
            ([0], b"a\0b\0", ValueError),
            ([0, 0], b"a\0b", ValueError),
            ([], b"\0", ValueError),
            ([1], b"a\0", IndexError),
            ([-1], b"a\0", IndexError),
        ],
    )
    def test_what_does_not_belong_together_is_refused(
        self, codes: list[int], texts: bytes, error: type[Exception]
    ) -> None:
        """Nothing is read that is not there."""
        assert pairs is not None
        with pytest.raises(error):
            pairs([b"a="], np.array(codes, np.int32), texts)

    def test_texts_made_to_collide_are_given_up(self) -> None:
        """A sender who knows the places of texts slows nobody down: Arrow finds the pairs."""
        assert pairs is not None
        texts = colliding(3_000)
        codes = np.zeros(len(texts), np.int32)
        assert pairs([b"a="], codes, b"".join(texts)) is None
        parts = [Texts([text[:-1].decode() for text in texts])]
        assert len(united_pairs(["a="], codes, parts).dictionary) == len(texts)
