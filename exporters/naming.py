"""From a metric's own name and unit to the name Prometheus knows it by.

The one place that decides it, for the client's scrape endpoint and for the collector's OTLP
ingest alike, so that a metric has the same name whichever way it travels. The rules are those of
the OpenTelemetry compatibility specification, "OTLP Metric points to Prometheus"
(https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/), as
Prometheus' own OTLP receiver applies them with the strategy UnderscoreEscapingWithSuffixes; the
units Metrics 2.0 adds (https://github.com/metrics20/spec) are spelled out the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_SECONDS = {
    "ns": "nanoseconds", "us": "microseconds", "µs": "microseconds", "μs": "microseconds",
    "ms": "milliseconds", "s": "seconds", "min": "minutes", "M": "minutes", "h": "hours",
    "d": "days", "w": "weeks",
    "mo": "months", "y": "years",
}  # fmt: skip
_PREFIXES = {
    "": "", "k": "kilo", "K": "kilo", "M": "mega", "G": "giga", "T": "tera", "P": "peta",
    "Ki": "kibi", "Mi": "mebi", "Gi": "gibi", "Ti": "tebi", "Pi": "pebi", "Ei": "exbi",
}  # fmt: skip
_SIZES = {
    f"{prefix}{short}": f"{word}{long}"
    for prefix, word in _PREFIXES.items()
    for short, long in (("By", "bytes"), ("B", "bytes"), ("b", "bits"), ("bit", "bits"))
}
_PHYSICAL = {
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams",
    "Cel": "celsius", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz",
    "1": "", "%": "percent",
}  # fmt: skip
_THINGS = {
    "conn": "connections", "email": "emails", "err": "errors", "event": "events", "file": "files",
    "ino": "inodes", "jiff": "jiffies", "job": "jobs", "load": "load", "metric": "metrics",
    "msg": "messages", "P": "probability", "page": "pages", "pckt": "packets",
    "process": "processes", "req": "requests",
    "sock": "sockets", "thread": "threads", "ticket": "tickets", "warn": "warnings",
}  # fmt: skip
#: Units as OpenTelemetry (UCUM) and Metrics 2.0 write them, as words.
UNIT_WORDS = _SIZES | _PHYSICAL | _THINGS | _SECONDS

_PER_WORDS = {
    "s": "second", "m": "minute", "min": "minute", "M": "minute", "h": "hour", "d": "day",
    "w": "week", "mo": "month", "y": "year",
}  # fmt: skip

_SEPARATORS = re.compile(r"[^a-zA-Z0-9:]+")
_UNIT_SEPARATORS = re.compile(r"[^a-zA-Z0-9]+")
_LEGAL_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
_LEGAL_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_ILLEGAL_IN_LABEL = re.compile(r"[^a-zA-Z0-9_]")


@lru_cache(maxsize=8192)
def prometheus_name(name: str, unit: str = "", mtype: str = "") -> str:
    """The Prometheus name of the metric ``name`` measured in ``unit``.

    ``mtype`` is Metrics 2.0's (rate, count, gauge, counter, timestamp), or ``histogram``,
    ``summary`` or ``info``: ``counter`` ends in ``_total``, a ``gauge`` of unit 1 in ``_ratio``,
    ``timestamp`` in ``_timestamp_seconds``, ``info`` in ``_info``. A word the name has already
    is not repeated. A name of which nothing would remain goes through :func:`escaped_name` first.

    >>> prometheus_name("http.server.request.duration", "s", "histogram")
    'http_server_request_duration_seconds'
    >>> prometheus_name("network.io", "By", "counter")
    'network_io_bytes_total'
    """
    tokens = [token for token in _SEPARATORS.split(name) if token] or [escaped_name(name)]
    tokens = _with_unit(tokens, unit, mtype)
    suffix = _suffix(unit, mtype)
    if suffix:
        tokens = [token for token in tokens if token != suffix] + [suffix]
    result = "_".join(tokens)
    return f"_{result}" if result[0].isdigit() else result


def _with_unit(tokens: list[str], unit: str, mtype: str) -> list[str]:
    """``tokens`` and the words of ``unit`` they lack."""
    if mtype == "timestamp":
        unit, tokens = "s", [t for t in tokens if t not in ("timestamp", "seconds")] + ["timestamp"]
    main, per = unit_words(unit)
    if main and main not in tokens:
        tokens = [*tokens, *main.split("_")]
    if per and per not in tokens:
        tokens = [*tokens, "per", *per.split("_")]
    return tokens


def _suffix(unit: str, mtype: str) -> str:
    if mtype == "counter":
        return "total"
    if mtype == "gauge" and unit == "1":
        return "ratio"
    return "info" if mtype == "info" else ""


def unit_words(unit: str) -> tuple[str, str]:
    """``unit`` as words: what is measured, and per what, either possibly empty.

    Annotations in braces say what is counted, not in what unit, and are left out.

    >>> unit_words("By/s")
    ('bytes', 'second')
    >>> unit_words("{request}")
    ('', '')
    """
    main, _, per = unit.partition("/")
    return _word(main, UNIT_WORDS), _word(per, _PER_WORDS)


def _word(part: str, words: dict[str, str]) -> str:
    part = part.strip()
    if "{" in part or "}" in part:
        return ""
    return _UNIT_SEPARATORS.sub("_", words.get(part, part)).strip("_")


def is_legal_name(name: str) -> bool:
    """Whether every Prometheus version accepts ``name`` for a metric as it is."""
    return _LEGAL_NAME.match(name) is not None


def escaped_name(name: str) -> str:
    """``name`` with nothing lost, in letters every Prometheus accepts.

    Prometheus' "values" escaping: ``U__``, underscores doubled, any other illegal character as
    its code point in hexadecimal between underscores.
    https://github.com/prometheus/proposals/blob/main/proposals/2023-08-21-utf8.md

    >>> escaped_name("a.b")
    'U__a_2e_b'
    """
    return "U__" + "".join(
        "__" if char == "_" else char if _legal_at(char, index) else f"_{ord(char):x}_"
        for index, char in enumerate(name)
    )


def _legal_at(char: str, index: int) -> bool:
    return char.isascii() and (char.isalpha() or char == ":" or (char.isdigit() and index > 0))


@lru_cache(maxsize=8192)
def prometheus_label(key: str) -> str:
    """The Prometheus label name for the tag ``key``: what is illegal becomes an underscore.

    Names that begin with two underscores are Prometheus' own and get a prefix too.

    >>> prometheus_label("http.request.method")
    'http_request_method'
    >>> prometheus_label("1st")
    'key_1st'
    """
    label = key if _LEGAL_LABEL.match(key) else _ILLEGAL_IN_LABEL.sub("_", key)
    if not label or label[0].isdigit():
        return f"key_{label}"
    return f"key{label}" if label.startswith("__") else label


def prometheus_labels(tags: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """``tags``, given in the order of their keys, with Prometheus label names.

    Values whose keys become the same label are joined with ``;``, as the specification asks.
    """
    labels: dict[str, str] = {}
    for key, value in tags:
        label = prometheus_label(key)
        labels[label] = f"{labels[label]};{value}" if label in labels else value
    return list(labels.items())
