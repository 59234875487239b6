"""kill -9 under load: nothing that was answered 202 is lost, nothing is there twice."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from .serving import Serve, rows

ROUNDS = int(os.environ.get("LOOKOUT_TEST_KILLS", "3"))


class Load(threading.Thread):
    """Posts spans with ever new ids until the collector is gone; remembers the answered ones."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(daemon=True)
        self.service = name
        self.accepted: set[int] = set()
        self.offered: set[int] = set()
        self._address = url.removeprefix("http://")

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=10)
        chance = random.Random(self.service)
        try:
            while True:
                ids = {chance.getrandbits(63) + 1 for _ in range(20)}
                self.offered |= ids
                connection.request("POST", "/api/v2/spans", self._body(ids))
                answer = connection.getresponse()
                answer.read()
                if answer.status == 202:
                    self.accepted |= ids
        except (OSError, http.client.HTTPException):
            connection.close()

    def _body(self, ids: set[int]) -> bytes:
        now = time.time_ns() // 1000
        endpoint = {"serviceName": self.service}
        return json.dumps(
            [
                {
                    "traceId": f"{one:016x}",
                    "id": f"{one:016x}",
                    "name": "work",
                    "timestamp": now,
                    "duration": 10,
                    "localEndpoint": endpoint,
                }
                for one in ids
            ]
        ).encode()


@pytest.mark.slow
def test_kill_at_random_moments(serve: Serve, tmp_path: Path) -> None:
    """Accepted is stored exactly once over several kills on the same directory."""
    chance = random.Random(20261121)
    loads: list[Load] = []
    for number in range(ROUNDS):
        serving = serve(data_dir=tmp_path / "data")
        current = [Load(serving.url, f"svc{number}-{n}") for n in range(3)]
        for load in current:
            load.start()
        time.sleep(chance.uniform(0.3, 2.5))  # the moment of the kill
        serving.kill()
        for load in current:
            load.join(15)
        loads += current
    serving = serve(data_dir=tmp_path / "data")
    serving.eventually(lambda: serving.metric("lookout_collector_journal_bytes") == 0)
    assert serving.terminate() == 0
    accepted = set().union(*(load.accepted for load in loads))
    offered = set().union(*(load.offered for load in loads))
    counts = Counter({row["low"]: row["n"] for row in rows(tmp_path / "data", COUNTS)})
    assert len(accepted) > 1000
    assert accepted <= set(counts), "accepted and lost"
    assert set(counts) <= offered
    assert max(counts.values()) == 1, "stored twice"


COUNTS = "SELECT low, count() AS n FROM spans GROUP BY low"
