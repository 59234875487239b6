"""Spans as readable lines, for development."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TextIO

from ._text import json_text
from .destination import LocalDestination
from .ledger import UNWRITABLE
from .records import KIND_NAMES, STATUS_ERROR, SpanRecord


class ConsoleDestination(LocalDestination):
    """One line per finished span: when, how long, who, what, its ids and tags.

    Without ``stream`` lines go to what ``sys.stderr`` is at that moment.
    """

    name = "console"

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream

    def accept(self, records: Sequence[SpanRecord]) -> None:
        text = "".join(f"{_line(record)}\n" for record in records)
        stream = self._stream if self._stream is not None else sys.stderr
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError, UnicodeError, AttributeError):
            # closed, full, of a narrow encoding, or no console at all
            self.account.offer(len(records))
            self.account.drop(UNWRITABLE, len(records))
        else:
            self._done(len(records))


def _line(record: SpanRecord) -> str:
    seconds, rest = divmod(record.start_ns, 1_000_000_000)
    parts = [
        f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 1_000_000:03d}",
        f"{record.duration_ns / 1e6:9.3f}ms",
        record.resource.service_name,
        KIND_NAMES[record.kind].lower(),
        printable_line(record.name),
        f"{record.trace_id:032x}/{record.span_id:016x}",
    ]
    parts += [f"{key}={printable_line(json_text(v))}" for key, v in (record.tags or {}).items()]
    if record.status == STATUS_ERROR:
        parts.append(f"ERROR {printable_line(record.status_text)}".rstrip())
    return "  ".join(parts)


def printable_line(text: str) -> str:
    """The text without anything that would move the cursor or colour the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
