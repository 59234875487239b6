"""Loops over the lists of a body that make columns of them: in Python, or compiled where built.

The compiled forms (``_primitives.c``) do and raise the same in a third of the time. Numbers are in
the machine's own order.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from exporters.compiled import load

Codes = npt.NDArray[np.int32]

_HEX: Final = b"0123456789abcdef"


def codes(numbers: dict[str, int], texts: list[str]) -> bytes:
    """The number of each text, in 32 bits. Raises KeyError for a text that has none."""
    return np.fromiter(map(numbers.__getitem__, texts), np.int32, len(texts)).tobytes()


def longs(numbers: list[int | None]) -> bytes:
    """Each number in 64 bits, None as 0. Raises OverflowError for a larger one."""
    return array("q", [number or 0 for number in numbers]).tobytes()


def unhexed(texts: list[str], digits: int) -> bytes:
    """Each text as unsigned numbers of 64 bits, the highest first.

    Raises ValueError where one has not so many hex digits (some sixteens), or other characters.
    """
    if set(map(len, texts)) - {digits}:
        raise ValueError(f"expected {digits} hex digits")
    joined = "".join(texts)
    if joined.encode().translate(None, _HEX):
        raise ValueError(f"expected {digits} hex digits in lower case")
    return np.frombuffer(bytes.fromhex(joined), ">u8").astype(np.uint64).tobytes()


def unnested(
    dicts: list[dict[str, str]],
) -> tuple[list[tuple[str, ...]], list[str], list[str]]:
    """The keys of each dictionary; the keys, and the values, of all of them one after the other."""
    sets = list(map(tuple, dicts))
    values = chain.from_iterable(map(dict.values, dicts))
    return sets, list(chain.from_iterable(sets)), list(values)


#: Where it is compiled: the distinct pairs of a prefix and a text. The texts each end with a NUL,
#: and have the prefix of their code. Gives the number of each text's pair, in the order pairs first
#: come; where each pair ends, after a zero (both in 32 bits); the pairs in one piece. None where so
#: many texts seem made to collide that another way is to be taken. Raises ValueError for more or
#: fewer texts than codes, IndexError for a code without a prefix, OverflowError beyond 2 GiB.
#: Arrow's way (:func:`.united.united_pairs`) makes all pairs first, in four times the time.
pairs: Callable[[list[bytes], Codes, bytes], tuple[bytes, bytes, bytes] | None] | None = None


if not TYPE_CHECKING and (_compiled := load("lookout_server.spans._primitives")) is not None:
    codes, longs = _compiled.codes, _compiled.longs
    unhexed, unnested = _compiled.unhexed, _compiled.unnested
    pairs = _compiled.pairs
