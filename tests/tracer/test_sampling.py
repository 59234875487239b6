"""Which traces are kept, and that everybody in the process agrees."""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tracer
from exporters._tally import Tally
from exporters.ledger import Count, LockedCount
from exporters.records import SAMPLED
from tracer import AlwaysOff, AlwaysOn, Decision, ParentBased, Ratio, SpanContext, SpanKind
from tracer.identity import RandomIds
from tracer.pipeline import Pipeline
from tracer.propagation.b3 import B3Single
from tracer.sampling import RANDOM_MASK
from tracer.sampling_rate import KInHundred, RateLimited
from tracer.sampling_rules import RuleError, Rules, RulesFile
from tracer.testing import recording
from tracer.tracer import Tracer

ids = st.integers(1, (1 << 128) - 1)


def ask(sampler: Any, trace_id: int = 1, parent: SpanContext | None = None, **root: Any) -> bool:
    """Whether ``sampler`` keeps a root."""
    name, kind, tags = root.get("name", "x"), root.get("kind", 0), root.get("tags")
    return bool(sampler.sample(trace_id, name, kind, tags, parent).sampled)


@given(ids, st.floats(0, 1), st.floats(0, 1))
def test_a_smaller_ratio_keeps_a_subset(trace_id: int, one: float, other: float) -> None:
    """Two processes with different ratios agree wherever they can."""
    small, large = sorted((one, other))
    assert ask(Ratio(large), trace_id) or not ask(Ratio(small), trace_id)


@given(ids)
def test_ratios_0_and_1_are_never_and_always(trace_id: int) -> None:
    """The ends are exact."""
    assert ask(Ratio(1.0), trace_id)
    assert not ask(Ratio(0.0), trace_id)


def test_a_ratio_is_exact_over_evenly_spread_ids() -> None:
    """Of 10,000 ids that divide the range evenly 0.1 %, 0.5 % and 99.9 % are kept to the id."""
    spread = [(2 * number + 1) * (1 << 56) // 20_000 for number in range(10_000)]
    for ratio, expected in ((0.001, 10), (0.005, 50), (0.999, 9_990)):
        assert sum(ask(Ratio(ratio), trace_id) for trace_id in spread) == expected


def test_a_ratio_out_of_range_is_refused() -> None:
    """The message says what is allowed."""
    with pytest.raises(ValueError, match="between 0 and 1, not 2"):
        Ratio(2)


def test_the_caller_decides_where_it_did() -> None:
    """ParentBased follows a decision and asks where there is none."""
    sampler = ParentBased(AlwaysOff())
    assert ask(sampler, parent=SpanContext(1, 2, sampled=True))
    assert not ask(ParentBased(AlwaysOn()), parent=SpanContext(1, 2, sampled=False))
    assert not ask(sampler, parent=SpanContext(1, 2, sampled=None))
    assert not ask(sampler)


def test_a_rate_is_kept_to_the_trace() -> None:
    """5 a second: a burst of 5, then one each fifth of a second; a clock set back gives none."""
    now = [100.0]
    sampler = RateLimited(5, clock=lambda: now[0])
    assert [ask(sampler) for _ in range(7)] == [True] * 5 + [False] * 2
    now[0] += 0.2
    assert [ask(sampler) for _ in range(2)] == [True, False]
    now[0] -= 50
    assert not ask(sampler)
    now[0] += 60
    assert sum(ask(sampler) for _ in range(100)) == 5


def test_a_rate_below_one_keeps_one_in_a_while() -> None:
    """Every tenth second; 0 keeps nothing."""
    now = [0.0]
    sampler = RateLimited(0.1, clock=lambda: now[0])
    kept = 0
    for second in range(100):
        now[0] = float(second)
        kept += ask(sampler)
    assert kept == 10
    assert not ask(RateLimited(0, clock=lambda: 1.0))


@pytest.mark.parametrize(
    ("percent", "kept"),
    [(0, 0), (0.5, 5), (1, 10), (12.5, 125), (20, 200), (99.9, 999), (100, 1000)],
)
def test_k_in_100_is_exact_in_every_window(percent: float, kept: int) -> None:
    """SOFATracer's sampler keeps exactly k of each hundred; fractions are not cut off."""
    sampler = KInHundred(percent, random.Random(7))
    for _ in range(3):
        assert sum(ask(sampler) for _ in range(1_000)) == kept
    if percent == int(percent):
        assert sum(ask(sampler) for _ in range(100)) == percent


def test_the_first_rule_that_matches_decides() -> None:
    """By name, path, kind and tags given at the start; the default where none does."""
    rules = Rules.parse(
        """
        default = 0
        [[rule]]
        name = "GET /health*"
        ratio = 0
        [[rule]]
        path = "/shop/*"
        kind = "server"
        ratio = 1
        [[rule]]
        tags = { tenant = "gold*", "user.id" = "7" }
        percent = 100
        """
    )
    shop: Mapping[str, object] = {"url.path": "/shop/cart"}
    assert ask(rules, name="GET /shop", kind=SpanKind.SERVER, tags=shop)
    assert not ask(rules, name="GET /shop", kind=SpanKind.CLIENT, tags=shop)
    assert not ask(rules, name="GET /healthz", kind=SpanKind.SERVER, tags=shop)
    assert ask(rules, tags={"tenant": "golden", "user.id": 7})
    assert not ask(rules, tags={"tenant": "golden"})
    assert not ask(rules)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]]\nname = 'x'", "rule 1 needs exactly one of ratio, per_second, percent"),
        ("[[rule]]\nratio = 2", "rule 1: sampling ratio must be between 0 and 1"),
        ("[[rule]]\nratio = 'much'", "rule 1: ratio must be a number, not 'much'"),
        ("[[rule]]\nratio = 1\n[[rule]]\nnam = 'x'\nratio = 1", "rule 2: unknown nam; there are"),
        ("[[rule]]\nkind = 'srv'\nratio = 1", "kind 'srv' is none of internal, server"),
        ("rule = 7", "rules are written as"),
        ("[[rule", "Expected"),
    ],
)
def test_a_wrong_rule_is_named(text: str, message: str) -> None:
    """The error says which rule and what is allowed."""
    with pytest.raises(RuleError, match=message.replace("[", r"\[")):
        Rules.parse(text)


