"""Programs of calls on spans, run to see what comes out; two forms of the tracer are to agree.

A program is a list of steps, each a list of numbers: which call, on which of a few spans, with
which of the values below. As a process it reads a program a line and answers what came out.
"""

from __future__ import annotations

import contextvars
import copy
import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tracer import CURRENT, AlwaysOff, AlwaysOn, Ratio, SpanContext, current_span, use_span
from tracer.clock import Clock
from tracer.identity import SequentialIds
from tracer.limits import SpanLimits
from tracer.pipeline import Pipeline
from tracer.tracer import Tracer

SPANS = 4
#: What is compared of a finished span, failures without their stacks, whose frames differ.
FIELDS = (
    *("trace_id", "span_id", "parent_id", "name", "kind", "start_ns", "duration_ns", "tags"),
    *("status", "status_text", "flags", "tracestate", "scope", "rpc_id", "baggage", "losses"),
    *("links",),
)


class Awkward:
    """Raises whatever it is asked."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __bool__ = __str__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class Text(str):
    """No plain str."""

    __slots__ = ()


VALUES: list[Any] = [
    *("text", 7, True, 1.5, None, 2**70, -(2**63) - 1, "long" * 10, b"bytes", [1, 2], {"a": 1}),
    *(Text("sub"), Awkward(), float("nan"), 10**400, ("a", 1), "\ud800"),
]
KEYS: list[Any] = ["a", "b", "c", "d", "k" * 40, 1, None, Text("a"), [], Awkward(), "\ud800"]
NAMES: list[Any] = ["GET", "", "n" * 40, 5, None, Text("sub")]
KINDS: list[Any] = [0, 3, "CLIENT", None, 99]
TAGS: list[Any] = [None, {}, {"a": 1, "b": [2]}, 5, [("a", 1)]]
ENDS: list[Any] = [None, 5_000, 0, True, "later", 1.5]
ERRORS: list[Any] = [None, ValueError("wrong"), KeyboardInterrupt(), GeneratorExit(), Awkward]
SAMPLERS: list[Callable[[], Any]] = [AlwaysOn, AlwaysOff, lambda: Ratio(0.5), lambda: None]


class Machine:
    """Runs one program and writes down what can be seen after each step."""

    def __init__(self, sampler: int) -> None:
        self.seen: list[Any] = []
        self.emitted: list[Any] = []
        ticks = iter(range(1_000, 10**9, 7))
        clock = Clock(lambda: next(ticks), lambda: 5)
        made = SAMPLERS[sampler % len(SAMPLERS)]()
        self.pipeline = Pipeline(
            self.emitted.append if made is not None else None,
            sampler=made,
            ids=SequentialIds(),
            clock=clock,
            limits=SpanLimits(tags=3, events=2, value_length=20, key_length=20, name_length=20),
        )
        self.start = Tracer(self.pipeline, "scope", "1").start_span
        self.spans: list[Any] = [self.start("first", parent=None) for _ in range(SPANS)]
        self.used: list[Any] = []
        self.generators: list[Iterator[None]] = []
        self.calls = [
            *(self.begin, self.begin, self.enter, self.enter, self.leave, self.leave),
            *(self.open, self.open, self.open, self.shut, self.shut),
            *(self.tag, self.tag, self.say, self.finish, self.use, self.disuse, self.wrong),
            *(self.generate, self.advance, self.close, self.elsewhere, self.threaded, self.copied),
        ]

    def run(self, program: list[list[int]]) -> list[Any]:
        for step in program:
            self.step(*step)
        while self.used:
            self.disuse(0, 0, 0)
        self.generators.clear()
        self.look()
        return [self.seen, [self.record(span) for span in self.emitted], self.counts()]

    def step(self, call: int, which: int, a: int, b: int) -> None:
        name = f"{call % len(self.calls)}"
        try:
            found = self.calls[call % len(self.calls)](which % SPANS, a, b)
            self.seen.append([name, self.shown(found)])
        except BaseException as error:
            self.seen.append([name, type(error).__name__])
        self.look()

    def look(self) -> None:
        """What is current, and how each span stands."""
        self.seen.append(self.shown(current_span()))
        self.seen.append([[type(s).__name__, s.name, s.is_recording()] for s in self.spans])
        for span in self.spans:
            self.seen.append(self.shown(getattr(span, "_root", None)))
            self.seen.append([repr(span.tags), type(span._prev).__name__, span.scope])
            self.seen.append(span.get_baggage_item("user"))

    def shown(self, value: Any) -> Any:
        for number, span in enumerate(self.spans):
            if value is span:
                return number
        return type(value).__name__

    def record(self, span: Any) -> str:
        finished = span.finished()
        return repr([getattr(finished, field) for field in FIELDS])

    def counts(self) -> int:
        return self.pipeline.unsampled.total()

    # -- the calls ---------------------------------------------------------------------------

    def begin(self, which: int, a: int, b: int) -> Any:
        parents = [CURRENT, CURRENT, CURRENT, None, self.spans[a % SPANS]]
        parents += [SpanContext(9, 8, sampled=bool(a % 2)), "nonsense"]
        parent, name = parents[b % len(parents)], NAMES[a % len(NAMES)]
        kind, tags = KINDS[a % len(KINDS)], TAGS[b % len(TAGS)]
        forms: list[Callable[[], Any]] = [
            lambda: self.start(name),
            lambda: self.start(name, parent=parent),
            lambda: self.start(name, kind, parent),
            lambda: self.start(name, kind, parent, tags, [SpanContext(1, 2, sampled=True)], 77),
            lambda: self.start(name, tags=tags, kind=kind),
            lambda: self.start(name=name, start_ns=ENDS[a % len(ENDS)], links=5),
        ]
        self.spans[which] = span = forms[(a + b) % len(forms)]()
        return [span.trace_id, span.span_id, span.parent_id, span.rpc_id, span.kind][b % 5 :]

    def enter(self, which: int, a: int, b: int) -> Any:
        return self.spans[which].__enter__()

    def leave(self, which: int, a: int, b: int) -> Any:
        error = ERRORS[b % len(ERRORS)] if a % 2 else None
        return self.spans[which].__exit__(type(error) if error else None, error, None)

    def open(self, which: int, a: int, b: int) -> Any:
        """The plain case: a new block inside of the current one."""
        self.spans[which] = span = self.start("plain")
        if a % 3 == 0:
            span.set_baggage_item("user", str(b))
        return span.__enter__()

    def shut(self, which: int, a: int, b: int) -> Any:
        """Leave the block that is current, if it is one of ours."""
        now = current_span()
        found = [number for number, span in enumerate(self.spans) if span is now]
        return self.leave(found[0] if found else which, a, b)

    def tag(self, which: int, a: int, b: int) -> Any:
        span = self.spans[which]
        set_tag = span.set_tag if (a + b) % 2 else span.set_attribute
        for more in range(4):
            set_tag("abc"[more % 3], VALUES[(b + more) % len(VALUES)])
        if a % 7 == 0:
            return set_tag(key=KEYS[a % len(KEYS)], value=VALUES[b % len(VALUES)])
        return set_tag(KEYS[a % len(KEYS)], VALUES[b % len(VALUES)])

    def say(self, which: int, a: int, b: int) -> Any:
        span = self.spans[which]
        forms: list[Callable[[], Any]] = [
            lambda: span.set_tags(TAGS[b % len(TAGS)]),
            lambda: span.set_baggage_item("user", str(b)),
            lambda: span.add_event(NAMES[b % len(NAMES)]),
            lambda: span.set_status(b % 4, "because"),
            lambda: span.set_name(NAMES[b % len(NAMES)]),
            lambda: span.set_kind(KINDS[b % len(KINDS)]),
            span.next_rpc_id,
            lambda: span.get_baggage_item("user"),
            lambda: span.get_span_context().span_id,
        ]
        return forms[a % len(forms)]()

    def finish(self, which: int, a: int, b: int) -> Any:
        span, end = self.spans[which], ENDS[b % len(ENDS)]
        forms = [span.finish, lambda: span.finish(end), lambda: span.finish(end_ns=end)]
        return [*forms, lambda: span.end(end)][a % 4]()

    def use(self, which: int, a: int, b: int) -> Any:
        used = use_span([self.spans[which], None, SpanContext(3, 4, sampled=True)][a % 3 * (b % 2)])
        self.used.append(used)
        return used.__enter__()

    def disuse(self, which: int, a: int, b: int) -> Any:
        return self.used.pop(a % len(self.used)).__exit__(None, None, None)

    def wrong(self, which: int, a: int, b: int) -> Any:
        span = self.spans[which]
        start: Any = self.start
        forms: list[Callable[[], Any]] = [
            start,
            lambda: start("a", 0, kind=0),
            lambda: start("a", nothing=1),
            lambda: start("a", 0, CURRENT, None, None, None, None),
            lambda: span.set_tag("a"),
            lambda: span.set_tag("a", 1, 2),
            lambda: span.set_tag("a", other=1),
            lambda: span.__exit__(None),
            lambda: span.finish(1, 2),
            lambda: setattr(span, "_prev", None),
        ]
        return forms[a % len(forms)]()

    def generate(self, which: int, a: int, b: int) -> None:
        def body() -> Iterator[None]:
            with self.spans[which]:
                yield
                self.tag(which, a, b)
                yield

        self.generators.append(body())

    def advance(self, which: int, a: int, b: int) -> Any:
        generator = self.generators[a % len(self.generators)]
        if b % 3:
            return next(generator)
        return contextvars.copy_context().run(next, generator)

    def close(self, which: int, a: int, b: int) -> Any:
        generator: Any = self.generators.pop(a % len(self.generators))
        if b % 3:
            return generator.close()
        return contextvars.copy_context().run(generator.close)

    def elsewhere(self, which: int, a: int, b: int) -> None:
        """The other calls in a copy of the context, which is then forgotten."""
        contextvars.copy_context().run(self.step, a % 17, which, b, a)

    def threaded(self, which: int, a: int, b: int) -> None:
        thread = threading.Thread(target=self.step, args=(a % 17, which, b, a))
        thread.start()
        thread.join()

    def copied(self, which: int, a: int, b: int) -> Any:
        copied = copy.copy(self.spans[which])
        return [copied.name, type(copied).__name__, copied.is_recording()]


def outcome(sampler: int, program: list[list[int]]) -> str:
    """What came out, as JSON; in a context of its own."""
    found = contextvars.Context().run(lambda: Machine(sampler).run(program))
    return json.dumps(found)


if __name__ == "__main__":
    for line in sys.stdin:
        print(outcome(*json.loads(line)), flush=True)
