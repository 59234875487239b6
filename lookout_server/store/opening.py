"""Opens the store a configuration names."""

from __future__ import annotations

from ..config import ServerConfig
from .embedded import EmbeddedStore
from .port import Limits, Store
from .template import Dialect, Keep

SIGNALS = ("spans", "metrics")


def open_store(config: ServerConfig) -> Store:
    """The embedded database under the data directory, or the server at ``clickhouse_url``.

    Raises StoreError.
    """
    limits = Limits(config.query_seconds, config.query_memory, config.query_threads)
    if config.clickhouse_url is None:
        return EmbeddedStore(
            config.data_dir / "clickhouse",
            memory_bytes=config.database_memory,
            readers=config.readers,
            limits=limits,
        )
    from .server import ServerStore

    return ServerStore(
        config.clickhouse_url.get_secret_value(),
        readers=config.readers,
        limits=limits,
        each_host_of=None if config.clickhouse_on_cluster else config.clickhouse_cluster,
    )


def dialect(config: ServerConfig, store: Store) -> Dialect:
    """How the schema is written for this configuration."""
    return Dialect(
        keep={
            signal: Keep(config.retention_of(signal), config.tenant_retention(signal))
            for signal in SIGNALS
        },
        cluster=config.clickhouse_cluster,
        replicated=config.clickhouse_replicated,
        on_cluster=config.clickhouse_on_cluster,
        database=getattr(store, "database", "default"),
    )