def test_a_rules_file_may_change_at_run_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A change is seen within a second; a wrong file is reported once, the last good one holds."""
    now = [0.0]
    file = tmp_path / "rules.toml"
    file.write_text("default = 0")
    sampler = RulesFile(file, clock=lambda: now[0])
    assert not ask(sampler)

    def change(text: str) -> None:
        file.write_text(text)
        os.utime(file, ns=(int(now[0] * 1e9) + 10**18,) * 2)
        now[0] += 1.1

    change("default = 1.0")
    assert ask(sampler)
    change("default = 'x'")
    assert ask(sampler)
    now[0] += 5
    assert ask(sampler)
    assert len(caplog.records) == 1
    assert "ratio must be a number, not 'x'" in caplog.text
    change("default = 0  # again")
    assert not ask(sampler)


def test_a_missing_rules_file_keeps_everything_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing raises."""
    assert ask(RulesFile(tmp_path / "none.toml"))
    assert "not used" in caplog.text


# -- decisions in traces ---


class Counting:
    """Keeps every other root and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def sample(self, *args: Any) -> Decision:
        self.asked += 1
        return Decision(self.asked % 2 == 1, {"sampler": "counting"})


def test_the_decision_is_made_once_and_is_what_is_propagated() -> None:
    """Asked at the root only; children inherit it; headers and records say the same."""
    sampler = Counting()
    with recording(sampler=sampler) as traces:
        for _ in range(10):
            with tracer.start_span("root"), tracer.start_span("child"):
                headers: dict[str, str] = {}
                tracer.inject(headers)
                flag = int(headers["traceparent"][-2:], 16) & 1
                assert flag == tracer.current_span().flags & SAMPLED
    assert sampler.asked == 10
    assert traces.names == ["child", "root"] * 5
    assert traces.named("root")[0].tags == {"sampler": "counting"}


def test_an_unsampled_trace_has_one_id_for_all_who_ask() -> None:
    """The ids that are propagated are those of the logs, also where they are made late."""
    with recording(sampler=AlwaysOff()), tracer.start_span("a") as a:
        with tracer.start_span("b") as b:
            first, second = {}, {}  # type: ignore[var-annotated]
            tracer.inject(first)
            tracer.inject(second)
        assert first == second
        assert first["traceparent"] == f"00-{a.trace_id:032x}-{b.span_id:016x}-00"


def test_a_caller_that_decided_is_followed_and_one_that_did_not_is_not() -> None:
    """Remote decisions of each kind, with their ids."""
    with recording(sampler=ParentBased(AlwaysOff())) as traces:
        for sampled in (True, False, None):
            parent = SpanContext(5, 6, sampled=sampled, is_remote=True)
            with tracer.start_span(str(sampled), parent=parent) as span:
                assert span.trace_id == 5
    assert traces.names == ["True"]


def test_debug_overrides_every_sampler_and_is_passed_on() -> None:
    """A B3 debug flag keeps the trace here and below."""
    with recording(sampler=AlwaysOff()) as traces:
        parent = tracer.propagation.b3.extract({"b3": "00000000000000ab-00000000000000cd-d"})
        with tracer.start_span("server", parent=parent), tracer.start_span("client"):
            assert B3Single().write(tracer.current_span())["b3"].endswith("-d")
    assert traces.names == ["client", "server"]


def test_a_decision_without_ids_is_honoured() -> None:
    """``b3: 0`` starts an unsampled trace, ``b3: 1`` a sampled one, with ids made here."""
    with recording(sampler=ParentBased(AlwaysOn())) as traces:
        for header in ("0", "1"):
            parent = tracer.propagation.b3.extract({"b3": header})
            with tracer.start_span(header, parent=parent) as span:
                assert span.trace_id
    assert traces.names == ["1"]
    assert traces.spans[0].parent_id == 0


@given(st.floats(0, 1), st.integers())
def test_ids_made_after_the_decision_agree_with_it(ratio: float, seed: int) -> None:
    """Roots are chosen before they have an id; the ratio, asked about the id, says the same."""
    with recording(sampler=Ratio(ratio), ids=RandomIds()):
        _seed(seed)
        for span in (tracer.start_span("root", parent=None) for _ in range(8)):
            assert ask(Ratio(ratio), span.trace_id) == span.is_recording()


@pytest.mark.parametrize("ratio", [0.5, 0.01, 0.999])
def test_a_ratio_keeps_its_share_of_roots(ratio: float) -> None:
    """Within four standard deviations of the binomial distribution, for one seed."""
    number = 20_000
    with recording(sampler=Ratio(ratio), ids=RandomIds()):
        _seed(20)
        kept = sum(tracer.start_span("root").is_recording() for _ in range(number))
    assert abs(kept - ratio * number) < 4 * math.sqrt(number * ratio * (1 - ratio))


def _seed(seed: int) -> None:
    if tracer.api.PIPELINE.choice is not None:
        tracer.api.PIPELINE.choice.source.seed(seed)


def test_neighbouring_roots_are_kept_independently() -> None:
    """After a kept root the next is as likely as any: no pattern that a fixed gap would leave."""
    number = 20_000
    with recording(sampler=Ratio(0.5), ids=RandomIds()):
        _seed(20)
        kept = [tracer.start_span("root").is_recording() for _ in range(number)]
    for distance in (1, 2, 3):
        both = sum(a and b for a, b in zip(kept, kept[distance:], strict=False))
        assert abs(both - number / 4) < 4 * math.sqrt(number * 3 / 16)


def test_a_root_started_while_one_is_chosen_is_decided_too() -> None:
    """As a signal handler does that interrupts the choice: it neither waits nor loses the count."""
    pipeline = Pipeline(lambda span: None, sampler=Ratio(0.5))
    start, choice = Tracer(pipeline).start_span, pipeline.choice
    assert choice is not None
    inner: list[bool] = []
    random = choice.source.random

    def interrupted() -> float:
        inner.append(start("from a handler").is_recording())
        return random()

    choice.source.random = interrupted  # type: ignore[method-assign]
    outer = [start("root").is_recording() for _ in range(1000)]
    assert 0 < sum(inner) < len(inner) > 100
    assert 0 < sum(outer) < len(outer)
    assert pipeline.unsampled.total() == len(outer) + len(inner) - sum(outer) - sum(inner)


def test_ids_of_ones_own_are_asked_about_one_by_one() -> None:
    """A generator's ids are never changed: the ratio decides by what it gives."""

    class Alternating:
        random = True

        def __init__(self) -> None:
            self.made = 0

        def generate_trace_id(self) -> int:
            self.made += 1
            return 1 if self.made % 2 else RANDOM_MASK

        def generate_span_id(self) -> int:
            return 7

    with recording(sampler=Ratio(0.5), ids=Alternating()) as traces:
        ids = [tracer.start_span("root").trace_id for _ in range(4)]
        for _ in range(4):
            tracer.start_span("root").finish()
    assert ids == [1, RANDOM_MASK, 1, RANDOM_MASK]
    assert [span.trace_id for span in traces] == [RANDOM_MASK] * 2


