"""One embedded database per test process, and collectors as processes of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.migrations import migrate
from lookout_server.store.port import Store
from lookout_server.store.server import ServerStore
from lookout_server.store.template import Dialect

from .clickhouse import LIBRARY, MISSING, ClickHouseServer, free_port
from .serving import Serve, Serving, started

_TENANTS = itertools.count(1)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """The migrated store of this process (chDB allows one directory at a time).

    Tables are shared by all tests: write under your own ``tenant``.
    """
    opened = EmbeddedStore(tmp_path_factory.mktemp("store") / "clickhouse")
    migrate(opened, Dialect())
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """A real ClickHouse server; skips where its library is not installed."""
    if not LIBRARY.exists():
        pytest.skip(MISSING)
    server = ClickHouseServer(tmp_path_factory.mktemp("clickhouse"), free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server_store(clickhouse: ClickHouseServer) -> Iterator[ServerStore]:
    """The migrated store on that server."""
    opened = ServerStore(clickhouse.url)
    migrate(opened, Dialect())
    yield opened
    opened.close()


@pytest.fixture(params=["embedded", "server"])
def any_store(request: pytest.FixtureRequest) -> Store:
    """Either backend: the same test runs on both."""
    name = "store" if request.param == "embedded" else "server_store"
    opened: Store = request.getfixturevalue(name)
    return opened


@pytest.fixture
def tenant() -> str:
    """A tenant no other test writes to."""
    return f"tenant-{next(_TENANTS)}"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts collectors: ``serve("--retention", "0", data_dir=..., wait=True, env={...})``."""
    running: list[Serving] = []

    def start(
        *flags: str,
        data_dir: Path = tmp_path / "data",
        wait: bool = True,
        env: dict[str, str] | None = None,
    ) -> Serving:
        serving = started(data_dir, *flags, env=env)
        running.append(serving)
        if wait:
            serving.await_ready()
        return serving

    yield start
    for serving in running:
        if serving.process.poll() is None:
            serving.kill()
        elif serving.process.stdout:
            serving.process.stdout.close()
