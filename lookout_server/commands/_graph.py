"""A graph of lines in braille dots, two by four to a character."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

_COLOURS = ("cyan", "yellow", "green", "magenta", "red", "blue", "white")
#: The bit of each dot of a braille character, by column and row from the top.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK = 0x2800


@dataclass(frozen=True, slots=True)
class Line:
    """A name and points of time (Unix seconds) and value."""

    name: str
    points: Sequence[tuple[float, float]]


def graph(lines: Sequence[Line], width: int, height: int) -> Iterator[Text]:
    """Rows of text: the drawing with its scale, the times below, a legend."""
    points = [point for line in lines for point in line.points if math.isfinite(point[1])]
    if not points:
        yield Text("no finite values")
        return
    times, values = [time for time, _ in points], [value for _, value in points]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 1, high + 1
    margin = max(len(_number(value)) for value in (low, (low + high) / 2, high)) + 1
    canvas = _Canvas(max(10, width - margin - 1), height, (min(times), max(times)), (low, high))
    for number, line in enumerate(lines):
        canvas.draw(line, number)
    scale = {0: high, height // 2: (low + high) / 2, height - 1: low}
    for row in range(height):
        label = _number(scale[row]) if row in scale else ""
        yield Text(f"{label:>{margin}}│") + canvas.row(row)
    yield Text(" " * margin + "└" + "─" * canvas.width)
    yield Text(" " * (margin + 1) + canvas.times())
    for number, line in enumerate(lines):
        yield Text("── ", style=_colour(number)) + Text(line.name)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


class _Canvas:
    def __init__(
        self, width: int, height: int, times: tuple[float, float], values: tuple[float, float]
    ) -> None:
        self.width, self._height = width, height
        self._times, self._values = times, values
        self._bits = [[0] * width for _ in range(height)]
        self._owner = [[0] * width for _ in range(height)]

    def draw(self, line: Line, number: int) -> None:
        """Dots at the points and between neighbours."""
        before: tuple[int, int] | None = None
        for time, value in line.points:
            if not math.isfinite(value):
                before = None
                continue
            here = self._place(time, value)
            for dot in _between(before or here, here):
                self._set(dot, number)
            before = here

    def row(self, row: int) -> Text:
        """One row of characters, each in the colour of the line drawn there last."""
        text = Text()
        for bits, owner in zip(self._bits[row], self._owner[row], strict=True):
            text.append(chr(_BLANK + bits), style=_colour(owner) if bits else "")
        return text

    def times(self) -> str:
        """The first and the last time, at the ends of the axis."""
        first, last = (f"{datetime.fromtimestamp(time):%m-%d %H:%M:%S}" for time in self._times)
        return first + last.rjust(self.width - len(first))

    def _place(self, time: float, value: float) -> tuple[int, int]:
        (first, last), (low, high) = self._times, self._values
        across = (time - first) / (last - first) if last > first else 0.0
        up = (value - low) / (high - low)
        return (
            round(across * (self.width * 2 - 1)),
            round((1 - up) * (self._height * 4 - 1)),
        )

    def _set(self, dot: tuple[int, int], number: int) -> None:
        x, y = dot
        self._bits[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
        self._owner[y // 4][x // 2] = number


def _between(start: tuple[int, int], end: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Dots of a straight line, both ends included."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
    for step in range(steps + 1):
        share = step / steps
        yield (
            round(start[0] + (end[0] - start[0]) * share),
            round(start[1] + (end[1] - start[1]) * share),
        )
