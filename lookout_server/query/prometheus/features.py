"""The experimental parts of PromQL, each off in a stock server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Features:
    """Which experimental syntax to accept; the names follow Prometheus' feature flags."""

    experimental_functions: bool = False  # promql-experimental-functions
    extended_range_selectors: bool = False  # promql-extended-range-selectors
    fill_modifiers: bool = False  # promql-binop-fill-modifiers


STABLE = Features()
ALL = Features(True, True, True)
