"""The Metrics 2.0 vocabulary of units and metric types.

Source: https://github.com/metrics20/spec (spec.md, "units" and "mtype").
"""

from __future__ import annotations

import re

from .errors import InvalidUnit
from .metric import Kind

#: What a number is: per second, per interval, momentary, ever growing, or a Unix time.
MTYPES = ("rate", "count", "gauge", "counter", "timestamp")

_DEFAULT_MTYPE = {
    Kind.COUNTER: "counter",
    Kind.UP_DOWN_COUNTER: "gauge",
    Kind.GAUGE: "gauge",
    Kind.TIMER: "gauge",
    Kind.SUMMARY: "gauge",
    Kind.HISTOGRAM: "gauge",
    Kind.NATIVE_HISTOGRAM: "gauge",
    Kind.NATIVE_TIMER: "gauge",
    Kind.INFO: "gauge",
}

#: Alphanumerics and the few signs UCUM and Metrics 2.0 use between and around them.
_SHAPE = re.compile(r"[A-Za-z0-9%µΩ°{}\[\]_./*^'()-]{1,63}\Z")


def check_unit(unit: str, kind: Kind) -> str:
    """``unit`` if it is written as a unit can be and fits ``kind``; raises :class:`InvalidUnit`.

    The empty unit is allowed. OpenTelemetry limits a unit to 63 characters.
    """
    if kind in (Kind.TIMER, Kind.NATIVE_TIMER) and unit != "s":
        raise InvalidUnit(f"a timer records seconds: its unit is 's', not {unit!r}")
    if not isinstance(unit, str) or (unit and not _SHAPE.match(unit)):
        raise InvalidUnit(
            f"unit {unit!r} is not a unit: expected 1 to 63 letters, digits or signs such as "
            "'s', 'By', 'MB/s', '{request}'"
        )
    return unit


def check_mtype(mtype: str, unit: str, kind: Kind) -> str:
    """``mtype``, or the one that fits ``kind`` if empty; raises :class:`InvalidUnit`."""
    if not mtype:
        return _DEFAULT_MTYPE[kind]
    if mtype not in MTYPES:
        raise InvalidUnit(f"mtype {mtype!r} is unknown: expected one of {', '.join(MTYPES)}")
    if kind is Kind.COUNTER and mtype != "counter":
        raise InvalidUnit(f"a counter only grows: its mtype is 'counter', not {mtype!r}")
    if mtype == "rate" and unit and not unit.endswith("/s"):
        raise InvalidUnit(f"mtype 'rate' is per second, but the unit {unit!r} does not end in '/s'")
    return mtype
