"""A ClickHouse server or cluster over its native protocol (clickhouse-driver).

A client of the driver is one connection and not thread-safe: there is a pool of them, and each
is used by one call at a time. A connection that failed is thrown away.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import pyarrow as pa
from clickhouse_driver import Client
from clickhouse_driver.errors import Error, NetworkError, ServerException

from .columns import conform, python_values
from .parameters import encode
from .port import LIMIT_CODES, Limits, StoreError, StoreLimit, StoreUnavailable

# The driver logs a traceback for every host that does not answer; we raise, and say it once.
logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)

_CONNECT_SECONDS = 5
#: Codes a server answers with while it starts, stops or lacks its Keeper or disk.
_PASSING_CODES = {202, 203, 209, 210, 242, 243, 252, 279, 285, 319, 425, 999, 1000}
_IN_QUOTES = str.maketrans({"\\": "\\\\", "'": "\\'"})


class ServerStore:
    """See :class:`.port.Store`."""

    def __init__(
        self,
        url: str,
        *,
        readers: int = 4,
        limits: Limits | None = None,
        each_host_of: str | None = None,
    ) -> None:
        """Connect to ``clickhouse://user:password@host:9000,other:9000/database?secure=1``.

        With ``each_host_of`` (a cluster's name) :meth:`execute` runs on every host of it: the
        way to create tables on a cluster without a Keeper. Raises StoreUnavailable when no host
        answers.
        """
        self._url = url
        self._limits = limits or Limits()
        self._idle: queue.LifoQueue[Client] = queue.LifoQueue()
        self._spare = threading.Semaphore(readers + 3)  # two writers and the janitor
        self._types: dict[str, dict[str, str]] = {}
        self.database = urlsplit(url).path.strip("/") or "default"
        self.fetch("SELECT 1")
        self._hosts = self._cluster_urls(each_host_of) if each_host_of else ()

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        types = self._column_types(table)
        columns = [python_values(rows.column(name), types[name]) for name in rows.column_names]
        names = ", ".join(f"`{name}`" for name in rows.column_names)
        settings = {
            "insert_deduplication_token": token,
            "async_insert": 0,
            "distributed_foreground_insert": 1,
            "max_insert_block_size": 2_000_000,
        }
        with self._client() as client:
            client.execute(
                f"INSERT INTO {table} ({names}) VALUES", columns, columnar=True, settings=settings
            )

    def fetch(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        mark: str | None = None,
    ) -> pa.Table:
        limits = limits or self._limits
        settings = {
            "strings_as_bytes": True,
            "server_side_params": True,
            "session_timezone": "UTC",
            "max_execution_time": max(limits.seconds, 0.001),
            "max_memory_usage": limits.memory_bytes,
            "max_threads": limits.threads,
        }
        bound = {name: _Encoded(text) for name, text in encode(parameters or {}).items()}
        try:
            return self._ask(sql, bound, settings, mark)
        except StoreUnavailable:  # an idle connection may have gone stale: once more, on another
            return self._ask(sql, bound, settings, mark)

    def cancel(self, mark: str) -> None:
        """Stop the fetches given this mark, if they run still."""
        self.execute(f"KILL QUERY WHERE query_id = '{mark}' ASYNC")

    def execute(self, sql: str) -> None:
        settings = {"session_timezone": "UTC"}
        for url in self._hosts:
            with _translated(), Client.from_url(driver_url(url)) as client:
                client.execute(sql, settings=settings)
        if not self._hosts:
            with self._client() as client:
                client.execute(sql, settings=settings)

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get_nowait().disconnect()

    def _ask(
        self, sql: str, bound: Mapping[str, Any], settings: Mapping[str, Any], mark: str | None
    ) -> pa.Table:
        with self._client() as client:
            return conform(client.query_arrow(sql, bound, query_id=mark, settings=settings))

    def _column_types(self, table: str) -> Mapping[str, str]:
        """ClickHouse types by column; asked once, tables change with migrations only."""
        if table not in self._types:
            rows = self.fetch(
                "SELECT name, type FROM system.columns "
                "WHERE database = currentDatabase() AND table = {table:String}",
                {"table": table},
            )
            found = zip(
                rows.column("name").to_pylist(), rows.column("type").to_pylist(), strict=True
            )
            self._types[table] = dict(found)
        return self._types[table]

    def _cluster_urls(self, cluster: str) -> Sequence[str]:
        """Our URL for every host of a cluster."""
        rows = self.fetch(
            "SELECT host_name AS host, port FROM system.clusters WHERE cluster = {name:String}",
            {"name": cluster},
        ).to_pylist()
        if not rows:
            raise StoreError(f"ClickHouse knows no cluster {cluster!r} (remote_servers)")
        parts = urlsplit(self._url)
        credentials, at, _ = parts.netloc.rpartition("@")
        places = [f"{credentials}{at}{row['host']}:{row['port']}" for row in rows]
        return [urlunsplit(parts._replace(netloc=place)) for place in places]

    @contextmanager
    def _client(self) -> Iterator[Client]:
        with self._spare:
            try:
                client = self._idle.get_nowait()
            except queue.Empty:
                client = Client.from_url(driver_url(self._url))
            try:
                with _translated():
                    yield client
            except StoreUnavailable as error:
                if error.code == 0:  # the connection is broken; with a code the server answered
                    client.disconnect()
                else:
                    self._idle.put(client)
                raise
            except StoreError:
                self._idle.put(client)
                raise
            except BaseException:
                client.disconnect()
                raise
            else:
                self._idle.put(client)


@contextmanager
def _translated() -> Iterator[None]:
    """The driver's errors as the port's."""
    try:
        yield
    except ServerException as error:
        raise _from_server(error) from error
    except (Error, NetworkError, OSError, EOFError) as error:
        raise StoreUnavailable(f"ClickHouse does not answer: {error}") from error


class _Encoded:
    """A parameter that is encoded already; the driver puts what it does not know in quotes."""

    def __init__(self, text: str) -> None:
        self._text = text.translate(_IN_QUOTES)

    def __str__(self) -> str:
        return self._text


def _from_server(error: ServerException) -> StoreError:
    message = str(error.message).split("Stack trace:", maxsplit=1)[0].strip()
    message = message.removeprefix("DB::Exception: ")
    if error.code in LIMIT_CODES:
        return StoreLimit(message, error.code)
    if error.code in _PASSING_CODES:
        return StoreUnavailable(message, error.code)
    return StoreError(message, error.code)


def driver_url(url: str) -> str:
    """Our URL as the driver reads it: further hosts as ``alt_hosts``, defaults for the rest.

    The order of hosts is shuffled, so that several collectors spread over them.
    """
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    first, *others = random.sample(names := hosts.split(","), len(names))
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    options.setdefault("connect_timeout", str(_CONNECT_SECONDS))
    if find_spec("lz4") and find_spec("clickhouse_cityhash"):
        options.setdefault("compression", "lz4")
    if others:
        options["alt_hosts"] = ",".join(others)
    return urlunsplit(parts._replace(netloc=credentials + at + first, query=urlencode(options)))
