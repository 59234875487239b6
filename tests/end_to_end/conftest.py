"""The collector and the shop as real processes, and what a client sees of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from examples.demo import SERVICES, balanced, ledger, start_services
from examples.processes import Child, wait_until

http = urllib3.PoolManager(timeout=30, retries=False)


def get(url: str, **fields: str) -> Any:
    """The JSON of a 200 answer."""
    reply = http.request("GET", url, fields=fields)
    assert reply.status == 200, (url, fields, reply.status, reply.data[:500])
    return reply.json()


def start_collector(data_dir: Path, listen: str = "127.0.0.1:0", *more: str) -> Child:
    child = Child(
        "collector",
        ["-m", "lookout_server", "serve", "--data-dir", str(data_dir), "--listen", listen, *more],
        {},
    )
    child.wait_ready()
    return child


@dataclass
class Site:
    """A collector, the shop beside it, and the folder both write to."""

    folder: Path
    collector: Child
    services: dict[str, Child] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.collector.url

    def stop_shop(self) -> None:
        stop(self.services)

    def restart_collector(self) -> None:
        """The same directory and the same port, as after a crash."""
        listen = self.url.removeprefix("http://")
        self.collector = start_collector(self.folder / "data", listen)

    def ledger(self) -> list[dict[str, Any]]:
        return ledger(self.url)

    def traces(self, **parameters: str) -> list[list[dict[str, Any]]]:
        found: list[list[dict[str, Any]]] = get(f"{self.url}/api/v2/traces", **parameters)
        return found

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        fields = {"query": expression, **({"time": repr(at)} if at is not None else {})}
        result: list[dict[str, Any]] = get(f"{self.url}/api/v1/query", **fields)["data"]["result"]
        return result

    def digest_lines(self) -> list[dict[str, Any]]:
        return digest_lines(self.folder)


def stop(services: dict[str, Child]) -> None:
    """SIGTERM in the order the requests flow, so that each flushes what it has."""
    for name in reversed(SERVICES):
        assert services[name].stop() == 0, list(services[name].output)


def digest_lines(folder: Path) -> list[dict[str, Any]]:
    """Every complete line of every digest log of the shop."""
    files = (folder / "logs").rglob("*-digest.log")
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    found = Site(folder, start_collector(folder / "data"))
    try:
        found.services = start_services(found.url, folder)
        yield found
    finally:
        for child in (*found.services.values(), found.collector):
            if child.running:
                child.kill()


def wait_balanced(found: Site, seconds: float = 20.0) -> None:
    with contextlib.suppress(TimeoutError):
        wait_until(lambda: balanced(found.ledger()), seconds, "the ledger to balance")
    assert balanced(found.ledger()), found.ledger()
