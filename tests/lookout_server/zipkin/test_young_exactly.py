"""Links held in memory are those of what is stored, at every moment, whatever comes and when."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from lookout_server.config import load
from lookout_server.journal import Batch, Journal
from lookout_server.placing import Bounds, Piece, Placer, Unstorable
from lookout_server.query.zipkin import bulk_linker, young_links
from lookout_server.query.zipkin.bulk_linker import LinkedTraces
from lookout_server.query.zipkin.link_sums import LinkSums
from lookout_server.query.zipkin.span_counts import BUCKET_MS, REACH, SpanCounts
from lookout_server.query.zipkin.young_links import Held, YoungLinks
from lookout_server.signal import Receipt
from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.port import Store
from lookout_server.store.retention import drop_day

from .collector import PlainCollector

_EXAMPLES = itertools.count(1)
#: A moment within five minutes, of a day that has some hours on both sides of it.
_BEGIN_S = 1_790_000_000 // 86_400 * 86_400 + 43_200 + 100
#: Ages of spans (s): of now, of late ones, about the ends of what is held, and of clocks that are
#: wrong. None: no timestamp.
_AGES = [
    0,
    1,
    70,
    301,
    2000,
    3590,
    3900,
    6500,
    7300,
    8900,
    9300,
    18_000,
    -200,
    -3500,
    -4000,
    -90_000,
]
_SPANS = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from([0, 0, 0, 1]),
        "trace": st.integers(0, 3),
        "number": st.integers(1, 4),
        "age": st.one_of(st.sampled_from([*_AGES, 1e9, None]), st.integers(0, 9000)),
        "kind": st.sampled_from(["CLIENT", "SERVER", "PRODUCER", None]),
        "service": st.sampled_from("ab"),
        "remote": st.sampled_from(["c", None]),
        "shared": st.booleans(),
        "twice": st.sampled_from([False, False, True]),
    }
)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(_SPANS, min_size=1, max_size=8)),
        st.tuples(st.just("send"), st.lists(_SPANS, min_size=1, max_size=8)),
        st.tuples(st.just("again"), st.integers(0, 20)),
        st.tuples(st.just("wait"), st.sampled_from([1, 25, 25, 400, 3000, 7000])),
        st.tuples(st.just("link"), st.none()),
        st.tuples(
            st.just("ask"),
            st.sampled_from([0, 0, 5, 299, 1000, -60]),
        ),
    ),
    min_size=3,
    max_size=14,
)


#: What bounds memory and time, so low that it is met.
_BOUNDS = st.fixed_dictionaries(
    {},
    optional={
        "_OPEN_MOST": st.integers(0, 6),
        "_WAITING_MOST": st.integers(0, 6),
        "_CLOSED_MOST": st.integers(0, 4),
        "_BEGIN_MOST": st.integers(0, 12),
        "_AT_ONCE": st.integers(1, 4),
        "_LATE_MOST": st.integers(0, 2),
        "_LATE_SPANS_MOST": st.integers(1, 6),
        "_READING_MOST_S": st.just(0.0),
        "_TRACE_MOST": st.integers(1, 4),
        "_RATE_MOST": st.just(0),
        "_TENANTS_MOST": st.integers(1, 2),
    },
)

_SPANS_OF = (
    f"SELECT {bulk_linker.LINK_COLUMNS} FROM spans WHERE tenant = {{tenant:String}} ORDER BY low"
)
_COUNTS_OF = (
    "SELECT bucket, sum(spans) AS spans FROM span_counts WHERE tenant = {tenant:String} "
    "GROUP BY bucket"
)


class Moved:
    """A collector whose clock is set."""

    def __init__(self, store: EmbeddedStore) -> None:
        self.now = float(_BEGIN_S)
        self._name = f"moved-{next(_EXAMPLES)}"
        self._collector = PlainCollector(store, load())
        young = YoungLinks.of(self._collector)
        assert young is not None
        self.young = young
        young._clock = lambda: self.now
        self._sent: list[list[Mapping[str, Any]]] = []

    def send(self, spans: list[Mapping[str, Any]]) -> None:
        at = self.now
        self._sent.append([{**span, "at": span.get("at", at)} for span in spans])
        rows = []
        for number in sorted({span["tenant"] for span in spans}):
            its = [_json(span) for span in self._sent[-1] if span["tenant"] == number]
            its += [
                _json(span) for span in self._sent[-1] if span["tenant"] == number and span["twice"]
            ]
            receipt = Receipt(self._tenant(number), int(at * 1000), {})
            rows.append(self._collector.signal.decode("zipkin.v2.json", orjson.dumps(its), receipt))
        self._store_all(rows)

    @property
    def signal(self) -> Any:
        return self._collector.signal

    def rows(self, spans: list[Mapping[str, Any]]) -> Any:
        """Spans of the first tenant, as they wait to be written."""
        body = orjson.dumps([_json({**span, "at": self.now}) for span in spans])
        receipt = Receipt(self._tenant(0), int(self.now * 1000), {})
        return self.signal.decode("zipkin.v2.json", body, receipt)

    def _store_all(self, rows: list[Any]) -> None:
        made = self._collector.signal.tables(rows)
        for table in ("spans", "trace_index", "span_counts"):
            token = f"{self._name}-{len(self._sent)}-{table}"
            self._collector.store.insert(table, made[table], token)
        self._collector.signal.stored()

    def again(self, place: int) -> None:
        if self._sent:
            self.send(self._sent[place % len(self._sent)])

    def _tenant(self, number: int) -> str:
        return f"{self._name}-{number}"

    def at_once(self, number: int) -> Held | None:
        """What is held of a tenant, if nothing is linked for it."""
        counts = self._counts(number)
        return self.young.held_at_once(
            self._tenant(number), counts, counts.spans, int(self.now * 1000)
        )

    def _counts(self, number: int) -> SpanCounts:
        tenant = {"tenant": self._tenant(number)}
        counted = self._collector.store.fetch(_COUNTS_OF, tenant).to_pydict()
        spans = dict(sorted(zip(counted["bucket"], counted["spans"], strict=True)))
        return SpanCounts(int(self.now * 1000), spans)

    def check(self, number: int, ago_s: int) -> int:
        """All that is held is what is linked from the store; how many five minutes are."""
        tenant = {"tenant": self._tenant(number)}
        until_ms = int((self.now - ago_s) * 1000)
        counts = self._counts(number)
        held = self.young.held(tenant["tenant"], counts, counts.spans, until_ms)
        stored = self._collector.store.fetch(_SPANS_OF, tenant)
        for bucket, sums in held.sums.items():
            traces = _homed(stored, bucket)
            assert _links(sums) == _links(traces.sums(traces.home == bucket)), bucket
        last = until_ms // BUCKET_MS
        if held.ending is not None:
            traces = _homed(stored, last)
            began = (traces.home == last) & traces.between(0, until_ms)
            assert _links(held.ending) == _links(traces.sums(began))
        return len(held.sums)


def _homed(stored: pa.Table, bucket: int) -> LinkedTraces:
    """The traces of the spans that are looked at for five minutes."""
    buckets = stored.column("bucket").to_numpy().astype(np.int64)
    near = (buckets >= bucket - REACH) & (buckets <= bucket + REACH)
    return bulk_linker.link_traces(stored.filter(pa.array(near)))


def _links(sums: LinkSums) -> dict[tuple[object, object], tuple[object, object]]:
    return {
        (link["parent"], link["child"]): (link["callCount"], link.get("errorCount", 0))
        for link in orjson.loads(sums.json())
    }


def _json(span: Mapping[str, Any]) -> dict[str, Any]:
    high = span["trace"] // 2  # two and two have the same folded id
    low = (high << 32) | ((span["trace"] % 2 + 1) ^ high)
    number = span["number"]
    when = None if span["age"] is None else int(max(span["at"] - span["age"], 1) * 1_000_000)
    return {
        "traceId": f"{low:016x}",
        "id": f"{number:016x}",
        **({"parentId": f"{number // 2:016x}"} if number > 1 else {}),
        **({"kind": span["kind"]} if span["kind"] else {}),
        **({"timestamp": when} if when else {}),
        "localEndpoint": {"serviceName": span["service"]},
        **({"remoteEndpoint": {"serviceName": span["remote"]}} if span["remote"] else {}),
        "shared": span["shared"] and number > 1,
    }


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=_STEPS, quiet_s=st.sampled_from([-1.0, 20.0]), bounds=st.just({}) | _BOUNDS)
def test_whatever_comes_and_when(
    store: EmbeddedStore, steps: list[tuple[str, Any]], quiet_s: float, bounds: dict[str, float]
) -> None:
    """Late, early, without time, sent again, of two traces with one folded id: no call is lost, and
    none is told that a bound left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(young_links, "_QUIET_S", quiet_s)
        for name, bound in bounds.items():
            patch.setattr(young_links, name, bound)
        collector = Moved(store)
        for step, how in [*steps, ("ask", 0)]:
            if step == "send":
                collector.send(how)
            elif step == "again":
                collector.again(how)
            elif step == "wait":
                collector.now += how
            elif step == "link":
                collector.young.link()
            else:
                for tenant in (0, 1):
                    event(f"{min(collector.check(tenant, how), 3)} five minutes held")