def test_a_new_sampler_takes_over_at_once_and_the_count_stays_exact() -> None:
    """What the earlier sampler had decided ahead is forgotten, not counted."""
    pipeline, kept = Pipeline(lambda span: None), 0
    start = Tracer(pipeline).start_span
    for sampler in (AlwaysOff(), Ratio(1e-6), AlwaysOn(), Ratio(0.25), AlwaysOff()):
        pipeline.set_sampler(sampler)
        kept += sum(start("root").is_recording() for _ in range(100))
    assert pipeline.unsampled.total() == 500 - kept
    assert kept >= 100


@pytest.mark.parametrize("kind", [Count, LockedCount])
def test_threads_that_share_a_ratio_lose_no_count(kind: type[Count]) -> None:
    """Every root is kept or counted, also where several threads come to the next kept one."""
    count, kept = kind(), Tally()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def roots() -> None:
        for _ in range(5_000):
            if tracer.start_span("root").is_recording():
                kept.add()

    try:
        with recording(sampler=Ratio(0.3), ids=RandomIds(), unsampled=count):
            _seed(20)
            threads = [Thread(target=roots) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)
    assert count.total() + kept.value() == 20_000
    assert abs(kept.value() - 6_000) < 8 * math.sqrt(20_000 * 0.21)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_counts_its_own_unsampled_roots() -> None:
    """What was decided ahead of the fork is no event of the child until it happens."""
    with recording(sampler=AlwaysOff(), ids=RandomIds(), unsampled=(count := Count())):
        for _ in range(3):
            tracer.start_span("root").finish()
        child = os.fork()
        if not child:
            count.reset()
            tracer.start_span("root").finish()
            os._exit(count.total())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert count.total() == 3


