"""Help for tests of traced code: recorded spans, trees to compare, a clock and ids that count.

The pytest fixture ``traces`` is a :class:`Recorder`:

    def test_checkout(traces):
        checkout()
        assert traces.tree() == [("checkout", [("price", []), ("charge", [])])]
        assert traces.one("charge").tags["amount"] == 12
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

from . import api, current
from .clock import Clock
from .identity import IdGenerator, SequentialIds
from .pipeline import Pipeline
from .recorded import RecordedSpan
from .sampling import Sampler

#: A span's name and the trees of its children, in the order they started.
Tree = tuple[str, list[Any]]


class Ticks(Clock):
    """A clock that moves on by ``step_ns`` each time it is read, beginning at ``start_ns``."""

    __slots__ = ("_elapsed_ns", "_step_ns")

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000, step_ns: int = 1_000_000) -> None:
        self._step_ns = step_ns
        self._elapsed_ns = 0
        super().__init__(lambda: 0, lambda: start_ns)
        self.monotonic_ns = self._read

    def advance(self, ns: int) -> None:
        """Let time pass."""
        self._elapsed_ns += ns

    def _read(self) -> int:
        elapsed, self._elapsed_ns = self._elapsed_ns, self._elapsed_ns + self._step_ns
        return elapsed

    def anchor_again(self) -> bool:
        return False


class Recorder:
    """Keeps finished spans, oldest first."""

    def __init__(self) -> None:
        self.spans: list[RecordedSpan] = []

    def __call__(self, span: RecordedSpan) -> None:
        _ = span.tags  # cut by the limits that are set up now
        self.spans.append(span)

    def __iter__(self) -> Iterator[RecordedSpan]:
        return iter(self.spans)

    def __len__(self) -> int:
        return len(self.spans)

    def clear(self) -> None:
        """Forget what was recorded."""
        self.spans.clear()

    @property
    def names(self) -> list[str]:
        """Names in the order the spans finished."""
        return [span.name for span in self.spans]

    def named(self, name: str) -> list[RecordedSpan]:
        """Every span of that name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> RecordedSpan:
        """The only span of that name; AssertionError with the trees when there is not just one."""
        found = self.named(name)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} spans named {name!r}, not 1, in\n{self.render()}")
        return found[0]

    def children(self, parent: RecordedSpan) -> list[RecordedSpan]:
        """The recorded children of ``parent``, in the order they started."""
        return self._below(parent.trace_id, parent.span_id)

    def tree(self) -> list[Tree]:
        """Every trace as nested (name, children) pairs. A span whose parent was not recorded is a
        root."""
        return [self._tree(root) for root in self._roots()]

    def render(self, describe: Callable[[RecordedSpan], str] | None = None) -> str:
        """The trees as indented text, one span a line."""
        describe = describe or (lambda span: span.name)
        lines: list[str] = []
        for root in self._roots():
            self._render(root, 0, describe, lines)
        return "\n".join(lines)

    def _roots(self) -> list[RecordedSpan]:
        known = {(span.trace_id, span.span_id) for span in self.spans}
        roots = [span for span in self.spans if (span.trace_id, span.parent_id) not in known]
        return sorted(roots, key=_started)

    def _below(self, trace_id: int, span_id: int) -> list[RecordedSpan]:
        found = [s for s in self.spans if s.trace_id == trace_id and s.parent_id == span_id]
        return sorted(found, key=_started)

    def _tree(self, span: RecordedSpan) -> Tree:
        return (span.name, [self._tree(child) for child in self.children(span)])

    def _render(
        self,
        span: RecordedSpan,
        depth: int,
        describe: Callable[[RecordedSpan], str],
        lines: list[str],
    ) -> None:
        lines.append("  " * depth + describe(span))
        for child in self.children(span):
            self._render(child, depth + 1, describe, lines)


def _started(span: RecordedSpan) -> tuple[int, int]:
    return (span.start_ns, span._index)


@contextmanager
def recording(
    pipeline: Pipeline | None = None,
    *,
    ids: IdGenerator | None = None,
    clock: Clock | None = None,
    sampler: Sampler | None = None,
    **options: Any,
) -> Iterator[Recorder]:
    """Record the spans of ``pipeline``, the process's own by default, in place of its set-up.

    Ids count from 1 and the clock ticks by a millisecond a reading, so that whole traces can be
    compared. ``options`` are those of :meth:`tracer.pipeline.Pipeline.configure`. The set-up that
    was there before is there again afterwards, and nothing is current inside at first.
    """
    pipeline = pipeline or api.PIPELINE
    before = pipeline.saved()
    recorder = Recorder()
    outer, values = current.get(), current.VALUES.get()
    current.set(current.EMPTY)
    current.VALUES.set(current.EMPTY)
    pipeline.configure(
        recorder, ids=ids or SequentialIds(), clock=clock or Ticks(), sampler=sampler, **options
    )
    try:
        yield recorder
    finally:
        pipeline.restore(before)
        current.set(outer)
        current.VALUES.set(values)


def isolated(function: Callable[..., Any], *args: Any) -> Any:
    """Call ``function`` where nothing is current."""
    return Context().run(function, *args)
