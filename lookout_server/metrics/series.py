"""What identifies a series: its label set, and the 64-bit hashes that stand for it in tables.

Identity is ``blake2b-64`` of the sorted label set, so every collector computes the same id without
asking anybody. Two of N series of a tenant collide with probability N²/2⁶⁵: 3·10⁻⁸ at a million.
Their samples would then be read as one series, with the labels of either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

#: Pairs sorted by name, no empty value (the port's ``source.Labels``).
Labels: TypeAlias = tuple[tuple[str, str], ...]

METRIC_NAME = "__name__"
#: Between texts: no byte of UTF-8, so that what is joined by it is unambiguous.
SEPARATOR = b"\xff"


class InvalidLabels(ValueError):
    """A label set no series can have; the text says why."""


@dataclass(frozen=True, slots=True)
class LabelLimits:
    """How large a label set may be. Lengths are in bytes of UTF-8."""

    names: int = 128
    name_bytes: int = 1024
    value_bytes: int = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One series: hashes and labels."""

    id: int  # unsigned 64 bits, of the whole label set
    mid: int  # unsigned 64 bits, of the metric name
    name: str
    labels: Labels


def series_of(pairs: Iterable[tuple[str, str]], limits: LabelLimits | None = None) -> Series:
    """The series with these labels, validated as Prometheus validates them (UTF-8 names).

    Labels with an empty value are no labels. Raises InvalidLabels for a missing metric name, an
    empty or repeated label name, text that is not UTF-8, or a label set beyond ``limits``.
    """
    labels = sorted_labels(pairs)
    _check_names(labels)
    if limits is not None:
        _check_limits(labels, limits)
    metric = next((value for name, value in labels if name == METRIC_NAME), "")
    if not metric:
        raise InvalidLabels(f"invalid metric name or labels, got {describe(labels)}")
    return Series(identity(labels), metric_identity(metric), metric, labels)


def sorted_labels(pairs: Iterable[tuple[str, str]]) -> Labels:
    """The label set of these pairs, not validated."""
    return tuple(sorted((name, value) for name, value in pairs if value))


def identity(labels: Labels) -> int:
    """The 64-bit id of a sorted label set. Stable for ever: it is stored."""
    return identity_of(spelled(labels))


def spelled(labels: Labels) -> bytes:
    """The bytes a sorted label set is known by."""
    return SEPARATOR.join(_encoded(text) for pair in labels for text in pair)


def read_spelled(raw: bytes) -> list[tuple[str, str]]:
    """The label set that is spelled so."""
    texts = [text.decode() for text in raw.split(SEPARATOR)]
    return list(zip(texts[::2], texts[1::2], strict=True))


def identity_of(raw: bytes) -> int:
    """The id of the label set that is spelled so."""
    return _hash(raw)


def metric_identity(name: str) -> int:
    """The 64-bit id of a metric name. Stable for ever: it is stored."""
    return _hash(_encoded(name))


def describe(labels: Labels) -> str:
    """``{a="b", c="d"}``, as Prometheus writes a label set in messages."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}"


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidLabels("invalid metric name or labels: not UTF-8") from error


def _check_names(labels: Labels) -> None:
    previous = None
    for name, _ in labels:
        if not name:
            raise InvalidLabels(f"invalid metric name or labels, got {describe(labels)}")
        if name == previous:
            raise InvalidLabels(
                f"invalid labels for series, labels {describe(labels)}, duplicated label {name}"
            )
        previous = name


def _check_limits(labels: Labels, limits: LabelLimits) -> None:
    if len(labels) > limits.names:
        raise InvalidLabels(
            f"series has {len(labels)} labels, the limit is {limits.names}: {_brief(labels)}"
        )
    for name, value in labels:
        if len(name) * 4 > limits.name_bytes and len(name.encode()) > limits.name_bytes:
            raise InvalidLabels(f"label name longer than {limits.name_bytes} bytes: {name[:80]}...")
        if len(value) * 4 > limits.value_bytes and len(value.encode()) > limits.value_bytes:
            raise InvalidLabels(
                f"value of label {name} longer than {limits.value_bytes} bytes: {value[:80]}..."
            )


def _brief(labels: Labels) -> str:
    return describe(labels[:8])
