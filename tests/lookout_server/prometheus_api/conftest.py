"""Clients of a collector's metric endpoints, each with a tenant of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from lookout_server.config import ServerConfig
from lookout_server.store.embedded import EmbeddedStore

from .collector import PlainCollector


@pytest.fixture(scope="session")
def collector(store: EmbeddedStore) -> PlainCollector:
    """A collector with every experimental feature on, sharing the store of all tests."""
    return PlainCollector(store, ServerConfig(retention=0, enable_feature=["all"], admin_api=True))


@pytest.fixture(scope="session")
def shared_client(collector: PlainCollector) -> Iterator[TestClient]:
    with TestClient(collector.app()) as client:
        yield client


@pytest.fixture
def client(shared_client: TestClient, tenant: str) -> TestClient:
    """A client that speaks for a tenant no other test uses."""
    shared_client.headers["X-Scope-OrgID"] = tenant
    return shared_client
