"""One trace as text: who called whom, when, for how long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ._text import json_text
from .console import printable_line
from .records import STATUS_ERROR, SpanRecord


@dataclass(frozen=True, slots=True)
class Row:
    """One span of the picture."""

    label: str  # indented by depth
    bar: str
    duration: str
    note: str
    failed: bool


def rows(spans: Sequence[SpanRecord], width: int = 100) -> list[Row]:
    """The picture of a trace, ``width`` characters wide; empty without spans."""
    if not spans:
        return []
    start = min(span.start_ns for span in spans)
    end = max(span.start_ns + span.duration_ns for span in spans)
    tree = list(_walk(spans))
    label_width = min(max(len(_label(s, d)) for s, d, _ in tree), max(20, width // 2))
    bar_width = max(10, width - label_width - 14)
    return [
        Row(
            _fitted(_label(span, depth), label_width),
            _bar(span, start, end, bar_width),
            duration_text(span.duration_ns),
            _note(span, orphan),
            span.status == STATUS_ERROR,
        )
        for span, depth, orphan in tree
    ]


def duration_text(nanoseconds: int) -> str:
    """A duration with three significant digits or so."""
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1_000:.0f}us"
    if nanoseconds < 10_000_000_000:
        return f"{nanoseconds / 1_000_000:.1f}ms"
    return f"{nanoseconds / 1_000_000_000:.1f}s"


def _walk(spans: Sequence[SpanRecord]) -> Iterator[tuple[SpanRecord, int, bool]]:
    """Spans in the order of the picture, with depth, and whether the parent is missing.

    Both halves of a shared span have one id; the server's hangs below the client's.
    """
    ordered = sorted(spans, key=lambda span: (span.start_ns, -span.duration_ns))
    first: dict[int, SpanRecord] = {}
    for span in ordered:
        first.setdefault(span.span_id, span)
    children: dict[int, list[SpanRecord]] = {}
    roots: list[SpanRecord] = []
    for span in ordered:
        parent = first.get(span.parent_id)
        above = first[span.span_id] if first[span.span_id] is not span else parent
        if above is None or above is span:
            roots.append(span)
        else:
            children.setdefault(id(above), []).append(span)
    seen: set[int] = set()
    for root in (*roots, *ordered):  # a circle of parents has no root: take up what is left
        stack = [(root, 0)]
        while stack:
            span, depth = stack.pop()
            if id(span) in seen:
                continue
            seen.add(id(span))
            yield span, depth, bool(depth == 0 and span.parent_id)
            stack.extend((child, depth + 1) for child in reversed(children.get(id(span), [])))


def _label(span: SpanRecord, depth: int) -> str:
    return f"{'  ' * depth}{span.resource.service_name} {printable_line(span.name)}".rstrip()


def _fitted(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def _bar(span: SpanRecord, start: int, end: int, width: int) -> str:
    total = max(1, end - start)
    left = min(width - 1, (span.start_ns - start) * width // total)
    length = max(1, min(width - left, round(span.duration_ns * width / total)))
    return "·" * left + "━" * length + "·" * (width - left - length)


def _note(span: SpanRecord, orphan: bool) -> str:
    notes = []
    if span.status == STATUS_ERROR:
        notes.append(f"ERROR {printable_line(span.status_text)}".rstrip())
    elif (span.tags or {}).get("error"):
        notes.append(f"error={printable_line(json_text((span.tags or {})['error']))}")
    if orphan:
        notes.append(f"parent {span.parent_id:016x} is not in these logs")
    return "; ".join(notes)
