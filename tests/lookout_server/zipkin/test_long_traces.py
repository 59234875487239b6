"""Links of traces that last longer than the hour that is looked at around each five minutes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lookout_server.query.zipkin import dependencies
from lookout_server.store.embedded import EmbeddedStore

from .test_links import BUCKET_US, PAST_US, opened, span_id

SERVICES = "abcdef"
HOURS = 4
#: The middle of a settled time, hours before which traces begin.
BEGIN_US = PAST_US - HOURS * 12 * BUCKET_US


def long_traces(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Spans of traces that last from seconds to hours, some idle for more than an hour."""
    spans = []
    for trace in range(1, count + 1):
        at = BEGIN_US + chance.randrange(BUCKET_US * 12)
        for number in range(1, chance.randint(2, 8)):
            spans.append(
                {
                    "traceId": span_id(trace),
                    "id": span_id(number),
                    "kind": chance.choice(["CLIENT", "SERVER"]),
                    "timestamp": at,
                    "localEndpoint": {"serviceName": chance.choice(SERVICES)},
                    **({"parentId": span_id(chance.randrange(1, number))} if number > 1 else {}),
                }
            )
            at += BUCKET_US * chance.choice([0, 0, 1, 6, 11, 12, 13, 20])
    return spans


async def linked(store: EmbeddedStore, tenant: str, spans: list[dict[str, Any]]) -> Any:
    """All links of some spans, by a collector that was just started."""
    async with opened(store, tenant) as client:
        await client.post("/api/v2/spans", json=spans)
        asked = {"endTs": PAST_US // 1000 + 7_200_000, "lookback": 86_400_000}
        found = (await client.get("/api/v2/dependencies", params=asked)).json()
        return sorted(tuple(link.items()) for link in found)


@pytest.mark.parametrize("seed", range(4))
async def test_links_do_not_depend_on_what_is_linked_together(
    store: EmbeddedStore, tenant: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Five minutes linked one by one, some together or all at once give a trace the same calls."""
    spans = long_traces(random.Random(seed), 40)
    answers = []
    for most in (1, 20, 100_000):
        monkeypatch.setattr(dependencies, "_SPANS_MOST", most)
        answers.append(await linked(store, f"{tenant}-{most}", spans))
    assert answers[0]
    assert answers[1:] == answers[:1] * 2
