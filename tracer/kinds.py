"""What a span stands for and how it ended: the numbered names of the OpenTelemetry API."""

from __future__ import annotations

from enum import IntEnum


class _Numbered(IntEnum):
    """An integer that also equals OpenTelemetry's enum member of the same number.

    Instrumentations compare ``span.kind == opentelemetry.trace.SpanKind.SERVER``; exporters index
    tables with the number. Being equal to both saves every reader a translation.
    """

    def __eq__(self, other: object) -> bool:
        value = getattr(other, "value", other)
        return isinstance(value, int) and int(self) == value

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return int(self)


class SpanKind(_Numbered):
    """The role of a span, numbered as ``opentelemetry.trace.SpanKind``."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class StatusCode(_Numbered):
    """How a span ended, numbered as ``opentelemetry.trace.StatusCode``."""

    UNSET = 0
    OK = 1
    ERROR = 2

    # ``span.status`` is read in OpenTelemetry's form too, where the code is a part of it.

    @property
    def status_code(self) -> StatusCode:
        """The code itself."""
        return self

    @property
    def is_ok(self) -> bool:
        """Whether the span did not fail, as OpenTelemetry's ``Status.is_ok`` says it."""
        return self is not StatusCode.ERROR

    @property
    def is_unset(self) -> bool:
        """Whether nobody set a status."""
        return self is StatusCode.UNSET


_KINDS = {int(kind): kind for kind in SpanKind}
_KIND_NAMES = {kind.name: kind for kind in SpanKind}


def kind_of(value: object) -> SpanKind:
    """Any spelling of a kind (ours, OpenTelemetry's, a number, a name); INTERNAL when unknown."""
    if isinstance(value, SpanKind):
        return value
    if isinstance(value, str):
        return _KIND_NAMES.get(value.upper(), SpanKind.INTERNAL)
    number = getattr(value, "value", value)
    return _KINDS.get(number, SpanKind.INTERNAL) if isinstance(number, int) else SpanKind.INTERNAL