class Broken:
    def sample(self, *args: Any) -> Decision:
        raise RuntimeError("no decision")


def test_a_sampler_that_raises_harms_nobody() -> None:
    """The application goes on without a span."""
    with recording(sampler=Broken()) as traces, tracer.start_span("a") as span:
        span.set_tag("a", 1)
    assert traces.spans == []


def test_unsampled_spans_can_be_recorded_to_be_counted() -> None:
    """With record_unsampled they are emitted whole, and their flag says that they are not kept."""
    headers: dict[str, str] = {}
    with (
        recording(sampler=AlwaysOff(), record_unsampled=True) as traces,
        tracer.start_span("root"),
        tracer.start_span("child"),
    ):
        tracer.inject(headers)
    assert headers["traceparent"].endswith("-00")
    assert [(span.name, span.flags & SAMPLED) for span in traces] == [("child", 0), ("root", 0)]


def test_unsampled_spans_are_counted_for_the_ledger() -> None:
    """Each span that is not recorded counts once, whichever way it was started."""
    count = Count()
    with (
        recording(sampler=AlwaysOff(), unsampled=count),
        tracer.start_span("root"),
        tracer.start_span("child"),
    ):
        pass
    with recording(sampler=Ratio(1e-9), unsampled=count):
        tracer.start_span("root").finish()
    with recording(sampler=ParentBased(AlwaysOn()), unsampled=count):
        tracer.start_span("server", parent=SpanContext(5, 6, sampled=False)).finish()
    assert count.value == 4


@pytest.mark.parametrize("kind", [Count, LockedCount])
def test_threads_lose_no_count_of_unsampled_spans(kind: type[Count]) -> None:
    """Nothing switches threads between reading and storing the count, or a lock is taken."""
    count = kind()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with recording(sampler=AlwaysOff(), unsampled=count):
            threads = [Thread(target=_many_roots, args=(5_000,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)
    assert count.total() == 40_000


def _many_roots(number: int) -> None:
    for _ in range(number):
        tracer.start_span("root").finish()


def test_a_server_may_join_the_callers_span() -> None:
    """With join the server's record has the caller's span id and parent, and says it is shared."""
    parent = SpanContext(5, 6, parent_id=7, is_remote=True)
    with recording(join=True) as traces:
        tracer.start_span("server", kind=SpanKind.SERVER, parent=parent).finish()
        tracer.start_span("other", parent=parent).finish()
    server, other = traces.spans
    assert (server.span_id, server.parent_id, server.flags & 4) == (6, 7, 4)
    assert (other.parent_id, other.flags & 4) == (6, 0)
