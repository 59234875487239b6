"""Native histograms: one sample that holds a whole distribution.

Source: "Native Histograms [EXPERIMENTAL]" in the Prometheus documentation's specifications.
Every function returns new histograms; none changes its arguments.
"""

from .arithmetic import Combined, add, subtract
from .bounds import CUSTOM_SCHEMA, LARGEST_SCHEMA, SMALLEST_SCHEMA
from .classic import convert_classic
from .errors import IncompatibleHistograms, InvalidHistogram
from .ingest import Side, Span, from_remote_write, from_spans, spans_of
from .model import NO_BUCKETS, Bucket, Buckets, Histogram, ResetHint
from .reset import detect_reset
from .resolution import reduce_resolution
from .statistics import NanEffect, fraction, mean, quantile, variance
from .summation import HistogramSum
from .text import describe, json_buckets
from .trim import trim_lower, trim_upper

__all__ = [
    "CUSTOM_SCHEMA",
    "LARGEST_SCHEMA",
    "NO_BUCKETS",
    "SMALLEST_SCHEMA",
    "Bucket",
    "Buckets",
    "Combined",
    "Histogram",
    "HistogramSum",
    "IncompatibleHistograms",
    "InvalidHistogram",
    "NanEffect",
    "ResetHint",
    "Side",
    "Span",
    "add",
    "convert_classic",
    "describe",
    "detect_reset",
    "fraction",
    "from_remote_write",
    "from_spans",
    "json_buckets",
    "mean",
    "quantile",
    "reduce_resolution",
    "spans_of",
    "subtract",
    "trim_lower",
    "trim_upper",
    "variance",
]
