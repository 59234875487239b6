"""Binary operators between instant vectors: which series meet, and what becomes of them.

Series of both sides that agree in their matching labels form a match group. All pairs of rows of
a group are formed at once and evaluated over all steps; what may not be ambiguous (Prometheus'
many-to-many errors) is checked per step on the presence masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import labelsets
from .errors import ExecutionError
from .frame import Frame, stacked
from .operators import is_arithmetic
from .source import METRIC_NAME, BoolArray, Float64Array, Int64Array, Labels, ObjectArray
from .tree import Binary, Cardinality, VectorMatching


@dataclass(slots=True)
class Operands:
    """Cells to combine, left and right of the operator as written."""

    left: Float64Array
    right: Float64Array
    both: BoolArray  # cells where both sides have a sample
    left_histograms: ObjectArray | None = None
    right_histograms: ObjectArray | None = None


@dataclass(slots=True)
class Combined:
    """What an operator made of its operands."""

    values: Float64Array
    keep: BoolArray  # cells that are part of the result
    failed: BoolArray | None = None  # cells of types that the operator cannot combine
    histograms: ObjectArray | None = None


Combine = Callable[[Operands], Combined]


class Signatures:
    """Numbers of match groups, common to both sides."""

    def __init__(self, matching: VectorMatching) -> None:
        names = frozenset(matching.labels)
        self._names = names if matching.on else names | {METRIC_NAME}
        self._on = matching.on
        self._numbers: dict[Labels, int] = {}

    def key(self, labels: Labels) -> Labels:
        """The matching labels of a series."""
        if self._on:
            return labelsets.only(labels, self._names)
        return labelsets.without(labels, self._names)

    def of(self, frame: Frame) -> Int64Array:
        """The match group of each row."""
        numbers = self._numbers
        found = [numbers.setdefault(self.key(labels), len(numbers)) for labels in frame.labels]
        return np.array(found, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._numbers)


def presence(cells: BoolArray, groups: Int64Array, count: int) -> BoolArray:
    """Per match group and step, whether any row has the cell."""
    result = np.zeros((count, cells.shape[1]), dtype=np.bool_)
    if len(groups):
        order = np.argsort(groups, kind="stable")
        ordered = groups[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        result[ordered[starts]] = np.logical_or.reduceat(cells[order], starts, axis=0)
    return result


def both(left: Frame, right: Frame, matching: VectorMatching) -> Frame:
    """``and``: left samples that have a partner."""
    signatures = Signatures(matching)
    left_groups, right_groups = signatures.of(left), signatures.of(right)
    there = presence(right.present, right_groups, len(signatures))
    return left.where(there[left_groups]) if len(left) else left


def unless(left: Frame, right: Frame, matching: VectorMatching) -> Frame:
    """``unless``: left samples that have none."""
    signatures = Signatures(matching)
    left_groups, right_groups = signatures.of(left), signatures.of(right)
    there = presence(right.present, right_groups, len(signatures))
    return left.where(~there[left_groups]) if len(left) else left


def either(left: Frame, right: Frame, matching: VectorMatching) -> Frame:
    """``or``: left samples, and the right ones without a partner."""
    signatures = Signatures(matching)
    left_groups, right_groups = signatures.of(left), signatures.of(right)
    there = presence(left.present, left_groups, len(signatures))
    rest = right.where(~there[right_groups]) if len(right) else right
    return stacked([left, rest]).merged()


class Matcher:
    """One arithmetic or comparison operator between two vectors."""

    def __init__(self, node: Binary, combine: Combine, *, delayed_names: bool) -> None:
        assert node.matching is not None
        self._node = node
        self._matching = node.matching
        self._combine = combine
        self._swapped = self._matching.cardinality is Cardinality.ONE_TO_MANY
        self._delayed_names = delayed_names

    def __call__(self, left: Frame, right: Frame) -> Frame:
        """The result. Raises ExecutionError where the matching is ambiguous."""
        many, one = (right, left) if self._swapped else (left, right)
        signatures = Signatures(self._matching)
        many_groups, one_groups = signatures.of(many), signatures.of(one)
        there = presence(one.present, one_groups, len(signatures))
        # Nothing is matched, nor complained of, at steps where one side has nothing at all.
        self._check_one_side(one, one_groups, self._active(many))
        pairs = _pairs(many_groups, one_groups, len(signatures))
        matched, tried = self._matched(many, one, pairs, many_groups)
        parts = [matched]
        many_fill, one_fill = self._fills()
        if one_fill is not None and len(many):
            parts.append(self._filled_one(many, one_fill, ~there[many_groups], many_groups))
        if many_fill is not None and len(one):
            # A sample whose partners are of types that do not go together has met nobody.
            known = presence(tried, many_groups[pairs[0]], len(signatures))
            parts.append(self._filled_many(one, many_fill, ~known[one_groups], one_groups))
        return stacked([part for part in parts if len(part)] or parts[:1]).merged()

    def _fills(self) -> tuple[float | None, float | None]:
        """What stands in for a missing sample of the many side, and of the one side.

        As in Prometheus ``fill_left`` is of the many side also where that stands on the right.
        """
        return self._matching.fill_left, self._matching.fill_right

    def _active(self, many: Frame) -> BoolArray:
        if self._fills() != (None, None):
            return np.ones(many.steps, dtype=np.bool_)
        return np.asarray(many.present.any(axis=0), dtype=np.bool_)

    def _check_one_side(self, one: Frame, groups: Int64Array, active: BoolArray) -> None:
        order = np.argsort(groups, kind="stable")
        for first, second in _neighbours(groups, order):
            shared = one.present[first] & one.present[second] & active
            if shared.any():
                self._fail_one_side(one.labels[first], one.labels[second])

    def _fail_one_side(self, first: Labels, second: Labels) -> None:
        names = frozenset(self._matching.labels)
        if self._matching.on:
            group = labelsets.only(second, names)
        else:
            group = labelsets.without(second, names | {METRIC_NAME})
        side = "left" if self._swapped else "right"
        raise ExecutionError(
            f"found duplicate series for the match group {labelsets.text(group)} on the {side} "
            f"hand-side of the operation: [{labelsets.text(second)}, {labelsets.text(first)}]"
            ";many-to-many matching not allowed: matching labels must be unique on one side"
        )

    def _matched(
        self, many: Frame, one: Frame, pairs: tuple[Int64Array, Int64Array], groups: Int64Array
    ) -> tuple[Frame, BoolArray]:
        many_rows, one_rows = pairs
        labels = [
            self.result_labels(many.labels[m], one.labels[o])
            for m, o in zip(many_rows.tolist(), one_rows.tolist(), strict=True)
        ]
        return self._evaluate(many.take(many_rows), one.take(one_rows), labels, groups[many_rows])

    def _filled_one(self, many: Frame, fill: float, lonely: BoolArray, groups: Int64Array) -> Frame:
        alone, groups = _only(many, lonely, groups)
        partners = [self._match_labels(labels) for labels in alone.labels]
        labels = [self.result_labels(m, o) for m, o in zip(alone.labels, partners, strict=True)]
        return self._evaluate(alone, _constant(alone, partners, fill), labels, groups)[0]

    def _filled_many(self, one: Frame, fill: float, lonely: BoolArray, groups: Int64Array) -> Frame:
        alone, groups = _only(one, lonely, groups)
        partners = [self._match_labels(labels) for labels in alone.labels]
        labels = [self.result_labels(m, o) for m, o in zip(partners, alone.labels, strict=True)]
        return self._evaluate(_constant(alone, partners, fill), alone, labels, groups)[0]

    def _match_labels(self, labels: Labels) -> Labels:
        names = frozenset(self._matching.labels)
        if self._matching.on:
            return labelsets.only(labels, names)
        return labelsets.without(labels, names | {METRIC_NAME})

    def _evaluate(
        self, many: Frame, one: Frame, labels: list[Labels], groups: Int64Array
    ) -> tuple[Frame, BoolArray]:
        """Row ``i`` of both sides combined, and the cells where their types allow it.

        Both sides have the same number of rows.
        """
        present = many.present & one.present
        left, right = (one, many) if self._swapped else (many, one)
        result = self._combine(
            Operands(left.values, right.values, present, left.histograms, right.histograms)
        )
        tried = present if result.failed is None else present & ~result.failed
        # What a comparison leaves out has matched all the same: whether a query fails must not
        # depend on the values of the day.
        self._check_many_side(labels, groups, tried)
        kept = result.keep & tried
        if self._node.return_bool:
            return self._frame(labels, kept.astype(np.float64), tried, None), tried
        return self._frame(labels, result.values, kept, result.histograms), tried

    def _frame(
        self,
        labels: list[Labels],
        values: Float64Array,
        present: BoolArray,
        histograms: ObjectArray | None,
    ) -> Frame:
        drop = np.full(len(labels), self._node.return_bool, dtype=np.bool_)
        if self._node.return_bool and not self._delayed_names:
            labels = [labelsets.without_metadata(each) for each in labels]
        return Frame(labels, values, present, drop, histograms).pruned()

    def _check_many_side(self, labels: list[Labels], groups: Int64Array, there: BoolArray) -> None:
        """Raises unless each result of a match group has labels of its own at every step."""
        if self._matching.cardinality is Cardinality.ONE_TO_ONE:
            keys: Sequence[object] = groups.tolist()
            text = "many-to-one matching must be explicit (group_left/group_right)"
        else:
            keys = list(zip(groups.tolist(), labels, strict=True))
            text = "grouping labels must ensure unique matches"
        seen: dict[object, BoolArray] = {}
        for row, key in enumerate(keys):
            before = seen.get(key)
            if before is None:
                seen[key] = there[row]
            elif (before & there[row]).any():
                raise ExecutionError(f"multiple matches for labels: {text}")
            else:
                seen[key] = before | there[row]

    def result_labels(self, many: Labels, one: Labels) -> Labels:
        """The labels of a result: those of the many side, as the matching changes them."""
        matching = self._matching
        result = labelsets.without_metadata(many) if is_arithmetic(self._node.op) else many
        if matching.cardinality is Cardinality.ONE_TO_ONE:
            names = frozenset(matching.labels)
            if matching.on:
                result = labelsets.only(result, names)
            else:
                result = labelsets.without(result, names)
        if matching.include:
            taken = {name: labelsets.get(one, name) for name in matching.include}
            result = labelsets.replaced(result, taken)
        return result


def _only(frame: Frame, cells: BoolArray, groups: Int64Array) -> tuple[Frame, Int64Array]:
    """Some cells, and the match groups of the rows that are left."""
    left = (frame.present & cells).any(axis=1)
    return frame.where(cells), groups[left]


def _constant(like: Frame, labels: list[Labels], value: float) -> Frame:
    return Frame(labels, np.full(like.values.shape, value), like.present, like.drop_name)


def _neighbours(groups: Int64Array, order: Int64Array) -> list[tuple[int, int]]:
    """All pairs of rows of the same group, ordered."""
    pairs: list[tuple[int, int]] = []
    ordered = groups[order]
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    if not len(same):
        return pairs
    members: dict[int, list[int]] = {}
    for row in order.tolist():
        earlier = members.setdefault(int(groups[row]), [])
        pairs.extend((other, row) for other in earlier)
        earlier.append(row)
    return pairs


def _pairs(many: Int64Array, one: Int64Array, count: int) -> tuple[Int64Array, Int64Array]:
    """All pairs of a row of ``many`` and a row of ``one`` in the same group."""
    order = np.argsort(one, kind="stable")
    sizes = np.bincount(one, minlength=count)
    starts = np.cumsum(sizes) - sizes
    repeats = sizes[many]
    many_rows = np.repeat(np.arange(len(many)), repeats)
    within = np.arange(len(many_rows)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return many_rows, order[starts[many[many_rows]] + within]