def span(trace: int = 0, number: int = 1, age: float | None = 0, **other: Any) -> dict[str, Any]:
    """One that is a call."""
    kind = {"kind": "CLIENT", "service": "a", "remote": "c", "shared": False, "twice": False}
    return {"tenant": 0, "trace": trace, "number": number, "age": age, **kind, **other}


@pytest.fixture
def collector(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> Moved:
    """One that closes what is linked at once."""
    monkeypatch.setattr(young_links, "_QUIET_S", -1.0)
    return Moved(store)


def test_beside_much_ingest_an_answer_is_whole_without_the_latest_batch(
    collector: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of the spans linked so far, and says which: none of the batch that waits, or all."""
    collector.send([span(age=301), span(trace=1)])
    before = collector.at_once(0)
    assert before is None  # in a quiet time what was stored is linked for the question
    collector.check(0, 0)
    before = collector.at_once(0)
    assert before is not None and before.complete
    monkeypatch.setattr(young_links, "_RATE_BUSY", -1)
    collector.send([span(number=2, age=301), span(trace=1, number=2), span(tenant=1)])
    beside = collector.at_once(0)
    assert beside is not None and beside.complete
    assert beside.counts == before.counts
    assert {bucket: _links(sums) for bucket, sums in beside.sums.items()} == {
        bucket: _links(sums) for bucket, sums in before.sums.items()
    }
    collector.now += 2
    assert collector.at_once(0) is None  # it waits for too long
    collector.young.link()
    after = collector.at_once(0)
    assert after is not None and sum(after.counts.spans.values()) == 4
    assert collector.check(0, 0) == len(after.sums) == 2


def test_a_start_is_waited_for_however_much_comes(
    collector: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it reads is hours, not the latest batch."""
    monkeypatch.setattr(young_links, "_RATE_BUSY", -1)
    collector.send([span()])
    collector.young.forget()
    collector.send([span(number=2)])
    assert collector.at_once(0) is None
    assert collector.check(0, 0) > 0


def test_a_trace_of_hours_begins_more_than_once(collector: Moved) -> None:
    """For who looks an hour around: so does who holds it, however it comes."""
    collector.send([span(number=1, age=6500), span(number=2)])
    collector.send([span(trace=1, number=1, age=6500)])
    collector.check(0, 0)
    collector.send([span(trace=1, number=2)])
    assert collector.check(0, 0) == 0


def test_spans_of_before_that_are_not_held_change_nothing(collector: Moved) -> None:
    """Taken off is what was added, when spans of the morning are stored of a trace."""
    collector.send([span(number=1, age=18_000), span(number=2), span(trace=1)])
    collector.check(0, 0)
    collector.send([span(number=3), span(number=4)])
    collector.check(0, 0)


def test_a_trace_that_goes_on_is_known_until_all_of_it_is_forgotten(collector: Moved) -> None:
    """Its beginning is no more held, and yet a late span is none of a new trace."""
    collector.send([span(number=1)])
    collector.now += 3000
    collector.send([span(number=2)])
    collector.check(0, 0)
    collector.now += 6400
    collector.young.link()
    collector.send([span(number=3, age=3300)])
    collector.check(0, 0)


def test_links_that_fail_lose_no_span(collector: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised when they are read or made, spans are stored and questions answered."""

    def failing(*_: Any) -> Any:
        raise ValueError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(collector.young, "_fetch", failing)
        collector.send([span()])
    collector.now += 1000
    collector.send([span(number=2)])
    with monkeypatch.context() as patch:
        patch.setattr(young_links.TenantLinks, "joined", failing)
        assert collector.check(0, 0) == 0
    collector.now += 1000
    collector.send([span(number=3)])
    assert collector.check(0, 0) > 0


def test_what_waited_when_its_tenant_made_room_is_not_counted_twice(
    collector: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is among what is read when the tenant is begun anew."""
    monkeypatch.setattr(young_links, "_TENANTS_MOST", 1)
    collector.send([span()])
    collector.now += 400
    collector.send([span(tenant=1)])
    collector.now += 400
    collector.send([span(number=2)])
    assert collector.check(0, 0) > 0


def test_tenants_that_take_turns_are_not_begun_with_each_batch(
    collector: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no room only who is silent makes some."""
    monkeypatch.setattr(young_links, "_TENANTS_MOST", 1)
    collector.send([span()])
    for _ in range(3):
        collector.send([span(tenant=1), span()])
    assert collector.check(0, 0) > 0
    assert collector.check(1, 0) == 0


def test_who_sends_more_than_is_linked_is_the_one_to_wait(
    collector: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others beside that tenant are held on."""
    monkeypatch.setattr(young_links, "_WAITING_MOST", 3)
    collector.send([span(), *(span(tenant=1, number=number) for number in range(1, 5))])
    assert collector.check(0, 0) > 0
    assert collector.check(1, 0) == 0


def test_whose_late_spans_take_the_writer_long_is_let_go(
    collector: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are held on, and it is not begun again with the next batch."""
    monkeypatch.setattr(young_links, "_READING_MOST_S", 0.0)
    collector.send([span(), span(tenant=1)])
    collector.young.link()
    for others in ([span(tenant=1, trace=1)], []):
        collector.send([span(number=2), *others])
        assert collector.check(0, 0) == 0
        assert collector.check(1, 0) > 0


def test_what_waited_under_load_is_linked_after_it(
    collector: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the load ended at once, and nothing is stored that would tell of it."""
    monkeypatch.setattr(young_links, "_RATE_MOST", 0)
    for number in (1, 2):
        collector.send([span(number=number)])
        collector.now += 5
    collector.now -= 5
    collector.young.link()
    assert collector.young._waiting
    collector.now += 5
    collector.young.link()
    assert not collector.young._waiting


def test_a_start_may_read_more_than_may_wait_of_batches(
    collector: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is linked before all that came since, and is no sign of coming too fast."""
    monkeypatch.setattr(young_links, "_WAITING_MOST", 3)
    for number in range(1, 5):
        collector.send([span(number=number), span(number=number, trace=1)])
        collector.young.link()
    collector.young.forget()
    collector.send([span(number=5)])
    assert collector.check(0, 0) > 0


def test_starts_wait_for_each_other(collector: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several tenants no more is read at once than of one."""
    monkeypatch.setattr(young_links, "_AT_ONCE", 1)
    spans = [span(tenant=tenant, number=number) for tenant in (0, 1) for number in (1, 2)]
    collector.send(spans)
    collector.young.forget()
    collector.send(spans)
    assert len(collector.young._tenants) == 1
    collector.young.link()
    collector.send([span(tenant=tenant, number=3) for tenant in (0, 1)])
    assert collector.check(0, 0) > 0
    assert collector.check(1, 0) > 0


def test_names_are_held_no_longer_than_their_spans(collector: Moved) -> None:
    """A trace that goes on keeps none of those that others had beside it."""
    young_links._QUIET_S = 20.0
    for number in range(1, 5):
        others = [span(number % 3 + 1, 1, service=f"{number} {at}") for at in range(50)]
        collector.send([span(number=number), *others[:50]])
        collector.now += 15
        collector.young.link()
    (held,) = collector.young._tenants.values()
    for cohort in held._cohorts:
        for name in ("service", "address"):
            names = cohort.spans.column(name).combine_chunks().dictionary
            assert len(names) <= len(cohort.spans)


def test_of_a_day_that_was_dropped_nothing_is_held(
    collector: Moved, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what was, nor what comes for it after, until all of it came by here again."""
    collector.send([span(), span(trace=1, age=2000)])
    assert collector.check(0, 0) > 0
    drop_day(store, f"{datetime.fromtimestamp(_BEGIN_S, UTC):%Y-%m-%d}")
    assert collector.check(0, 0) == 0
    for number in (2, 3):
        collector.send([span(number=number), span(number=4, age=2000)])
        assert collector.check(0, 0) == 0


def test_what_is_inserted_again_or_in_parts_is_held_once(
    collector: Moved, store: EmbeddedStore, tmp_path: Path
) -> None:
    """Inserts whose answers are lost, and a part that goes by its entries."""
    journal, refused = Journal(tmp_path / "journal.db"), [Unstorable("refused")]

    class Refusing:
        def insert(self, table: str, rows: pa.Table, token: str) -> None:
            if table == "span_counts" and refused:
                raise refused.pop()
            for _ in range(2):  # as after an answer that was lost
                store.insert(table, rows, token)

    signal = collector.signal
    placer = Placer(signal, cast(Store, Refusing()), journal, {}, Bounds(), lambda does: does())
    collector.send([span()])
    for number in (2, 3):
        pieces = [
            Piece(seq, collector.rows([span(number=number, trace=seq)]), 1, collector.now)
            for seq in (1, 2)
        ]
        placer.place(Batch(f"{tmp_path}-{number}", "spans", 1, 2), pieces)
        signal.stored()
        collector.check(0, 0)
    collector.send([span(number=4)])
    assert collector.check(0, 0) > 0
    journal.close()
