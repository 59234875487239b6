"""One embedded database per test process; tests keep apart by tenant."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from lookout_server.store.embedded import EmbeddedStore
from lookout_server.store.migrations import migrate
from lookout_server.store.template import Dialect

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


@pytest.fixture
def tenant() -> str:
    """A tenant no other test writes to."""
    return f"tenant-{next(_TENANTS)}"
