"""The signal "metrics": series, samples, native histograms, exemplars and metadata."""

from .rows import MetricRows, RowsBuilder
from .series import InvalidLabels, Series
from .signal import MetricSignal

__all__ = ["InvalidLabels", "MetricRows", "MetricSignal", "RowsBuilder", "Series"]
