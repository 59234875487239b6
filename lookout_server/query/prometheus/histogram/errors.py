"""What can be wrong with histograms."""

from __future__ import annotations


class InvalidHistogram(ValueError):
    """A histogram that contradicts itself; the text says how, as Prometheus does."""


class IncompatibleHistograms(ValueError):
    """One histogram has exponential buckets and the other custom ones."""

    def __init__(self) -> None:
        super().__init__(
            "cannot apply this operation on histograms with a mix of exponential and "
            "custom bucket schemas"
        )
