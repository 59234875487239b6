"""Warnings and infos: what the engine tells about an answer that it gave all the same.

The texts are those of Prometheus 3 (its ``util/annotations``), so that dashboards and rules that
look for them find them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from .numbers import format_go
from .position import locate
from .quoting import quote

WARNING = "PromQL warning"
INFO = "PromQL info"
#: How many annotations of a kind an API answer shows.
SHOWN = 10

_MONOTONICITY_URL = (
    "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile"
)


@dataclass(slots=True)
class Annotation:
    """One message and where in the query its cause stands (offset in characters)."""

    text: str
    position: int

    def render(self, query: str) -> str:
        """The message with its ``(line:column)``."""
        return f"{self.text} ({locate(query, self.position)})"


@dataclass(slots=True)
class ForcedMonotonicity(Annotation):
    """Classic buckets that decreased, over all steps where they did."""

    first_ms: int
    last_ms: int
    lowest: float
    highest: float
    difference: float
    count: int = 1

    def add(self, other: ForcedMonotonicity) -> None:
        """Widen by another finding for the same metric."""
        self.first_ms = min(self.first_ms, other.first_ms)
        self.last_ms = max(self.last_ms, other.last_ms)
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)
        self.difference = max(self.difference, other.difference)
        self.count += other.count

    def render(self, query: str) -> str:
        """See :meth:`Annotation.render`."""
        return (
            f"{self.text}, from buckets {format_go(self.lowest)} to {format_go(self.highest)}"
            f", with a max diff of {self.difference:.2g}, over {self.count} samples"
            f" from {_rfc3339(self.first_ms)} to {_rfc3339(self.last_ms)}"
            f" ({locate(query, self.position)})"
        )


@dataclass(slots=True)
class Annotations:
    """What one query has collected, each text once: with the place it was last found at."""

    _found: dict[str, Annotation] = field(default_factory=dict)

    def warn(self, text: str, position: int) -> None:
        """Something is probably wrong with the query or its data."""
        self._found[f"{WARNING}: {text}"] = Annotation(f"{WARNING}: {text}", position)

    def info(self, text: str, position: int) -> None:
        """Something the user may want to know."""
        self._found[f"{INFO}: {text}"] = Annotation(f"{INFO}: {text}", position)

    def plain_warning(self, text: str) -> None:
        """A warning of the store, shown as it is."""
        self._found.setdefault(text, Annotation(text, -1))

    def forced_monotonicity(self, metric: str, finding: ForcedMonotonicity) -> None:
        """An info that widens with every further finding for the same metric."""
        finding.text = f"{INFO}: " + named(
            "input to histogram_quantile needed to be fixed for monotonicity "
            f"(see {_MONOTONICITY_URL})",
            metric,
        )
        known = self._found.get(finding.text)
        if isinstance(known, ForcedMonotonicity) and known.position == finding.position:
            known.add(finding)
        else:
            self._found[finding.text] = finding

    def warnings(self, query: str, limit: int = SHOWN) -> list[str]:
        """The rendered warnings, at most ``limit`` (0: all) and a line on the rest."""
        return self._rendered(query, limit, infos=False)

    def infos(self, query: str, limit: int = SHOWN) -> list[str]:
        """The rendered infos, at most ``limit`` (0: all) and a line on the rest."""
        return self._rendered(query, limit, infos=True)

    def _rendered(self, query: str, limit: int, *, infos: bool) -> list[str]:
        chosen = [a for a in self._found.values() if a.text.startswith(INFO) is infos]
        shown = chosen[:limit] if limit else chosen
        lines = [a.text if a.position < 0 else a.render(query) for a in shown]
        if len(chosen) > len(shown):
            kind = "info" if infos else "warning"
            lines.append(f"{len(chosen) - len(shown)} more {kind} annotations omitted")
        return lines


def named(text: str, metric: str) -> str:
    """``text`` with the metric's name, where it is known."""
    return f"{text} for metric name {quote(metric)}" if metric else text


def _rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(int(time_ms / 1000), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# What the messages say. One function per message of which the wording depends on data.

INVALID_RATIO = "ratio value should be between -1 and 1"
INVALID_QUANTILE = "quantile value should be between 0 and 1"
MIXED_AGGREGATION = "encountered a mix of histograms and floats for aggregation"


def invalid_quantile(value: float) -> str:
    return f"{INVALID_QUANTILE}, got {format_go(value)}"


def invalid_ratio(value: float, capped: float) -> str:
    return f"{INVALID_RATIO}, got {format_go(value)}, capping to {format_go(capped)}"


def bad_bucket_label(metric: str, value: str) -> str:
    text = f'bucket label "le" is missing or has a malformed value of {quote(value)}'
    return named(text, metric)


def bad_bucket_range(metric: str, value: str) -> str:
    text = f'bucket label "_bucket" is missing or no range: {quote(value)}'
    return named(text, metric)


def mixed_floats_histograms(metric: str) -> str:
    return f"encountered a mix of histograms and floats for metric name {quote(metric)}"


def mixed_classic_native(metric: str) -> str:
    return named("vector contains a mix of classic and native histograms", metric)


def not_counter_histogram(metric: str) -> str:
    return f"this native histogram metric is not a counter: {quote(metric)}"


def not_gauge_histogram(metric: str) -> str:
    return f"this native histogram metric is not a gauge: {quote(metric)}"


def mixed_exponential_custom(metric: str) -> str:
    return (
        "vector contains a mix of histograms with exponential and custom buckets schemas "
        f"for metric name {quote(metric)}"
    )


def incompatible_bucket_layout(operator: str) -> str:
    return f"incompatible bucket layout encountered for binary operator {operator}"


def possible_non_counter(metric: str) -> str:
    return (
        "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "
        f"{quote(metric)}"
    )


def possible_non_counter_type(metric: str, type_label: str) -> str:
    return (
        'metric might not be a counter, __type__ label is not set to "counter" or "histogram"'
        f", got {quote(type_label)}: {quote(metric)}"
    )


def incompatible_types(left: str, operator: str, right: str) -> str:
    return (
        "incompatible sample types encountered for binary operator "
        f"{quote(operator)}: {left} {operator} {right}"
    )


def histogram_ignored(aggregation: str) -> str:
    return f"ignored histogram in {aggregation} aggregation"


def histogram_ignored_in_range(metric: str) -> str:
    return (
        "ignored histograms in a range containing both floats and histograms for metric name "
        f"{quote(metric)}"
    )


def counter_reset_collision(operation: str) -> str:
    return f"conflicting counter resets during histogram {operation}"


def custom_buckets_reconciled(operation: str) -> str:
    return f"mismatched custom buckets were reconciled during {operation}"


def start_time_overlap(metric: str) -> str:
    return (
        "sample has start time that overlaps with previous sample timestamp for metric "
        f"{quote(metric)}"
    )


def quantile_nan_result(metric: str) -> str:
    return named("input to histogram_quantile has NaN observations, result is NaN", metric)


def quantile_nan_skew(metric: str) -> str:
    return named(
        "input to histogram_quantile has NaN observations, result is skewed higher", metric
    )


def fraction_nan(metric: str) -> str:
    return named(
        "input to histogram_fraction has NaN observations, which are excluded from all fractions",
        metric,
    )
