"""The collector goes away, dies and comes back; the application must not notice."""

from __future__ import annotations

import re
from pathlib import Path

from examples.demo import start_services
from examples.processes import Child, wait_until
from examples.shop.load import MIX, Load

from .conftest import digest_lines, http, site, stop, wait_balanced

NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens there


def state_changes(child: Child) -> list[str]:
    return [line for line in child.output if re.search(r"lookout", line, re.I)]


def test_killing_the_collector_loses_nothing(tmp_path: Path) -> None:
    """kill -9 in the middle of the load and a restart on the same directory: the shop answers
    as ever, and in the end every span it created is stored exactly once."""
    with site(tmp_path) as found:
        load = Load(found.services["gateway"].url, rate=40, limit=12 * len(MIX))
        load.start()
        wait_until(lambda: load.sent.total > 3 * len(MIX), 30, "the load to get going")
        found.collector.kill()
        wait_until(lambda: load.sent.total > 6 * len(MIX), 30, "requests without a collector")
        found.restart_collector()
        sent = load.wait()
        assert sent.unexpected == []
        found.stop_shop()
        wait_balanced(found)
        stored = found.traces(serviceName="gateway", limit="1000")
        assert len(stored) == sent.total
        ids = [(span["id"], span.get("shared")) for spans in stored for span in spans]
        assert len(ids) == len(set(ids))


def test_without_a_collector_the_shop_works_and_spans_are_on_disk(tmp_path: Path) -> None:
    """Nothing listens: no exception, no waiting, one log line per service, spans in the digest."""
    services = start_services(NOWHERE, tmp_path)
    try:
        load = Load(services["gateway"].url, rate=60, limit=2 * len(MIX))
        load.start()
        assert load.wait().unexpected == []
        stop(services)
    finally:
        for child in services.values():
            if child.running:
                child.kill()
    roots = [line for line in digest_lines(tmp_path) if line.get("parentId") in (None, "", "0")]
    assert len(roots) == 2 * len(MIX)
    for child in services.values():
        assert len(state_changes(child)) <= 1, state_changes(child)


def test_what_is_no_span_list_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """A body that is no span list gets 400 and says so."""
    with site(tmp_path) as found:
        for body in (b"{}", b"hello", b'[{"traceId": 1}]'):
            reply = http.request("POST", f"{found.url}/api/v2/spans", body=body)
            assert reply.status == 400
            assert 0 < len(reply.data) < 300
            assert b"Traceback" not in reply.data
