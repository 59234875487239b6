"""The ledger on the scrape page of the process."""

from __future__ import annotations

from typing import Any

import pytest

import lookout_client
from exporters.memory import MemoryDestination


@pytest.fixture
def running() -> Any:
    """Lookout set up with a destination in memory."""
    lookout_client.init("shop", collector=None, destinations=[MemoryDestination()])
    yield lookout_client
    lookout_client.shutdown(5)


def test_the_ledger_is_among_the_metrics(running: Any) -> None:
    """Created, sent and dropped spans can be scraped, by destination and reason."""
    from lookout_client.default import REGISTRY
    from lookout_client.importers import start_importers

    stop = start_importers(REGISTRY, ["ledger"])
    try:
        for _ in range(3):
            running.start_span("x").finish()
        assert running.flush(5)
        snapshots = {s.definition.name: s for s in REGISTRY.collect()}
        created = snapshots["lookout.spans.created"].points[0]
        sent = snapshots["lookout.spans.sent"].points
        assert created.value == 3
        assert [
            (dict(p.tags), p.value) for p in sent if dict(p.tags)["destination"] == "memory"
        ] == [({"destination": "memory"}, 3)]
    finally:
        stop()
