"""Exceptions on their way out of a span: what is kept of them, and how it is written later.

On the application's side only names and numbers are taken: no exception, traceback or frame is
kept alive, and nothing is formatted. The text is made when the flusher reads the event.
"""

from __future__ import annotations

import linecache
from types import TracebackType
from typing import NamedTuple

from .values import text


class Failure(NamedTuple):
    """An exception as recorded; becomes an ``exception`` event when somebody reads it."""

    time_ns: int
    type: str
    message: str
    frames: tuple[tuple[str, int, str], ...]  # (file, line, function), outermost first
    skipped: int  # frames left out of the middle
    attributes: dict[str, object] | None
    escaped: bool

    def stacktrace(self) -> str:
        """The stack in the form of Python's own traceback."""
        lines = ["Traceback (most recent call last):"]
        gap = len(self.frames) - len(self.frames) // 2
        for position, (file, line, function) in enumerate(self.frames):
            if self.skipped and position == gap:
                lines.append(f"  [{self.skipped} frames left out]")
            lines.append(f'  File "{file}", line {line}, in {function}')
            source = linecache.getline(file, line).strip()
            if source:
                lines.append(f"    {source}")
        lines.append(f"{self.type}: {self.message}" if self.message else self.type)
        return "\n".join(lines) + "\n"


def type_name(kind: type) -> str:
    """``module.Name``, without the module for built-in exceptions."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def frames_of(
    traceback: TracebackType | None, most: int
) -> tuple[tuple[tuple[str, int, str], ...], int]:
    """Up to ``most`` frames, outermost first, and how many were left out of the middle."""
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append((code.co_filename, traceback.tb_lineno, code.co_name))
        traceback = traceback.tb_next
    surplus = len(frames) - most
    if surplus <= 0:
        return tuple(frames), 0
    head = most - most // 2
    return tuple(frames[:head] + frames[len(frames) - most // 2 :]), surplus


def failure_of(
    exception: BaseException,
    time_ns: int,
    max_frames: int,
    max_text: int,
    attributes: dict[str, object] | None = None,
    escaped: bool = False,
) -> Failure:
    """What is kept of ``exception``."""
    frames, skipped = frames_of(getattr(exception, "__traceback__", None), max_frames)
    return Failure(
        time_ns,
        type_name(type(exception)),
        text(exception, max_text),
        frames,
        skipped,
        attributes,
        escaped,
    )
