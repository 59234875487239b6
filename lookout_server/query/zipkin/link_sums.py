"""Calls between services as columns: what a day of links is summed from without a loop."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

#: Up to so many possible pairs of services, and so many to a link, each has a place of its own to
#: be counted in.
_PAIRS_DENSE, _PAIRS_TO_A_LINK = 4_000_000, 64

#: What a name takes beside its column, about (bytes).
_NAME_BYTES = 80
_REFERENCE_BYTES = 100

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LinkSums:
    """Equally long columns: who calls whom (codes of names), how often and how often in error."""

    names: list[str]
    parents: Ints
    children: Ints
    calls: Ints
    errors: Ints

    def __len__(self) -> int:
        return len(self.parents)

    @property
    def nbytes(self) -> int:
        """Memory it takes, about."""
        return 4 * self.parents.nbytes + bytes_of_names(self.names)

    @classmethod
    def of_columns(
        cls, parents: pa.Array, children: pa.Array, calls: pa.Array, errors: pa.Array
    ) -> LinkSums:
        """Links by the names of both sides, as a row of the store has them."""
        encoded = pa.concat_arrays([parents, children]).dictionary_encode()
        codes = encoded.indices.to_numpy().astype(np.int64)
        return cls(
            encoded.dictionary.to_pylist(),
            codes[: len(parents)],
            codes[len(parents) :],
            calls.to_numpy().astype(np.int64),
            errors.to_numpy().astype(np.int64),
        )

    def times(self, factor: int) -> LinkSums:
        """So many times the calls and errors: -1 takes them off where they are summed."""
        return replace(self, calls=factor * self.calls, errors=factor * self.errors)

    def columns(self) -> dict[str, list[Any]]:
        """The same as lists under the names of the store's columns."""
        return {
            "parents": [self.names[code] for code in self.parents],
            "children": [self.names[code] for code in self.children],
            "calls": self.calls.tolist(),
            "errors": self.errors.tolist(),
        }

    def json(self) -> bytes:
        """The links as the API has them, written by column: there may be ten thousand."""
        if not len(self):
            return b"[]"
        names = [orjson.dumps(name).decode() for name in self.names]
        parents = pa.array([f'{{"parent":{name},"child":' for name in names])
        children = pa.array([f'{name},"callCount":' for name in names])
        failed = self.errors != 0
        links = pc.binary_join_element_wise(
            parents.take(pa.array(self.parents)),
            children.take(pa.array(self.children)),
            pc.cast(pa.array(self.calls), pa.string()),
            _ERROR_COUNT.take(pa.array(failed.astype(np.int64))),
            pc.cast(pa.array(self.errors, mask=~failed), pa.string()),
            "},",
            "",
            null_handling="replace",
        )
        _, ends, texts = links.buffers()  # one text after the other
        written = np.frombuffer(ends, np.int32)[len(self)]
        return b"[" + memoryview(texts)[: written - 1] + b"]"


#: Comes before the number of errors, if there are any.
_ERROR_COUNT = pa.array(["", ',"errorCount":'])
_NONE = np.empty(0, np.int64)
NO_LINKS = LinkSums([], _NONE, _NONE, _NONE, _NONE)


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of parts, which the sum of nearly the same parts is made from.

    Of a day's parts, some forty, one or two are others when it is asked for again.
    """

    sums: LinkSums
    parts: list[weakref.ref[LinkSums]]

    @classmethod
    def of(cls, parts: Iterable[LinkSums], before: Total | None = None) -> Total:
        """Sum the parts, if possible by what is changed since another total."""
        parts = [part for part in parts if len(part)]
        changes = before.changes(parts) if before else None
        sums = total(parts if changes is None else changes)
        return cls(sums, [weakref.ref(part) for part in parts])

    def changes(self, parts: Sequence[LinkSums]) -> list[LinkSums] | None:
        """What adds up to the parts, beginning with this sum; None where all of them is no more."""
        added = {id(part): part for part in parts}
        if len(added) < len(parts):
            return None
        gone: list[LinkSums] = []
        for reference in self.parts:
            part = reference()
            if part is None:
                return None  # forgotten: what it had is not known
            if added.pop(id(part), None) is None:
                gone.append(part.times(-1))
        if len(added) + len(gone) >= len(parts):
            return None
        return [self.sums, *added.values(), *gone]

    @property
    def nbytes(self) -> int:
        """Memory it takes, about: the parts are kept elsewhere, or not at all."""
        return self.sums.nbytes + _REFERENCE_BYTES * len(self.parts)


def bytes_of_names(names: Sequence[str]) -> int:
    """Memory that names take, about."""
    return sum(map(len, names)) + _NAME_BYTES * len(names)


def of_used(names: Sequence[str], parents: Ints, children: Ints) -> tuple[list[str], Ints, Ints]:
    """The names that are anybody's, and the two columns in their codes.

    Links are chosen from tables of whole hours: kept with all names of these, a link would keep
    thousands.
    """
    used = np.zeros(len(names), bool)
    used[parents] = used[children] = True
    codes = np.cumsum(used) - 1
    return [names[code] for code in np.flatnonzero(used).tolist()], codes[parents], codes[children]


def summed(
    names: list[str], parents: Ints, children: Ints, calls: Ints | None, errors: Ints
) -> LinkSums:
    """Links of which a pair may stand in several places; without ``calls`` each is one call."""
    width = len(names)
    keys = parents * width + children
    if width * width <= min(_PAIRS_DENSE, _PAIRS_TO_A_LINK * len(keys)):
        counts = np.bincount(keys, weights=calls, minlength=width * width)
        pairs = np.flatnonzero(counts)
        failed = np.bincount(keys, weights=errors, minlength=width * width)[pairs]
        counts = counts[pairs]
    else:
        pairs, inverse = np.unique(keys, return_inverse=True)
        counts = np.bincount(inverse, weights=calls, minlength=len(pairs))
        failed = np.bincount(inverse, weights=errors, minlength=len(pairs))
        left = counts != 0  # by those that are taken off
        pairs, counts, failed = pairs[left], counts[left], failed[left]
    divisor = max(width, 1)  # without names there are no pairs
    who = of_used(names, pairs // divisor, pairs % divisor)
    return LinkSums(*who, counts.astype(np.int64), failed.astype(np.int64))


def total(parts: Iterable[LinkSums]) -> LinkSums:
    """All links together."""
    parts = [part for part in parts if len(part)]
    codes: dict[str, int] = {}
    moved = [
        np.array([codes.setdefault(name, len(codes)) for name in part.names], np.int64)
        for part in parts
    ]
    if not parts:
        return NO_LINKS
    return summed(
        list(codes),
        np.concatenate([code[part.parents] for code, part in zip(moved, parts, strict=True)]),
        np.concatenate([code[part.children] for code, part in zip(moved, parts, strict=True)]),
        np.concatenate([part.calls for part in parts]),
        np.concatenate([part.errors for part in parts]),
    )
