"""Start a collector and the shop, keep them busy, say where to look, and settle the accounts.

usage: scripts/demo [--for 20s] [--listen HOST:PORT] [--rate N] [--keep DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from .processes import Child, DidNotStart, wait_until
from .shop.load import Load, Sent

SERVICES = ("stock", "orders", "gateway")  # in the order they must start
UNITS = {"s": 1, "m": 60, "h": 3600}
http = urllib3.PoolManager(timeout=10, retries=False)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said. ``seconds`` is None for "until Ctrl-C"."""

    seconds: float | None
    listen: str
    rate: float
    folder: Path


def seconds(text: str) -> float:
    """``20s``, ``2m`` or plain seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; expected for example 20s or 2m")
    return float(match[1]) * UNITS[match[2] or "s"]


def positive(text: str) -> float:
    """A rate: requests a second."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is no rate; expected a number from 0 to 1000")
    return value


def options(arguments: list[str]) -> Options:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Lookout's demo shop.")
    parser.add_argument("--for", dest="seconds", type=seconds, help="end by itself after this time")
    parser.add_argument("--listen", default="127.0.0.1:9411", help="the collector's address")
    parser.add_argument("--rate", type=positive, default=20.0, help="requests a second")
    parser.add_argument("--keep", type=Path, help="folder for data and logs, kept afterwards")
    found = parser.parse_args(arguments)
    folder = found.keep or Path(tempfile.mkdtemp(prefix="lookout-demo-"))
    return Options(found.seconds, found.listen, found.rate, folder)


def collector(chosen: Options) -> Child:
    data = str(chosen.folder / "data")
    return Child(
        "collector",
        ["-m", "lookout_server", "serve", "--data-dir", data, "--listen", chosen.listen],
        {},
    )


def start_services(collector_url: str, folder: Path) -> dict[str, Child]:
    """The three services, each told where its neighbours are."""
    environment = {
        "LOOKOUT_COLLECTOR": collector_url,
        "LOOKOUT_LOG_DIR": str(folder / "logs"),
        "LOOKOUT_METRICS_INTERVAL": "2",
    }
    children: dict[str, Child] = {}
    for name in SERVICES:
        children[name] = Child(name, ["-m", f"examples.shop.{name}"], environment)
        environment[f"{name.upper()}_URL"] = children[name].wait_ready()
    return children


class NoAnswer(Exception):
    """The collector did not answer as it should; the text says how."""


def get(url: str) -> Any:
    try:
        reply = http.request("GET", url)
    except urllib3.exceptions.HTTPError as error:
        raise NoAnswer(f"{url} does not answer: {error}") from None
    if reply.status != 200:
        raise NoAnswer(f"{url} answered {reply.status}")
    return reply.json()


def traces_stored(collector_url: str) -> bool:
    return "gateway" in get(f"{collector_url}/api/v2/services")


def wait_ready(server: Child) -> None:
    """Raises DidNotStart; where the port is taken, with what to do about it."""
    try:
        server.wait_ready()
    except DidNotStart as problem:
        if "cannot listen on" not in str(problem):
            raise
        raise DidNotStart(f"{problem}; choose another: --listen 127.0.0.1:0 is any") from None


@contextlib.contextmanager
def running(chosen: Options) -> Iterator[tuple[Child, dict[str, Child]]]:
    """Collector and shop; whatever happens, no process is left behind."""
    children: dict[str, Child] = {}
    server = collector(chosen)
    try:
        wait_ready(server)
        children = start_services(server.url, chosen.folder)
        yield server, children
    finally:
        for child in (*children.values(), server):
            if child.running:
                child.kill()


def where_to_look(collector_url: str, services: dict[str, Child], folder: Path) -> str:
    query = "sum+by+(job)+(rate(http_server_request_duration_seconds_count[1m]))"
    return f"""
  Web page       {collector_url}/
  Zipkin API     {collector_url}/api/v2/traces?serviceName=gateway&limit=5
  PromQL         {collector_url}/api/v1/query?query={query}
  Metrics        {services["gateway"].url}/metrics   (of the gateway; each service has its own)
  Digest logs    {folder / "logs"}
"""


def ledger(collector_url: str) -> list[dict[str, Any]]:
    """What each service created, and what became of it, as the collector counts it."""
    rows: list[dict[str, Any]] = get(f"{collector_url}/api/v1/lookout/ledger")["processes"]
    return sorted(rows, key=lambda row: str(row["service"]))


def balanced(rows: list[dict[str, Any]]) -> bool:
    """Every span created was stored or sampled out; none was dropped."""
    return bool(rows) and all(
        row["created"] == row["stored"] + row["sampled_out"] and not any(row["dropped"].values())
        for row in rows
    )


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def settle_accounts(collector_url: str, processes: Collection[str], sent: Sent) -> bool:
    """Print what ``processes`` created, sent and stored; True when every created span was stored.

    Others may send to the collector too, under the same names: theirs are not ours to settle.
    """

    def accounts() -> list[dict[str, Any]]:
        return [row for row in ledger(collector_url) if row["process"] in processes]

    with contextlib.suppress(TimeoutError):  # what was accepted is written within a second
        wait_until(lambda: balanced(accounts()), 10, "the accounts to balance")
    rows = accounts()
    settled = balanced(rows)
    print(f"\n{counted(sent.total, 'request')} answered", dict(sorted(sent.statuses.items())))
    columns = ("created", "sampled_out", "dropped", "sent", "stored")
    print(f"{'service':<10}" + "".join(f"{name.replace('_', ' '):>13}" for name in columns))
    for row in rows:
        row["dropped"] = sum(row["dropped"].values())
        print(f"{row['service']:<10}" + "".join(f"{row[name]:>13}" for name in columns))
    print("Every span created was stored." if settled else "The accounts do not balance.")
    return settled


def all_as_expected(sent: Sent) -> bool:
    """Print requests that were answered otherwise than the shop should; True when none was."""
    if sent.unexpected:
        print(f"{counted(len(sent.unexpected), 'request')} not answered as should have been:")
    for problem in sent.unexpected[:5]:
        print(f"  {problem}")
    return not sent.unexpected


def demonstrate(chosen: Options, stop: threading.Event) -> bool:
    print("Starting the collector and three services ...", flush=True)
    began = time.monotonic()
    with running(chosen) as (server, services):
        load = Load(services["gateway"].url, rate=chosen.rate)
        load.start()
        wait_until(lambda: traces_stored(server.url) or stop.is_set(), 60, "the first trace")
        print(f"First trace visible after {time.monotonic() - began:.1f} s.")
        print(where_to_look(server.url, services, chosen.folder), flush=True)
        if chosen.seconds is None:
            print("Press Ctrl-C to stop.", flush=True)
        stop.wait(chosen.seconds)
        sent = load.stop()
        statuses = [services[name].stop() for name in reversed(SERVICES)]
        uids = [child.uid for child in services.values()]
        settled = settle_accounts(server.url, uids, sent)
        return all_as_expected(sent) and server.stop() == 0 and not any(statuses) and settled


def main(arguments: list[str] | None = None) -> int:
    chosen = options(sys.argv[1:] if arguments is None else arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        return 0 if demonstrate(chosen, stop) else 1
    except (DidNotStart, NoAnswer, TimeoutError, subprocess.TimeoutExpired) as problem:
        print(f"demo: {problem}", file=sys.stderr)
        return 1
    finally:
        if "lookout-demo-" in chosen.folder.name:
            shutil.rmtree(chosen.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
