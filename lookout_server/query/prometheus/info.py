"""``info()``: adds the labels of info metrics such as ``target_info`` to series.

Info series are found by the identifying labels they share with a series. They are looked at as
of the time that the series' samples are of: offsets and ``@`` of the first selector count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import labelsets, tree
from .errors import ExecutionError
from .frame import Frame, stacked
from .matchers import Matcher, MatchType
from .selectors import Surroundings, sample_at
from .source import METRIC_NAME, Float64Array, Int64Array, Labels

if TYPE_CHECKING:
    from .evaluator import Evaluator

#: The labels that say what an info series is about.
IDENTIFYING = ("instance", "job")
_DEFAULT = Matcher(MatchType.EQUAL, METRIC_NAME, "target_info")
#: What a selector means that only says what it does not want.
_ANY_INFO = Matcher(MatchType.REGEX, METRIC_NAME, ".+_info")


def info(evaluator: Evaluator, node: tree.Call) -> Frame:
    """The series of the first argument with labels of the info series that go with them."""
    frame = evaluator.vector(node.args[0])
    selector = tree.unwrap(node.args[1]) if len(node.args) > 1 else None
    matchers = selector.matchers if isinstance(selector, tree.VectorSelector) else ()
    names = [m for m in matchers if m.name == METRIC_NAME]
    if names and all(m.type.is_negative for m in names):
        names.append(_ANY_INFO)
    sources = names if matchers else [_DEFAULT]
    enricher = _Enricher(
        frame,
        [m for m in matchers if m.name != METRIC_NAME],
        [
            bool(sources) and all(m.matches(labelsets.metric_name(labels)) for m in sources)
            for labels in frame.labels
        ],
    )
    times = _reference_times(evaluator, node.args[0])
    found = _info_series(evaluator, enricher, names or [_DEFAULT], times)
    return enricher.enriched(found)


def _reference_times(evaluator: Evaluator, expr: tree.Expr) -> Int64Array:
    """The times that the samples of the first selector are of, per step."""
    path = _path_to_selector(expr) or []
    times = evaluator.steps.times
    for node in path:
        fixed = node.timestamp_ms
        if node.boundary is tree.Boundary.START:
            fixed = evaluator.context.start_ms
        elif node.boundary is tree.Boundary.END:
            fixed = evaluator.context.end_ms
        if fixed is not None:
            times = np.full(len(times), fixed, dtype=np.int64)
        times = times - node.offset_ms
    return times


def _path_to_selector(expr: tree.Expr) -> list[tree.VectorSelector | tree.Subquery] | None:
    if isinstance(expr, tree.VectorSelector):
        return [expr]
    for child in tree.children(expr):
        path = _path_to_selector(child)
        if path is not None:
            return [expr, *path] if isinstance(expr, tree.Subquery) else path
    return None


@dataclass(slots=True)
class _InfoSeries:
    labels: Labels
    times: Float64Array  # of the sample seen, per step; NaN where there is none


def _info_series(
    evaluator: Evaluator, enricher: _Enricher, names: Sequence[Matcher], times: Int64Array
) -> list[_InfoSeries]:
    """The info series of the series to enrich, sought apart by the identifying labels they have."""
    found: list[_InfoSeries] = []
    for wanted in enricher.identities():
        matchers = [*names, *enricher.data_matchers, *_identifying(wanted)]
        sampled = sample_at(
            matchers, times, evaluator.steps, evaluator.context, Surroundings(function="info")
        )
        frame = sampled.frame()
        if frame.histograms is not None and frame.is_histogram().any():
            row = int(np.flatnonzero(frame.is_histogram().any(axis=1))[0])
            raise ExecutionError(
                "this should be an info metric, with float samples: "
                f"{labelsets.text(frame.labels[row])}"
            )
        stamps = sampled.timestamps()
        found += [
            _InfoSeries(labels, np.where(stamps.present[row], stamps.values[row], np.nan))
            for row, labels in enumerate(stamps.labels)
        ]
    return found


def _identifying(wanted: dict[str, set[str]]) -> Iterator[Matcher]:
    """What selects the info series with these values, and no identifying label besides."""
    for name in IDENTIFYING:
        if name in wanted:
            values = "|".join(re.escape(value) for value in sorted(wanted[name]))
            yield Matcher(MatchType.REGEX, name, values)
        else:
            yield Matcher(MatchType.EQUAL, name, "")


class _Enricher:
    """The series to enrich. ``ignored`` ones are info series themselves and stay as they are."""

    def __init__(self, frame: Frame, data_matchers: list[Matcher], ignored: list[bool]) -> None:
        self._frame = frame
        self.data_matchers = data_matchers
        self._ignored = ignored

    def identities(self) -> Iterable[dict[str, set[str]]]:
        """The values of identifying labels that there are, by which of these labels there are."""
        wanted: dict[frozenset[str], dict[str, set[str]]] = {}
        for labels, ignored in zip(self._frame.labels, self._ignored, strict=True):
            identity = labelsets.only(labels, IDENTIFYING)
            if identity and not ignored:
                of_kind = wanted.setdefault(frozenset(name for name, _ in identity), {})
                for name, value in identity:
                    of_kind.setdefault(name, set()).add(value)
        return wanted.values()

    def enriched(self, found: list[_InfoSeries]) -> Frame:
        """All series, with labels changing over time as their info series do."""
        by_identity: dict[Labels, dict[str, list[_InfoSeries]]] = {}
        for series in found:
            identity = labelsets.only(series.labels, IDENTIFYING)
            of_name = by_identity.setdefault(identity, {})
            of_name.setdefault(labelsets.metric_name(series.labels), []).append(series)
        parts = [Frame.empty(self._frame.steps)]
        for row, labels in enumerate(self._frame.labels):
            if self._ignored[row]:
                parts.append(self._frame.take([row]))
            else:
                identity = labelsets.only(labels, IDENTIFYING)
                parts.extend(self._variants(row, by_identity.get(identity, {})))
        result = stacked(parts)
        return result.merged()

    def _variants(self, row: int, infos: dict[str, list[_InfoSeries]]) -> list[Frame]:
        """One series, once for every set of labels it gets in the course of time."""
        one = self._frame.take([row])
        newest = [self._newest(series, one) for series in infos.values()]
        choices = np.stack(newest) if newest else np.zeros((0, one.steps), dtype=np.int64)
        patterns, which = np.unique(choices, axis=1, return_inverse=True)
        all_series = list(infos.values())
        frames: list[Frame] = []
        for number in range(patterns.shape[1]):
            chosen = [
                all_series[name][index]
                for name, index in enumerate(patterns[:, number].tolist())
                if index >= 0
            ]
            steps = np.broadcast_to(which.ravel() == number, one.present.shape)
            part = one.where(steps)
            if len(part) and (chosen or all(m.matches("") for m in self.data_matchers)):
                added = self._labels_of(one.labels[0], chosen)
                frames.append(part.renamed(lambda each, a=added: labelsets.replaced(each, a)))  # type: ignore[misc]
        return frames

    def _newest(self, series: list[_InfoSeries], one: Frame) -> Int64Array:
        """Per step, which info series of a name has the newest sample; -1 for none."""
        times = np.stack([each.times for each in series])
        latest = np.fmax.reduce(times, axis=0)
        is_latest = times == latest
        clash = (is_latest.sum(axis=0) > 1) & one.present[0]
        if clash.any():
            step = int(np.flatnonzero(clash)[0])
            first, second = np.flatnonzero(is_latest[:, step])[:2].tolist()
            at = int(latest[step] * 1000)
            raise ExecutionError(
                "found duplicate series for info metric: "
                f"existing {labelsets.text(series[first].labels)} @ {at}, "
                f"new {labelsets.text(series[second].labels)} @ {at}"
            )
        return np.where(is_latest.any(axis=0), np.argmax(is_latest, axis=0), -1)

    def _labels_of(self, base: Labels, chosen: list[_InfoSeries]) -> dict[str, str]:
        own = dict(base)
        wanted = {m.name for m in self.data_matchers}
        added: dict[str, str] = {}
        for series in chosen:
            for name, value in series.labels:
                if name == METRIC_NAME or (wanted and name not in wanted):
                    continue
                if added.get(name, value) != value:
                    raise ExecutionError(f"conflicting label: {name}")
                if name not in own:
                    added[name] = value
        return added
