"""A collector with a second process for decoding: both live and die together."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .serving import Serve, Serving, rows
from .test_crash import COUNTS, Load

ALWAYS = {"LOOKOUT_DECODE_PROCESSES": "1"}


def children(serving: Serving) -> list[int]:
    """Processes that the collector has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # ended meanwhile
            continue
        if int(fields[1]) == serving.process.pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_kills_of_the_decoding_process_lose_nothing(serve: Serve, tmp_path: Path) -> None:
    """Under load, again and again: accepted is stored exactly once, and nobody is refused."""
    chance = random.Random(20261128)
    serving = serve(env=ALWAYS)
    loads = [Load(serving.url, f"svc-{n}") for n in range(3)]
    for load in loads:
        load.start()
    killed: set[int] = set()
    for _ in range(3):
        serving.eventually(lambda: bool(set(children(serving)) - killed))
        (child,) = set(children(serving)) - killed
        killed.add(child)
        time.sleep(chance.uniform(0.0, 0.8))  # the moment of the kill
        os.kill(child, signal.SIGKILL)
    restarts = "lookout_collector_decoding_process_restarts"
    serving.eventually(lambda: serving.metric(restarts) == 3)
    assert serving.terminate() == 0
    for load in loads:
        load.join(15)
    accepted = set().union(*(load.accepted for load in loads))
    counts = Counter({row["low"]: row["n"] for row in rows(tmp_path / "data", COUNTS)})
    assert len(accepted) > 1000
    assert accepted <= set(counts), "accepted and lost"
    assert max(counts.values()) == 1, "stored twice"
    assert set(counts) <= set().union(*(load.offered for load in loads))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(serve: Serve, how: signal.Signals) -> None:
    """However the collector ends."""
    serving = serve(env=ALWAYS)
    (child,) = children(serving)
    serving.process.send_signal(how)
    serving.process.wait(30)
    serving.eventually(lambda: not runs(child))


def test_signals_for_the_whole_group_leave_its_end_to_the_collector(serve: Serve) -> None:
    """^C and a stopped unit reach both processes: what is under way is still answered."""
    serving = serve(env=ALWAYS)
    (child,) = children(serving)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child, number)
    answer = serving.request("/api/v2/spans", b'[{"traceId":"1","id":"1","name":"n"}]')
    assert answer[0] == 202
    assert children(serving) == [child]
    assert serving.metric('lookout_collector_decoding_bodies{where="process"}') == 1
    assert serving.metric("lookout_decoding_process_resident_memory_bytes") > 0


def test_little_to_decode_starts_no_process(serve: Serve) -> None:
    """Nor is there one where the configuration says so."""
    for env in ({}, {"LOOKOUT_DECODE_PROCESSES": "0"}):
        serving = serve(env=env)
        assert serving.request("/api/v2/spans", b'[{"traceId":"1","id":"1"}]')[0] == 202
        assert children(serving) == []
        assert serving.metric("lookout_collector_decoding_process_up") == 0
        serving.terminate()


@pytest.mark.slow
def test_much_to_decode_starts_one(serve: Serve) -> None:
    """Unasked, given two cores, and bodies go there from then on."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: a second process would only take turns with the first")
    serving = serve()
    body = b"[" + b",".join([b'{"traceId":"1","id":"1","name":"work"}'] * 4_000) + b"]"
    arrived = threading.Event()

    def post() -> None:
        while not arrived.is_set():
            assert serving.request("/api/v2/spans", body)[0] in (202, 503)

    with ThreadPoolExecutor(4) as clients:
        posting = [clients.submit(post) for _ in range(4)]
        try:
            where = 'lookout_collector_decoding_bodies{where="process"}'
            serving.eventually(lambda: serving.metric(where) > 0, 60)
        finally:
            arrived.set()
    for client in posting:
        client.result()
    assert len(children(serving)) == 1
