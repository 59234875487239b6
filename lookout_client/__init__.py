"""How much: tagged meters, and the everyday API of both halves."""

from .default import REGISTRY, counter, gauge, histogram, summary, timer, up_down_counter
from .errors import InvalidName, InvalidUnit, MeterClash, MeterError
from .meters import Counter, DistributionSummary, Gauge, Histogram, Timer, UpDownCounter
from .registry import Registry

__all__ = [
    "REGISTRY",
    "Counter",
    "DistributionSummary",
    "Gauge",
    "Histogram",
    "InvalidName",
    "InvalidUnit",
    "MeterClash",
    "MeterError",
    "Registry",
    "Timer",
    "UpDownCounter",
    "counter",
    "gauge",
    "histogram",
    "summary",
    "timer",
    "up_down_counter",
]
